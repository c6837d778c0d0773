//! Asking n8n's public API. Its key goes to n8n's own origin alone: no redirect is followed, and what n8n sends back has the
//! key struck out before it is read.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use jiff::fmt::rfc2822;
use memchr::memmem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Instance;
use super::documents::{Page, Tested};
use crate::caller::names::harmless;
use crate::clock::Timestamp;
use crate::keys::secret::Secret;
use crate::keys::source::{Source, SourceError};
use crate::n8n::address::Address;
use crate::net::client_tls::{self, TlsError};
use crate::net::connect::{ConnectError, Connector, Deadline, ProxyHop, UpstreamStream};
use crate::net::one_shot::{self, Answer};
use crate::net::origin::Scheme;
use crate::net::protocol::Protocol;

/// Asks the API of one n8n, within bounds of time and size.
pub struct Client {
    name: Box<str>,
    address: Address,
    api_key: Source,
    connector: Connector,
    bounds: Bounds,
    /// The `Date` of its last answer, in milliseconds since the Unix epoch; zero before any.
    date: AtomicI64,
}

/// What a scope of an API key lets its holder do. n8n 2.x answers 403 for what a key has no scope for; 1.x does not look.
pub mod scope {
    /// The list of all workflows.
    pub const WORKFLOW_LIST: &str = "workflow:list";
    /// One workflow, with its nodes.
    pub const WORKFLOW_READ: &str = "workflow:read";
    /// Changes of a workflow.
    pub const WORKFLOW_UPDATE: &str = "workflow:update";
    /// What of a workflow runs: n8n 2.x publishes a version by it, also where a change is saved.
    pub const WORKFLOW_ACTIVATE: &str = "workflow:activate";
    /// The list of executions, without what ran through their nodes.
    pub const EXECUTION_LIST: &str = "execution:list";
    /// One execution, with what ran through its nodes.
    pub const EXECUTION_READ: &str = "execution:read";
    /// The list of credential records, without their data.
    pub const CREDENTIAL_LIST: &str = "credential:list";
    /// One credential record without its data, and n8n's test of it.
    pub const CREDENTIAL_READ: &str = "credential:read";
    /// Changes of a credential record.
    pub const CREDENTIAL_UPDATE: &str = "credential:update";
    /// New credential records.
    pub const CREDENTIAL_CREATE: &str = "credential:create";

    /// What is not had without a scope, as it follows its name.
    #[must_use]
    pub fn without(scope: &str) -> &'static str {
        match scope {
            WORKFLOW_LIST => "no names are known, and nothing of what an audit looks at",
            WORKFLOW_READ => "workflows that are new are known with the next list alone",
            EXECUTION_LIST => "which executions wait or run with what they began with is not known",
            EXECUTION_READ => "what executions that wait have begun with is not known",
            CREDENTIAL_LIST => "which credentials there are, and when they were changed, is not known",
            CREDENTIAL_READ => "which key a credential holds is known by requests of its nodes alone",
            CREDENTIAL_UPDATE => "keyward n8n connect, disconnect and rotate change no credential",
            _ => "a part of what an audit looks at is not known",
        }
    }

    /// What n8n 1.x knows of those: it takes no key with another one (400, `Invalid scopes for user role`), and looks at none
    /// (seen in 1.100.1).
    pub const OF_FIRST: [&str; 4] = [WORKFLOW_LIST, WORKFLOW_READ, EXECUTION_LIST, EXECUTION_READ];

    /// All that keyward needs for everything but `keyward n8n connect`, `reconnect` and `undo`: none of them changes anything.
    pub const LEAST: [&str; 6] =
        [WORKFLOW_LIST, WORKFLOW_READ, EXECUTION_LIST, EXECUTION_READ, CREDENTIAL_LIST, CREDENTIAL_READ];
}

/// How much n8n may send, and for how long it may be waited for.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For one answer, from the connection to its last byte.
    pub answer: Duration,
    /// For all pages of a list.
    pub list: Duration,
    /// Of one answer, in bytes.
    pub answer_size: usize,
    /// Of all pages of a list, in bytes.
    pub list_size: usize,
    /// How many pages a list may have.
    pub pages: usize,
}

/// How much of a list was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Whole,
    /// Its beginning.
    Part,
}

/// Why n8n's API gives no answer. Each says what to do; none quotes the key.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no key to ask with.
    #[error("n8n's API key cannot be read from {place}")]
    Key {
        /// Where it should stand.
        place: Box<str>,
        /// Why it cannot be read.
        source: SourceError,
    },
    /// TLS cannot be set up.
    #[error("cannot speak TLS to {url}")]
    Tls {
        /// n8n's address, or a proxy's on the way.
        url: Box<str>,
        source: TlsError,
    },
    /// There is no way to n8n.
    #[error("n8n at {url} is not reached; is it up, and is its url right?")]
    Unreachable { url: Box<str>, source: ConnectError },
    #[error("n8n at {url} broke off, or speaks no HTTP; see its own log")]
    CutOff { url: Box<str>, source: hyper::Error },
    #[error("n8n at {url} did not answer {path} in full within {limit:?}; see whether it is overloaded")]
    TooSlow {
        url: Box<str>,
        /// What it was asked for.
        path: Box<str>,
        /// How long it may take.
        limit: Duration,
    },
    /// 401.
    #[error(
        "n8n at {url} refuses the API key (401): make a new one in n8n (Settings, n8n API) and put it into {place}; it may \
         have been deleted, or have expired"
    )]
    KeyRefused {
        url: Box<str>,
        /// Where the key stands.
        place: Box<str>,
    },
    /// 403.
    #[error("n8n at {url} refuses {path} to this API key (403): it needs the scope {scope}")]
    ScopeLacks {
        url: Box<str>,
        /// What it was asked for.
        path: Box<str>,
        scope: &'static str,
    },
    /// 404, or a page where the API should be.
    #[error(
        "there is no n8n API at {url}/api/v1 ({found}): the url is the one of n8n's editor, without what follows it, and n8n \
         must not have its public API switched off (N8N_PUBLIC_API_DISABLED)"
    )]
    NoApi {
        url: Box<str>,
        /// What there is instead.
        found: Box<str>,
    },
    /// 404 for something that may well be missing.
    #[error("n8n at {url} has no {path}")]
    NotFound {
        url: Box<str>,
        /// What it was asked for.
        path: Box<str>,
    },
    /// 405.
    #[error("this version of n8n cannot do {method} {path}; 2.x can")]
    NotInThisVersion {
        method: Method,
        /// What it was asked for.
        path: Box<str>,
    },
    /// 3xx.
    #[error("n8n at {url} redirects to {to} ({}), which is not followed: the API key is for {url} alone. If that is where n8n is, make it the url", status.as_u16())]
    Redirect {
        url: Box<str>,
        status: StatusCode,
        /// Where to, without anything that could be secret.
        to: Box<str>,
    },
    /// Another status that is no success.
    #[error("n8n at {url} answers {path} with {}{said}", status.as_u16())]
    Refused {
        url: Box<str>,
        /// What it was asked for.
        path: Box<str>,
        status: StatusCode,
        /// A colon and n8n's own message, cleaned; nothing where there is none.
        said: Box<str>,
    },
    /// More than is worth reading.
    #[error("n8n at {url} sends more for {path} than the {limit} bytes that are read of it")]
    TooBig {
        url: Box<str>,
        /// What it was asked for.
        path: Box<str>,
        /// How much is read, in bytes.
        limit: usize,
    },
    /// A list goes in circles, or on and on.
    #[error("n8n's list {path} does not end: {pages} pages were read")]
    Endless {
        /// What was asked for.
        path: Box<str>,
        /// How many pages were read.
        pages: usize,
    },
    /// What came is not what n8n's API sends.
    #[error("n8n at {url} sends something for {path} that cannot be read; keyward knows n8n 1.100 to 2.41")]
    Json {
        url: Box<str>,
        /// What it was asked for.
        path: Box<str>,
        /// Where and why. serde says the kind of what it met, and quotes texts where it expected another kind of value: so
        /// it is kept as a place alone.
        source: JsonFault,
    },
}

/// Where an answer stops making sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at line {line}, column {column}")]
pub struct JsonFault {
    what: &'static str,
    line: usize,
    column: usize,
}

struct Ask<'a> {
    method: Method,
    /// Below `/api/v1/`, with its query.
    path: &'a str,
    scope: &'static str,
    body: Option<String>,
    /// Whether the answer keeps the API key where that stands in it, because what is read is written back.
    is_whole: bool,
}

/// Whether a change of a workflow is to run as well, where one of its versions does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// n8n 2.x publishes what is saved; 1.x runs it.
    WhereActive,
    /// It is saved as a draft. Only newer releases of 2.x can ([`Client::can_hold_back`]).
    Never,
}

// === impl Client ===

impl Client {
    /// For that instance, within those bounds. Nothing is asked yet.
    pub fn new(instance: &Instance, bounds: Bounds) -> Result<Self, ClientError> {
        let origin = &instance.url.origin;
        let tls = match origin.scheme {
            Scheme::Http => None,
            Scheme::Https => Some(client_tls::client(origin, None).map_err(|source| no_tls(&instance.url, source))?),
        };
        let via =
            instance.via.as_ref().map(|via| ProxyHop::new(via).map_err(|source| no_tls(via, source))).transpose()?;
        let connector = Connector { origin: origin.clone(), tls, via };
        let (name, address, api_key) = (instance.name.clone(), instance.url.clone(), instance.api_key.clone());
        Ok(Self { name, address, api_key, connector, bounds, date: AtomicI64::new(0) })
    }

    /// What n8n's clock showed when it gave its last answer, by the `Date` of that (RFC 9110, 6.6.1), to a second.
    #[must_use]
    pub fn date(&self) -> Option<Timestamp> {
        let date = self.date.load(Ordering::Relaxed);
        (date != 0).then(|| Timestamp::from_millis(date))
    }

    /// The name of the instance in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address that the configuration gives it, below which its API lies at `/api/v1`.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Gives every workflow to `take`, page by page, without its pinned data. What is wrong with a later page is told after
    /// what came before it was given.
    pub async fn workflows<T: DeserializeOwned + Default>(&self, take: impl FnMut(T)) -> Result<(), ClientError> {
        self.list("workflows?excludePinnedData=true", scope::WORKFLOW_LIST, take).await
    }

    /// The workflow of that id.
    pub async fn workflow<T: DeserializeOwned>(&self, id: &str) -> Result<T, ClientError> {
        self.get(&format!("workflows/{}", encoded(id)), scope::WORKFLOW_READ).await
    }

    /// Every credential record, without data. n8n 1.x cannot ([`ClientError::NotInThisVersion`]).
    pub async fn credentials<T: DeserializeOwned + Default>(&self, take: impl FnMut(T)) -> Result<(), ClientError> {
        self.list("credentials?", scope::CREDENTIAL_LIST, take).await
    }

    /// The execution of that id with its data, which names its parent.
    pub async fn execution<T: DeserializeOwned>(&self, id: &str) -> Result<T, ClientError> {
        self.get(&format!("executions/{}?includeData=true", encoded(id)), scope::EXECUTION_READ).await
    }

    /// Has n8n test a credential record, as its own button does: n8n asks the service that the record is for whether it takes
    /// the key. Nothing where this release cannot, or has no such record.
    pub async fn test_credential(&self, id: &str) -> Result<Option<Tested>, ClientError> {
        let path = format!("credentials/{}/test", encoded(id));
        match self.post(&path, scope::CREDENTIAL_READ, &json!({})).await {
            Err(ClientError::NotInThisVersion { .. } | ClientError::NotFound { .. }) => Ok(None),
            tested => tested.map(Some),
        }
    }

    /// The workflow of that id as n8n wrote it, with whatever is secret in it: to be changed and written back.
    pub async fn whole_workflow(&self, id: &str) -> Result<Vec<u8>, ClientError> {
        self.whole(&format!("workflows/{}", encoded(id))).await
    }

    /// A version of a workflow that n8n 2.x keeps, in the same way. It stands at another path in older releases.
    pub async fn whole_version(&self, id: &str, version: &str) -> Result<Vec<u8>, ClientError> {
        let (id, version) = (encoded(id), encoded(version));
        match self.whole(&format!("workflows/{id}/versions/{version}")).await {
            Err(ClientError::NotFound { .. }) => self.whole(&format!("workflows/{id}/{version}")).await,
            read => read,
        }
    }

    async fn whole(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        let ask = Ask { method: Method::GET, path, scope: scope::WORKFLOW_READ, body: None, is_whole: true };
        self.send(&ask, usize::MAX).await
    }

    /// Saves a workflow: `body` is what n8n's API takes for one.
    pub async fn put_workflow(&self, id: &str, publish: Publish, body: String) -> Result<Value, ClientError> {
        let query = match publish {
            Publish::WhereActive => "",
            Publish::Never => "?publishIfActive=false",
        };
        let path = format!("workflows/{}{query}", encoded(id));
        let ask =
            Ask { method: Method::PUT, path: &path, scope: scope::WORKFLOW_UPDATE, body: Some(body), is_whole: false };
        self.ask(ask).await
    }

    /// Has a version of a workflow run that n8n 2.x keeps.
    pub async fn publish(&self, id: &str, version: &str) -> Result<Value, ClientError> {
        let path = format!("workflows/{}/publish", encoded(id));
        self.post(&path, scope::WORKFLOW_ACTIVATE, &json!({ "versionId": version })).await
    }

    /// Switches a workflow on.
    pub async fn activate(&self, id: &str) -> Result<Value, ClientError> {
        let path = format!("workflows/{}/activate", encoded(id));
        self.post(&path, scope::WORKFLOW_ACTIVATE, &json!({})).await
    }

    /// Which of the two scopes the API key lacks that changes of workflows need. n8n is asked to change a workflow that there is
    /// not, so nothing changes; 1.x looks at no scope.
    pub async fn lacks_for_changes(&self) -> Result<Vec<&'static str>, ClientError> {
        let empty = json!({ "name": "none", "nodes": [], "connections": {}, "settings": {} }).to_string();
        let put = self.put_workflow(NO_WORKFLOW, Publish::WhereActive, empty).await;
        let publish = self.activate(NO_WORKFLOW).await;
        let mut lacks = Vec::new();
        for asked in [put, publish] {
            match asked {
                Err(error @ ClientError::ScopeLacks { .. }) => lacks.extend(error.scope()),
                Ok(_) | Err(ClientError::NotFound { .. } | ClientError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(lacks)
    }

    /// Whether this release saves a draft without publishing it ([`Publish::Never`]): by what it says of a value that this
    /// setting cannot have, for a workflow that there is not (seen in 2.41.1 and 1.100.1).
    pub async fn can_hold_back(&self) -> Result<bool, ClientError> {
        let path = format!("workflows/{NO_WORKFLOW}?publishIfActive=perhaps");
        let body = Some(json!({ "name": "none", "nodes": [], "connections": {}, "settings": {} }).to_string());
        let ask = Ask { method: Method::PUT, path: &path, scope: scope::WORKFLOW_UPDATE, body, is_whole: false };
        match self.ask::<Value>(ask).await {
            Err(ClientError::Refused { status: StatusCode::BAD_REQUEST, said, .. }) => {
                Ok(said.contains("publishIfActive") && !said.contains("Unknown query parameter"))
            }
            Ok(_) | Err(ClientError::NotFound { .. } | ClientError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What stands at `path`, which is below `/api/v1/` and encoded. `scope` is what the key needs for it.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, scope: &'static str) -> Result<T, ClientError> {
        self.ask(Ask { method: Method::GET, path, scope, body: None, is_whole: false }).await
    }

    /// Sends a document, and reads what n8n answers.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        scope: &'static str,
        body: &Value,
    ) -> Result<T, ClientError> {
        self.ask(Ask { method: Method::POST, path, scope, body: Some(body.to_string()), is_whole: false }).await
    }

    /// Changes a part of something.
    pub async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        scope: &'static str,
        body: &Value,
    ) -> Result<T, ClientError> {
        self.ask(Ask { method: Method::PATCH, path, scope, body: Some(body.to_string()), is_whole: false }).await
    }

    /// Gives each entry of a list to `take`. `path` has a query already, if only an empty one.
    pub async fn list<T: DeserializeOwned + Default>(
        &self,
        path: &str,
        scope: &'static str,
        take: impl FnMut(T),
    ) -> Result<(), ClientError> {
        let mut take = take;
        let all = |entry| {
            take(entry);
            ControlFlow::Continue(())
        };
        match self.list_at_most(path, scope, self.bounds.pages, all).await? {
            Read::Whole => Ok(()),
            Read::Part => Err(ClientError::Endless { path: shown(path), pages: self.bounds.pages }),
        }
    }

    /// Gives the entries of a list to `take`, of so many pages at most, until it wants no more.
    pub async fn list_at_most<T: DeserializeOwned + Default>(
        &self,
        path: &str,
        scope: &'static str,
        pages: usize,
        take: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<Read, ClientError> {
        let limit = self.bounds.list;
        let late = |_elapsed| ClientError::TooSlow { url: self.url(), path: shown(path), limit };
        tokio::time::timeout(limit, self.read_pages(path, scope, pages, take)).await.map_err(late)?
    }

    async fn read_pages<T: DeserializeOwned + Default>(
        &self,
        path: &str,
        scope: &'static str,
        pages: usize,
        mut take: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<Read, ClientError> {
        let (mut cursor, mut read) = (None::<String>, 0);
        for _ in 0..pages {
            let at = cursor.as_deref().map_or_else(String::new, |cursor| format!("&cursor={}", encoded(cursor)));
            let here = format!("{path}&limit={LARGEST_PAGE}{at}").replace("?&", "?");
            let left = self.bounds.list_size.saturating_sub(read);
            let sent =
                self.send(&Ask { method: Method::GET, path: &here, scope, body: None, is_whole: false }, left).await;
            let bytes = sent.map_err(|error| self.of_the_list(error, path, left))?;
            read += bytes.len();
            let page: Page<T> = self.parse(&bytes, path)?;
            if page.data.into_iter().try_for_each(&mut take).is_break() {
                return Ok(Read::Part);
            }
            match page.next_cursor {
                None => return Ok(Read::Whole),
                // A cursor that leads to itself.
                again if again == cursor => break,
                next => cursor = next,
            }
        }
        Ok(Read::Part)
    }

    /// A page that is too large because those before it left no room for it: it is the list that is.
    fn of_the_list(&self, mut error: ClientError, path: &str, left: usize) -> ClientError {
        if let ClientError::TooBig { path: named, limit, .. } = &mut error
            && left < self.bounds.answer_size
        {
            (*named, *limit) = (shown(path), self.bounds.list_size);
        }
        error
    }

    async fn ask<T: DeserializeOwned>(&self, ask: Ask<'_>) -> Result<T, ClientError> {
        let bytes = self.send(&ask, usize::MAX).await?;
        self.parse(&bytes, ask.path)
    }

    fn parse<T: DeserializeOwned>(&self, bytes: &[u8], path: &str) -> Result<T, ClientError> {
        let unreadable = |error: serde_json::Error| ClientError::Json {
            url: self.url(),
            path: shown(path),
            source: JsonFault::of(&error),
        };
        serde_json::from_slice(bytes).map_err(unreadable)
    }

    /// The body of a good answer; at most `most` bytes of it are read.
    async fn send(&self, ask: &Ask<'_>, most: usize) -> Result<Vec<u8>, ClientError> {
        let limit = self.bounds.answer;
        let late = |_elapsed| ClientError::TooSlow { url: self.url(), path: shown(ask.path), limit };
        tokio::time::timeout_at(Instant::now() + limit, self.converse(ask, most)).await.map_err(late)?
    }

    async fn converse(&self, ask: &Ask<'_>, most: usize) -> Result<Vec<u8>, ClientError> {
        let key = self.read_key()?;
        let request = self.request(ask, &key);
        let unreachable = |source| ClientError::Unreachable { url: self.url(), source };
        let deadline = Deadline::after(self.bounds.connect);
        let stream = self.connector.connect(deadline, Protocol::Http1).await.map_err(unreachable)?;
        let cut_off = |source| ClientError::CutOff { url: self.url(), source };
        let answer = one_shot::send(stream, request).await.map_err(cut_off)?;
        self.read(ask, answer, most.min(self.bounds.answer_size), &key).await
    }

    fn read_key(&self) -> Result<Secret, ClientError> {
        let unreadable = |source| ClientError::Key { place: self.place(), source };
        self.api_key.read_key(fault_of_api_key).map_err(unreadable)
    }

    fn request(&self, ask: &Ask<'_>, key: &Secret) -> Request<String> {
        let body = ask.body.clone().unwrap_or_default();
        let mut request = Request::new(body);
        *request.method_mut() = ask.method.clone();
        // Every part of it is encoded, so it is a URI; if it were none, n8n would say that there is nothing.
        *request.uri_mut() =
            format!("{}/api/v1/{}", self.address.path, ask.path).parse().unwrap_or_else(|_| Uri::default());
        let headers = request.headers_mut();
        let mut insert = |name, value: &[u8]| {
            // All of them are visible ASCII: a host that was parsed, a key that was.
            if let Ok(mut value) = HeaderValue::from_bytes(value) {
                value.set_sensitive(name == API_KEY);
                headers.insert(name, value);
            }
        };
        insert(header::HOST, self.address.origin.authority().as_bytes());
        insert(header::ACCEPT, JSON);
        insert(header::USER_AGENT, one_shot::USER_AGENT.as_bytes());
        insert(API_KEY, key.expose());
        if ask.body.is_some() {
            insert(header::CONTENT_TYPE, JSON);
        }
        request
    }

    async fn read(
        &self,
        ask: &Ask<'_>,
        mut answer: Answer<UpstreamStream>,
        most: usize,
        key: &Secret,
    ) -> Result<Vec<u8>, ClientError> {
        if let Some(date) = answer.head.headers.get(header::DATE).and_then(parse_date) {
            self.date.store(date, Ordering::Relaxed);
        }
        let enough = if answer.head.status.is_success() { most } else { most.min(LONGEST_COMPLAINT) };
        let cut_off = |source| ClientError::CutOff { url: self.url(), source };
        let mut bytes = answer.read_body(enough).await.map_err(cut_off)?;
        if bytes.len() > most {
            return Err(ClientError::TooBig { url: self.url(), path: shown(ask.path), limit: most });
        }
        let head = answer.head;
        let is_json = head.headers.get(header::CONTENT_TYPE).is_none_or(|kind| is_json(kind.as_bytes()));
        if !(ask.is_whole && head.status.is_success()) {
            strike_out(&mut bytes, key);
        }
        match head.status {
            status if status.is_success() && is_json => Ok(bytes),
            status if status.is_success() => Err(self.no_api(status, is_json)),
            status => {
                let mut to = head.headers.get(header::LOCATION).map_or_else(Vec::new, |to| to.as_bytes().to_vec());
                strike_out(&mut to, key);
                Err(self.refusal(ask, status, is_json.then_some(&bytes), &to))
            }
        }
    }

    /// What an answer means that is no success.
    fn refusal(&self, ask: &Ask<'_>, status: StatusCode, json: Option<&Vec<u8>>, to: &[u8]) -> ClientError {
        let said = json.and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
        let said = said.as_ref().and_then(|said| said["message"].as_str());
        let (url, path) = (self.url(), shown(ask.path));
        match status {
            StatusCode::UNAUTHORIZED if said.is_some() => ClientError::KeyRefused { url, place: self.place() },
            StatusCode::FORBIDDEN if said.is_some() => ClientError::ScopeLacks { url, path, scope: ask.scope },
            StatusCode::NOT_FOUND if said.is_some() && names_one(ask.path) => ClientError::NotFound { url, path },
            StatusCode::NOT_FOUND => self.no_api(status, json.is_some()),
            StatusCode::METHOD_NOT_ALLOWED => ClientError::NotInThisVersion { method: ask.method.clone(), path },
            status if status.is_redirection() => ClientError::Redirect { url, status, to: destination(to) },
            status => {
                // What stands in front of n8n answers with a page, if with anything.
                let said = match said {
                    Some(said) => format!(": {}", harmless(said, LONGEST_MESSAGE)),
                    None => ", not as n8n does; is there a login or another server in front of it?".to_owned(),
                };
                ClientError::Refused { url, path, status, said: said.into() }
            }
        }
    }

    fn no_api(&self, status: StatusCode, is_json: bool) -> ClientError {
        let what = if is_json { "nothing" } else { "a page, or something else that is no JSON" };
        ClientError::NoApi { url: self.url(), found: format!("{what}; status {}", status.as_u16()).into() }
    }

    fn url(&self) -> Box<str> {
        self.address.to_string().into()
    }

    fn place(&self) -> Box<str> {
        self.api_key.to_string().into()
    }
}

/// A `Date` in milliseconds since the Unix epoch.
fn parse_date(date: &HeaderValue) -> Option<i64> {
    let parsed = rfc2822::DateTimeParser::new().parse_timestamp(date.as_bytes());
    parsed.ok().map(jiff::Timestamp::as_millisecond)
}

// === impl Bounds ===

impl Default for Bounds {
    /// Room for some ten thousand workflows.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_mins(1),
            list: Duration::from_mins(10),
            answer_size: 64 << 20,
            list_size: 512 << 20,
            pages: 1000,
        }
    }
}

// === impl ClientError, JsonFault ===

impl ClientError {
    /// Whether n8n has refused it, so that it does not come later: what broke off or took too long may have been done, and so may
    /// what a server in front of n8n answered for it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Key { .. }
            | Self::Tls { .. }
            | Self::Unreachable { .. }
            | Self::KeyRefused { .. }
            | Self::ScopeLacks { .. }
            | Self::NoApi { .. }
            | Self::NotFound { .. }
            | Self::NotInThisVersion { .. }
            | Self::Redirect { .. } => true,
            Self::Refused { status, .. } => status.is_client_error() && *status != StatusCode::REQUEST_TIMEOUT,
            Self::CutOff { .. }
            | Self::TooSlow { .. }
            | Self::TooBig { .. }
            | Self::Endless { .. }
            | Self::Json { .. } => false,
        }
    }

    /// The scope that the API key lacks, where that is why there is no answer.
    #[must_use]
    pub fn scope(&self) -> Option<&'static str> {
        if let Self::ScopeLacks { scope, .. } = self { Some(scope) } else { None }
    }
}

impl JsonFault {
    fn of(error: &serde_json::Error) -> Self {
        let what = match error.classify() {
            serde_json::error::Category::Io | serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Syntax => "it is no JSON, or nested too deep",
            serde_json::error::Category::Data => "it has another kind of value than n8n sends",
        };
        Self { what, line: error.line(), column: error.column() }
    }
}

/// An id or cursor as one segment of a path, or a value in a query.
#[must_use]
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// What a value is that can be no key of n8n's API, as it follows "it holds": an `OpenAI` key must never go there.
#[must_use]
pub fn fault_of_api_key(value: &[u8]) -> Option<&'static str> {
    if value.starts_with(b"sk-") {
        Some("an OpenAI key, not one of n8n's API")
    } else if value.starts_with(b"kw_") {
        Some("a token of keyward's, not a key of n8n's API")
    } else if value.len() < SHORTEST_KEY {
        Some("something too short for a key of n8n's API")
    } else {
        None
    }
}

/// Where a redirect leads, without user information, query and fragment, which may be secret.
fn destination(to: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(to);
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let text = match text.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => text.to_owned(),
    };
    if text.is_empty() { "nowhere".into() } else { harmless(&text, LONGEST_MESSAGE) }
}

/// Overwrites the key wherever it stands: a workflow that speaks to n8n's own API may well have it in a node.
fn strike_out(bytes: &mut [u8], key: &Secret) {
    let key = key.expose();
    let places: Vec<usize> = memmem::find_iter(bytes, key).collect();
    for place in places {
        bytes[place..place + key.len()].fill(b'*');
    }
}

/// Whether a path is one thing's, which may be missing, and not a list's.
fn names_one(path: &str) -> bool {
    path.split('?').next().is_some_and(|path| path.contains('/'))
}

fn is_json(content_type: &[u8]) -> bool {
    content_type.to_ascii_lowercase().starts_with(JSON)
}

/// A path without its query: cursors say nothing to people.
fn shown(path: &str) -> Box<str> {
    harmless(path.split('?').next().unwrap_or_default(), LONGEST_MESSAGE)
}

fn no_tls(url: &impl ToString, source: TlsError) -> ClientError {
    ClientError::Tls { url: url.to_string().into(), source }
}

const API_KEY: header::HeaderName = header::HeaderName::from_static("x-n8n-api-key");

const JSON: &[u8] = b"application/json";

/// The id of a workflow that there is not: n8n makes ids of 16 letters and digits, and older releases numbers.
const NO_WORKFLOW: &str = "keyward-asks-what-it-may-do";

/// n8n 1.x refuses a larger one.
const LARGEST_PAGE: usize = 250;

/// How much of an answer is read that is no success, in bytes.
const LONGEST_COMPLAINT: usize = 64 << 10;

/// How much of what n8n says is shown, in characters.
const LONGEST_MESSAGE: usize = 200;

/// The keys of n8n's API are JSON Web Tokens, or on older versions 40 hexadecimal digits behind `n8n_api_`.
const SHORTEST_KEY: usize = 20;

/// A dot is encoded too: a segment of two leads elsewhere.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
