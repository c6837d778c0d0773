//! The keys that requests are judged by: secrets, their public names, the key ring, where keys come from and what the
//! state folder remembers of them.

pub mod access;
pub mod command;
pub mod fingerprint;
pub mod history;
pub mod learned;
pub mod listing;
pub mod reloader;
pub mod rules;
pub mod secret;
pub mod set;
pub mod source;
pub mod state;
pub mod token;

use std::time::Duration;

use self::command::Command;
use self::source::Source;

/// The settings under `[keys]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// All sets; `default` is the first.
    pub sets: Vec<SetSettings>,
    /// Whether upstream may be one that takes other vendors' keys: neither OpenAI's nor on this machine, or with a path of its
    /// own for the API.
    pub takes_vendors: bool,
}

/// The settings under `[keys.<name>]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetSettings {
    pub name: Box<str>,
    /// The current key; a set without one learns.
    pub current: Option<Source>,
    /// The announced next key.
    pub next: Option<Source>,
    /// Keys that were current before.
    pub previous: Vec<Source>,
    /// How long a previous key stays good after it was replaced; zero means not at all.
    pub grace: Duration,
}

impl Settings {
    /// The commands that give keys.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.sets.iter().flat_map(SetSettings::commands)
    }

    /// Has the commands that are the same as before give what they gave last, until they are run again.
    pub fn share_commands(&mut self, before: &Self) {
        let sources = self.sets.iter_mut().flat_map(SetSettings::sources_mut);
        for source in sources {
            if let Source::Command(command) = source {
                before.commands().for_each(|known| command.share(known));
            }
        }
    }
}

impl SetSettings {
    /// Every place that holds a key of it.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.current.iter().chain(&self.next).chain(&self.previous)
    }

    fn sources_mut(&mut self) -> impl Iterator<Item = &mut Source> {
        self.current.iter_mut().chain(&mut self.next).chain(&mut self.previous)
    }

    /// The commands among them.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.sources().filter_map(|source| match source {
            Source::Command(command) => Some(command),
            Source::File(_) | Source::Env(_) => None,
        })
    }

    /// A set with nothing declared but its name: it learns.
    #[must_use]
    pub fn learning(name: &str) -> Self {
        Self { name: name.into(), current: None, next: None, previous: Vec::new(), grace: Duration::ZERO }
    }
}
