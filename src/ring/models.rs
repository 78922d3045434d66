//! Models: every invariant of the ring under every interleaving that loom finds.
