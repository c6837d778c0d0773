//! Pure. What is sent to a browser that watches a page: first all of it, where it has not the same already, and then what has
//! changed (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! | event | data |
//! |---|---|
//! | `whole` | everything between head and foot of the page |
//! | `fragment` | one element, to take the place of the one with its id |
//! | `now` | `{"now": 1796000400000, "clock": "14:03:05"}`: when the page was drawn |
//!
//! The `id` of the last one of a change is the page's print, so that a browser that comes back says what it has.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::view::{View, print};

/// A page as it is drawn once for all who watch it: each line is a part.
///
/// | line | what |
/// |---|---|
/// | `page PRINT` | the whole, by its print |
/// | `section PRINT ID` | a section by the print of its frame, before what stands before and behind its pieces |
/// | `piece PRINT ID` | a piece of it, before its HTML |
#[must_use]
pub fn encode(view: &View) -> String {
    let mut text = format!("page {:016x}\n", view.print());
    for section in &view.sections {
        push(&mut text, &format!("section {:016x} {}", section.frame_print(), section.id));
        push(&mut text, &section.begin);
        push(&mut text, &section.end);
        for piece in &section.pieces {
            push(&mut text, &format!("piece {:016x} {}", print(&piece.html), piece.id));
            push(&mut text, &piece.html);
        }
    }
    text
}

/// One line: what a line break in a name would be, HTML can say otherwise.
fn push(text: &mut String, line: &str) {
    for character in line.chars() {
        match character {
            '\n' => text.push_str("&#10;"),
            '\r' => text.push_str("&#13;"),
            other => text.push(other),
        }
    }
    text.push('\n');
}

/// What a browser has of a page.
#[derive(Debug, Default)]
pub struct Watcher {
    known: HashMap<String, String>,
    /// The print of the page that it came with.
    came_with: Option<String>,
    has_begun: bool,
}

/// A section as it is read.
struct Part<'t> {
    id: &'t str,
    print: &'t str,
    begin: &'t str,
    end: &'t str,
    pieces: Vec<(&'t str, &'t str, &'t str)>,
}

impl Watcher {
    /// Of a browser that has the page with that print, if any.
    #[must_use]
    pub fn new(came_with: Option<&str>) -> Self {
        Self { came_with: came_with.map(str::to_owned), ..Self::default() }
    }

    /// What has changed since it was asked last, as events; nothing where nothing has.
    pub fn news(&mut self, encoded: &str) -> String {
        let mut lines = encoded.lines();
        let Some(page) = lines.next().and_then(|line| line.strip_prefix("page ")) else { return String::new() };
        let parts = parts(lines);
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let mut events = Vec::new();
        if is_first {
            for part in &parts {
                self.learn(part);
            }
            if self.came_with.as_deref() != Some(page) {
                events.push(format!("event: whole\ndata: {}", parts.iter().map(Part::html).collect::<String>()));
            }
        } else {
            for part in &parts {
                self.tell(part, &mut events);
            }
        }
        // Under its print once all of it is sent: a browser that lost a part of it gets the whole.
        if let Some(last) = events.last_mut() {
            let _ = write!(last, "\nid: {page}");
        }
        events.iter().flat_map(|event| [event.as_str(), "\n\n"]).collect()
    }

    fn tell(&mut self, part: &Part<'_>, events: &mut Vec<String>) {
        if self.known.get(part.id).is_none_or(|known| known != part.print) {
            events.push(fragment(&part.html()));
            self.learn(part);
            return;
        }
        for (id, print, html) in &part.pieces {
            if self.known.get(*id).is_none_or(|known| known != print) {
                events.push(fragment(html));
                self.known.insert((*id).to_owned(), (*print).to_owned());
            }
        }
    }

    fn learn(&mut self, part: &Part<'_>) {
        self.known.insert(part.id.to_owned(), part.print.to_owned());
        for (id, print, _) in &part.pieces {
            self.known.insert((*id).to_owned(), (*print).to_owned());
        }
    }
}

impl Part<'_> {
    fn html(&self) -> String {
        let pieces = self.pieces.iter().map(|(_, _, html)| *html);
        [self.begin].into_iter().chain(pieces).chain([self.end]).collect()
    }
}

fn fragment(html: &str) -> String {
    format!("event: fragment\ndata: {html}")
}

fn parts<'t>(mut lines: impl Iterator<Item = &'t str>) -> Vec<Part<'t>> {
    let mut parts: Vec<Part<'t>> = Vec::new();
    while let Some(line) = lines.next() {
        let mut words = line.splitn(3, ' ');
        let (kind, print, id) = (words.next(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let html = lines.next().unwrap_or_default();
        if kind == Some("section") {
            parts.push(Part { id, print, begin: html, end: lines.next().unwrap_or_default(), pieces: Vec::new() });
        } else if let Some(part) = parts.last_mut() {
            part.pieces.push((id, print, html));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use maud::html;

    use super::super::view::{Piece, Section, Tab};
    use super::*;

    fn view(count: usize, rows: &[(&str, &str)]) -> View {
        let piece = |(id, text): &(&str, &str)| Piece {
            id: (*id).to_owned(),
            html: html! { li id=(id) { (text) } }.into_string(),
        };
        let list = Section::around("list", rows.iter().map(piece).collect(), |rows| html! { ul id="list" { (rows) } });
        let sections = vec![Section::whole("count", html! { p id="count" { (count) } }), list];
        View { title: String::new(), tab: Tab::Rotation, sections }
    }

    fn data(events: &str) -> Vec<&str> {
        events.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
    }

    #[test]
    fn who_comes_without_the_page_gets_all_of_it_once_and_then_what_changes() {
        let mut watcher = Watcher::new(None);
        let (one, other) = (view(2, &[("a", "1"), ("b", "2")]), view(2, &[("b", "3"), ("a", "1")]));
        let first = watcher.news(&encode(&one));
        assert_eq!(data(&first), [r#"<p id="count">2</p><ul id="list"><li id="a">1</li><li id="b">2</li></ul>"#]);
        assert!(first.starts_with("event: whole\n") && first.ends_with(&format!("id: {:016x}\n\n", one.print())));
        assert_eq!(watcher.news(&encode(&one)), "");
        let then = watcher.news(&encode(&other));
        assert_eq!(data(&then), [r#"<li id="b">3</li>"#], "one row, in its place");
        assert!(then.ends_with(&format!("id: {:016x}\n\n", other.print())));
    }

    #[test]
    fn who_comes_back_with_the_same_page_gets_nothing() {
        let one = view(1, &[("a", "1")]);
        let mut watcher = Watcher::new(Some(&format!("{:016x}", one.print())));
        assert_eq!(watcher.news(&encode(&one)), "");
        assert_eq!(data(&watcher.news(&encode(&view(2, &[("a", "1")])))), [r#"<p id="count">2</p>"#]);
    }

    #[test]
    fn another_row_brings_the_list() {
        let mut watcher = Watcher::new(None);
        watcher.news(&encode(&view(1, &[("a", "1")])));
        let news = watcher.news(&encode(&view(1, &[("a", "1"), ("b", "2")])));
        assert_eq!(data(&news), [r#"<ul id="list"><li id="a">1</li><li id="b">2</li></ul>"#]);
        assert_eq!(watcher.news(&encode(&view(1, &[("a", "1"), ("b", "2")]))), "");
    }

    #[test]
    fn a_line_break_in_a_name_ends_no_line() {
        let mut watcher = Watcher::new(None);
        let news = watcher.news(&encode(&view(1, &[("a", "x\r\nevent: whole\n\ndata: y")])));
        assert_eq!(data(&news).len(), 1, "{news}");
        assert!(news.contains("x&#13;&#10;event: whole&#10;&#10;data: y"), "{news}");
    }
}
