//! How wide the terminal is that the log is written to.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The width of the log's terminal; without end where the log goes elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// That of standard output, which may become another while keyward runs.
    OfTerminal,
    /// No row ends by itself.
    Endless,
}

impl Columns {
    /// Of what goes to standard output.
    #[must_use]
    pub fn of_output() -> Self {
        if !io::stdout().is_terminal() {
            return Self::Endless;
        }
        look();
        Self::OfTerminal
    }

    /// How many there are now.
    #[must_use]
    pub fn now(self) -> usize {
        match self {
            Self::OfTerminal => LAST_SEEN.load(Ordering::Relaxed),
            Self::Endless => usize::MAX,
        }
    }
}

/// Looks how wide the terminal is by now, where there is one. The log's own thread does, so that no request waits for it.
pub fn look_again() {
    if LAST_SEEN.load(Ordering::Relaxed) != usize::MAX {
        look();
    }
}

fn look() {
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stdout())
        && size.ws_col > 0
    {
        LAST_SEEN.store(usize::from(size.ws_col), Ordering::Relaxed);
    }
}

/// A process has one standard output.
static LAST_SEEN: AtomicUsize = AtomicUsize::new(usize::MAX);
