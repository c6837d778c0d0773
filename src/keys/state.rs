//! The state folder: the fingerprint key (mode 0600), the history of each set's fingerprints, and what people decided on
//! the command line. Holds no secret of OpenAI's, and no token.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::access::{Access, Replaced, RevokedKey, Token};
use super::fingerprint::{Fingerprint, FingerprintKey, Hint};
use super::history::{Heard, History, LastCurrent, Previous, SetHistory};
use super::learned::{Learned, LearnedKey, Standing};
use super::secret::Secret;
use super::set::{Names, Retired, Word};
use super::source::by_whom;
use crate::clock::Timestamp;

/// The settings under `[state]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub dir: PathBuf,
}

/// The state folder, which is there: it is made with mode 0700 where it was not.
#[derive(Clone, Debug)]
pub struct StateFolder {
    dir: PathBuf,
}

/// What is wrong with the state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or the folder cannot be read or written.
    #[error("{} cannot be {action}{}", path.display(), by_whom(source))]
    Io {
        path: PathBuf,
        /// `read`, `made`, `written`, `moved`, `removed`.
        action: &'static str,
        source: io::Error,
    },
    /// The fingerprint key is not 32 bytes long.
    #[error("{} is damaged: a fingerprint key has 32 bytes", path.display())]
    Key { path: PathBuf },
    /// The fingerprint key is gone, and with it what the tokens and revoked keys are known by.
    #[error("{} is missing, without which nothing in {} is known: put it back, or delete both to begin anew", path.display(), access.display())]
    KeyLost {
        /// The file that is missing.
        path: PathBuf,
        /// The file that needs it.
        access: PathBuf,
    },
    /// What is remembered was written with another fingerprint key, so that no key is known by it.
    #[error("{} is not the one by which {} knows keys: put that one back, or move the store away to begin anew", path.display(), store.display())]
    OtherKey { path: PathBuf, store: PathBuf },
    /// Another keyward serves from the folder.
    #[error("another keyward runs on the state folder {}: stop that one, or give this one a folder of its own (state.dir)", dir.display())]
    Held { dir: PathBuf },
    /// A file is not what keyward wrote.
    #[error("{} is damaged: put a good copy back, or delete it and all that it says", path.display())]
    Damaged {
        path: PathBuf,
        /// What the parser says; positions, no content.
        source: serde_json::Error,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

impl StateFolder {
    /// Opens the folder, and makes it (mode 0700) where there is none.
    pub fn open(settings: &Settings) -> Result<Self, StateError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&settings.dir);
        made.map_err(io_error(&settings.dir, "made"))?;
        Ok(Self { dir: settings.dir.clone() })
    }

    /// The fingerprint key, made at the first call: whole or not at all, for a half one would be damaged for good.
    pub fn fingerprint_key(&self) -> Result<FingerprintKey, StateError> {
        let path = key_path(&self.dir);
        match read_key(&path) {
            Err(StateError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            read => return read,
        }
        // Another key would void every token, and every revocation.
        let access = self.access_path();
        if access.try_exists().map_err(io_error(&access, "read"))? {
            return Err(StateError::KeyLost { path, access });
        }
        make_once(&path, &*random_bytes()?)?;
        read_key(&path)
    }

    /// The public names of a secret.
    pub fn names(&self, secret: &Secret) -> Result<Names, StateError> {
        Ok(Names::of(&self.fingerprint_key()?, secret.expose()))
    }

    /// The history, if it has a file of its own.
    pub fn history(&self) -> Result<Option<History>, StateError> {
        Ok(read_json::<Stored>(&self.history_path())?.map(History::from))
    }

    /// Puts `<name>.json` aside, once what stands in it is kept elsewhere: `<name>.json.imported`.
    pub fn set_aside(&self, name: &str) -> Result<(), StateError> {
        let path = self.dir.join(format!("{name}.json"));
        fs::rename(&path, path.with_extension("json.imported")).map_err(io_error(&path, "moved"))
    }

    /// Writes the history whole or not at all.
    pub fn save(&self, history: &History) -> Result<(), StateError> {
        write_json(&self.history_path(), &Stored::from(history))
    }

    /// Tokens and revoked keys; none where none was made or revoked.
    pub fn access(&self) -> Result<Access, StateError> {
        Ok(read_json::<StoredAccess>(&self.access_path())?.map_or_else(Access::default, Access::from))
    }

    /// Changes tokens and revoked keys, whole or not at all. Two changes at once wait for each other.
    pub fn change_access<T>(&self, change: impl FnOnce(&mut Access) -> T) -> Result<T, StateError> {
        let _locked = self.lock("access.lock")?;
        let mut access = self.access()?;
        let done = change(&mut access);
        write_json(&self.access_path(), &StoredAccess::from(&access))?;
        Ok(done)
    }

    /// What stands in `<name>.json`; the default where there is none.
    pub fn read<F: Default + serde::de::DeserializeOwned>(&self, name: &str) -> Result<F, StateError> {
        Ok(read_json(&self.dir.join(format!("{name}.json")))?.unwrap_or_default())
    }

    /// Changes what stands in `<name>.json`, whole or not at all. Two changes at once wait for each other.
    pub fn change<F, T>(&self, name: &str, change: impl FnOnce(&mut F) -> T) -> Result<T, StateError>
    where
        F: Default + Serialize + serde::de::DeserializeOwned,
    {
        let _locked = self.lock(&format!("{name}.lock"))?;
        let mut content = self.read(name)?;
        let done = change(&mut content);
        write_json(&self.dir.join(format!("{name}.json")), &content)?;
        Ok(done)
    }

    /// Writes a line of JSON at the end of `<name>.jsonl`, down to the disk. A line that was cut off there goes first.
    pub fn append(&self, name: &str, line: &impl Serialize) -> Result<(), StateError> {
        let path = self.lines_path(name);
        let mut text = serde_json::to_vec(line).map_err(|source| StateError::Damaged { path: path.clone(), source })?;
        text.push(b'\n');
        let is_new = !path.try_exists().map_err(io_error(&path, "read"))?;
        let write = || {
            let whole = whole_lines(&read_if_there(&path)?).len();
            let mut file = open_private(&path, OpenOptions::new().write(true))?;
            file.set_len(whole as u64)?;
            file.seek(SeekFrom::End(0))?;
            file.write_all(&text)?;
            file.sync_all()?;
            // A new file's name is on the disk only with its folder.
            if is_new { fs::File::open(&self.dir)?.sync_all() } else { Ok(()) }
        };
        write().map_err(io_error(&path, "written"))
    }

    /// The lines of `<name>.jsonl`, but for one that was cut off; none where there is no such file.
    pub fn lines<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Vec<T>, StateError> {
        let path = self.lines_path(name);
        let text = read_if_there(&path).map_err(io_error(&path, "read"))?;
        let lines = whole_lines(&text).split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let damaged = |source| StateError::Damaged { path: path.clone(), source };
        lines.map(|line| serde_json::from_slice(line).map_err(damaged)).collect()
    }

    /// The names of all files of lines that begin like that, in the order of the alphabet.
    pub fn names_of_lines(&self, beginning: &str) -> Result<Vec<String>, StateError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io_error(&self.dir, "read"))? {
            let name = entry.map_err(io_error(&self.dir, "read"))?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
            names.extend(name.filter(|name| name.starts_with(beginning)).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Removes `<name>.jsonl`; that there is none is as good.
    pub fn remove_lines(&self, name: &str) -> Result<(), StateError> {
        let path = self.lines_path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(&path, "removed")(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn lines_path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.jsonl"))
    }

    /// Where tokens and revoked keys are kept.
    #[must_use]
    pub fn access_path(&self) -> PathBuf {
        access_path(&self.dir)
    }

    fn history_path(&self) -> PathBuf {
        self.dir.join("history.json")
    }

    /// Takes the folder for the one keyward that serves from it, until what it gives is dropped. Commands that change it need
    /// no such hold.
    pub fn hold(&self) -> Result<Hold, StateError> {
        let path = self.dir.join("serve.lock");
        let file = open_private(&path, OpenOptions::new().write(true)).map_err(io_error(&path, "made"))?;
        match file.try_lock() {
            Ok(()) => Ok(Hold(file)),
            Err(fs::TryLockError::WouldBlock) => Err(StateError::Held { dir: self.dir.clone() }),
            Err(fs::TryLockError::Error(source)) => Err(io_error(&path, "locked")(source)),
        }
    }

    /// Takes a set's rotation for the one command that moves it on, until what it gives is dropped; nothing while another
    /// command has it.
    pub fn hold_rotation(&self, set: &str) -> Result<Option<Hold>, StateError> {
        let path = self.dir.join(format!("rotation-{set}.lock"));
        let file = open_private(&path, OpenOptions::new().write(true)).map_err(io_error(&path, "made"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Hold(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(source)) => Err(io_error(&path, "locked")(source)),
        }
    }

    /// Waits until no other process has it, and keeps it until the file is dropped.
    pub fn lock(&self, name: &str) -> Result<fs::File, StateError> {
        let path = self.dir.join(name);
        let lock = open_private(&path, OpenOptions::new().write(true)).map_err(io_error(&path, "made"))?;
        lock.lock().map_err(io_error(&path, "locked"))?;
        Ok(lock)
    }
}

/// That no other process does the same on a state folder, as long as this lives.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "the lock ends with it")] fs::File);

/// The public name of the fingerprint key of a state folder; nothing where there is none that can be read.
#[must_use]
pub fn fingerprint_key_name(dir: &Path) -> Option<Fingerprint> {
    read_key(&key_path(dir)).ok().map(|key| key.name())
}

/// Why the fingerprint key of a state folder is not the one by which a store knows keys: it cannot be read, or is another.
#[must_use]
pub fn why_other_key(dir: &Path, store: &Path) -> StateError {
    let path = key_path(dir);
    match read_key(&path) {
        Err(StateError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return error,
        Ok(_) => {}
    }
    StateError::OtherKey { path, store: store.into() }
}

/// Whether there may be tokens and revoked keys below a state folder: only where there is certainly no such file is there
/// nothing to know. A folder that may not be looked into tells nothing.
#[must_use]
pub fn may_have_access(dir: &Path) -> bool {
    match access_path(dir).try_exists() {
        Ok(exists) => exists,
        Err(error) => error.kind() != io::ErrorKind::NotADirectory,
    }
}

fn key_path(dir: &Path) -> PathBuf {
    dir.join("fingerprint.key")
}

fn access_path(dir: &Path) -> PathBuf {
    dir.join("access.json")
}

fn read_if_there(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// Up to the end of the last line.
fn whole_lines(text: &[u8]) -> &[u8] {
    &text[..memchr::memrchr(b'\n', text).map_or(0, |at| at + 1)]
}

/// Nothing where there is no such file.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    match fs::read(path) {
        Ok(text) => {
            serde_json::from_slice(&text).map(Some).map_err(|source| StateError::Damaged { path: path.into(), source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path, "read")(error)),
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StateError> {
    let draft = path.with_extension("json.new");
    let text = serde_json::to_vec_pretty(value).map_err(|source| StateError::Damaged { path: path.into(), source })?;
    write_private(&draft, &text).and_then(|()| fs::rename(&draft, path)).map_err(io_error(path, "written"))
}

/// A fingerprint key that lives as long as the process: for when the folder cannot be used.
pub fn passing_fingerprint_key() -> Result<FingerprintKey, StateError> {
    Ok(FingerprintKey::new(&*random_bytes()?))
}

fn random_bytes() -> Result<Zeroizing<[u8; FingerprintKey::LEN]>, StateError> {
    let mut bytes = Zeroizing::new([0; FingerprintKey::LEN]);
    SystemRandom::new().fill(&mut *bytes).map_err(|_unspecified| StateError::Random)?;
    Ok(bytes)
}

/// Makes a file for its owner alone, whole or not at all, unless there is one already.
pub fn make_once(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let draft = path.with_added_extension(format!("{}.new", std::process::id()));
    write_private(&draft, bytes).map_err(io_error(path, "written"))?;
    // Unlike a rename, a link never replaces the file that another keyward made meanwhile; not every disk has links.
    let made = match fs::hard_link(&draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => fs::rename(&draft, path),
        Ok(()) | Err(_) => fs::remove_file(&draft),
    };
    made.map_err(io_error(path, "made"))
}

/// Writes a file for its owner alone, down to the disk.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = open_private(path, OpenOptions::new().write(true).truncate(true))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Opens a file that is its owner's alone, and makes it where there is none. What root makes belongs to the folder's
/// owner: a keyward that runs as another user has to read what `sudo keyward token new` wrote.
fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<fs::File> {
    let file = options.create(true).mode(0o600).open(path)?;
    let folder = fs::metadata(path.parent().unwrap_or(Path::new(".")))?;
    if file.metadata()?.uid() == ROOT && folder.uid() != ROOT {
        fchown(&file, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(file)
}

const ROOT: u32 = 0;

fn read_key(path: &Path) -> Result<FingerprintKey, StateError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(FingerprintKey::LEN + 1));
    let file = fs::File::open(path).map_err(io_error(path, "read"))?;
    file.take(FingerprintKey::LEN as u64 + 1).read_to_end(&mut bytes).map_err(io_error(path, "read"))?;
    let bytes: &[u8; FingerprintKey::LEN] =
        bytes[..].try_into().map_err(|_wrong_length| StateError::Key { path: path.into() })?;
    Ok(FingerprintKey::new(bytes))
}

fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> StateError {
    move |source| StateError::Io { path: path.into(), action, source }
}

/// The history of a set as it is stored: JSON, times in milliseconds since the Unix epoch, fingerprints as 32 hex digits.
#[must_use]
pub fn encode_set(set: &SetHistory) -> String {
    // The shape has nothing that JSON cannot have.
    serde_json::to_string(&StoredSet::from(set)).unwrap_or_default()
}

/// Reads what [`encode_set`] made. An error where it is not that.
pub fn decode_set(text: &str) -> Result<SetHistory, serde_json::Error> {
    serde_json::from_str::<StoredSet>(text).map(SetHistory::from)
}

// === The files' shapes ===

/// `history.json`: times in milliseconds since the Unix epoch, fingerprints as 32 hex digits.
#[derive(Deserialize, Serialize)]
struct Stored {
    version: Version,
    sets: std::collections::BTreeMap<String, StoredSet>,
}

/// The shape's version. A file of a later one is not read.
#[derive(Deserialize, Serialize)]
enum Version {
    #[serde(rename = "1")]
    One,
}

#[derive(Deserialize, Serialize)]
struct StoredSet {
    current: Option<StoredCurrent>,
    previous: Vec<StoredPrevious>,
    learned: Vec<StoredLearned>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heard: Vec<StoredHeard>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hints: Vec<StoredHint>,
}

/// What the key begins with, and its last four characters.
#[derive(Deserialize, Serialize)]
struct StoredHint {
    key: Hex,
    kind: String,
    last: String,
}

#[derive(Deserialize, Serialize)]
struct StoredHeard {
    key: Hex,
    accepted: bool,
    at: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    never_accepted: bool,
}

#[derive(Deserialize, Serialize)]
struct StoredRevoked {
    key: Hex,
    at: i64,
}

/// `access.json`: times and fingerprints as in `history.json`.
#[derive(Deserialize, Serialize)]
struct StoredAccess {
    version: Version,
    tokens: Vec<StoredToken>,
    revoked_keys: Vec<StoredRevoked>,
}

#[derive(Deserialize, Serialize)]
struct StoredToken {
    key: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    set: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Box<str>>,
    made: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced: Option<StoredReplaced>,
}

#[derive(Deserialize, Serialize)]
struct StoredReplaced {
    at: i64,
    until: i64,
}

#[derive(Deserialize, Serialize)]
struct StoredCurrent {
    key: Hex,
    since: i64,
    seen: i64,
}

#[derive(Deserialize, Serialize)]
struct StoredPrevious {
    key: Hex,
    retired_after: Option<i64>,
    retired_by: i64,
}

#[derive(Deserialize, Serialize)]
struct StoredLearned {
    key: Hex,
    since: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<i64>,
}

/// A fingerprint in all its digits.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
struct Hex(Fingerprint);

impl TryFrom<String> for Hex {
    type Error = super::fingerprint::ParseFingerprintError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        hex.0.to_hex()
    }
}

impl From<&History> for Stored {
    fn from(history: &History) -> Self {
        let sets = history.sets.iter().map(|(name, set)| (name.clone(), StoredSet::from(set))).collect();
        Self { version: Version::One, sets }
    }
}

impl From<Stored> for History {
    fn from(stored: Stored) -> Self {
        let Version::One = stored.version;
        Self { sets: stored.sets.into_iter().map(|(name, set)| (name, set.into())).collect() }
    }
}

impl From<&SetHistory> for StoredSet {
    fn from(set: &SetHistory) -> Self {
        let current = set.current.map(|last| StoredCurrent {
            key: Hex(last.key),
            since: last.since.as_millis(),
            seen: last.seen.as_millis(),
        });
        let previous = set.previous.iter().map(|previous| StoredPrevious {
            key: Hex(previous.key),
            retired_after: previous.retired.after.map(Timestamp::as_millis),
            retired_by: previous.retired.by.as_millis(),
        });
        Self {
            current,
            previous: previous.collect(),
            learned: set.learned.keys().iter().map(StoredLearned::from).collect(),
            heard: set.heard.iter().map(StoredHeard::from).collect(),
            hints: set.hints.iter().map(StoredHint::from).collect(),
        }
    }
}

impl From<StoredSet> for SetHistory {
    fn from(stored: StoredSet) -> Self {
        let at = Timestamp::from_millis;
        let current =
            stored.current.map(|last| LastCurrent { key: last.key.0, since: at(last.since), seen: at(last.seen) });
        let previous = stored.previous.into_iter().map(|previous| Previous {
            key: previous.key.0,
            retired: Retired { after: previous.retired_after.map(at), by: at(previous.retired_by) },
        });
        let learned = stored.learned.into_iter().map(LearnedKey::from).collect();
        let heard = stored.heard.into_iter().map(Heard::from).collect();
        let hints = stored.hints.iter().filter_map(StoredHint::hint).collect();
        Self { current, previous: previous.collect(), learned: Learned::new(learned), heard, hints }
    }
}

impl From<(&Fingerprint, &Hint)> for StoredHint {
    fn from((key, hint): (&Fingerprint, &Hint)) -> Self {
        let last = String::from_utf8_lossy(hint.last()).into_owned();
        Self { key: Hex(*key), kind: hint.prefix().to_owned(), last }
    }
}

impl StoredHint {
    fn hint(&self) -> Option<(Fingerprint, Hint)> {
        Some((self.key.0, Hint::from_parts(&self.kind, &self.last)?))
    }
}

impl From<&Heard> for StoredHeard {
    fn from(heard: &Heard) -> Self {
        let Heard { key, word, at, never_accepted } = *heard;
        Self { key: Hex(key), accepted: word == Word::Accepted, at: at.as_millis(), never_accepted }
    }
}

impl From<StoredHeard> for Heard {
    fn from(stored: StoredHeard) -> Self {
        let word = if stored.accepted { Word::Accepted } else { Word::Refused };
        let never_accepted = stored.never_accepted && !stored.accepted;
        Self { key: stored.key.0, word, at: Timestamp::from_millis(stored.at), never_accepted }
    }
}

impl StoredRevoked {
    fn new(key: Fingerprint, at: Timestamp) -> Self {
        Self { key: Hex(key), at: at.as_millis() }
    }
}

impl From<&Access> for StoredAccess {
    fn from(access: &Access) -> Self {
        let tokens = access.tokens.iter().map(|token| StoredToken {
            key: Hex(token.fingerprint),
            last: token.hint.map(|hint| String::from_utf8_lossy(hint.last()).into_owned()),
            set: token.set.clone(),
            name: token.name.clone(),
            made: token.made.as_millis(),
            revoked: token.revoked.map(Timestamp::as_millis),
            replaced: token
                .replaced
                .map(|replaced| StoredReplaced { at: replaced.at.as_millis(), until: replaced.until.as_millis() }),
        });
        let revoked_keys = access.revoked_keys.iter().map(|key| StoredRevoked::new(key.fingerprint, key.at)).collect();
        Self { version: Version::One, tokens: tokens.collect(), revoked_keys }
    }
}

impl From<StoredAccess> for Access {
    fn from(stored: StoredAccess) -> Self {
        let Version::One = stored.version;
        let at = Timestamp::from_millis;
        let tokens = stored.tokens.into_iter().map(|token| Token {
            fingerprint: token.key.0,
            hint: token.last.as_deref().and_then(Hint::of_token),
            set: token.set,
            name: token.name,
            made: at(token.made),
            revoked: token.revoked.map(at),
            replaced: token.replaced.map(|replaced| Replaced { at: at(replaced.at), until: at(replaced.until) }),
        });
        let revoked = stored.revoked_keys.into_iter();
        let revoked_keys = revoked.map(|key| RevokedKey { fingerprint: key.key.0, at: at(key.at) }).collect();
        Self { tokens: tokens.collect(), revoked_keys }
    }
}

impl From<&LearnedKey> for StoredLearned {
    fn from(learned: &LearnedKey) -> Self {
        let (replaced, refused) = match learned.standing {
            Standing::Current => (None, None),
            Standing::Replaced { at } => (Some(at.as_millis()), None),
            Standing::Refused { at } => (None, Some(at.as_millis())),
        };
        Self { key: Hex(learned.key), since: learned.since.as_millis(), replaced, refused }
    }
}

impl From<StoredLearned> for LearnedKey {
    fn from(stored: StoredLearned) -> Self {
        let at = Timestamp::from_millis;
        let standing = match (stored.replaced, stored.refused) {
            (Some(replaced), _) => Standing::Replaced { at: at(replaced) },
            (None, Some(refused)) => Standing::Refused { at: at(refused) },
            (None, None) => Standing::Current,
        };
        Self { key: stored.key.0, since: at(stored.since), standing }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder() -> (tempfile::TempDir, StateFolder) {
        let parent = tempfile::tempdir().expect("a folder");
        let state = StateFolder::open(&Settings { dir: parent.path().join("a/b") }).expect("a state folder");
        (parent, state)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("metadata").permissions().mode() & 0o777
    }

    #[test]
    fn the_fingerprint_key_is_made_once_and_for_its_owner_alone() {
        let (_parent, state) = folder();
        let first = state.fingerprint_key().expect("a key").fingerprint(b"sk-a");
        let second = state.fingerprint_key().expect("a key").fingerprint(b"sk-a");
        assert_eq!(first, second);
        assert_eq!(mode(&state.dir.join("fingerprint.key")), 0o600);
        assert_eq!(mode(&state.dir), 0o700);
    }

    #[test]
    fn a_damaged_fingerprint_key_is_said_to_be_and_not_replaced() {
        let (_parent, state) = folder();
        for damaged in [&[1; 31][..], &[1; 33]] {
            fs::write(state.dir.join("fingerprint.key"), damaged).expect("a file");
            assert!(matches!(state.fingerprint_key(), Err(StateError::Key { .. })));
        }
    }

    #[test]
    fn the_history_comes_back_as_it_was() {
        let (_parent, state) = folder();
        assert_eq!(state.history().expect("readable"), None);
        let key = |number: u8| FingerprintKey::new(&[7; 32]).fingerprint(&[number]);
        let at = Timestamp::from_millis;
        let mut set = SetHistory::default();
        set.advance(Some(key(1)), &[key(2)], at(1));
        set.advance(Some(key(3)), &[key(2)], at(5));
        set.learned.accept(key(4), None, at(6));
        set.learned.accept(key(5), Some(key(4)), at(7));
        set.learned.accept(key(6), None, at(8));
        set.learned.refuse(key(6), at(9));
        set.hear(key(3), Word::Accepted, at(10));
        set.hear(key(1), Word::Refused, at(11));
        let hint = Hint::of(b"sk-proj-0123456789abcdAbCd");
        assert!(set.note_hint(Names { fingerprint: key(1), hint }) && hint.is_some());
        let history = History { sets: [("default".to_owned(), set)].into() };
        state.save(&history).expect("saved");
        assert_eq!(state.history().expect("readable"), Some(history));
        assert_eq!(mode(&state.history_path()), 0o600);
    }

    #[test]
    fn a_damaged_history_is_said_to_be() {
        let (_parent, state) = folder();
        for damaged in ["", "{", r#"{"version":"2","sets":{}}"#] {
            fs::write(state.history_path(), damaged).expect("a file");
            assert!(matches!(state.history(), Err(StateError::Damaged { .. })), "{damaged}");
        }
    }
}
