//! Wall-clock time as keyward passes it about, and the clock that tests may set.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, in milliseconds since the Unix epoch. An optional one takes no more room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(
    /// The milliseconds, with their sign turned: so that they keep their order, and only the first of all moments is zero.
    NonZeroU64,
);

impl Timestamp {
    /// From milliseconds since the Unix epoch. The first moment of all, some 292 million years ago, is the one after it.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        match NonZeroU64::new((millis ^ i64::MIN).cast_unsigned()) {
            Some(turned) => Self(turned),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.get().cast_signed() ^ i64::MIN
    }

    /// This moment moved forward; saturates at the end of time.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self::from_millis(self.as_millis().saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The span from `earlier` until now; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.as_millis().saturating_sub(earlier.as_millis())).unwrap_or(0))
    }
}

/// As milliseconds since the Unix epoch.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(self.as_millis())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        i64::deserialize(from).map(Self::from_millis)
    }
}

/// RFC 3339 in UTC with whole seconds, as people read it: `2026-11-23T08:15:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.as_millis().div_euclid(1000)) {
            Ok(moment) => write!(f, "{moment}"),
            Err(_) => f.write_str(BEYOND_THE_CALENDAR),
        }
    }
}

/// Reads what [`Timestamp`] displays. A moment that no calendar has is read as the end of time.
impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == BEYOND_THE_CALENDAR {
            return Ok(Self::from_millis(i64::MAX));
        }
        text.parse().map(|moment: jiff::Timestamp| Self::from_millis(moment.as_millisecond()))
    }
}

/// What is displayed of a moment that no calendar has, such as the end of a grace of a million years.
const BEYOND_THE_CALENDAR: &str = "an unknown time";

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timestamp").field(&self.as_millis()).finish()
    }
}

/// Where the time comes from: the system, or a hand that a test moves.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    /// Milliseconds since the Unix epoch, moved from outside.
    Chosen(Arc<AtomicI64>),
}

impl Clock {
    /// The moment now, by this clock; the Unix epoch where the machine's clock stands before that.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::from_millis(
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
            ),
            Self::Chosen(millis) => Timestamp::from_millis(millis.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_displayed_is_read_again() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_420_800_000, "2026-11-23T08:00:00Z"),
            (-1_000, "1969-12-31T23:59:59Z"),
            (i64::MAX, "an unknown time"),
        ] {
            let at = Timestamp::from_millis(millis);
            assert_eq!((at.to_string().as_str(), text.parse().ok()), (text, Some(at)));
        }
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
