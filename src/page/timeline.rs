//! Pure. The rotation as a drawing: what carried the new key and what carried the old one, hour by hour.
//!
//! The new key grows upwards and the old one downwards, so that no colour has to be told from another. All places are in
//! percent, so that the drawing is as wide as there is room.

use maud::{Markup, html};

use super::parts::thousands;
use crate::answers::old_key::Traffic;
use crate::clock::Timestamp;
use crate::telemetry::local_clock::in_local_time;

/// The exchanges of a rotation hour by hour, and the marks to be drawn among them.
#[derive(Debug)]
pub struct Timeline<'t> {
    /// Exchanges with the keys that are good now, hour by hour.
    pub new: &'t [Traffic],
    /// Exchanges with the old key.
    pub old: &'t [Traffic],
    /// When the old key was replaced: it was no fault to send it in the hours before.
    pub replaced: Timestamp,
    /// What happened when.
    pub marks: Vec<Mark>,
    pub now: Timestamp,
}

/// Something that happened at a moment, in a few words: a line in the drawing.
#[derive(Debug, PartialEq, Eq)]
pub struct Mark {
    pub at: Timestamp,
    pub what: &'static str,
}

/// How the time is cut into bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scale {
    /// When the first bar begins, in milliseconds since the Unix epoch.
    begin: i64,
    /// How long a bar is, in milliseconds.
    step: i64,
    bars: usize,
}

impl Timeline<'_> {
    /// The drawing, with its marks in words; nothing where nothing came.
    #[must_use]
    pub fn draw(&self) -> Option<Markup> {
        let scale = self.scale()?;
        let (before, since) = self.old_in_two();
        let (new, before, old) = (scale.sums(self.new), scale.sums(before), scale.sums(since));
        let most = new.iter().chain(&before).chain(&old).copied().max().filter(|most| *most > 0)?;
        let total = |sums: &[u64]| thousands(usize::try_from(sums.iter().sum::<u64>()).unwrap_or(usize::MAX));
        let label = format!(
            "Requests {}: {} with the new key, {} with the old one, and {} before it was replaced.",
            scale.each(),
            total(&new),
            total(&old),
            total(&before)
        );
        Some(html! {
            svg.timeline width="100%" height=(HEIGHT) role="img" aria-label=(label) {
                (bars(&new, most, scale, Way::Up))
                (bars(&before, most, scale, Way::Before))
                (bars(&old, most, scale, Way::Down))
                line.axis x1="0" x2="100%" y1=(MIDDLE) y2=(MIDDLE) {}
                @for (place, numbers) in self.signs(scale) {
                    @let (x, wide) = (percent(place), 8 + 10 * numbers.split(' ').count());
                    g.mark {
                        line x1=(x) x2=(x) y1="18" y2=(HEIGHT) {}
                        rect x=(x) y="1" width=(wide) height="18" rx="9" transform=(format!("translate(-{} 0)", wide / 2)) {}
                        text x=(x) y="14" text-anchor="middle" { (numbers) }
                    }
                }
            }
            div.scale aria-hidden="true" {
                span { (self.at_local(Timestamp::from_millis(scale.begin))) } span { "now" }
            }
            (self.legend(scale, most))
        })
    }

    /// The exchanges with the old key from before the hour in which it was replaced, and those since.
    fn old_in_two(&self) -> (&[Traffic], &[Traffic]) {
        let hour = self.replaced.as_millis().div_euclid(HOUR) * HOUR;
        self.old.split_at(self.old.partition_point(|traffic| traffic.hour.as_millis() < hour))
    }

    /// The numbers of the marks, each where it is; those that would stand on one another share a place.
    fn signs(&self, scale: Scale) -> Vec<(f64, String)> {
        let mut signs: Vec<(f64, String)> = Vec::new();
        for (number, mark) in (1..).zip(&self.marks) {
            let place = scale.place(mark.at);
            match signs.last_mut() {
                Some((last, numbers)) if place - *last < NEAR => *numbers = format!("{numbers} {number}"),
                Some(_) | None => signs.push((place, number.to_string())),
            }
        }
        signs
    }

    fn legend(&self, scale: Scale, most: u64) -> Markup {
        html! {
            div.legend {
                p { span.swatch.new {} " new key, above" span.swatch.old {} " old key, below " span.swatch.before {} " before it was replaced; " (scale.each()) ", at most " (thousands(usize::try_from(most).unwrap_or(usize::MAX))) }
                ol.marks {
                    @for mark in &self.marks { li { b { (mark.what) } " " (self.at_local(mark.at)) } }
                }
            }
        }
    }

    fn at_local(&self, at: Timestamp) -> String {
        in_local_time(&at.to_string(), self.now).into_owned()
    }

    /// From a day before the first mark, or the first exchange after that, until now.
    fn scale(&self) -> Option<Scale> {
        let first = self.new.iter().chain(self.old).map(|traffic| traffic.hour.as_millis()).min()?;
        let marked = self.marks.iter().map(|mark| mark.at.as_millis() - DAY).min();
        let now = self.now.as_millis();
        let begin = marked.unwrap_or(now - DAY).max(first);
        let step = if now - begin > MOST_BARS * HOUR { DAY } else { HOUR };
        let begin = begin.clamp(now - MOST_BARS * step, now - LEAST_BARS * step).div_euclid(step) * step;
        let bars = usize::try_from((now - begin).div_euclid(step) + 1).ok()?;
        Some(Scale { begin, step, bars })
    }
}

// === impl Scale ===

impl Scale {
    fn sums(self, traffic: &[Traffic]) -> Vec<u64> {
        let mut sums = vec![0; self.bars];
        for one in traffic {
            let place = (one.hour.as_millis() - self.begin).div_euclid(self.step);
            if let Some(sum) = usize::try_from(place).ok().and_then(|place| sums.get_mut(place)) {
                *sum += one.exchanges;
            }
        }
        sums
    }

    /// Where a moment is, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
    fn place(self, at: Timestamp) -> f64 {
        ((at.as_millis() - self.begin) as f64 / self.step as f64 / self.bars as f64).clamp(0.0, 1.0)
    }

    fn each(self) -> &'static str {
        if self.step == DAY { "by the day" } else { "by the hour" }
    }
}

/// Whether bars grow upwards or downwards.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
    /// Downwards, in no colour: from before the rotation.
    Before,
}

#[expect(clippy::cast_precision_loss, reason = "places in a drawing")]
fn bars(sums: &[u64], most: u64, scale: Scale, way: Way) -> Markup {
    let wide = 1.0 / scale.bars as f64;
    let tall = |sum: u64| (sum as f64 / most as f64 * f64::from(TALLEST)).max(2.0);
    let class = match way {
        Way::Up => "new",
        Way::Down => "old",
        Way::Before => "before",
    };
    html! {
        g.(class) {
            @for (place, sum) in sums.iter().enumerate().filter(|(_, sum)| **sum > 0) {
                @let y = if way == Way::Up { f64::from(MIDDLE) - tall(*sum) } else { f64::from(MIDDLE) };
                rect x=(percent((place as f64 + 0.1) * wide)) width=(percent(0.8 * wide)) y=(format!("{y:.1}"))
                    height=(format!("{:.1}", tall(*sum))) {}
            }
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

const HOUR: i64 = 3_600_000;

const DAY: i64 = 24 * HOUR;

/// How many bars there are at most: two weeks of hours.
const MOST_BARS: i64 = 14 * 24;

/// How many there are at least, so that none is as wide as the drawing.
const LEAST_BARS: i64 = 12;

/// Marks that are nearer than that share of the drawing would hide each other on a phone.
const NEAR: f64 = 0.06;

/// How high the drawing is, in pixels.
const HEIGHT: u32 = 150;

/// Where its axis is.
const MIDDLE: u32 = 86;

/// How tall the tallest bar is.
const TALLEST: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(counts: &[(i64, u64)]) -> Vec<Traffic> {
        let one = |(hour, exchanges): &(i64, u64)| Traffic {
            hour: Timestamp::from_millis(hour * HOUR),
            exchanges: *exchanges,
        };
        counts.iter().map(one).collect()
    }

    fn timeline<'t>(new: &'t [Traffic], old: &'t [Traffic], mark: i64, now: i64) -> Timeline<'t> {
        let marks = vec![Mark { at: Timestamp::from_millis(mark * HOUR), what: "new key seen" }];
        let replaced = Timestamp::from_millis(mark * HOUR);
        Timeline { new, old, replaced, marks, now: Timestamp::from_millis(now * HOUR + HOUR / 2) }
    }

    #[test]
    fn it_begins_a_day_before_the_rotation_and_ends_now() {
        let (new, old) = (hours(&[(1010, 2)]), hours(&[(100, 9), (1000, 4)]));
        let scale = timeline(&new, &old, 1005, 1012).scale().expect("a scale");
        assert_eq!((scale.begin / HOUR, scale.step, scale.bars), (981, HOUR, 32));
        assert_eq!(scale.sums(&old)[19], 4, "what came before is left out");
        assert_eq!(scale.sums(&old).iter().sum::<u64>(), 4);
    }

    #[test]
    fn a_long_rotation_is_drawn_by_the_day() {
        let (new, old) = (hours(&[(10_000, 1)]), hours(&[(9_000, 5), (9_001, 6)]));
        let scale = timeline(&new, &old, 9_024, 10_000).scale().expect("a scale");
        assert_eq!((scale.step, scale.bars), (DAY, 42));
        assert_eq!(scale.sums(&old)[0], 11);
    }

    #[test]
    fn what_carried_the_old_key_before_it_was_replaced_is_no_fault() {
        let (new, old) = (hours(&[(1011, 2)]), hours(&[(1000, 4), (1004, 5), (1005, 6), (1010, 7)]));
        let drawn = timeline(&new, &old, 1005, 1012).draw().expect("a drawing").into_string();
        assert!(drawn.contains("2 with the new key, 13 with the old one, and 9 before it was replaced."), "{drawn}");
        let of = |class: &str| {
            drawn.split(&format!("<g class=\"{class}\">")).nth(1).and_then(|rest| rest.split("</g>").next())
        };
        let bars = |class| of(class).map(|group| group.matches("<rect").count());
        assert_eq!((bars("before"), bars("old"), bars("new")), (Some(2), Some(2), Some(1)));
    }

    #[test]
    fn where_nothing_came_nothing_is_drawn() {
        assert!(timeline(&[], &[], 1, 2).draw().is_none());
        let (new, far) = (hours(&[(5, 0)]), hours(&[(1_000_000, 5)]));
        assert!(timeline(&new, &far, 4, 6).draw().is_none());
    }

    #[test]
    fn marks_of_one_moment_share_a_sign() {
        let (new, old) = (hours(&[(11, 3)]), hours(&[(0, 6)]));
        let mut line = timeline(&new, &old, 11, 11);
        let at = |hour: i64| Mark { at: Timestamp::from_millis(hour * HOUR), what: "last stale" };
        line.marks = vec![at(2), at(11), at(11)];
        let scale = line.scale().expect("a scale");
        let numbers: Vec<_> = line.signs(scale).into_iter().map(|(_, numbers)| numbers).collect();
        assert_eq!(numbers, ["1", "2 3"]);
    }

    #[test]
    fn each_key_has_its_side() {
        let (new, old) = (hours(&[(11, 3)]), hours(&[(11, 6)]));
        let drawn = timeline(&new, &old, 11, 11).draw().expect("a drawing").into_string();
        assert!(drawn.contains("3 with the new key, 6 with the old one"), "{drawn}");
        assert_eq!(drawn.matches("<rect").count(), 3, "a bar of each, and the sign of a mark");
        assert!(!drawn.contains("style="), "the policy forbids it: {drawn}");
    }
}
