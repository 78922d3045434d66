//! Keep: how much of its logs a program keeps, and the units in which that is said.

use std::ops::Deref;
use std::str::FromStr;
use std::time::Duration;

/// What a logger keeps of its app's segments. Each limit holds by itself; the oldest segments go
/// first.
///
/// By default 2 GiB are kept. A `Keep` that is given replaces that as a whole: what it does not name
/// is not limited. A segment that is being written stays whatever the limits say, and so does one
/// that holds what is nowhere else yet.
///
/// ```
/// use std::time::Duration;
/// use ttlog::Keep;
///
/// let week = Duration::from_secs(7 * 86_400);
/// let keep = Keep::total(2 << 30).age(week).count(100).min_free(1 << 30);
/// assert_eq!(Keep::age(week), "7d".parse().unwrap());
/// # let _ = keep;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep(Limits);

/// The limits of a [`Keep`], and how more are added to it.
///
/// [`Keep`] begins a value with `Keep::age(…)` and adds to one with `keep.age(…)`. A type cannot have
/// both under one name, so the second are this one's, to which it dereferences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[doc(hidden)]
pub struct Limits {
    pub(crate) total: Option<u64>,
    pub(crate) age: Option<Duration>,
    pub(crate) count: Option<u64>,
    pub(crate) min_free: Option<u64>,
}

impl Keep {
    /// No more than so many bytes of disk, as the file system counts them, spill files included.
    /// Segments are at most an eighth as large.
    #[must_use]
    pub const fn total(bytes: u64) -> Self {
        Self(Limits { total: Some(bytes), ..Limits::NONE })
    }

    /// No segment whose newest event is older than this.
    #[must_use]
    pub const fn age(age: Duration) -> Self {
        Self(Limits { age: Some(age), ..Limits::NONE })
    }

    /// No more than so many segments, with the one that is being written.
    #[must_use]
    pub const fn count(segments: u64) -> Self {
        Self(Limits { count: Some(segments), ..Limits::NONE })
    }

    /// Only what leaves so many bytes of the file system free, whoever fills it.
    #[must_use]
    pub const fn min_free(bytes: u64) -> Self {
        Self(Limits { min_free: Some(bytes), ..Limits::NONE })
    }

    /// All segments, for ever: nothing is removed.
    #[must_use]
    pub const fn everything() -> Self {
        Self(Limits::NONE)
    }
}

impl Limits {
    const NONE: Self = Self { total: None, age: None, count: None, min_free: None };

    /// [`Keep::total`], besides the others.
    #[must_use]
    pub const fn total(self, bytes: u64) -> Keep {
        Keep(Self { total: Some(bytes), ..self })
    }

    /// [`Keep::age`], besides the others.
    #[must_use]
    pub const fn age(self, age: Duration) -> Keep {
        Keep(Self { age: Some(age), ..self })
    }

    /// [`Keep::count`], besides the others.
    #[must_use]
    pub const fn count(self, segments: u64) -> Keep {
        Keep(Self { count: Some(segments), ..self })
    }

    /// [`Keep::min_free`], besides the others.
    #[must_use]
    pub const fn min_free(self, bytes: u64) -> Keep {
        Keep(Self { min_free: Some(bytes), ..self })
    }
}

impl Default for Keep {
    /// 2 GiB.
    fn default() -> Self {
        Self::total(2 << 30)
    }
}

impl Deref for Keep {
    type Target = Limits;

    fn deref(&self) -> &Limits {
        &self.0
    }
}

impl FromStr for Keep {
    type Err = String;

    /// Limits with commas between them: a size (`2GiB`), an age (`7d`), a count (`100`), free space
    /// (`free=1GiB`); or `everything`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "everything" {
            return Ok(Self::everything());
        }
        let mut keep = Self::everything();
        for part in text.split(',').map(str::trim) {
            let set = if let Some(free) = part.strip_prefix("free=") {
                keep.0.min_free.replace(parse_size(free)?).is_some()
            } else if let Ok(count) = part.parse() {
                keep.0.count.replace(count).is_some()
            } else if let Ok(age) = parse_age(part) {
                keep.0.age.replace(age).is_some()
            } else if let Ok(total) = parse_size(part) {
                keep.0.total.replace(total).is_some()
            } else {
                return Err(format!(
                    "`{part}` is no limit; use a size as 2GiB, an age as 7d, a count as 100, \
                     free=1GiB, or the word everything"
                ));
            };
            if set {
                return Err(format!("`{part}` says again what another limit says"));
            }
        }
        Ok(keep)
    }
}

/// Bytes of a size with a unit: `512`, `64KiB`, `1.5G`. K, M, G and T are powers of 1024, with or
/// without `iB` or `B` behind them.
///
/// # Errors
///
/// When it is no such size; the text says how one looks.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let explain = || format!("`{text}` is no size; examples: 500MiB, 2G, 1048576");
    let (number, unit) = split(text);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(explain()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(explain);
    }
    let bytes = number.parse::<f64>().map_err(|_| explain())? * (1_u64 << shift) as f64;
    let fits = bytes.is_finite() && bytes >= 0.0 && bytes < u64::MAX as f64;
    if fits { Ok(bytes as u64) } else { Err(explain()) }
}

/// An age: `30s`, `15m`, `12h`, `7d`, `2w`.
///
/// # Errors
///
/// When it is no such age; the text says how one looks.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let explain = || format!("`{text}` is no age; examples: 90s, 30m, 12h, 7d, 2w");
    let (number, unit) = split(text);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(explain()),
    };
    let number: u64 = number.parse().map_err(|_| explain())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(explain)
}

/// The number and what stands behind it.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_begins_a_value_and_adds_to_one() {
        let day = Duration::from_secs(86_400);
        let all = Keep::total(1).age(day).count(3).min_free(4);
        assert_eq!(all, Keep::min_free(4).count(3).age(day).total(1));
        assert_eq!(all, Keep::count(9).count(3).total(1).min_free(4).age(day));
        assert_eq!(Keep::age(day).total, None);
        assert_eq!(Keep::default(), Keep::total(2 << 30));
    }

    #[test]
    fn limits_are_read_from_text() {
        let keep = |text: &str| text.parse::<Keep>();
        let week = Duration::from_secs(7 * 86_400);
        assert_eq!(keep("2GiB"), Ok(Keep::default()));
        let all = Keep::total(3 << 29).age(week).count(100).min_free(1 << 20);
        assert_eq!(keep("1.5g, 7d, 100, free=1M"), Ok(all));
        assert_eq!(keep("everything"), Ok(Keep::everything()));
        for bad in ["", "2 parsecs", "-1GiB", "99999999999T", "1G,2G", "7d,1w", "nan", "free=x"] {
            assert!(keep(bad).is_err(), "{bad}");
        }
        assert!(keep("lots").unwrap_err().contains("2GiB"));
        assert_eq!(parse_size("64 KiB"), Ok(64 << 10));
        assert!(parse_age("1y").unwrap_err().contains("7d"));
    }
}
