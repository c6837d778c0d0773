//! Which credential records were connected, and what is to be put back when one no longer shall be; which Base URL keyward put
//! into one that is connected no more; and into which records keyward put a key: `connections.json` in the state folder. No key and
//! no token is in it.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::keys::state::{StateError, StateFolder};

/// A record that leads to keyward.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Connection {
    /// The n8n that it is of: the address of its editor.
    pub n8n: String,
    /// The record's id in n8n.
    pub credential: String,
    /// Its name, when it was connected.
    pub name: String,
    /// The Base URL that leads to keyward.
    pub url: String,
    /// The one that stood there before, as you said when you connected it.
    pub was: String,
    /// When it was connected first, in milliseconds since the Unix epoch.
    pub at: i64,
    /// When n8n says that it changed by that, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<i64>,
    /// The fingerprint of the token that was put into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The tag that was put into its header, an expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The key set that was meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
}

/// A record that leads past keyward since keyward put that Base URL there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Left {
    /// The n8n that it is of: the address of its editor.
    pub n8n: String,
    /// The record's id in n8n.
    pub credential: String,
    /// The Base URL that keyward put there.
    pub url: String,
    /// When, in milliseconds since the Unix epoch.
    pub at: i64,
    /// When n8n says that it changed by that, in milliseconds since the Unix epoch. Where that is another moment now, it was
    /// changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<i64>,
}

impl Left {
    /// Whether it stands as keyward left it, where n8n says that it changed last then.
    #[must_use]
    pub fn stands(&self, changed: Option<Timestamp>) -> bool {
        self.changed == changed.map(Timestamp::as_millis)
    }
}

impl Connection {
    /// When it was connected first.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        Timestamp::from_millis(self.at)
    }

    fn is_of(&self, n8n: &str, credential: &str) -> bool {
        self.n8n == n8n && self.credential == credential
    }
}

/// What is kept of that record.
pub fn find(folder: &StateFolder, n8n: &str, credential: &str) -> Result<Option<Connection>, StateError> {
    let kept: Kept = folder.read(FILE)?;
    Ok(kept.connected.into_iter().find(|one| one.is_of(n8n, credential)))
}

/// Keeps a connection, in place of what was kept of its record.
pub fn keep(folder: &StateFolder, connection: Connection) -> Result<(), StateError> {
    folder.change(FILE, |kept: &mut Kept| {
        kept.forget(&connection.n8n, &connection.credential);
        kept.connected.push(connection);
    })
}

/// The records that lead past keyward since it put their Base URL back.
pub fn left(folder: &StateFolder) -> Result<Vec<Left>, StateError> {
    let kept: Kept = folder.read(FILE)?;
    Ok(kept.left)
}

/// Keeps what keyward put back into a record, in place of what was kept of it.
pub fn leave(folder: &StateFolder, left: Left) -> Result<(), StateError> {
    folder.change(FILE, |kept: &mut Kept| {
        kept.forget(&left.n8n, &left.credential);
        kept.left.push(left);
    })
}

/// A record into which keyward put a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Written {
    /// The n8n that it is of: the address of its editor.
    pub n8n: String,
    /// The record's id in n8n.
    pub credential: String,
    /// When n8n says that it changed by that, in milliseconds since the Unix epoch. Where that is another moment now, it
    /// was changed since.
    pub changed: i64,
}

/// The records into which keyward put a key.
pub fn written(folder: &StateFolder) -> Result<Vec<Written>, StateError> {
    let kept: Kept = folder.read(FILE)?;
    Ok(kept.written)
}

/// Keeps that keyward put a key into a record, in place of what was kept of that.
pub fn note_written(folder: &StateFolder, written: Written) -> Result<(), StateError> {
    folder.change(FILE, |kept: &mut Kept| {
        kept.written.retain(|one| one.n8n != written.n8n || one.credential != written.credential);
        kept.written.push(written);
    })
}

/// Forgets what was kept of a connection; one that was never kept is no error.
pub fn forget(folder: &StateFolder, n8n: &str, credential: &str) -> Result<(), StateError> {
    folder.change(FILE, |kept: &mut Kept| kept.forget(n8n, credential))
}

#[derive(Default, Deserialize, Serialize)]
struct Kept {
    version: Version,
    connected: Vec<Connection>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    written: Vec<Written>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left: Vec<Left>,
}

impl Kept {
    fn forget(&mut self, n8n: &str, credential: &str) {
        self.connected.retain(|one| !one.is_of(n8n, credential));
        self.left.retain(|one| one.n8n != n8n || one.credential != credential);
    }
}

/// The shape's version. A file of a later one is not read.
#[derive(Default, Deserialize, Serialize)]
enum Version {
    #[default]
    #[serde(rename = "1")]
    One,
}

const FILE: &str = "connections";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::state::Settings;

    #[test]
    fn a_record_is_kept_once_for_each_n8n() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = StateFolder::open(&Settings { dir: home.path().into() }).expect("a state folder");
        let connection = |n8n: &str, was: &str| Connection {
            n8n: n8n.to_owned(),
            credential: "c".to_owned(),
            name: "OpenAI".to_owned(),
            url: "http://keyward:8080/v1".to_owned(),
            was: was.to_owned(),
            at: 1,
            changed: None,
            token: None,
            tag: None,
            set: None,
        };
        for (n8n, was) in [("http://a", "http://1"), ("http://b", "http://2"), ("http://a", "http://3")] {
            keep(&folder, connection(n8n, was)).expect("kept");
        }
        let was = |n8n| find(&folder, n8n, "c").expect("read").map(|found| found.was);
        assert_eq!((was("http://a").as_deref(), was("http://b").as_deref()), (Some("http://3"), Some("http://2")));
        let put_back = |url: &str, changed| Left {
            n8n: "http://a".to_owned(),
            credential: "c".to_owned(),
            url: url.to_owned(),
            at: 5,
            changed,
        };
        leave(&folder, put_back("http://4", Some(7))).expect("left");
        assert_eq!(was("http://a"), None);
        leave(&folder, put_back("http://5", None)).expect("left");
        assert_eq!(left(&folder).expect("read"), [put_back("http://5", None)]);
        keep(&folder, connection("http://a", "http://3")).expect("kept");
        assert_eq!((left(&folder).expect("read"), was("http://a").as_deref()), (vec![], Some("http://3")));
        let moment = |millis| Some(Timestamp::from_millis(millis));
        assert!(put_back("u", Some(7)).stands(moment(7)) && put_back("u", None).stands(None));
        assert!(!put_back("u", Some(7)).stands(moment(8)), "it was changed since");
        forget(&folder, "http://a", "c").expect("forgotten");
        assert_eq!((was("http://a"), was("http://b").is_some()), (None, true));
        for (n8n, changed) in [("http://a", 1), ("http://b", 2), ("http://a", 3)] {
            let (n8n, credential) = (n8n.to_owned(), "c".to_owned());
            note_written(&folder, Written { n8n, credential, changed }).expect("kept");
        }
        let changed: Vec<_> = written(&folder).expect("read").into_iter().map(|one| one.changed).collect();
        assert_eq!((changed, was("http://b").is_some()), (vec![2, 3], true));
        std::fs::write(home.path().join("connections.json"), r#"{"version":"2"}"#).expect("a file");
        assert!(find(&folder, "http://a", "c").is_err(), "a later keyward's file is left alone");
    }
}
