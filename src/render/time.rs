//! Time: UTC nanoseconds as calendar time, with what a second has in common made once.

use super::number::padded;

const NANOS: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;

/// Year, month and day of a number of days since 1970-01-01 in the Gregorian calendar.
#[must_use]
pub const fn civil(days: i64) -> (i64, u32, u32) {
    // Counted from the first of March of year 0, so that the leap day is the last of its year;
    // an era is 400 years, after which the calendar repeats.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + (month <= 2) as i64;
    (year, month as u32, day)
}

/// How far a time zone is ahead of UTC, in seconds, at a UTC second since 1970.
pub type Zone = fn(i64) -> i32;

/// Writes times; keeps the text of the last second, since most events share it.
#[derive(Debug, Clone)]
pub struct Calendar {
    zone: Option<Zone>,
    second: i64,
    text: Vec<u8>,
    offset: i32,
}

impl Calendar {
    /// A calendar in this time zone, in UTC without one.
    #[must_use]
    pub fn new(zone: Option<Zone>) -> Self {
        Self { zone, second: i64::MIN, text: Vec::new(), offset: 0 }
    }

    /// Appends `2026-11-21T10:00:00.123456789Z`, in another zone with its offset for the `Z`.
    pub fn iso(&mut self, time_ns: i64, out: &mut Vec<u8>) {
        self.turn_to(time_ns.div_euclid(NANOS));
        out.extend_from_slice(&self.text);
        out.push(b'.');
        padded(time_ns.rem_euclid(NANOS) as u32, 9, out);
        if self.zone.is_none() {
            out.push(b'Z');
            return;
        }
        out.push(if self.offset < 0 { b'-' } else { b'+' });
        let minutes = self.offset.unsigned_abs() / 60;
        padded(minutes / 60, 2, out);
        out.push(b':');
        padded(minutes % 60, 2, out);
    }

    /// Appends `2026-11-21 10:00:00.123456`.
    pub fn short(&mut self, time_ns: i64, out: &mut Vec<u8>) {
        self.turn_to(time_ns.div_euclid(NANOS));
        let start = out.len();
        out.extend_from_slice(&self.text);
        out[start + DATE_BYTES] = b' ';
        out.push(b'.');
        padded((time_ns.rem_euclid(NANOS) / 1_000) as u32, 6, out);
    }

    fn turn_to(&mut self, second: i64) {
        if self.second == second {
            return;
        }
        self.second = second;
        self.offset = self.zone.map_or(0, |zone| zone(second));
        let local = second.saturating_add(i64::from(self.offset));
        let (year, month, day) = civil(local.div_euclid(DAY_SECONDS));
        let of_day = local.rem_euclid(DAY_SECONDS) as u32;
        self.text.clear();
        let parts = [
            (year as u32, 4, b'-'),
            (month, 2, b'-'),
            (day, 2, b'T'),
            (of_day / 3_600, 2, b':'),
            (of_day / 60 % 60, 2, b':'),
        ];
        for (number, width, behind) in parts {
            padded(number, width, &mut self.text);
            self.text.push(behind);
        }
        padded(of_day % 60, 2, &mut self.text);
    }
}

const DATE_BYTES: usize = "2026-11-21".len();

#[cfg(test)]
mod tests {
    use super::*;

    fn iso(zone: Option<Zone>, ns: i64) -> String {
        let mut out = Vec::new();
        Calendar::new(zone).iso(ns, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn days_count_up_through_the_calendar() {
        let mut before = civil(-200_001);
        for days in -200_000..200_000 {
            let now = civil(days);
            let next_day = now == (before.0, before.1, before.2 + 1);
            let next_month = now == (before.0, before.1 + 1, 1) && before.2 >= 28;
            let next_year = now == (before.0 + 1, 1, 1) && before.1 == 12 && before.2 == 31;
            assert!(next_day || next_month || next_year, "{before:?} then {now:?}");
            before = now;
        }
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_778), (2026, 11, 21));
    }

    #[test]
    fn times_have_nine_digits_and_their_zone() {
        let ns = 20_778 * 86_400 * NANOS + 36_000 * NANOS + 123_456_789;
        assert_eq!(iso(None, ns), "2026-11-21T10:00:00.123456789Z");
        assert_eq!(iso(Some(|_| 5 * 3_600 + 1_800), ns), "2026-11-21T15:30:00.123456789+05:30");
        assert_eq!(iso(Some(|_| -3_600), ns), "2026-11-21T09:00:00.123456789-01:00");
        assert_eq!(iso(None, -1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(iso(None, i64::MAX), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(iso(None, i64::MIN), "1677-09-21T00:12:43.145224192Z");
        let mut out = Vec::new();
        Calendar::new(None).short(ns, &mut out);
        assert_eq!(out, b"2026-11-21 10:00:00.123456");
    }
}
