//! Pure. Spans of time and sizes as people write them: `1h30m`, `250ms`, `64KiB`.

use std::time::Duration;

/// Reads a span: whole numbers with their units, the largest unit first and each at most once, nothing between them.
pub(super) fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut units = SPAN_UNITS.iter();
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (name, next) = after.split_at(end);
        // The iterator goes on behind the unit that it found, so a unit that comes twice or too late is not there.
        let (_, millis) = units.find(|(unit, _)| *unit == name)?;
        total = total.checked_add(Duration::from_millis(number.checked_mul(*millis)?))?;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

/// Reads a size: a whole number of bytes, or one with a binary unit behind it.
pub(super) fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = split_number(text)?;
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    usize::try_from(number.checked_mul(*bytes)?).ok()
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

/// The largest first: [`parse_span`] relies on it.
const SPAN_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

const SIZE_UNITS: [(&str, u64); 5] = [("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans() {
        #[track_caller]
        fn check(text: &str, millis: Option<u64>) {
            assert_eq!(parse_span(text), millis.map(Duration::from_millis), "{text}");
        }
        check("250ms", Some(250));
        check("30s", Some(30_000));
        check("0s", Some(0));
        check("24h", Some(86_400_000));
        check("7d", Some(604_800_000));
        check("1h30m", Some(5_400_000));
        check("1d2h3m4s5ms", Some(93_784_005));
        for refused in ["", "10", "s", "1h30", "30m1h", "1h1h", "1.5h", "-1s", "+1s", "1 h", " 1h", "1H", "1w", "1é"] {
            check(refused, None);
        }
        check("99999999999999999999s", None);
        check("18446744073709551615d", None);
    }

    #[test]
    fn sizes() {
        #[track_caller]
        fn check(text: &str, bytes: Option<usize>) {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
        check("65536", Some(65_536));
        check("512B", Some(512));
        check("64KiB", Some(65_536));
        check("1MiB", Some(1_048_576));
        check("2GiB", Some(2_147_483_648));
        for refused in ["", "KiB", "64KB", "64kib", "64 KiB", "-1", "+1", "0x10", "1_000", "18446744073709551615GiB"] {
            check(refused, None);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in "[0-9dhms]{0,24}|\\PC{0,12}") {
            let _ = (parse_span(&text), parse_size(&text));
        }
    }
}
