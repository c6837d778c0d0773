//! Pure. Words in the rows of a terminal: no row is wider than it, no word is broken, and no name can steer it.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr;

use super::palette::{Palette, Tone};

/// Words in a line, some of them in a tone, that go on below where the terminal ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// How far in it begins.
    indent: usize,
    /// How much further in it goes on.
    hang: usize,
    parts: Vec<(Option<Tone>, String)>,
}

impl Line {
    /// A line that begins with words in a tone.
    #[must_use]
    pub fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self::default().and_toned(tone, text)
    }

    /// With more words, in no tone.
    #[must_use]
    pub fn and(mut self, text: impl Into<String>) -> Self {
        self.parts.push((None, text.into()));
        self
    }

    /// With more words in a tone.
    #[must_use]
    pub fn and_toned(mut self, tone: Tone, text: impl Into<String>) -> Self {
        self.parts.push((Some(tone), text.into()));
        self
    }

    /// Begins that many columns further in.
    #[must_use]
    pub fn within(self, more: usize) -> Self {
        Self { indent: self.indent + more, ..self }
    }

    /// Goes on so much further in than it begins.
    #[must_use]
    pub fn hanging(self, hang: usize) -> Self {
        Self { hang, ..self }
    }

    /// As rows of a terminal of that width.
    #[must_use]
    pub fn rows(&self, most: usize, palette: Palette) -> Vec<String> {
        let (mut rows, mut row, mut width) = (Vec::new(), Row::beginning(self.indent), self.indent);
        let mut is_first = true;
        for word in self.words() {
            let own: usize = word.iter().map(|(_, text)| text.width()).sum();
            if !is_first && width + 1 + own > most {
                width = self.indent + self.hang;
                rows.push(std::mem::replace(&mut row, Row::beginning(width)).painted(palette));
                is_first = true;
            }
            // The space between columns belongs to the row above.
            if is_first && own == 0 && !rows.is_empty() {
                continue;
            }
            if !is_first {
                row.push(word.first().and_then(|(tone, _)| *tone).filter(|tone| row.ends_in(*tone)), " ");
                width += 1;
            }
            for (tone, text) in &word {
                row.push(*tone, text);
            }
            (width, is_first) = (width + own, false);
        }
        rows.push(row.painted(palette));
        rows
    }

    /// Each word in its pieces: a tone may end within one.
    fn words(&self) -> Vec<Vec<(Option<Tone>, Cow<'_, str>)>> {
        let mut words = vec![Vec::new()];
        for (tone, text) in &self.parts {
            for (number, piece) in text.split(' ').enumerate() {
                if number > 0 {
                    words.push(Vec::new());
                }
                if let Some(word) = words.last_mut() {
                    word.push((*tone, shown(piece)));
                }
            }
        }
        words
    }
}

/// A row of a terminal, in pieces of one tone each.
struct Row(Vec<(Option<Tone>, String)>);

impl Row {
    fn beginning(indent: usize) -> Self {
        Self(vec![(None, " ".repeat(indent))])
    }

    fn ends_in(&self, tone: Tone) -> bool {
        self.0.last().is_some_and(|(last, _)| *last == Some(tone))
    }

    fn push(&mut self, tone: Option<Tone>, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some((last, piece)) if *last == tone => piece.push_str(text),
            _ => self.0.push((tone, text.to_owned())),
        }
    }

    fn painted(self, palette: Palette) -> String {
        let mut row = String::new();
        self.0.iter().for_each(|(tone, text)| push_toned(&mut row, *tone, text, palette));
        row.truncate(row.trim_end().len());
        row
    }
}

/// A text goes on as far in as it begins, and behind its mark where it has one.
impl From<&str> for Line {
    fn from(text: &str) -> Self {
        let begin = text.find(|character: char| !character.is_whitespace()).unwrap_or(text.len());
        let (indent, words) = text.split_at(begin);
        let hang = if words.starts_with("- ") || words.starts_with("* ") { 2 } else { 0 };
        Self { indent: indent.len(), hang, parts: vec![(None, words.to_owned())] }
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self::from(&*text)
    }
}

/// A text in its tone.
pub fn push_toned(row: &mut String, tone: Option<Tone>, text: &str, palette: Palette) {
    match tone {
        Some(tone) => row.extend([palette.begin(tone), text, palette.end()]),
        None => row.push_str(text),
    }
}

/// A text of anybody's, without what could steer a terminal or turn the direction of its line.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|character| if is_harmful(character) { '\u{fffd}' } else { character }).collect())
}

/// Controls (ESC among them), and the marks that turn or hide what follows.
#[must_use]
pub fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_goes_on_below_its_beginning_and_no_word_is_broken() {
        #[track_caller]
        fn check(line: impl Into<Line>, most: usize, expected: &[&str]) {
            assert_eq!(line.into().rows(most, Palette::Plain), expected);
        }
        check("  - one two three", 11, &["  - one two", "    three"]);
        check("      http://n8n/workflow/1 x", 12, &["      http://n8n/workflow/1", "      x"]);
        check("one two", usize::MAX, &["one two"]);
        check("  one twelve-thirteen", 10, &["  one", "  twelve-thirteen"]);
        check("", 10, &[""]);
        check(Line::from("1. one two").hanging(3).within(2), 8, &["  1. one", "     two"]);
        let answer = || Line::from("Can it go?  ").and_toned(Tone::Bad, "NO: two").and(".").hanging(2);
        check(answer(), 80, &["Can it go?  NO: two."]);
        check(answer(), 15, &["Can it go?  NO:", "  two."]);
        let coloured = answer().rows(15, Palette::Coloured);
        assert_eq!(coloured, ["Can it go?  \x1b[1;31mNO:\x1b[0m", "  \x1b[1;31mtwo\x1b[0m."]);
        check("a\x1b[2Jb", 80, &["a\u{fffd}[2Jb"]);
    }
}
