//! Clock: times as people write them, and the local time zone.

use std::sync::OnceLock;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};
use ttlog::view::Query;

use crate::Failure;

/// How far the local zone is ahead of UTC at a second since 1970.
pub(crate) fn local_offset(second: i64) -> i32 {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    let zone = ZONE.get_or_init(TimeZone::system);
    Timestamp::from_second(second).map_or(0, |time| zone.to_offset(time).seconds())
}

/// Now, in nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    to_ns(Timestamp::now()).unwrap_or(i64::MAX)
}

/// The moment that a flag's text means, in nanoseconds since 1970.
fn parse_flag(flag: &str, text: &str, utc: bool) -> Result<i64, Failure> {
    let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
    parse(text, &Timestamp::now().to_zoned(zone)).ok_or_else(|| {
        Failure::Usage(format!(
            "{flag} '{}': not a time; examples: 2026-11-21T10:00:00Z, '2026-11-21 10:00', 10:00, \
             today, yesterday, -15m, '15 min ago', @1795255200",
            ttlog::render::escape::printable(text)
        ))
    })
}

/// Keeps what lies between two times as flags give them, where they are given.
pub(crate) fn window(
    mut query: Query,
    since: Option<&str>,
    until: Option<&str>,
    utc: bool,
) -> Result<Query, Failure> {
    let time = |flag, text: Option<&str>| text.map(|text| parse_flag(flag, text, utc)).transpose();
    let (since_ns, until_ns) = (time("--since", since)?, time("--until", until)?);
    if let (Some(since_ns), Some(until_ns)) = (since_ns, until_ns)
        && since_ns >= until_ns
    {
        let why = "--since is not before --until, so that no time lies between them";
        return Err(Failure::Usage(why.into()));
    }
    if let Some(since_ns) = since_ns {
        query = query.since_ns(since_ns);
    }
    if let Some(until_ns) = until_ns {
        query = query.until_ns(until_ns);
    }
    Ok(query)
}

fn parse(text: &str, now: &Zoned) -> Option<i64> {
    let text = text.trim();
    if let Some(unix) = text.strip_prefix('@') {
        return parse_unix(unix);
    }
    let zone = now.time_zone();
    let midnight = |day: Zoned| to_ns(day.start_of_day().ok()?.timestamp());
    match text.to_ascii_lowercase().as_str() {
        "now" => return to_ns(now.timestamp()),
        "today" => return midnight(now.clone()),
        "yesterday" => return midnight(now.yesterday().ok()?),
        "tomorrow" => return midnight(now.tomorrow().ok()?),
        _ => {}
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return to_ns(time);
    }
    if let Ok(time) = text.parse::<DateTime>() {
        return to_ns(time.to_zoned(zone.clone()).ok()?.timestamp());
    }
    if text.contains(':')
        && let Ok(time) = text.parse::<Time>()
    {
        return to_ns(now.with().time(time).build().ok()?.timestamp());
    }
    let signed = text.starts_with(['-', '+']);
    let ago = text.to_ascii_lowercase().ends_with("ago");
    if !signed && !ago {
        return None;
    }
    let span = text.parse::<Span>().ok()?;
    to_ns(now.checked_add(span).ok()?.timestamp())
}

/// Seconds since 1970, with a fraction or without.
fn parse_unix(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse::<i64>().ok()?;
    let seconds = whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?;
    if whole.starts_with('-') { seconds.checked_sub(nanos) } else { seconds.checked_add(nanos) }
}

fn to_ns(time: Timestamp) -> Option<i64> {
    i64::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<i64> {
        let now = "2026-11-21T10:30:00+01:00[Europe/Berlin]".parse().unwrap();
        parse(text, &now).map(|ns| ns / 1_000_000_000)
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = 1_795_253_400;
        for (text, expected) in [
            ("2026-11-21T09:30:00Z", now),
            ("2026-11-21T10:30:00+01:00", now),
            ("2026-11-21 10:30", now),
            ("2026-11-21 10:30:00", now),
            ("2026-11-21", now - 37_800),
            ("10:00", now - 1_800),
            ("now", now),
            ("today", now - 37_800),
            ("Yesterday", now - 37_800 - 86_400),
            ("-15m", now - 900),
            ("-1h30m", now - 5_400),
            ("-2d", now - 2 * 86_400),
            ("+1h", now + 3_600),
            ("15 min ago", now - 900),
            ("2 hours ago", now - 7_200),
            ("@1795253400", now),
            ("@1795253400.5", now),
        ] {
            assert_eq!(at(text), Some(expected), "{text}");
        }
        for text in ["", "soon", "15m", "2026-13-01", "@", "@x", "-", "10", "@1.0000000001"] {
            assert_eq!(at(text), None, "{text}");
        }
    }
}
