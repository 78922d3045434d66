//! Json: tells whether a text is one JSON value in its shortest form, for values that nest.
//!
//! A reader passes such a text on as it is, so it must be strict JSON whatever a file says: no
//! blanks, no line breaks, nothing behind it, and not nested deeper than [`DEPTH_MAX`].

const DEPTH_MAX: usize = 128;

/// True for one strict JSON value without blanks between its parts.
#[must_use]
pub fn is_json(text: &str) -> bool {
    let mut rest = text.as_bytes();
    value(&mut rest, 0).is_some() && rest.is_empty()
}

fn value(rest: &mut &[u8], depth: usize) -> Option<()> {
    match rest.first()? {
        b'{' => list(rest, depth, b'}', |rest, depth| {
            string(rest)?;
            byte(rest, b':')?;
            value(rest, depth)
        }),
        b'[' => list(rest, depth, b']', value),
        b'"' => string(rest),
        b't' => word(rest, b"true"),
        b'f' => word(rest, b"false"),
        b'n' => word(rest, b"null"),
        _ => number(rest),
    }
}

fn list(
    rest: &mut &[u8],
    depth: usize,
    end: u8,
    part: fn(&mut &[u8], usize) -> Option<()>,
) -> Option<()> {
    if depth == DEPTH_MAX {
        return None;
    }
    *rest = &rest[1..];
    if byte(rest, end).is_some() {
        return Some(());
    }
    loop {
        part(rest, depth + 1)?;
        if byte(rest, end).is_some() {
            return Some(());
        }
        byte(rest, b',')?;
    }
}

fn string(rest: &mut &[u8]) -> Option<()> {
    byte(rest, b'"')?;
    loop {
        let (first, behind) = rest.split_first()?;
        *rest = behind;
        match first {
            b'"' => return Some(()),
            b'\\' => {
                let (escape, behind) = rest.split_first()?;
                *rest = behind;
                match escape {
                    b'u' => match unit(rest)? {
                        0xd800..0xdc00 => {
                            word(rest, br"\u")?;
                            (0xdc00..0xe000).contains(&unit(rest)?).then_some(())?;
                        }
                        // Half a character, which many readers refuse.
                        0xdc00..0xe000 => return None,
                        _ => {}
                    },
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    _ => return None,
                }
            }
            0..0x20 => return None,
            _ => {}
        }
    }
}

/// The number of four hexadecimal digits.
fn unit(rest: &mut &[u8]) -> Option<u32> {
    let (digits, behind) = rest.split_first_chunk::<4>()?;
    *rest = behind;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

fn number(rest: &mut &[u8]) -> Option<()> {
    let _ = byte(rest, b'-');
    if byte(rest, b'0').is_none() {
        digits(rest)?;
    }
    if byte(rest, b'.').is_some() {
        digits(rest)?;
    }
    if byte(rest, b'e').or_else(|| byte(rest, b'E')).is_some() {
        let _ = byte(rest, b'+').or_else(|| byte(rest, b'-'));
        digits(rest)?;
    }
    Some(())
}

fn digits(rest: &mut &[u8]) -> Option<()> {
    let n = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    *rest = &rest[n..];
    (n > 0).then_some(())
}

fn word(rest: &mut &[u8], word: &[u8]) -> Option<()> {
    *rest = rest.strip_prefix(word)?;
    Some(())
}

fn byte(rest: &mut &[u8], wanted: u8) -> Option<()> {
    word(rest, &[wanted])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_json_in_its_shortest_form_is_told_from_all_else() {
        for yes in [
            "null",
            "true",
            "0",
            "-0",
            "12.5e-3",
            "\"\"",
            "\"a\\u00e9\\n\u{e9}\"",
            "\"\\uD83d\\ude00\"",
            "[]",
            "{}",
            "[1,[2,{\"a\":[]}],\"x\"]",
            "{\"a\":1,\"b\":{\"c\":null}}",
        ] {
            assert!(is_json(yes), "{yes}");
            assert!(serde_json::from_str::<serde_json::Value>(yes).is_ok(), "{yes}");
        }
        for no in [
            "",
            " 1",
            "1 ",
            "[1, 2]",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "+1",
            "nul",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\ud800\\ud800\"",
            "\"\\ud800x\"",
            "\"\\udc00\"",
            "\"",
            "[",
            "{\"a\":1",
            "1}",
            "nan",
            "[1]\n",
        ] {
            assert!(!is_json(no), "{no}");
        }
        assert!(is_json(&("[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX))));
        assert!(!is_json(&("[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1))));
        assert!(!is_json(&"[".repeat(1_000_000)));
    }
}
