//! What commands print: answers on standard output, everything else on standard error. On a terminal no line is wider than
//! it, and no name can steer it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::caller::names::is_harmful;
use crate::clock::Timestamp;

/// Prints an answer. What keeps it from being written is told by [`trouble`].
pub(super) fn print(text: impl fmt::Display) {
    if let Err(error) = writeln!(io::stdout(), "{text}") {
        // The first one counts: the others come of it.
        let _ = TROUBLE.set(error);
    }
}

/// Why not all answers could be written, if that is so.
pub(super) fn trouble() -> Option<&'static io::Error> {
    TROUBLE.get()
}

static TROUBLE: OnceLock<io::Error> = OnceLock::new();

/// Says something beside the answer.
pub(super) fn remark(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints a value as JSON.
pub(super) fn print_json(value: &serde_json::Value) {
    print(escaped(&format!("{value:#}")));
}

/// JSON that means the same, without what could steer a terminal: apart from its line breaks, that stands in texts alone.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if is_harmful(character) && character != '\n' {
            let _ = write!(text, "\\u{:04x}", u32::from(character));
        } else {
            text.push(character);
        }
    }
    text
}

/// Empties the screen for the next picture; says whether there is one.
pub(super) fn clear_screen() -> bool {
    let is_terminal = io::stdout().is_terminal();
    if is_terminal {
        let _ = write!(io::stdout(), "\x1b[H\x1b[2J");
    }
    is_terminal
}

/// Prints lines that fit the terminal, with names made harmless.
pub(super) fn print_lines(lines: &[String]) {
    let width = width_of_terminal();
    for line in lines {
        print(cut(&shown(line), width));
    }
}

/// Prints lines whose words go on below where the terminal ends, as far in as the line began. A word that is wider than it
/// is cut, but for an address.
pub(super) fn print_wrapped(lines: &[String]) {
    let width = width_of_terminal();
    lines.iter().flat_map(|line| wrapped(&shown(line), width)).for_each(print);
}

fn wrapped(line: &str, most: usize) -> Vec<String> {
    let begin = line.find(|character: char| !character.is_whitespace()).unwrap_or(line.len());
    let (indent, text) = line.split_at(begin);
    let hang = if text.starts_with("- ") || text.starts_with("* ") { 2 } else { 0 };
    let (mut lines, mut current) = (Vec::new(), indent.to_owned());
    for word in text.split(' ') {
        let room = most.saturating_sub(indent.len() + hang);
        let word = if word.contains("://") { Cow::Borrowed(word) } else { cut(word, room) };
        let is_first = current.trim().is_empty();
        if !is_first && current.width() + 1 + word.width() > most {
            lines.push(std::mem::replace(&mut current, format!("{indent}{:hang$}{word}", "")));
        } else {
            current.push_str(if is_first { "" } else { " " });
            current.push_str(&word);
        }
    }
    lines.push(current);
    lines
}

/// A text of anybody's, without what could steer a terminal or turn the direction of its line.
fn shown(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|character| if is_harmful(character) { '\u{fffd}' } else { character }).collect())
}

/// A table with a head, its columns as wide as they have to be, and all of it no wider than the terminal: the widest columns
/// give way first, and where that is not enough, the last ones are left out.
pub(super) struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
    /// What stands in a cell that is too narrow for its text, by row and column.
    short: HashMap<(usize, usize), String>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn new(head: [&str; COLUMNS]) -> Self {
        Self { rows: vec![head.map(str::to_owned)], short: HashMap::new() }
    }

    pub(super) fn row(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells.map(|cell| shown(&cell).into_owned()));
    }

    /// What is to stand in that column of the last row where the whole text does not fit. Of `a, b`, both are cut.
    pub(super) fn shorten(&mut self, column: usize, text: &str) {
        self.short.insert((self.rows.len() - 1, column), shown(text).into_owned());
    }

    /// As text, no wider than that.
    fn within(&self, most: usize) -> String {
        let widest = |column: usize| self.rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
        let widths = fit((0..COLUMNS).map(widest).collect(), most);
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(widths.iter().copied()).enumerate() {
                let short = self.short.get(&(number, column)).filter(|_| cell.width() > width);
                let cell = short.map_or_else(|| cut(cell, width), |short| cut_both(short, width));
                let _ = write!(line, "{cell}{:1$}  ", "", width - cell.width());
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text.truncate(text.trim_end().len());
        text
    }
}

impl<const COLUMNS: usize> fmt::Display for Table<COLUMNS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.within(width_of_terminal()))
    }
}

/// The widths of as many columns as there is room for, with two spaces between them; the widest are made narrower until all
/// fit.
fn fit(mut widths: Vec<usize>, most: usize) -> Vec<usize> {
    let least = |widths: &[usize]| widths.iter().map(|width| 2 + width.min(&NARROWEST)).sum::<usize>();
    while widths.len() > 1 && least(&widths) > most.saturating_add(2) {
        widths.pop();
    }
    let room = most.saturating_sub(2 * widths.len().saturating_sub(1));
    while widths.iter().sum::<usize>() > room
        && let Some(widest) = widths.iter_mut().max()
        && *widest > NARROWEST
    {
        *widest -= 1;
    }
    widths
}

/// The beginning of a text, no wider than that.
fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.width() <= most {
        return Cow::Borrowed(text);
    }
    let mut width = 0;
    let fits = |character: &char| {
        width += character.width().unwrap_or(0);
        width < most
    };
    Cow::Owned(text.chars().take_while(fits).chain(['…']).collect())
}

/// The beginnings of both parts of a pair, no wider than that together: the second is what tells it from others.
fn cut_both(text: &str, most: usize) -> Cow<'_, str> {
    let Some((first, second)) = text.rsplit_once(", ").filter(|_| text.width() > most) else { return cut(text, most) };
    let second = cut(second, (most / 2).max(most.saturating_sub(first.width() + 2)));
    let first = cut(first, most.saturating_sub(second.width() + 2));
    Cow::Owned(format!("{first}, {second}"))
}

/// How wide the terminal is; without end where the output is none.
fn width_of_terminal() -> usize {
    let stdout = io::stdout();
    let size = rustix::termios::tcgetwinsize(&stdout).ok().filter(|_| stdout.is_terminal());
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(usize::MAX)
}

/// A moment, or `-` where there is none.
pub(super) fn moment(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

/// No column is made narrower, in characters.
const NARROWEST: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<3> {
        let mut table = Table::new(["SET", "KEY", "NOTE"]);
        table.row(["default".into(), "sk-…AbCd".into(), String::new()]);
        table.row(["a".into(), "x".into(), "y z".into()]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_they_have_to_be() {
        let expected = "SET      KEY       NOTE\ndefault  sk-…AbCd\na        x         y z";
        assert_eq!(table().within(usize::MAX), expected);
        assert_eq!(moment(None), "-");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut table = table();
        table.row(["default".into(), "k".repeat(100), "名前の長いワークフロー".repeat(5)]);
        for most in [16, 22, 40, 79, 120] {
            let text = table.within(most);
            assert!(text.lines().all(|line| line.width() <= most), "{most}: {text}");
            assert!((most < 30 || text.contains('…')) && text.lines().count() == 4, "{text}");
        }
        let mut table = Table::new(["WHO", "KEY"]);
        table.row(["Weekly report (w1), node Summary (n1)".into(), "k".repeat(14)]);
        table.shorten(0, "Weekly report, Summary");
        assert!(table.within(38).contains("Weekly report, Summary  k"), "{}", table.within(38));
        assert!(table.within(80).contains("(n1)"), "{}", table.within(80));
        assert_eq!(fit(vec![3, 50, 40], 60), [3, 27, 26]);
        assert_eq!(fit(vec![3, 50, 40], 35), [3, 14, 14]);
        assert_eq!(fit(vec![3, 50, 40], 34), [3, 29], "there is no room for the last one");
        assert_eq!(fit(vec![50, 40], 0), [14]);
    }

    #[test]
    fn a_long_line_goes_on_below_its_beginning() {
        assert_eq!(wrapped("  - one two three", 11), ["  - one two", "    three"]);
        assert_eq!(wrapped("      http://n8n/workflow/1 x", 12), ["      http://n8n/workflow/1", "      x"]);
        assert_eq!(wrapped("one two", usize::MAX), ["one two"]);
        assert_eq!(wrapped("  one twelve-thirteen", 10), ["  one", "  twelve-…"]);
        assert_eq!(wrapped("", 10), [""]);
    }

    #[test]
    fn a_text_is_cut_by_what_it_is_wide() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("名前名前", 6), "名前…");
        assert_eq!(cut_both("Weekly report, Summary", 22), "Weekly report, Summary");
        assert_eq!(cut_both("Weekly report, Summary", 16), "Weekly…, Summary");
        assert_eq!(cut_both("Weekly report, Summary of all", 16), "Weekl…, Summary…");
        assert_eq!(cut_both("FAQ, Summary of all", 16), "FAQ, Summary of…");
        assert_eq!(cut_both("a client", 4), "a c…");
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 3), "e\u{301}e\u{301}e\u{301}");
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(shown("Report (weekly)"), "Report (weekly)");
        assert_eq!(shown("a\x1b[2J\x07\u{9b}31m\nb"), "a\u{fffd}[2J\u{fffd}\u{fffd}31m\u{fffd}b");
        let value = serde_json::json!({ "name": "a\x1b[2J\u{9b}31m\u{202e}\n名" });
        let json = escaped(&format!("{value:#}"));
        assert_eq!(json, "{\n  \"name\": \"a\\u001b[2J\\u009b31m\\u202e\\n名\"\n}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).expect("JSON"), value);
        assert_eq!(shown("abc\u{202e}txt\u{2066}\u{200b}"), "abc\u{fffd}txt\u{fffd}\u{fffd}");
    }
}
