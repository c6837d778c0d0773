//! Moments as people read them where keyward runs: by the clock on their wall.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::tz::TimeZone;

use crate::clock::Timestamp;

/// The time of day: `08:15:00`.
#[must_use]
pub fn time_of_day(at: Timestamp) -> String {
    at_home(at, &TimeZone::system()).strftime("%H:%M:%S").to_string()
}

/// The day of a moment to come, as people say it: `today`, `Monday` within a week, else `2026-11-30`.
#[must_use]
pub fn day(at: Timestamp, now: Timestamp) -> String {
    day_in_zone(at, now, &TimeZone::system())
}

fn day_in_zone(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (day, today) = (at_home(at, zone).date(), at_home(now, zone).date());
    let format = match today.until(day).map(|span| span.get_days()) {
        Ok(0) => return "today".to_owned(),
        Ok(1..7) => "%A",
        Ok(_) | Err(_) => "%Y-%m-%d",
    };
    day.strftime(format).to_string()
}

/// A text with each moment in it (`2026-11-30T07:15:00Z`) by the local clock: its time of day where it is of today, else with
/// its date before that. The first one names the zone.
#[must_use]
pub fn in_local_time(text: &str, now: Timestamp) -> Cow<'_, str> {
    if first_moment(text).is_none() { Cow::Borrowed(text) } else { Cow::Owned(in_zone(text, now, &TimeZone::system())) }
}

fn in_zone(text: &str, now: Timestamp, zone: &TimeZone) -> String {
    let today = at_home(now, zone).date();
    let (mut told, mut rest, mut is_first) = (String::with_capacity(text.len()), text, true);
    while let Some((start, end, at)) = first_moment(rest) {
        told.push_str(&rest[..start]);
        let at = at.to_zoned(zone.clone());
        let format = if at.date() == today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
        let _ = write!(told, "{}", at.strftime(format));
        if std::mem::take(&mut is_first) {
            let _ = write!(told, " {}", at.strftime("%Z"));
        }
        rest = &rest[end..];
    }
    told + rest
}

/// Where the first moment begins and ends, and which one it is.
fn first_moment(text: &str) -> Option<(usize, usize, jiff::Timestamp)> {
    memchr::memchr_iter(b'T', text.as_bytes()).find_map(|middle| {
        let start = middle.checked_sub("2026-11-30".len())?;
        let time = text.get(middle + 1..)?;
        let length = time.find('Z').filter(|length| *length <= "07:15:00.123456789".len())?;
        let end = middle + 1 + length + 1;
        Some((start, end, text.get(start..end)?.parse().ok()?))
    })
}

fn at_home(at: Timestamp, zone: &TimeZone) -> jiff::Zoned {
    jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default().to_zoned(zone.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_named_within_a_week() {
        #[track_caller]
        fn check(hours: i64, expected: &str) {
            let now = 1_796_000_400_000;
            let at = Timestamp::from_millis(now + hours * 3_600_000);
            assert_eq!(day_in_zone(at, Timestamp::from_millis(now), &TimeZone::UTC), expected);
        }
        check(1, "today");
        check(24, "Tuesday");
        check(6 * 24, "Sunday");
        check(7 * 24, "2026-12-07");
        check(40 * 24, "2027-01-09");
    }

    #[test]
    fn moments_stand_by_the_local_clock_and_the_zone_once() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let now = Timestamp::from_millis(1_796_000_400_000);
            let zone = TimeZone::fixed(jiff::tz::offset(2));
            assert_eq!(in_zone(text, now, &zone), expected, "{now}");
        }
        check("replaced at 2026-11-29T23:15:00Z.", "replaced at 01:15:00 +02.");
        check("between 2026-11-28T23:15:00.5Z and 2026-11-30T01:00:00Z", "between 2026-11-29 01:15 +02 and 03:00:00");
        for other in ["", "Nothing at all", "T", "2026-11-30T", "2026-11-30T25:00:00Z", "äöüäöüäöüT07:15:00Z"]
        {
            check(other, other);
            assert!(matches!(in_local_time(other, Timestamp::from_millis(0)), Cow::Borrowed(_)), "{other}");
        }
    }
}
