//! Pure. From answers to what a terminal shows.

use super::output::Line;
use crate::ledger::progress::Progress;

/// How far a rotation is: `███░░░  12 of 24 confirmed, 3 stale, 9 due later`.
pub(super) fn progress(progress: &Progress, keeps_old: bool) -> Line {
    let kept = if keeps_old { "; an old key is still sent or held" } else { "" };
    let pieces = progress.bar(BAR, keeps_old).into_iter().filter(|(_, piece)| !piece.is_empty());
    let bar = pieces.fold(Line::default(), |line, (tone, piece)| line.and_toned(tone, piece));
    bar.and(format!("  {progress}{kept}")).hanging(BAR + 2)
}

/// How long the bar of a rotation is, in characters.
const BAR: usize = 24;

/// Where that column stands in each table.
pub(super) const WHO: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Palette;

    #[test]
    fn the_bar_is_full_when_nothing_is_left_to_do() {
        #[track_caller]
        fn check(counts: [usize; 5], keeps_old: bool, expected: &str) {
            let [confirmed, stale, due_later, overdue, acknowledged] = counts;
            let told = Progress { confirmed, mixed: 0, stale, failing: 0, due_later, overdue, acknowledged };
            assert_eq!(progress(&told, keeps_old).rows(200, Palette::Plain), [expected]);
        }
        check([0; 5], false, "░░░░░░░░░░░░░░░░░░░░░░░░  0 of 0 confirmed");
        let told = "██████████████▓▓▓▓▓▓░░░░  6 of 12 confirmed, 3 stale, 2 due later, 1 acknowledged";
        check([6, 3, 2, 0, 1], false, told);
        check([3, 0, 0, 0, 1], false, "████████████████████████  3 of 4 confirmed, 1 acknowledged");
        check([1, 0, 0, 0, 0], true, "███████████████████████▓  1 of 1 confirmed; an old key is still sent or held");
    }
}
