//! Pure. What colours say on a terminal, and how they are begun and ended there.

/// Whether a text is written with colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    /// For a terminal whose user has not said no.
    Coloured,
    /// Nothing but the text.
    Plain,
}

/// What a text in a colour is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// It may be well.
    Doubtful,
    /// Something is to be done.
    Bad,
    /// Said by the way.
    Aside,
    Title,
}

impl Palette {
    /// The escape sequence before a text of that tone (ECMA-48, SGR); nothing without colours.
    #[must_use]
    pub fn begin(self, tone: Tone) -> &'static str {
        match (self, tone) {
            (Self::Plain, _) => "",
            (Self::Coloured, Tone::Good) => "\x1b[32m",
            (Self::Coloured, Tone::Doubtful) => "\x1b[33m",
            (Self::Coloured, Tone::Bad) => "\x1b[1;31m",
            (Self::Coloured, Tone::Aside) => "\x1b[2m",
            (Self::Coloured, Tone::Title) => "\x1b[1;36m",
        }
    }

    /// The escape sequence behind it.
    #[must_use]
    pub fn end(self) -> &'static str {
        match self {
            Self::Coloured => "\x1b[0m",
            Self::Plain => "",
        }
    }
}
