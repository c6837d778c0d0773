//! Who may use the admin listener: its tokens (keyward keeps only their hashes), and the browser sessions that begin with
//! a link.
//!
//! Each token stands in a file of its own. The files are read again when they change; what one held before is worth nothing
//! from then on, nor are the sessions that began with it.
//!
//! A session is not kept: its secret says when it ends, and is signed with the token that it began with. So a page that is open in
//! a browser goes on when keyward was restarted, and a session that is to end before its time ends with its token.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::hmac;
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::settings::Settings;
use crate::clock::{Clock, Timestamp};
use crate::keys::secret::{ParseSecretError, Secret};
use crate::keys::source::{Source, SourceError};
use crate::keys::state::{self, StateError};
use crate::keys::token;
use crate::locks::lock;

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Ask for anything that changes nothing.
    Read,
    /// Look, and change what keyward holds.
    Write,
}

/// Who asks, and what they may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    pub scope: Scope,
    token: Digest,
    /// When a link or session ends; nothing for a token itself.
    until: Option<Timestamp>,
}

/// Who is let in: by the tokens that the files held last, by sessions that these sign, and by links that wait.
pub struct Access {
    files: Files,
    known: watch::Sender<Known>,
    links: Mutex<Passes>,
    clock: Clock,
}

/// The file of the token that may write. One that the configuration does not name is keyward's own, in the state folder.
#[must_use]
pub fn token_file(settings: &Settings, state: &state::Settings) -> PathBuf {
    settings.token_file.clone().unwrap_or_else(|| state.dir.join("admin.token"))
}

/// The token in a file.
pub fn read_token(path: &Path) -> Result<Secret, TokenError> {
    let error = |fault| TokenError::Unfit { path: path.into(), fault };
    let token = Source::File(path.into()).read().map_err(|source| error(Fault::from(source)))?;
    match token.expose().len() {
        ..SHORTEST => Err(error(Fault::Short)),
        _ => Ok(token),
    }
}

/// Why a token is not known. Never quotes what the file holds.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A file holds none.
    #[error("the admin token in {} cannot be used", path.display())]
    Unfit {
        path: PathBuf,
        #[source]
        fault: Fault,
    },
    /// A client that is to read alone could write.
    #[error("{} and {} hold the same admin token: one that may only read has to be another", write.display(), read.display())]
    Same {
        /// The file of the token that may write.
        write: PathBuf,
        /// The file of the token that may read.
        read: PathBuf,
    },
    /// There is no token yet, and none can be made.
    #[error("no admin token can be made")]
    Unmade(#[from] StateError),
}

/// Why a file holds no token.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be read.
    #[error(transparent)]
    Source(SourceError),
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// A token travels in a header, so it is visible ASCII.
    #[error("it has a character that is not visible ASCII at position {position}")]
    NotVisibleAscii {
        /// Zero-based byte position.
        position: usize,
    },
    /// It might be guessed.
    #[error("it is shorter than {SHORTEST} characters: take a long random one, such as `openssl rand -hex 32` prints")]
    Short,
}

impl From<SourceError> for Fault {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Parse(ParseSecretError::Empty) => Self::Empty,
            SourceError::Parse(ParseSecretError::NotVisibleAscii { position }) => Self::NotVisibleAscii { position },
            other @ (SourceError::File(_)
            | SourceError::NoFile
            | SourceError::Unset
            | SourceError::NotText
            | SourceError::NotRun
            | SourceError::Command(_)
            | SourceError::NoKey { .. }) => Self::Source(other),
        }
    }
}

// === impl Access ===

impl Access {
    /// Reads the tokens, and makes the one that the configuration does not name where it is missing. What makes the listener useless but is
    /// no mistake in the configuration is said beside it: then no token is accepted.
    pub fn open(
        settings: &Settings,
        state: &state::Settings,
        clock: Clock,
    ) -> Result<(Self, Option<TokenError>), TokenError> {
        let files = Files::of(settings, state);
        let (known, trouble) = match files.read() {
            Ok(known) => (known, None),
            Err(error) if files.is_of_our_state_folder(&error) => (Known::default(), Some(error)),
            Err(error) => return Err(error),
        };
        let links = Mutex::default();
        Ok((Self { files, known: watch::Sender::new(known), links, clock }, trouble))
    }

    /// Reads the tokens again; says whether they are others now. With a file that holds none any more, no token is accepted: its old
    /// token may be why it was emptied.
    pub fn reload(&self) -> Result<bool, TokenError> {
        let (known, error) = match self.files.read() {
            Ok(known) => (known, None),
            Err(error) => (self.files.read_what_is_there(), Some(error)),
        };
        let is_news = self.known.send_if_modified(|before| {
            let is_news = *before != known;
            *before = known;
            is_news
        });
        error.map_or(Ok(is_news), Err)
    }

    /// The files that the tokens stand in.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        [Some(&self.files.write), self.files.read.as_ref()].into_iter().flatten().cloned().collect()
    }

    /// Tells when the tokens change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Whether there is any token that would be let in.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        *self.known.borrow() != Known::default()
    }

    /// What a client with that token may do.
    #[must_use]
    pub fn admit(&self, presented: &[u8]) -> Option<Pass> {
        let token = Digest::of(presented);
        Some(Pass { scope: self.known.borrow().scope_of(&token)?, token, until: None })
    }

    /// What the browser with that session may do. It never writes: a page elsewhere may have sent it.
    #[must_use]
    pub fn admit_session(&self, presented: &[u8]) -> Option<Pass> {
        let known = *self.known.borrow();
        let (token, until) = known.all().find_map(|token| Some((token, token.read_session(presented)?)))?;
        let pass = Pass { scope: Scope::Read, token, until: Some(until) };
        self.is_good(&pass).then_some(pass)
    }

    /// Whether a pass is still worth something: its token is known, its session has not ended.
    #[must_use]
    pub fn is_good(&self, pass: &Pass) -> bool {
        let has_time = pass.until.is_none_or(|until| self.clock.now() < until);
        has_time && self.known.borrow().scope_of(&pass.token).is_some()
    }

    /// A new link's secret part, which begins one session for the client that uses it first; and until when.
    pub fn make_link(&self, pass: &Pass) -> Result<(Zeroizing<String>, Timestamp), StateError> {
        let secret = token::random_text()?;
        let until = self.clock.now().after(LINK_LASTS);
        let of_link = Pass { scope: Scope::Read, until: Some(until), ..*pass };
        self.links().add(Digest::of(secret.as_bytes()), of_link);
        Ok((secret, until))
    }

    /// The same for those who run this very process; nothing where there is no token.
    pub fn make_own_link(&self) -> Result<Option<Zeroizing<String>>, StateError> {
        let Some(token) = self.known.borrow().write else { return Ok(None) };
        let pass = Pass { scope: Scope::Write, token, until: None };
        self.make_link(&pass).map(|(secret, _)| Some(secret))
    }

    /// Begins the session of a link; gives its secret. Nothing for a link that was used, has ended or never was.
    pub fn open_link(&self, presented: &[u8]) -> Result<Option<Zeroizing<String>>, StateError> {
        let taken = self.links().take(&Digest::of(presented));
        let Some(link) = taken.filter(|link| self.is_good(link)) else { return Ok(None) };
        let until = self.clock.now().after(SESSION_LASTS);
        Ok(Some(link.token.make_session(until, &token::random_text()?)))
    }

    fn links(&self) -> MutexGuard<'_, Passes> {
        lock(&self.links)
    }
}

/// Where the tokens stand.
struct Files {
    write: PathBuf,
    is_ours: bool,
    read: Option<PathBuf>,
}

impl Files {
    fn of(settings: &Settings, state: &state::Settings) -> Self {
        let (write, is_ours) = (token_file(settings, state), settings.token_file.is_none());
        Self { write, is_ours, read: settings.read_token_file.clone() }
    }

    /// Whether the state folder is to blame, without which keyward serves all the same.
    fn is_of_our_state_folder(&self, error: &TokenError) -> bool {
        match error {
            TokenError::Unmade(_) => true,
            TokenError::Unfit { path, fault: Fault::Source(_) } => self.is_ours && *path == self.write,
            TokenError::Unfit { .. } | TokenError::Same { .. } => false,
        }
    }

    fn read(&self) -> Result<Known, TokenError> {
        if self.is_ours && fs::metadata(&self.write).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            let token = token::make_for_admin()?;
            state::make_once(&self.write, token.expose())?;
        }
        let write = Digest::of_token_in(&self.write)?;
        let Some(path) = &self.read else { return Ok(Known { write: Some(write), read: None }) };
        let read = Digest::of_token_in(path)?;
        if write == read {
            return Err(TokenError::Same { write: self.write.clone(), read: path.clone() });
        }
        Ok(Known { write: Some(write), read: Some(read) })
    }

    /// Each token that can still be had.
    fn read_what_is_there(&self) -> Known {
        let digest = |path: &Path| Digest::of_token_in(path).ok();
        let write = digest(&self.write);
        Known { write, read: self.read.as_deref().and_then(digest).filter(|read| write != Some(*read)) }
    }
}

/// The tokens that are good now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    write: Option<Digest>,
    read: Option<Digest>,
}

impl Known {
    fn all(&self) -> impl Iterator<Item = Digest> {
        [self.write, self.read].into_iter().flatten()
    }

    /// Each is looked at, whichever it is.
    fn scope_of(&self, presented: &Digest) -> Option<Scope> {
        let is = |known: &Option<Digest>| known.as_ref().map_or(Choice::from(0), |known| known.0.ct_eq(&presented.0));
        let (write, read) = (is(&self.write), is(&self.read));
        if write.into() { Some(Scope::Write) } else { bool::from(read).then_some(Scope::Read) }
    }
}

/// The hash of a token or of a link's secret: random enough that it needs no salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digest([u8; 32]);

impl Digest {
    fn of_token_in(path: &Path) -> Result<Self, TokenError> {
        Ok(Self::of(read_token(path)?.expose()))
    }

    fn of(secret: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, secret).as_ref());
        Self(bytes)
    }

    /// The secret of a session that began with this token: `<milliseconds>.<random>.<signature>`.
    fn make_session(&self, until: Timestamp, random: &str) -> Zeroizing<String> {
        let said = format!("{}.{random}", until.as_millis());
        let signature = hmac::sign(&self.session_key(), said.as_bytes());
        Zeroizing::new(format!("{said}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Until when a session lasts; nothing for one that did not begin with this token.
    fn read_session(&self, presented: &[u8]) -> Option<Timestamp> {
        let (said, signature) = std::str::from_utf8(presented).ok()?.rsplit_once('.')?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        hmac::verify(&self.session_key(), said.as_bytes(), &signature).ok()?;
        said.split_once('.')?.0.parse().ok().map(Timestamp::from_millis)
    }

    /// Signs sessions and nothing else.
    fn session_key(&self) -> hmac::Key {
        let token = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&token, b"keyward session").as_ref())
    }
}

/// Passes by the hash of their secret. When there are too many, the oldest goes.
#[derive(Default)]
struct Passes(VecDeque<(Digest, Pass)>);

impl Passes {
    fn add(&mut self, secret: Digest, pass: Pass) {
        if self.0.len() >= MOST_PASSES {
            self.0.pop_front();
        }
        self.0.push_back((secret, pass));
    }

    fn take(&mut self, secret: &Digest) -> Option<Pass> {
        let position = self.0.iter().position(|(known, _)| known.0.ct_eq(&secret.0).into())?;
        self.0.remove(position).map(|(_, pass)| pass)
    }
}

/// A token of fewer characters might be guessed.
const SHORTEST: usize = 32;

/// How long a link can be opened.
const LINK_LASTS: Duration = Duration::from_mins(1);

/// How long a browser is let in: a day at work.
pub const SESSION_LASTS: Duration = Duration::from_hours(12);

/// How many links are kept.
const MOST_PASSES: usize = 64;

#[cfg(test)]
mod tests;
