//! Escape: text that came from a log, made harmless for a terminal and valid for JSON.
//!
//! A line break would forge a second event, an escape sequence would drive the terminal, and a
//! bidi or zero-width character would show something else than what stands there. None of them
//! leaves this module unescaped.

/// True for a character that no output shows as it is: controls, line and paragraph separators,
/// bidi controls, and what has no width.
#[must_use]
pub const fn is_hidden(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}'
        | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Bytes that need no look: not ASCII specials, and not the first byte of a hidden character.
const PLAIN: u8 = 0;
/// `"` and `\`: escaped inside quotes only.
const QUOTE: u8 = 1;
/// A control, or the first byte of characters of which some are hidden.
const LOOK: u8 = 2;

const CLASS: [u8; 256] = {
    let mut class = [PLAIN; 256];
    let mut c = 0;
    while c < 0x20 {
        class[c] = LOOK;
        c += 1;
    }
    class[0x7f] = LOOK;
    class[b'"' as usize] = QUOTE;
    class[b'\\' as usize] = QUOTE;
    let firsts = [0xc2, 0xcd, 0xd8, 0xe1, 0xe2, 0xe3, 0xef, 0xf0, 0xf3];
    let mut i = 0;
    while i < firsts.len() {
        class[firsts[i]] = LOOK;
        i += 1;
    }
    class
};

/// Appends `text` as the inside of a JSON string; hidden characters become `\u` escapes, so that
/// a terminal that shows the line is as safe as with plain text.
pub fn json(text: &str, out: &mut Vec<u8>) {
    escape(text, out, QUOTE, json_char);
}

/// Appends `text` with hidden characters as `\n`, `\t` or `\u{202e}`.
pub fn plain(text: &str, out: &mut Vec<u8>) {
    escape(text, out, LOOK, plain_char);
}

/// Appends `text` in double quotes, hidden characters, `"` and `\` escaped.
pub fn quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape(text, out, QUOTE, plain_char);
    out.push(b'"');
}

/// Appends `text` as it is when it is one simple word, else in quotes.
pub fn word(text: &str, out: &mut Vec<u8>) {
    let simple = |b: u8| b > b' ' && CLASS[usize::from(b)] == PLAIN && b != b'=';
    if !text.is_empty() && text.bytes().all(simple) {
        out.extend_from_slice(text.as_bytes());
    } else {
        quoted(text, out);
    }
}

/// Appends a field's name: like [`plain`], and what would end the name is escaped too.
pub fn key(text: &str, out: &mut Vec<u8>) {
    if text.is_empty() {
        out.extend_from_slice(b"\"\"");
        return;
    }
    for c in text.chars() {
        if matches!(c, ' ' | '=' | '"' | '\\') || is_hidden(c) {
            plain_char(c, out);
        } else {
            push(c, out);
        }
    }
}

/// `text` with hidden characters escaped, for messages on stderr (file names above all).
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    plain(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn escape(text: &str, out: &mut Vec<u8>, from_class: u8, special: fn(char, &mut Vec<u8>)) {
    let bytes = text.as_bytes();
    let mut done = 0;
    let mut at = 0;
    while at < bytes.len() {
        let class = CLASS[usize::from(bytes[at])];
        if class < from_class {
            at += 1;
            continue;
        }
        let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) else { break };
        if class == QUOTE || is_hidden(c) {
            out.extend_from_slice(&bytes[done..at]);
            special(c, out);
            done = at + c.len_utf8();
        }
        at += c.len_utf8();
    }
    out.extend_from_slice(&bytes[done..]);
}

fn json_char(c: char, out: &mut Vec<u8>) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        _ => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                for shift in [12, 8, 4, 0] {
                    out.push(HEX[usize::from(*unit >> shift & 15)]);
                }
            }
        }
    }
}

fn plain_char(c: char, out: &mut Vec<u8>) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        _ => {
            for part in c.escape_unicode() {
                push(part, out);
            }
        }
    }
}

fn push(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Digits of hexadecimal numbers.
pub(super) const HEX: &[u8; 16] = b"0123456789abcdef";

/// Lets `fmt` write through one of the escapes above.
pub(super) struct Through<'a> {
    /// Where the escaped text goes.
    pub(super) out: &'a mut Vec<u8>,
    /// The escape, or a copy.
    pub(super) escape: fn(&str, &mut Vec<u8>),
}

impl std::fmt::Write for Through<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        (self.escape)(text, self.out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(escape: fn(&str, &mut Vec<u8>), text: &str) -> String {
        let mut out = Vec::new();
        escape(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_code_point_leaves_hidden_by_any_escape() {
        for c in '\0'..=char::MAX {
            let text = format!("a{c}b");
            for escape in [json, plain, quoted, word, key] {
                let shown = run(escape, &text);
                assert!(!shown.chars().any(is_hidden), "{:x} as {shown:?}", u32::from(c));
                assert!(shown.contains('a') && shown.contains('b'));
            }
            if !is_hidden(c) {
                assert!(run(plain, &text) == text, "{:x}", u32::from(c));
            }
        }
    }

    #[test]
    fn json_text_reads_back_equal_for_every_code_point() {
        for c in '\0'..=char::MAX {
            let text = format!("{c}x");
            let line = format!("\"{}\"", run(json, &text));
            assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }

    #[test]
    fn words_are_quoted_only_when_they_must_be() {
        assert_eq!(run(word, "simple/path"), "simple/path");
        assert_eq!(run(word, "größe"), "größe");
        assert_eq!(run(word, ""), "\"\"");
        assert_eq!(run(word, "a b"), "\"a b\"");
        assert_eq!(run(word, "a=\"b\"\n"), "\"a=\\\"b\\\"\\n\"");
        assert_eq!(run(key, "a b=c"), "a\\u{20}b\\u{3d}c");
        assert_eq!(run(plain, "C:\\x \u{202e}"), "C:\\x \\u{202e}");
    }
}
