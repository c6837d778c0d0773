//! Pure. A page in the parts that can change alone.

use std::hash::{DefaultHasher, Hash, Hasher};

use maud::{Markup, PreEscaped, html};

/// What stands between the head and the foot of a page.
#[derive(Debug)]
pub struct View {
    /// What the page is called.
    pub title: String,
    /// Where it belongs in the navigation.
    pub tab: Tab,
    pub sections: Vec<Section>,
}

/// A page in the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    Rotation,
    Nodes,
    Incidents,
    Execution,
    Audit,
    Live,
    Keys,
    Notices,
}

/// An element with an id, and within it perhaps pieces that can change alone.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    pub id: String,
    /// What stands before the pieces.
    pub begin: String,
    /// Elements with ids of their own.
    pub pieces: Vec<Piece>,
    /// What stands behind the pieces.
    pub end: String,
}

/// An element with an id.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    pub id: String,
    /// The whole element.
    pub html: String,
}

// === impl Tab ===

impl Tab {
    /// All of them, in the order of the navigation.
    pub const ALL: [Self; 8] = [
        Self::Rotation,
        Self::Nodes,
        Self::Incidents,
        Self::Execution,
        Self::Audit,
        Self::Live,
        Self::Keys,
        Self::Notices,
    ];

    /// What the navigation calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rotation => "Rotation",
            Self::Nodes => "Nodes",
            Self::Incidents => "Incidents",
            Self::Execution => "Execution",
            Self::Audit => "Audit",
            Self::Live => "Live",
            Self::Keys => "Keys",
            Self::Notices => "Notices",
        }
    }

    /// The path of its route on the admin listener.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Rotation => "/",
            Self::Nodes => "/nodes",
            Self::Incidents => "/incidents",
            Self::Execution => "/execution",
            Self::Audit => "/audit",
            Self::Live => "/live",
            Self::Keys => "/keys",
            Self::Notices => "/notices",
        }
    }
}

// === impl Section ===

impl Section {
    /// An element that changes as a whole.
    #[must_use]
    pub fn whole(id: impl Into<String>, element: Markup) -> Self {
        Self { id: id.into(), begin: element.into_string(), pieces: Vec::new(), end: String::new() }
    }

    /// An element that stands around pieces: `element` is given the place where they go.
    #[must_use]
    pub fn around(id: impl Into<String>, pieces: Vec<Piece>, element: impl FnOnce(Markup) -> Markup) -> Self {
        let element = element(html! { (PreEscaped(PLACE)) }).into_string();
        let (begin, end) = element.split_once(PLACE).unwrap_or((&element, ""));
        Self { id: id.into(), begin: begin.to_owned(), pieces, end: end.to_owned() }
    }

    /// Another number after anything but a piece has changed: the element around them, or which ones there are. Not after their order
    /// has, since rows that people read keep their places.
    #[must_use]
    pub fn frame_print(&self) -> u64 {
        let mut ids: Vec<_> = self.pieces.iter().map(|piece| &piece.id).collect();
        ids.sort_unstable();
        let mut hasher = DefaultHasher::new();
        (print(&self.begin), print(&self.end), ids).hash(&mut hasher);
        hasher.finish()
    }

    /// Appends the element with all its pieces.
    pub fn push_to(&self, html: &mut String) {
        html.push_str(&self.begin);
        self.pieces.iter().for_each(|piece| html.push_str(&piece.html));
        html.push_str(&self.end);
    }
}

// === impl View ===

impl View {
    /// All sections, one behind the other.
    #[must_use]
    pub fn html(&self) -> String {
        let mut html = String::new();
        self.sections.iter().for_each(|section| section.push_to(&mut html));
        html
    }

    /// Another number after anything has changed.
    #[must_use]
    pub fn print(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for section in &self.sections {
            (&section.id, section.frame_print()).hash(&mut hasher);
            section.pieces.iter().for_each(|piece| print(&piece.html).hash(&mut hasher));
        }
        hasher.finish()
    }
}

/// A number for HTML that is another one after it has changed. What stands in a `time` element does not count, since the script
/// keeps that up to date.
#[must_use]
pub fn print(html: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut rest = html;
    while let Some(text) = rest.find("<time").and_then(|start| Some(start + rest[start..].find('>')? + 1)) {
        rest[..text].hash(&mut hasher);
        rest = rest[text..].split_once("</time>").map_or("", |(_, behind)| behind);
    }
    rest.hash(&mut hasher);
    hasher.finish()
}

/// Stands for the pieces while an element is drawn. No text of others looks like it, since each `<` of theirs is escaped.
const PLACE: &str = "<!--pieces-->";

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(id: &str, text: &str) -> Piece {
        Piece { id: id.to_owned(), html: html! { li id=(id) { (text) } }.into_string() }
    }

    fn list(pieces: Vec<Piece>, count: usize) -> Section {
        Section::around("list", pieces, |pieces| html! { ul id="list" data-count=(count) { (pieces) } })
    }

    #[test]
    fn pieces_stand_where_the_element_has_a_place_for_them() {
        let section = list(vec![piece("a", "<!--pieces-->"), piece("b", "2")], 2);
        let mut html = String::new();
        section.push_to(&mut html);
        let expected = r#"<ul id="list" data-count="2"><li id="a">&lt;!--pieces--&gt;</li><li id="b">2</li></ul>"#;
        assert_eq!(html, expected);
    }

    #[test]
    fn a_frame_changes_with_what_is_in_it_and_not_with_what_they_say() {
        let print = |pieces, count| list(pieces, count).frame_print();
        let known = print(vec![piece("a", "1"), piece("b", "2")], 2);
        assert_eq!(print(vec![piece("b", "3"), piece("a", "4")], 2), known, "rows keep their places");
        assert_ne!(print(vec![piece("a", "1"), piece("b", "2")], 3), known);
        assert_ne!(print(vec![piece("a", "1"), piece("c", "2")], 2), known);
        assert_ne!(print(vec![piece("a", "1")], 2), known);
    }

    #[test]
    fn what_a_time_element_says_does_not_count_and_its_moment_does() {
        let time = |at: &str, text: &str| print(&format!("<p><time datetime=\"{at}\">{text}</time> ago</p>"));
        assert_eq!(time("1", "2s"), time("1", "3s"));
        assert_ne!(time("1", "2s"), time("2", "2s"));
        assert_ne!(print("<time>a</time>b"), print("<time>a</time>c"));
        assert_eq!(print("<time"), print("<time"));
        assert_ne!(print("<time>"), print(""));
    }
}
