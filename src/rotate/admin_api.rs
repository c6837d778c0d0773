//! OpenAI's admin API, as far as a rotation needs it: the keys of a project are listed, made and deleted.
//!
//! Written from OpenAI's API reference ("Project API keys", "Project service accounts", November 2026). An answer that does
//! not tell whether a key was made or deleted is [ambiguous](AdminError::is_ambiguous): nothing may rest on either.

use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::account::{Account, fault_of_admin_key};
use crate::caller::names::harmless;
use crate::clock::Timestamp;
use crate::keys::secret::Secret;
use crate::keys::source::SourceError;
use crate::net::client_tls::{self, TlsError};
use crate::net::connect::{ConnectError, Connector, Deadline, ProxyHop};
use crate::net::one_shot;
use crate::net::origin::Scheme;
use crate::net::protocol::Protocol;

/// The admin API, asked with one account's admin key.
pub struct AdminApi {
    account: Account,
    connector: Connector,
}

/// A key of a project. Times are in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ProjectKey {
    /// `key_…`
    pub id: Box<str>,
    #[serde(default)]
    pub name: Option<Box<str>>,
    /// The beginning and the end of its value.
    #[serde(default)]
    pub redacted_value: Box<str>,
    pub created_at: i64,
    /// Nothing where it was never used. OpenAI notes a use with a delay.
    #[serde(default)]
    pub last_used_at: Option<i64>,
    /// Nothing where it never expires.
    #[serde(default)]
    pub expires_at: Option<i64>,
    #[serde(default)]
    owner: Owner,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Owner {
    #[serde(default)]
    service_account: Option<Named>,
    #[serde(default)]
    user: Option<Named>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Named {
    id: Box<str>,
}

/// A key that was made. Its value is told this once.
#[derive(Debug)]
pub struct Minted {
    /// `key_…`
    pub id: Box<str>,
    pub value: Secret,
    /// In seconds since the Unix epoch; nothing where it never expires.
    pub expires_at: Option<i64>,
}

/// What came of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// OpenAI says that it is deleted.
    Done,
    /// There is no key of that id (any more).
    NotThere,
}

/// Why the admin API did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The admin key cannot be had.
    #[error("the admin key cannot be had from {place}")]
    Key {
        place: Box<str>,
        /// Why not.
        source: SourceError,
    },
    /// TLS cannot be spoken.
    #[error("no TLS can be spoken with {origin}")]
    Tls {
        origin: Box<str>,
        /// What is wrong.
        source: TlsError,
    },
    /// It is not reached, so that nothing was done.
    #[error("{origin} is not reached")]
    Unreachable {
        origin: Box<str>,
        /// Why not.
        source: ConnectError,
    },
    /// It broke off.
    #[error("{origin} broke off before it said what became of {what}")]
    CutOff {
        origin: Box<str>,
        /// What was asked for, in words.
        what: &'static str,
        source: hyper::Error,
    },
    /// It took too long.
    #[error("{origin} did not say within {} s what became of {what}", LIMIT.as_secs())]
    TimedOut {
        origin: Box<str>,
        /// What was asked for, in words.
        what: &'static str,
    },
    /// It refuses the admin key, or what the key may do is not enough.
    #[error("{origin} refuses {what} with that admin key ({status}): {said}")]
    NotAllowed {
        origin: Box<str>,
        /// What was asked for, in words.
        what: &'static str,
        /// 401 or 403.
        status: u16,
        said: Box<str>,
    },
    /// It refuses for another reason.
    #[error("{origin} refuses {what} ({status}): {said}")]
    Refused {
        origin: Box<str>,
        /// What was asked for, in words.
        what: &'static str,
        status: u16,
        said: Box<str>,
    },
    /// What it says cannot be read.
    #[error("what {origin} says of {what} cannot be read")]
    Unreadable {
        origin: Box<str>,
        /// What was asked for, in words.
        what: &'static str,
    },
    /// A list breaks off: nothing may be concluded from what is missing in it.
    #[error("the list of keys from {origin} is not whole: it says that there is more, and gives none")]
    Partial { origin: Box<str> },
}

#[derive(Deserialize)]
struct Page {
    data: Vec<ProjectKey>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct MintedText {
    id: Box<str>,
    value: String,
    #[serde(default)]
    expires_at: Option<i64>,
}

#[derive(Serialize)]
struct Order<'o> {
    name: &'o str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<&'o [Box<str>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_seconds: Option<u64>,
}

/// What is asked: `what` names it in words.
struct Ask {
    method: Method,
    path: String,
    what: &'static str,
    body: Option<Value>,
}

// === impl AdminApi ===

impl AdminApi {
    /// For that account. Nothing is asked or read yet.
    pub fn new(account: &Account) -> Result<Self, AdminError> {
        let origin = &account.origin;
        let no_tls = |source| AdminError::Tls { origin: origin.to_string().into(), source };
        let tls = match origin.scheme {
            Scheme::Http => None,
            Scheme::Https => Some(client_tls::client(origin, None).map_err(no_tls)?),
        };
        let via = account.via.as_ref().map(|via| ProxyHop::new(via).map_err(no_tls)).transpose()?;
        Ok(Self { account: account.clone(), connector: Connector { origin: origin.clone(), tls, via } })
    }

    /// All keys of the project. An error where the list is not whole.
    pub async fn keys(&self) -> Result<Vec<ProjectKey>, AdminError> {
        let mut keys = Vec::<ProjectKey>::new();
        loop {
            let after = keys.last().map_or_else(String::new, |key| format!("&after={}", key.id));
            let path = format!("api_keys?owner_project_access=any&limit={PAGE}{after}");
            let page: Page = self.ask(Ask::get(path, LIST)).await?;
            if !page.data.iter().all(|key| is_id(&key.id)) {
                return Err(AdminError::Unreadable { origin: self.origin(), what: LIST });
            }
            if !page.has_more {
                keys.extend(page.data);
                return Ok(keys);
            }
            let is_news = |key: &ProjectKey| keys.iter().all(|known| known.id != key.id);
            if page.data.is_empty() || !page.data.iter().all(is_news) || keys.len() > MOST_KEYS {
                return Err(AdminError::Partial { origin: self.origin() });
            }
            keys.extend(page.data);
        }
    }

    /// The key of that id; nothing where there is none.
    pub async fn key(&self, id: &str) -> Result<Option<ProjectKey>, AdminError> {
        match self.ask(Ask::get(format!("api_keys/{id}"), "a key")).await {
            Err(AdminError::Refused { status: 404, .. }) => Ok(None),
            key => key.map(Some),
        }
    }

    /// Makes a key of that name on the service account.
    pub async fn mint(&self, service_account: &str, name: &str) -> Result<Minted, AdminError> {
        let scopes = self.account.scopes.as_deref();
        let order = Order { name, scopes, expires_in_seconds: self.account.expires.map(|span| span.as_secs()) };
        let path = format!("service_accounts/{service_account}/api_keys");
        let what = "a new key";
        let body = Some(json!(order));
        let minted: MintedText = self.ask(Ask { method: Method::POST, path, what, body }).await?;
        let unreadable = || AdminError::Unreadable { origin: self.origin(), what };
        let value = Zeroizing::new(minted.value).parse().map_err(|_no_key| unreadable())?;
        if !is_id(&minted.id) {
            return Err(unreadable());
        }
        Ok(Minted { id: minted.id, value, expires_at: minted.expires_at })
    }

    /// Deletes a key for good.
    pub async fn delete(&self, id: &str) -> Result<Deletion, AdminError> {
        let (path, what) = (format!("api_keys/{id}"), "the deletion of a key");
        let deleted: Result<Deleted, _> = self.ask(Ask { method: Method::DELETE, path, what, body: None }).await;
        match deleted {
            Ok(Deleted { deleted: true }) => Ok(Deletion::Done),
            Ok(Deleted { deleted: false }) => Err(AdminError::Unreadable { origin: self.origin(), what }),
            Err(AdminError::Refused { status: 404, .. }) => Ok(Deletion::NotThere),
            Err(error) => Err(error),
        }
    }

    async fn ask<T: for<'de> Deserialize<'de>>(&self, ask: Ask) -> Result<T, AdminError> {
        let what = ask.what;
        let late = |_elapsed| AdminError::TimedOut { origin: self.origin(), what };
        let bytes = tokio::time::timeout(LIMIT, self.converse(ask)).await.map_err(late)??;
        serde_json::from_slice(&bytes).map_err(|_error| AdminError::Unreadable { origin: self.origin(), what })
    }

    /// The body of a good answer, which may hold a key.
    async fn converse(&self, ask: Ask) -> Result<Zeroizing<Vec<u8>>, AdminError> {
        let request = self.request(&ask)?;
        let unreachable = |source| AdminError::Unreachable { origin: self.origin(), source };
        let stream = self.connector.connect(Deadline::after(CONNECT), Protocol::Http1).await.map_err(unreachable)?;
        let cut_off = |source| AdminError::CutOff { origin: self.origin(), what: ask.what, source };
        let mut answer = one_shot::send(stream, request).await.map_err(cut_off)?;
        let bytes = Zeroizing::new(answer.read_body(LARGEST).await.map_err(cut_off)?);
        match answer.head.status {
            StatusCode::OK | StatusCode::CREATED => Ok(bytes),
            status => Err(self.refusal(status, ask.what, &bytes)),
        }
    }

    fn request(&self, ask: &Ask) -> Result<Request<String>, AdminError> {
        let key = self.account.key.read_key(fault_of_admin_key);
        let key = key.map_err(|source| AdminError::Key { place: self.account.key.to_string().into(), source })?;
        let mut request = Request::new(ask.body.as_ref().map_or_else(String::new, Value::to_string));
        *request.method_mut() = ask.method.clone();
        // Every id in it is plain: the configuration and the lists are held to that.
        *request.uri_mut() = format!("/v1/organization/projects/{}/{}", self.account.project, ask.path)
            .parse()
            .map_err(|_no_path| AdminError::Unreadable { origin: self.origin(), what: ask.what })?;
        let headers = request.headers_mut();
        let bearer = Zeroizing::new([b"Bearer ", key.expose()].concat());
        if let Ok(mut bearer) = HeaderValue::from_bytes(&bearer) {
            bearer.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, bearer);
        }
        if let Ok(host) = self.account.origin.authority().try_into() {
            headers.insert(header::HOST, host);
        }
        headers.insert(header::USER_AGENT, HeaderValue::from_static(one_shot::USER_AGENT));
        if ask.body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(request)
    }

    fn refusal(&self, status: StatusCode, what: &'static str, bytes: &[u8]) -> AdminError {
        let said = serde_json::from_slice::<Value>(bytes).ok();
        let message = said.as_ref().and_then(|said| said["error"]["message"].as_str().or(said["error"].as_str()));
        // OpenAI quotes a part of the key that it refuses, which `harmless` masks.
        let said = message.map_or_else(|| "it does not say why".into(), |message| harmless(message, LONGEST_MESSAGE));
        let (origin, status) = (self.origin(), status.as_u16());
        match status {
            401 | 403 => AdminError::NotAllowed { origin, what, status, said },
            status => AdminError::Refused { origin, what, status, said },
        }
    }

    fn origin(&self) -> Box<str> {
        self.account.origin.to_string().into()
    }
}

impl Ask {
    fn get(path: String, what: &'static str) -> Self {
        Self { method: Method::GET, path, what, body: None }
    }
}

#[derive(Deserialize)]
struct Deleted {
    #[serde(default)]
    deleted: bool,
}

// === impl ProjectKey, AdminError ===

impl ProjectKey {
    /// When it was made.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        Timestamp::from_millis(self.created_at.saturating_mul(1000))
    }

    /// When it was used last, as far as OpenAI has noted.
    #[must_use]
    pub fn last_used(&self) -> Option<Timestamp> {
        self.last_used_at.map(|at| Timestamp::from_millis(at.saturating_mul(1000)))
    }

    /// When it expires.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires_at.map(|at| Timestamp::from_millis(at.saturating_mul(1000)))
    }

    /// The id of the service account or the person that owns it.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        let Owner { service_account, user } = &self.owner;
        service_account.as_ref().or(user.as_ref()).map(|owner| &*owner.id)
    }
}

impl AdminError {
    /// Whether what was asked for may have been done all the same.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::CutOff { .. } | Self::TimedOut { .. } | Self::Unreadable { .. } => true,
            // A conflict, too: with the same order that was carried out before.
            Self::Refused { status, .. } => matches!(status, 408 | 409 | 500..),
            Self::Key { .. }
            | Self::Tls { .. }
            | Self::Unreachable { .. }
            | Self::NotAllowed { .. }
            | Self::Partial { .. } => false,
        }
    }
}

/// Whether that is an id that may stand in a path.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !text.is_empty() && text.len() <= 100 && text.bytes().all(is_plain)
}

const LIST: &str = "the list of keys";

/// The most that OpenAI gives at a time.
const PAGE: usize = 100;

/// More than any project has.
const MOST_KEYS: usize = 20_000;

/// How much of an answer is read, in bytes.
const LARGEST: usize = 4 << 20;

const LONGEST_MESSAGE: usize = 300;

const CONNECT: Duration = Duration::from_secs(10);

/// How long a question may take.
const LIMIT: Duration = Duration::from_mins(1);
