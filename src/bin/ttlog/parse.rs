//! Parse: a line of any program as time, level, message and fields.

use jiff::Timestamp;
use serde_json::Value as Json;
use ttlog::record::Level;

/// Bytes of texts that a line may bring; the longest of a longer one is cut.
const TEXT_BYTES_MAX: usize = 120 << 10;

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ParsedLine {
    /// Nanoseconds since 1970; `None` when the line tells no time.
    pub(crate) time_ns: Option<i64>,
    pub(crate) level: Level,
    pub(crate) message: String,
    pub(crate) fields: Vec<(String, FieldValue)>,
    /// True when a text was cut, here or by the reader.
    pub(crate) truncated: bool,
}

/// A field's value as far as a line can tell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FieldValue {
    U64(u64),
    I64(i64),
    F64(f64),
    Bool(bool),
    Str(String),
}

const TIME_NAMES: [&str; 4] = ["time", "timestamp", "ts", "@timestamp"];
const LEVEL_NAMES: [&str; 3] = ["level", "severity", "lvl"];
const MESSAGE_NAMES: [&str; 2] = ["message", "msg"];

impl ParsedLine {
    /// Reads one line without its line end.
    pub(crate) fn parse(line: &str, truncated: bool) -> Self {
        let fields = json(line).or_else(|| logfmt(line));
        let mut parsed = Self {
            time_ns: None,
            level: Level::Info,
            message: String::new(),
            fields: Vec::new(),
            truncated,
        };
        match fields {
            Some(fields) => parsed.take(fields),
            None => line.clone_into(&mut parsed.message),
        }
        parsed.cut();
        parsed
    }

    /// Takes time, level and message out of the fields, the first of each that makes sense.
    fn take(&mut self, fields: Vec<(String, FieldValue)>) {
        let (mut has_level, mut has_message) = (false, false);
        for (name, value) in fields {
            let lower = name.to_ascii_lowercase();
            if self.time_ns.is_none() && TIME_NAMES.contains(&&*lower) {
                self.time_ns = time(&value);
                if self.time_ns.is_some() {
                    continue;
                }
            }
            if !has_level
                && LEVEL_NAMES.contains(&&*lower)
                && let Some(level) = level(&value)
            {
                self.level = level;
                has_level = true;
                continue;
            }
            match value {
                FieldValue::Str(text) if !has_message && MESSAGE_NAMES.contains(&&*lower) => {
                    self.message = text;
                    has_message = true;
                }
                value => self.fields.push((name, value)),
            }
        }
    }

    fn cut(&mut self) {
        loop {
            let texts = self.fields.iter_mut().filter_map(|(_, value)| match value {
                FieldValue::Str(text) => Some(text),
                _ => None,
            });
            let mut sum = 0;
            let mut longest: Option<&mut String> = None;
            for text in texts.chain([&mut self.message]) {
                sum += text.len();
                if longest.as_ref().is_none_or(|longest| longest.len() < text.len()) {
                    longest = Some(text);
                }
            }
            let (Some(text), true) = (longest, sum > TEXT_BYTES_MAX) else { return };
            let mut len = text.len().saturating_sub(sum - TEXT_BYTES_MAX);
            while !text.is_char_boundary(len) {
                len -= 1;
            }
            text.truncate(len);
            self.truncated = true;
        }
    }
}

fn json(line: &str) -> Option<Vec<(String, FieldValue)>> {
    if !line.trim_start().starts_with('{') {
        return None;
    }
    let Ok(Json::Object(object)) = serde_json::from_str(line) else { return None };
    let value = |value: Json| {
        Some(match value {
            Json::Null => return None,
            Json::Bool(flag) => FieldValue::Bool(flag),
            Json::String(text) => FieldValue::Str(text),
            Json::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => FieldValue::U64(number),
                (_, Some(number), _) => FieldValue::I64(number),
                (_, _, Some(number)) => FieldValue::F64(number),
                _ => FieldValue::Str(number.to_string()),
            },
            nested => FieldValue::Str(nested.to_string()),
        })
    };
    Some(object.into_iter().filter_map(|(name, json)| Some((name, value(json)?))).collect())
}

/// Pairs as in `level=info msg="a b" n=5`; `None` unless the whole line is made of them.
fn logfmt(line: &str) -> Option<Vec<(String, FieldValue)>> {
    let mut fields = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=')?;
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '@' | '/');
        if name.is_empty() || !name.chars().all(is_name) {
            return None;
        }
        let (value, behind) = if behind.starts_with('"') {
            let (text, behind) = quoted(behind)?;
            (FieldValue::Str(text), behind)
        } else {
            let (word, behind) = behind.split_at(behind.find(' ').unwrap_or(behind.len()));
            (bare(word), behind)
        };
        if !behind.is_empty() && !behind.starts_with(' ') {
            return None;
        }
        fields.push((name.to_owned(), value));
        rest = behind.trim_start();
    }
    (!fields.is_empty()).then_some(fields)
}

/// A quoted text from the start of `text`, and what stands behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                c @ ('"' | '\\') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}

fn bare(word: &str) -> FieldValue {
    // What would not be written the same way again stays text: 007, +5, 1e3.
    let same = |number: &dyn ToString| number.to_string() == word;
    match word {
        "true" => FieldValue::Bool(true),
        "false" => FieldValue::Bool(false),
        _ => match (word.parse::<u64>(), word.parse::<i64>(), word.parse::<f64>()) {
            (Ok(number), _, _) if same(&number) => FieldValue::U64(number),
            (_, Ok(number), _) if same(&number) => FieldValue::I64(number),
            (_, _, Ok(number)) if same(&number) && number.is_finite() => FieldValue::F64(number),
            _ => FieldValue::Str(word.to_owned()),
        },
    }
}

/// A time as RFC 3339, or as a number since 1970 whose size tells its unit.
fn time(value: &FieldValue) -> Option<i64> {
    match value {
        FieldValue::Str(text) => {
            let time = text.parse::<Timestamp>().ok();
            let local = || {
                let time = text.parse::<jiff::civil::DateTime>().ok()?;
                Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
            };
            i64::try_from(time.or_else(local)?.as_nanosecond()).ok()
        }
        FieldValue::U64(number) => {
            let unit = match number {
                0..100_000_000_000 => 1_000_000_000,
                100_000_000_000..100_000_000_000_000 => 1_000_000,
                100_000_000_000_000..100_000_000_000_000_000 => 1_000,
                _ => 1,
            };
            i64::try_from(number.checked_mul(unit)?).ok()
        }
        FieldValue::F64(number) if (0.0..1e11).contains(number) => {
            // Rounded to the microsecond: a float has no more digits at this size.
            Some((number * 1e6).round() as i64 * 1_000)
        }
        FieldValue::F64(number) if (1e11..1e14).contains(number) => Some((number * 1e6) as i64),
        _ => None,
    }
}

/// A level by name in any case, or as the numbers of bunyan and pino.
fn level(value: &FieldValue) -> Option<Level> {
    Some(match value {
        FieldValue::Str(text) => match text.to_ascii_lowercase().as_str() {
            "trace" | "trc" | "finest" | "verbose" => Level::Trace,
            "debug" | "dbg" | "fine" => Level::Debug,
            "info" | "information" | "inf" | "notice" => Level::Info,
            "warn" | "warning" | "wrn" => Level::Warn,
            "error" | "err" | "fatal" | "critical" | "crit" | "alert" | "emerg" | "emergency"
            | "panic" => Level::Error,
            _ => return None,
        },
        FieldValue::U64(10) => Level::Trace,
        FieldValue::U64(20) => Level::Debug,
        FieldValue::U64(30) => Level::Info,
        FieldValue::U64(40) => Level::Warn,
        FieldValue::U64(50 | 60) => Level::Error,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
