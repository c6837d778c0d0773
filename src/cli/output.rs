//! What commands print: answers on standard output, everything else on standard error. On a terminal no line is wider than
//! it, and no name can steer it.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::clock::Timestamp;
pub(super) use crate::telemetry::palette::{Palette, Tone};
pub(super) use crate::telemetry::rows::Line;
use crate::telemetry::rows::{is_harmful, push_toned, shown};

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

/// Says something beside the answer, in rows of the terminal.
pub(super) fn remark(text: impl fmt::Display) {
    let stderr = io::stderr();
    let width = columns_of(&stderr).unwrap_or(usize::MAX);
    for line in text.to_string().split('\n') {
        let hang = if line.starts_with("keyward: ") { 2 } else { 0 };
        for row in Line::from(line).hanging(hang).rows(width, Palette::Plain) {
            // No output is left to say so on.
            let _ = writeln!(&stderr, "{row}");
        }
    }
}

/// How wide the terminal is that something is written to; nothing where it is none.
fn columns_of(output: &(impl IsTerminal + AsFd)) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(output).ok().filter(|_| output.is_terminal())?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
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

/// The terminal's other screen, which leaves what stood on the first one as it was; nothing where the output is no terminal.
pub(super) struct OtherScreen(io::Stdout);

impl OtherScreen {
    /// Goes there, until this is dropped.
    pub(super) fn enter() -> Option<Self> {
        let screen = Self(io::stdout());
        // xterm, control sequences: DECSET 1049.
        screen.0.is_terminal().then(|| screen.write("\x1b[?1049h"))?;
        Some(screen)
    }

    /// Empties it for the next picture.
    pub(super) fn clear(&self) {
        self.write("\x1b[H\x1b[2J");
    }

    fn write(&self, sequence: &str) {
        let _ = write!(&self.0, "{sequence}").and_then(|()| (&self.0).flush());
    }
}

impl Drop for OtherScreen {
    fn drop(&mut self) {
        if self.0.is_terminal() {
            self.write("\x1b[?1049l");
        }
    }
}

/// Prints lines whose words go on below where the terminal ends. No word is cut or broken, so that one that is wider than the
/// terminal goes on there as terminals have it.
pub(super) fn print_wrapped<L: Clone + Into<Line>>(lines: &[L]) {
    let (width, palette) = (width_of_terminal(), palette());
    for line in lines {
        line.clone().into().rows(width, palette).into_iter().for_each(print);
    }
}

/// The same; where that is longer than the terminal, so that the beginning is out of sight, its gist comes once more below.
pub(super) fn print_with_gist(lines: &[Line], gist: &[Line]) {
    let (width, palette) = (width_of_terminal(), palette());
    let in_rows = |lines: &[Line]| lines.iter().flat_map(|line| line.rows(width, palette)).collect::<Vec<_>>();
    let rows = in_rows(lines);
    let is_long = is_longer_than_terminal(rows.len());
    rows.into_iter().for_each(print);
    if is_long {
        print("");
        in_rows(gist).into_iter().for_each(print);
    }
}

/// Whether so many rows push the first one out of sight, with the one of the prompt.
pub(super) fn is_longer_than_terminal(rows: usize) -> bool {
    size_of_terminal().is_some_and(|(_, most)| rows >= most)
}

/// Colours, where the output is a terminal whose user has not said no.
pub(super) fn palette() -> Palette {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|value| value == "dumb");
    if io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb { Palette::Coloured } else { Palette::Plain }
}

/// A table with a head, its columns as wide as they have to be, and all of it no wider than the terminal: the widest columns
/// give way first, and their texts go on below; where that is not enough, the last columns are left out. No text is cut.
pub(super) struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
    /// The tone of the first cell of each row.
    tones: Vec<Option<Tone>>,
    /// What stands in a cell that is too narrow for its text, by row and column.
    short: HashMap<(usize, usize), String>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn new(head: [&str; COLUMNS]) -> Self {
        Self { rows: vec![head.map(str::to_owned)], tones: vec![None], short: HashMap::new() }
    }

    pub(super) fn row(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells.map(|cell| shown(&cell).into_owned()));
        self.tones.push(None);
    }

    /// In which tone the first cell of the last row stands.
    pub(super) fn tone(&mut self, tone: Tone) {
        if let Some(last) = self.tones.last_mut() {
            *last = Some(tone);
        }
    }

    /// What is to stand in that column of the last row where the whole text does not fit.
    pub(super) fn shorten(&mut self, column: usize, text: &str) {
        self.short.insert((self.rows.len() - 1, column), shown(text).into_owned());
    }

    /// The rows of each entry, the head first, no wider than that.
    pub(super) fn entries(&self, most: usize, palette: Palette) -> Vec<Vec<String>> {
        let widths = self.widths(most);
        let numbered = self.rows.iter().zip(&self.tones).enumerate();
        numbered.map(|(number, (row, tone))| self.entry(number, row, *tone, &widths, palette)).collect()
    }

    fn entry(
        &self,
        number: usize,
        row: &[String; COLUMNS],
        tone: Option<Tone>,
        widths: &[usize],
        palette: Palette,
    ) -> Vec<String> {
        let cell = |(column, (cell, width)): (usize, (&String, &usize))| {
            let short = self.short.get(&(number, column)).filter(|_| cell.width() > *width);
            folded(short.unwrap_or(cell), *width)
        };
        let cells: Vec<_> = row.iter().zip(widths).enumerate().map(cell).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        let line = |at: usize| {
            let mut line = String::new();
            for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
                let text = cell.get(at).map_or("", String::as_str);
                push_toned(&mut line, tone.filter(|_| column == 0 && !text.is_empty()), text, palette);
                let _ = write!(line, "{:1$}  ", "", width.saturating_sub(text.width()));
            }
            line.trim_end().to_owned()
        };
        (0..height).map(line).collect()
    }

    fn widths(&self, most: usize) -> Vec<usize> {
        let widest = |column: usize| self.rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
        fit((0..COLUMNS).map(widest).collect(), most)
    }

    /// As text, no wider than that.
    fn within(&self, most: usize, palette: Palette) -> String {
        self.entries(most, palette).concat().join("\n")
    }
}

impl<const COLUMNS: usize> fmt::Display for Table<COLUMNS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.within(width_of_terminal(), palette()))
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
        && *widest > NARROWEST.min(most.max(1))
    {
        *widest -= 1;
    }
    widths
}

/// A text in lines no wider than that: a word that is wider goes on in the next line.
fn folded(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut width = 0;
    for word in text.split(' ') {
        let own = word.width();
        if width > 0 && width + 1 + own > most {
            lines.push(String::new());
            width = 0;
        }
        if let Some(line) = lines.last_mut().filter(|_| width > 0) {
            line.push(' ');
            width += 1;
        }
        for character in word.chars() {
            let own = character.width().unwrap_or(0);
            if width + own > most && width > 0 {
                lines.push(String::new());
                width = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(character);
            }
            width += own;
        }
    }
    lines
}

/// How wide the terminal is; without end where the output is none.
pub(super) fn width_of_terminal() -> usize {
    size_of_terminal().map_or(usize::MAX, |(columns, _)| columns)
}

/// How many columns and rows the terminal has; nothing where the output is none.
pub(super) fn size_of_terminal() -> Option<(usize, usize)> {
    let stdout = io::stdout();
    let size = rustix::termios::tcgetwinsize(&stdout).ok().filter(|_| stdout.is_terminal())?;
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (columns > 0).then_some((columns, if rows > 0 { rows } else { usize::MAX }))
}

/// A moment, or `-` where there is none.
pub(super) fn moment(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

/// No column is made narrower, in characters: wide enough for a code.
const NARROWEST: usize = 22;

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<3> {
        let mut table = Table::new(["SET", "KEY", "NOTE"]);
        table.row(["default".into(), "sk-…AbCd".into(), String::new()]);
        table.row(["a".into(), "x".into(), "y z".into()]);
        table
    }

    fn text<const COLUMNS: usize>(table: &Table<COLUMNS>, most: usize) -> String {
        table.within(most, Palette::Plain)
    }

    #[test]
    fn columns_are_as_wide_as_they_have_to_be() {
        let expected = "SET      KEY       NOTE\ndefault  sk-…AbCd\na        x         y z";
        assert_eq!(text(&table(), usize::MAX), expected);
        assert_eq!(moment(None), "-");
    }

    #[test]
    fn no_row_of_a_table_is_wider_than_the_terminal_and_no_text_is_cut() {
        let mut table = table();
        let name = "名前の長いワークフロー".repeat(5);
        table.row(["default".into(), "k".repeat(100), name.clone()]);
        for most in [60, 79, 120] {
            let text = text(&table, most);
            assert!(text.lines().all(|line| line.width() <= most), "{most}: {text}");
            let ks = text.chars().filter(|character| *character == 'k').count();
            let letters = text.chars().filter(|character| !character.is_ascii() && *character != '…').count();
            assert_eq!((ks, letters), (101, name.chars().count()), "{most}: {text}");
        }
        let mut table = Table::new(["WHO", "KEY"]);
        table.row(["Weekly report (w1), node Summary (n1)".into(), "k".repeat(14)]);
        table.shorten(0, "Weekly report, Summary");
        assert!(text(&table, 38).contains("Weekly report, Summary  k"), "{}", text(&table, 38));
        assert!(text(&table, 80).contains("(n1)"), "{}", text(&table, 80));
        table.row(["A longer name than fits, Summary".into(), "k".into()]);
        assert!(text(&table, 38).ends_with("A longer name than      k\nfits, Summary"), "{}", text(&table, 38));
        assert_eq!(fit(vec![3, 50, 40], 60), [3, 27, 26]);
        assert_eq!(fit(vec![3, 50, 40], 51), [3, 22, 22]);
        assert_eq!(fit(vec![3, 50, 40], 50), [3, 45], "there is no room for the last one");
        assert_eq!(fit(vec![50, 40], 0), [1]);
    }

    #[test]
    fn a_tone_is_of_the_first_cell_alone_and_takes_no_room() {
        let mut table = Table::new(["STATE", "WHO"]);
        table.row(["stale".into(), "a name that is longer than its column".into()]);
        table.tone(Tone::Bad);
        let coloured = table.within(30, Palette::Coloured);
        let expected = "STATE  WHO\n\x1b[1;31mstale\x1b[0m  a name that is longer\n       than its column";
        assert_eq!(coloured, expected);
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
