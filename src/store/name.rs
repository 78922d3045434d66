//! Name: how files and lane places are called, the only place that makes or reads such names.
//!
//! ```text
//! <app>-<UTC start>-<logger id>-<n>.ttlog      orders-20261121T100000Z-00000000deadbeef-7.ttlog
//! <app>-<UTC>-<logger id>-<ms>.ttdump          what a flight recorder kept, at that time
//! <logger id>.owner                            00000000deadbeef.owner
//! <logger id>.sock                         where the logger can be asked
//! ttlog-<uid>-<logger id>/                     lane place: lane-<n>, recorder-<n>, staging-<n>,
//!                                              callsites, lock
//! ```

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read as _};

/// What a segment's file name ends with.
pub const SEGMENT_SUFFIX: &str = ".ttlog";
/// What a spill file's name ends with.
pub const SPILL_SUFFIX: &str = ".ttspill";
/// What the name of a flight recorder's dump ends with. No directory is read for them: they are
/// shown when they are named.
pub const DUMP_SUFFIX: &str = ".ttdump";
/// What an owner file's name ends with.
pub const OWNER_SUFFIX: &str = ".owner";
/// What the name of a logger's socket ends with.
pub const CONTROL_SUFFIX: &str = ".sock";
/// In a lane place: the definitions of the callsites.
pub const CALLSITES: &str = "callsites";
/// In a lane place: the file whose lock says that the logger lives.
pub const LOCK: &str = "lock";
/// In a lane place: who the logger is, and its anchors.
pub const HEADER: &str = "header";

/// The longest name of an app in a file name, in bytes.
const APP_BYTES_MAX: usize = 64;
const DAY_S: i64 = 86_400;

/// What a segment's file name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentName {
    /// The app, as far as its name can stand in a file name.
    pub app: String,
    /// UTC of the start in seconds since 1970.
    pub created_s: i64,
    /// The logger's id.
    pub logger: u64,
    /// The segment's number within its logger.
    pub number: u64,
    /// True for a spill file.
    pub spill: bool,
}

/// An id that nobody else has, for a logger or a ring.
pub(crate) fn random_id() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes).max(1))
}

/// The file name of a segment.
#[must_use]
pub fn segment(app: &str, created_ns: i64, logger: u64, number: u64) -> String {
    file(app, created_ns, logger, number, SEGMENT_SUFFIX)
}

/// The file name of a spill file.
#[must_use]
pub fn spill(app: &str, created_ns: i64, logger: u64, number: u64) -> String {
    file(app, created_ns, logger, number, SPILL_SUFFIX)
}

/// The file name of a dump beside its log.
#[must_use]
pub fn dump(app: &str, created_ns: i64, logger: u64, number: u64) -> String {
    file(app, created_ns, logger, number, DUMP_SUFFIX)
}

/// Reads the file name of a dump; `None` when it is another's.
#[must_use]
pub fn parse_dump(name: &str) -> Option<SegmentName> {
    parse_stem(name.strip_suffix(DUMP_SUFFIX)?, false)
}

/// Reads the file name of a segment or spill file; `None` when it is another's.
#[must_use]
pub fn parse(name: &str) -> Option<SegmentName> {
    let (stem, spill) = match name.strip_suffix(SEGMENT_SUFFIX) {
        Some(stem) => (stem, false),
        None => (name.strip_suffix(SPILL_SUFFIX)?, true),
    };
    parse_stem(stem, spill)
}

fn parse_stem(stem: &str, spill: bool) -> Option<SegmentName> {
    let mut parts = stem.rsplitn(4, '-');
    let number = decimal(parts.next()?)?;
    let logger = hex(parts.next()?)?;
    let created_s = parse_time(parts.next()?)?;
    let app = parts.next()?.to_owned();
    (app == clean(&app)).then_some(SegmentName { app, created_s, logger, number, spill })
}

/// The name of a logger's owner file.
#[must_use]
pub fn owner(logger: u64) -> String {
    format!("{logger:016x}{OWNER_SUFFIX}")
}

/// The logger of an owner file's name.
#[must_use]
pub fn parse_owner(name: &str) -> Option<u64> {
    hex(name.strip_suffix(OWNER_SUFFIX)?)
}

/// The name of a logger's socket.
#[must_use]
pub fn control(logger: u64) -> String {
    format!("{logger:016x}{CONTROL_SUFFIX}")
}

/// The name of the directory of a logger's lanes.
#[must_use]
pub fn place(uid: u32, logger: u64) -> String {
    format!("ttlog-{uid}-{logger:016x}")
}

/// User and logger of a lane place's name.
#[must_use]
pub fn parse_place(name: &str) -> Option<(u32, u64)> {
    let (uid, logger) = name.strip_prefix("ttlog-")?.split_once('-')?;
    Some((u32::try_from(decimal(uid)?).ok()?, hex(logger)?))
}

/// The name of a lane's file.
#[must_use]
pub fn lane(number: u32) -> String {
    format!("lane-{number}")
}

/// The number of a lane file's name.
#[must_use]
pub fn parse_lane(name: &str) -> Option<u32> {
    u32::try_from(decimal(name.strip_prefix("lane-")?)?).ok()
}

/// The name of a staging file.
#[must_use]
pub fn staging(number: u32) -> String {
    format!("staging-{number}")
}

/// The number of a staging file's name.
#[must_use]
pub fn parse_staging(name: &str) -> Option<u32> {
    u32::try_from(decimal(name.strip_prefix("staging-")?)?).ok()
}

fn file(app: &str, created_ns: i64, logger: u64, number: u64, suffix: &str) -> String {
    let mut name = clean(app);
    name.push('-');
    push_time(created_ns.div_euclid(1_000_000_000), &mut name);
    write!(name, "-{logger:016x}-{number}{suffix}").expect("a string takes every write");
    name
}

/// The app's name as far as it can stand in a file name: no separators, no leading dot or dash.
#[must_use]
pub fn clean(app: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let mut name: String = app.chars().take(APP_BYTES_MAX).map(keep).collect();
    if name.starts_with(['.', '-']) {
        name.replace_range(..1, "_");
    }
    if name.is_empty() { "app".into() } else { name }
}

/// True when other apps may be written like this one in names of files.
pub(super) fn is_shared(app: &str) -> bool {
    let name = clean(app);
    name.contains('_') || name.len() >= APP_BYTES_MAX
}

fn push_time(seconds: i64, out: &mut String) {
    let (year, month, day) = date(seconds.div_euclid(DAY_S));
    let second = seconds.rem_euclid(DAY_S);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    write!(out, "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
        .expect("a string takes every write");
}

fn parse_time(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let (date_text, time) = text.split_once('T')?;
    if time.len() != 6 || date_text.len() != 8 || !text.is_ascii() {
        return None;
    }
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok());
    let year: i64 = number(&date_text[..4])??;
    let month: i64 = number(&date_text[4..6])??;
    let day: i64 = number(&date_text[6..])??;
    let hour: i64 = number(&time[..2])??;
    let minute: i64 = number(&time[2..4])??;
    let second: i64 = number(&time[4..])??;
    let days = days(year, month, day);
    let real = date(days) == (year, month, day) && hour < 24 && minute < 60 && second < 60;
    real.then_some(days * DAY_S + hour * 3600 + minute * 60 + second)
}

/// The day of the Gregorian calendar so many days after 1 January 1970.
///
/// Years are counted from March, so that the odd day comes last.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Undoes [`date`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let month_from_march = (month + 9).rem_euclid(12);
    let of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let year_of_era = year.rem_euclid(400);
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    year.div_euclid(400) * 146_097 + of_era - 719_468
}

/// A decimal number as this module writes it: no sign, no leading zero.
fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Sixteen hexadecimal digits, lower case.
fn hex(text: &str) -> Option<u64> {
    let number = u64::from_str_radix(text, 16).ok()?;
    (format!("{number:016x}") == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_equal() {
        let name = segment("orders", 1_795_255_200_123_456_789, 0xdead_beef, 7);
        assert_eq!(name, "orders-20261121T100000Z-00000000deadbeef-7.ttlog");
        let parsed = parse(&name).unwrap();
        assert_eq!((parsed.created_s, parsed.number), (1_795_255_200, 7));
        assert_eq!((parsed.logger, parsed.app.as_str()), (0xdead_beef, "orders"));
        assert!(!parsed.spill && parse(&spill("a-b", 0, 1, 2)).unwrap().spill);
        let dump = dump("orders", 1_795_255_200_123_456_789, 5, 123);
        assert_eq!(dump, "orders-20261121T100000Z-0000000000000005-123.ttdump");
        assert_eq!((parse(&dump), parse_dump(&dump).unwrap().number), (None, 123));
        assert_eq!(parse_dump(&name), None);
        assert_eq!(parse_owner(&owner(5)), Some(5));
        assert_eq!(parse_place(&place(1000, 5)), Some((1000, 5)));
        assert_eq!((parse_lane(&lane(9)), parse_staging(&staging(0))), (Some(9), Some(0)));
    }

    #[test]
    fn apps_cannot_leave_their_directory() {
        for app in
            ["../../etc/passwd", "", ".hidden", "-rf", "a/b\n\u{202e}", "ü".repeat(99).as_str()]
        {
            let name = segment(app, -1, u64::MAX, u64::MAX);
            assert!(!name.contains(['/', '\n']) && !name.starts_with(['.', '-']), "{name}");
            assert!(name.len() < 255 && name.is_ascii());
            assert_eq!(parse(&name).unwrap().created_s, -1);
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "orders-20261121T100000Z-00000000deadbeef-07.ttlog",
            "orders-20261121T100000Z-00000000DEADBEEF-7.ttlog",
            "orders-20261321T100000Z-00000000deadbeef-7.ttlog",
            "orders-20260230T100000Z-00000000deadbeef-7.ttlog",
            "orders-2026112éT10000Z-00000000deadbeef-7.ttlog",
            "a/b-20261121T100000Z-00000000deadbeef-7.ttlog",
            "20261121T100000Z-00000000deadbeef-7.ttlog",
            "orders.ttlog",
            ".ttlog",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn every_day_of_many_years_is_found_again() {
        for day in -200_000..200_000 {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day);
        }
        assert_eq!((date(0), date(20_778)), ((1970, 1, 1), (2026, 11, 21)));
    }
}
