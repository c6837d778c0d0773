//! What keyward says: its own events by `tracing`, and the log's bounded writer that no request ever waits for.

pub mod columns;
pub mod event;
pub mod json;
pub mod local_clock;
pub mod masked;
pub mod palette;
pub mod rows;
pub mod tap;
pub mod writer;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::columns::Columns;
use self::event::{HumanEvents, JsonEvents};
use self::masked::mask_keys;
use self::palette::Palette;
use self::writer::{Lane, LaneWriter};
use crate::clock::Clock;

/// The settings under `[log]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How lines look; nothing means for people on a terminal and JSON everywhere else.
    pub format: Option<Format>,
    /// The least important level that is written.
    pub level: Level,
    /// Where lines go; nothing means standard output.
    pub file: Option<PathBuf>,
}

impl Settings {
    /// The format, where none was chosen: a file or a pipe is read by programs.
    #[must_use]
    pub fn resolved_format(&self) -> Format {
        self.format.unwrap_or_else(|| match self.file {
            None if std::io::stdout().is_terminal() => Format::Human,
            None | Some(_) => Format::Json,
        })
    }

    /// Lines carry colours on a terminal whose user has not said no (<https://no-color.org>).
    #[must_use]
    pub fn palette(&self) -> Palette {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_coloured = self.file.is_none() && std::io::stdout().is_terminal() && !refused;
        if is_coloured { Palette::Coloured } else { Palette::Plain }
    }

    /// How wide the terminal is that lines go to.
    #[must_use]
    pub fn columns(&self) -> Columns {
        if self.file.is_some() { Columns::Endless } else { Columns::of_output() }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Aligned and coloured, with the remedy under a bad line.
    Human,
    /// One JSON object in a line.
    Json,
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// How important an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// keyward cannot do its work, or a credential fault breaks a workflow.
    Error,
    /// Something a person should look at.
    Warn,
    /// What happens.
    #[default]
    Info,
    /// What happens inside.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// Its name, as in the log and in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(()),
        }
    }
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

/// Has panics told in the log, like any other trouble. Their texts quote what was being worked on, which may be a key.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let text = panic.payload_as_str().unwrap_or("a panic without words");
        tracing::error!(event = "panic", location, "keyward has a fault: {}", mask_keys(text));
    }));
}

/// Sends the process's `tracing` events into the log. Only the first call in a process has an effect.
///
/// Libraries below keyward stay at `warn`: at `trace` they print whole heads, and with them keys.
pub fn install(settings: &Settings, lane: Lane, clock: Clock) {
    let filter = Targets::new().with_default(LevelFilter::WARN).with_target("keyward", settings.level);
    let lines = tracing_subscriber::fmt::layer().with_writer(LaneWriter::new(lane)).with_target(false);
    let lines = match settings.resolved_format() {
        Format::Json => lines.event_format(JsonEvents(clock)).boxed(),
        Format::Human => {
            let (columns, palette) = (settings.columns(), settings.palette());
            lines.event_format(HumanEvents { clock, columns, palette }).boxed()
        }
    };
    // A second subscriber is refused: the first one goes on, which is what a test with many servers wants.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}
