//! Template: decides at compile time whether a message can be formatted by the reader.

use crate::record::template::{Name, Parser, Part};

/// Longer templates would not fit a definition.
const TEMPLATE_BYTES_MAX: usize = 32 << 10;

/// True when the template can be formatted from its arguments alone, the last of which have these
/// names: no variable captured by name, no width from an argument, no pointer.
#[must_use]
pub const fn is_deferrable(template: &str, names: &[&str]) -> bool {
    if template.len() > TEMPLATE_BYTES_MAX {
        return false;
    }
    let mut parser = Parser::new(template);
    loop {
        match parser.next() {
            Part::End => return true,
            Part::Bad { .. } => return false,
            Part::Value(Name::Named { start, end }, _) => {
                let mut known = false;
                let mut i = 0;
                while i < names.len() {
                    known |= is_at(template.as_bytes(), start, end, names[i].as_bytes());
                    i += 1;
                }
                if !known {
                    return false;
                }
            }
            Part::Value(..) | Part::Text { .. } => {}
        }
    }
}

const fn is_at(bytes: &[u8], start: usize, end: usize, name: &[u8]) -> bool {
    // A raw identifier stands without its mark in the template.
    let skip = if name.len() > 2 && name[0] == b'r' && name[1] == b'#' { 2 } else { 0 };
    if end - start != name.len() - skip {
        return false;
    }
    let mut i = 0;
    while i < end - start {
        if bytes[start + i] != name[skip + i] {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_values_alone_can_redo_is_deferred() {
        for yes in ["", "a", "{}", "{:?} {0:>5} {{}}", "{x:#x}", "{type}"] {
            assert!(is_deferrable(yes, &["x", "r#type"]), "{yes}");
        }
        for no in ["{y}", "{:w$}", "{:.*}", "{:p}", "{:x?}", "{:1$}", "{:.0$}", "{ }"] {
            assert!(!is_deferrable(no, &["x"]), "{no}");
        }
    }
}
