//! Asking upstream whether a key is alive, and n8n what its key may do: at no cost.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{HeaderMap, Method, Request, header};
use serde::de::IgnoredAny;
use serde_json::json;

use super::Finding;
use crate::caller::names::harmless;
use crate::keys::set::Bearer;
use crate::n8n::Instance;
use crate::n8n::client::{Bounds, Client, ClientError, scope};
use crate::net::connect::{ConnectError, Connector, Deadline};
use crate::net::one_shot;
use crate::net::protocol::Protocol;
use crate::openai::encoding::Encoding;
use crate::openai::error::ErrorBody;
use crate::openai::probe::Standing;
use crate::request_path::BasePath;
use crate::telemetry::event::with_causes;

/// Why a probe has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is no way to upstream.
    #[error("upstream cannot be reached")]
    Connect(#[from] ConnectError),
    #[error("upstream broke off")]
    CutOff(#[from] hyper::Error),
    #[error("upstream did not answer within {} s", LIMIT.as_secs())]
    TimedOut,
}

/// Asks upstream for its models with that key. Connecting may take that long, and all of it no longer than [`LIMIT`].
pub async fn probe(
    connector: &Connector,
    base_path: Option<&BasePath>,
    bearer: &Bearer,
    connect_timeout: Duration,
) -> Result<Standing, ProbeError> {
    let asking = question(connector, base_path, bearer, connect_timeout, MODELS, None);
    tokio::time::timeout(LIMIT, asking).await.map_err(|_elapsed| ProbeError::TimedOut)?.map(|(standing, _)| standing)
}

/// What upstream lets a key do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// What it says of the key where it is asked for its models.
    pub standing: Standing,
    /// The project that the key belongs to, where upstream says it (`openai-project`).
    pub project: Option<Box<str>>,
    /// Of what n8n's nodes ask for, what it refuses to this key.
    pub refused: BTreeSet<&'static str>,
}

/// Asks upstream with that key for whatever n8n's nodes ask for, at no cost: a body without what is required is refused as such
/// (400) where the key may go there, and for the key (401, 403) where it may not. As OpenAI answers, November 2026.
pub async fn rights(
    connector: &Connector,
    base_path: Option<&BasePath>,
    bearer: &Bearer,
    connect_timeout: Duration,
) -> Result<Rights, ProbeError> {
    let asking = async {
        let (standing, project) = question(connector, base_path, bearer, connect_timeout, "models", None).await?;
        let mut refused = BTreeSet::new();
        if standing.is_sound() {
            for route in ROUTES {
                // What does not answer refuses nothing.
                let asked = question(connector, base_path, bearer, connect_timeout, route, Some("{}")).await;
                if matches!(asked, Ok((Standing::Dead | Standing::Restricted { .. }, _))) {
                    refused.insert(route);
                }
            }
        }
        Ok(Rights { standing, project, refused })
    };
    tokio::time::timeout(LIMIT, asking).await.map_err(|_elapsed| ProbeError::TimedOut)?
}

/// What n8n's OpenAI nodes post to, below `/v1/`.
const ROUTES: [&str; 6] =
    ["chat/completions", "responses", "embeddings", "images/generations", "audio/speech", "moderations"];

/// Asks upstream for its models without any key, to see whether it is there; gives the status of its answer.
pub async fn reach(
    connector: &Connector,
    base_path: Option<&BasePath>,
    connect_timeout: Duration,
) -> Result<u16, ProbeError> {
    let asking = async {
        let stream = connector.connect(Deadline::after(connect_timeout), Protocol::Http1).await?;
        let answer = one_shot::send(stream, request(connector, base_path, None, MODELS, None)).await?;
        Ok(answer.head.status.as_u16())
    };
    tokio::time::timeout(LIMIT, asking).await.map_err(|_elapsed| ProbeError::TimedOut)?
}

/// One question with a key; `body` makes it a POST. Gives the project as well that upstream names.
async fn question(
    connector: &Connector,
    base_path: Option<&BasePath>,
    bearer: &Bearer,
    connect_timeout: Duration,
    route: &str,
    body: Option<&str>,
) -> Result<(Standing, Option<Box<str>>), ProbeError> {
    let stream = connector.connect(Deadline::after(connect_timeout), Protocol::Http1).await?;
    let mut answer = one_shot::send(stream, request(connector, base_path, Some(bearer), route, body)).await?;
    let mut error = ErrorBody::new(answer.head.status, encoding(&answer.head.headers));
    while !error.is_full()
        && let Some(piece) = answer.next_piece().await?
    {
        error.push(&piece);
    }
    let project = answer.head.headers.get("openai-project").and_then(|project| project.to_str().ok());
    Ok((Standing::read(answer.head.status, &error), project.map(|project| harmless(project, LONGEST_PROJECT))))
}

fn request(
    connector: &Connector,
    base_path: Option<&BasePath>,
    bearer: Option<&Bearer>,
    route: &str,
    body: Option<&str>,
) -> Request<String> {
    let mut request = Request::new(body.unwrap_or_default().to_owned());
    let path = base_path.map_or_else(|| format!("/v1/{route}"), |base| format!("{base}/{route}"));
    if body.is_some() {
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    }
    // A path of plain segments is a target.
    *request.uri_mut() = path.parse().unwrap_or_default();
    let headers = request.headers_mut();
    if let Ok(host) = connector.origin.authority().try_into() {
        headers.insert(header::HOST, host);
    }
    if let Some(bearer) = bearer {
        headers.insert(header::AUTHORIZATION, bearer.expose_header());
    }
    headers.insert(header::USER_AGENT, http::HeaderValue::from_static(one_shot::USER_AGENT));
    request
}

/// Asks an n8n for one thing of each kind, and says which scopes its key lacks, with what that costs; and which scopes its release
/// knows at all.
pub async fn examine_n8n(instance: &Instance) -> Vec<Finding> {
    let about = format!("n8n.{}.api_key", instance.name);
    vec![match ask_n8n(instance).await {
        Ok(asked) => {
            let text = asked.in_words(instance);
            // Without the list there are no names at all.
            if asked.lacks.contains(&scope::WORKFLOW_LIST) {
                Finding::problem(about, text)
            } else if asked.lacks.is_empty() {
                Finding::sound(about, text)
            } else {
                Finding::warning(about, text)
            }
        }
        Err(error) => Finding::problem(about, with_causes(&error)),
    }]
}

/// What an n8n says to a question for each scope.
struct Asked {
    /// The scopes that the key lacks.
    lacks: Vec<&'static str>,
    /// Whether its API does not know credential records (1.x).
    is_first: bool,
    /// Whether the key may change credentials; nothing where its API cannot.
    may_change: Option<bool>,
}

impl Asked {
    fn in_words(&self, instance: &Instance) -> String {
        let costs: Vec<_> =
            self.lacks.iter().map(|scope| format!("it lacks {scope}: {}", scope::without(scope))).collect();
        let costs = costs.join("; ");
        let takes = format!("n8n at {} takes it", instance.url);
        let list = |scopes: &[&str]| scopes.join(", ");
        if self.is_first {
            return format!(
                "{takes}{}. It is n8n 1.x, or 2.x before 2.3: its API changes no credential. 1.x does not look at scopes, takes a \
                 new key with {} alone, and answers `Invalid scopes for user role` to any other that keyward names",
                if costs.is_empty() { costs } else { format!(", but {costs}") },
                list(&scope::OF_FIRST)
            );
        }
        let change = match self.may_change {
            Some(false) => {
                format!(". Without {}, {}", scope::CREDENTIAL_UPDATE, scope::without(scope::CREDENTIAL_UPDATE))
            }
            Some(true) | None => String::new(),
        };
        if costs.is_empty() {
            return format!("{takes}{change}");
        }
        let needed: Vec<_> = needed(instance).collect();
        format!(
            "{takes}, but {}. Make one as n8n's owner or an admin, with the scopes {}; none of them changes anything{change}",
            costs,
            list(&needed)
        )
    }
}

async fn ask_n8n(instance: &Instance) -> Result<Asked, ClientError> {
    let client = Client::new(instance, Bounds::default())?;
    let mut asked = Asked { lacks: Vec::new(), is_first: false, may_change: None };
    let is_needed = |(_, scope): &(&str, &str)| needed(instance).any(|needed| needed == *scope);
    for (path, scope) in QUESTIONS.into_iter().filter(is_needed) {
        match client.get::<IgnoredAny>(path, scope).await {
            Ok(_) | Err(ClientError::NotFound { .. }) => {}
            Err(ClientError::NotInThisVersion { .. }) => asked.is_first = true,
            Err(ClientError::ScopeLacks { scope, .. }) => asked.lacks.push(scope),
            Err(error) => return Err(error),
        }
    }
    if !asked.is_first {
        let change = client.patch::<IgnoredAny>(NO_CREDENTIAL, scope::CREDENTIAL_UPDATE, &json!({ "data": {} })).await;
        asked.may_change = match change {
            Ok(_) | Err(ClientError::NotFound { .. } | ClientError::Refused { .. }) => Some(true),
            Err(ClientError::ScopeLacks { .. }) => Some(false),
            Err(_) => None,
        };
    }
    Ok(asked)
}

/// The scopes that keyward needs: one of them for n8n's test of a credential alone.
fn needed(instance: &Instance) -> impl Iterator<Item = &'static str> {
    scope::LEAST.into_iter().filter(|scope| instance.press || *scope != scope::CREDENTIAL_READ)
}

/// What needs each scope. There is no workflow, execution or credential of such a number: a key with the scope is told so.
const QUESTIONS: [(&str, &str); 6] = [
    ("workflows?limit=1", scope::WORKFLOW_LIST),
    ("workflows/0", scope::WORKFLOW_READ),
    ("executions?limit=1", scope::EXECUTION_LIST),
    ("executions/999999999", scope::EXECUTION_READ),
    ("credentials?limit=1", scope::CREDENTIAL_LIST),
    (NO_CREDENTIAL, scope::CREDENTIAL_READ),
];

const NO_CREDENTIAL: &str = "credentials/0";

fn encoding(headers: &HeaderMap) -> Encoding {
    Encoding::read(headers.get(header::CONTENT_ENCODING).map(http::HeaderValue::as_bytes))
}

/// What a probe asks for: a list, which costs nothing.
const MODELS: &str = "models";

const LONGEST_PROJECT: usize = 100;

/// Longer than any list of models takes.
const LIMIT: Duration = Duration::from_secs(20);
