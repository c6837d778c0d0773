//! Where a key's value is read from: a file, an environment variable or a command, never the configuration itself.

use std::fmt;
use std::io;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::command::{Command, CommandError};
use super::fingerprint::KeyKind;
use super::secret::{ParseSecretError, Secret};

/// A place that holds a key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file with the key and nothing else; white space around it is dropped.
    File(PathBuf),
    /// The environment variable of that name.
    Env(Box<str>),
    /// The output of a command, as it was run last.
    Command(Command),
}

impl Source {
    /// Reads a key for upstream, which may be one that takes other vendors' keys.
    pub fn read_upstream_key(&self, fault_of: FaultOf, takes_vendors: bool) -> Result<Secret, SourceError> {
        let secret = self.read_key(fault_of)?;
        let kind = KeyKind::of(secret.expose());
        if kind.is_of_vendor() && !takes_vendors {
            return Err(SourceError::NoKey { what: kind.phrase() });
        }
        Ok(secret)
    }

    /// Reads a key: a value that can be none was pasted or written by mistake, and must not take a good key's place.
    pub fn read_key(&self, fault_of: FaultOf) -> Result<Secret, SourceError> {
        let text = self.text()?;
        let parsed = text.parse();
        // What is mistaken for a key may have characters that none has.
        let fault = match &parsed {
            Ok(secret) => fault_of(Secret::expose(secret)),
            Err(ParseSecretError::NotVisibleAscii { .. }) => fault_of(text.trim().as_bytes()),
            Err(ParseSecretError::Empty) => None,
        };
        match fault {
            Some(what) => Err(SourceError::NoKey { what }),
            None => Ok(parsed?),
        }
    }

    /// Reads the value, from its file or the environment. An error where there is none, or it cannot be a secret.
    pub fn read(&self) -> Result<Secret, SourceError> {
        Ok(self.text()?.parse()?)
    }

    /// Whether it is a file that is certainly not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::File(path) if path.try_exists().is_ok_and(|exists| !exists))
    }

    fn text(&self) -> Result<Zeroizing<String>, SourceError> {
        let text = match self {
            // A pipe would be read once and then never again, or wait for a writer for ever.
            Self::File(path) if std::fs::metadata(path).map_err(SourceError::File)?.is_file() => {
                std::fs::read_to_string(path).map_err(SourceError::File)?
            }
            Self::File(_) => return Err(SourceError::NoFile),
            Self::Env(name) => std::env::var(&**name).map_err(|error| match error {
                std::env::VarError::NotPresent => SourceError::Unset,
                std::env::VarError::NotUnicode(_) => SourceError::NotText,
            })?,
            Self::Command(command) => return command.given().ok_or(SourceError::NotRun)?.map_err(SourceError::Command),
        };
        Ok(Zeroizing::new(text))
    }
}

/// Says what a value is that can be no key of any upstream, as it follows "it holds".
pub type FaultOf = fn(&[u8]) -> Option<&'static str>;

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Command(command) => command.fmt(f),
        }
    }
}

/// Why a source gives no key. Never quotes what it holds.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be read.
    #[error("it cannot be read{}", by_whom(.0))]
    File(#[source] io::Error),
    /// There is something else under that name: a folder, a pipe, a device.
    #[error("it is no regular file")]
    NoFile,
    /// The variable is not set.
    #[error("it is not set")]
    Unset,
    /// The variable holds something that is no text.
    #[error("it holds no text")]
    NotText,
    /// Commands are run where keys are used, and not by each command that reads the configuration.
    #[error("it is run by `keyward serve` and `keyward check --online` alone")]
    NotRun,
    #[error(transparent)]
    Command(CommandError),
    /// What it holds can be no key of any upstream.
    #[error("it holds {what}")]
    NoKey { what: &'static str },
    /// What it holds is no key.
    #[error(transparent)]
    Parse(#[from] ParseSecretError),
}

/// Names the user that may not, where that is why: in a container or a service it is seldom the one who reads this.
pub(super) fn by_whom(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::PermissionDenied {
        format!(" by user {}", rustix::process::geteuid().as_raw())
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gives_its_key_or_says_why_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "sk-a\n").expect("a file");
        let file = Source::File(path.clone());
        assert_eq!(file.read().expect("a key").expose(), b"sk-a");
        std::fs::write(&path, "\n").expect("a file");
        assert_eq!(file.read().expect_err("empty").to_string(), "the key is empty");
        let missing = Source::File(folder.path().join("missing"));
        assert_eq!(missing.read().expect_err("missing").to_string(), "it cannot be read");
        let folder = Source::File(folder.path().into());
        assert_eq!(folder.read().expect_err("a folder").to_string(), "it is no regular file");
        let unset = Source::Env("KEYWARD_TEST_NEVER_SET".into());
        assert_eq!(unset.read().expect_err("unset").to_string(), "it is not set");
    }
}
