//! Compact: records encoded one by one against what the block has seen before.
