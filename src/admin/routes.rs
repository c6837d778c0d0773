//! All that can be asked of the admin listener, in one table.
//!
//! | route | needs | answer |
//! |---|---|---|
//! | `GET /healthz` | nothing | 200 as long as the process runs |
//! | `GET /readyz` | nothing | 200 when it takes requests, 503 when it is draining |
//! | `GET /metrics` | a token, or nothing | the metrics as text ([`crate::metrics`]) |
//! | `GET /` | a token, or a session | the rotation of each set, for people |
//! | `GET /nodes` | the same | every node, for people |
//! | `GET /nodes/{binding}` | the same | one node, for people |
//! | `GET /incidents` | the same | the incidents, for people |
//! | `GET /execution` | the same | one execution of n8n's, for people |
//! | `GET /audit` | the same | what an audit of n8n says, for people |
//! | `GET /live` | the same | exchanges as they end, for people |
//! | `GET /keys` | the same | keys and tokens by their public names, for people |
//! | `GET /notices` | the same | who is told by itself, what waits and what did not arrive, for people |
//! | `GET /watch` | the same | what changes on one of those pages, as server-sent events ([`super::watch`]) |
//! | `GET /assets/{asset}` | nothing | the style sheet, the script and the icon of the pages, which are the same everywhere |
//! | `GET /open/{link}` | nothing but the link | begins a session in the browser that opens it |
//! | `GET /api/v1/openapi.json` | a token | what the routes below take and give |
//! | `GET /api/v1/status` | a token | how keyward is |
//! | `GET /api/v1/problems` | a token | what is wrong now with upstream, a key, or keyward itself |
//! | `GET /api/v1/sets` | a token | the key sets and their keys, by their public names |
//! | `GET /api/v1/sets/{set}/rotation` | a token | who has changed to the current key, and whether the old one can go |
//! | `GET /api/v1/sets/{set}/reasons` | a token | all that bars its old keys, page by page |
//! | `POST /api/v1/sets/{set}/checked` | a token that may write | says what a check of the current key found |
//! | `POST /api/v1/keys/{key}/expiry` | a token that may write | says what OpenAI says of a key: when it expires |
//! | `GET /api/v1/bindings` | a token | the bindings, a page at a time |
//! | `GET /api/v1/bindings/{binding}` | a token | one of them, with each key that it sent |
//! | `POST /api/v1/bindings/{binding}/ack` | a token that may write | says that it is dead, or its incident dealt with |
//! | `GET /api/v1/doubts/{doubt}` | a token | one of those, which you can accept |
//! | `POST /api/v1/doubts/{doubt}/accept` | a token that may write | accepts what bars an old key from going |
//! | `POST /api/v1/doubts/{doubt}/withdraw` | a token that may write | takes that back |
//! | `GET /api/v1/incidents` | a token | the incidents, a page at a time |
//! | `GET /api/v1/n8n` | a token | which nodes of n8n pass keyward, and what is wrong with those that do not |
//! | `POST /api/v1/n8n/{n8n}/credentials/{credential}/press` | a token that may write | says that n8n tests a credential from now on, or what came of it |
//! | `GET /api/v1/executions/{execution}` | a token | what was sent in one execution of n8n's, as far as it is remembered |
//! | `GET /api/v1/events` | a token | each exchange when it ends, as server-sent events ([`super::events`]) |
//! | `GET /api/v1/notices` | a token | who is told by itself, what waits, and what did not arrive |
//! | `POST /api/v1/notices/mute` | a token that may write | tells nothing for a while |
//! | `POST /api/v1/notices/test` | a token that may write | sends a test to receivers of notices |
//! | `POST /api/v1/reload` | a token that may write | takes the configuration anew, whole or not at all |
//! | `POST /api/v1/links` | a token that may write | a link for `/open` |
//!
//! Whatever else is asked has the same answers for all without a token: they do not learn what there is.

use std::sync::Arc;

use http::Method;
use http::request::Parts;
use percent_encoding::percent_decode_str;

use super::access::{Pass, Scope};
use super::call::Call;
use super::connection::Connection;
use super::looks::{Draw, Looks, Sharing};
use super::parameters::Parameters;
use super::problem::{Kind, Problem};
use super::response::{Drawn, Response};
use super::settings::MetricsFor;
use super::state::AdminState;
use super::{api, events, guard, page, problem_response, reasons, views, watch};

/// Something that can be asked.
pub struct Route {
    /// How: `GET`, which stands for `HEAD` as well unless it uses a link up, or `POST`.
    pub method: &'static str,
    /// Where. A part in braces stands for any text.
    pub path: &'static str,
    /// What it takes to be answered.
    pub needs: Needs,
    /// The parameters that may stand in its query.
    pub parameters: &'static [&'static str],
    answer: Answer,
}

/// What it takes to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it tells anyone whether keyward lives.
    Nothing,
    /// A link that was not used yet, which is part of the path.
    Link,
    /// A token, unless the settings say otherwise.
    Metrics,
    /// A token or a session with that scope.
    Token(Scope),
}

impl Route {
    /// Whatever looks at a link before a person opens it, as chat programs do with HEAD, must not use it up.
    fn takes(&self, method: &Method) -> bool {
        let is_head = *method == Method::HEAD && self.method == "GET" && self.needs != Needs::Link;
        method.as_str() == self.method || is_head
    }
}

#[derive(Clone, Copy)]
enum Answer {
    /// At once, whatever else is asked: it takes no look at the bindings.
    Now(fn(&Arc<AdminState>, &Call) -> Result<Response, Problem>),
    /// From a look at them, which others may share.
    Drawn(Draw, Sharing),
    /// A page for people, from a look at them. A browser sends what was left empty in a form as well.
    Page,
    /// By the thread that has the configuration.
    Reload,
    /// From one look after the other.
    Watched(fn(&Arc<AdminState>, &Looks, Call) -> Result<Response, Problem>),
}

/// Every route of the admin listener: the token that it needs, the parameters that it knows, and what answers it.
pub static ROUTES: [Route; 39] = [
    Route { method: "GET", path: "/healthz", needs: Needs::Nothing, parameters: &[], answer: Answer::Now(api::health) },
    Route {
        method: "GET",
        path: "/readyz",
        needs: Needs::Nothing,
        parameters: &[],
        answer: Answer::Now(api::readiness),
    },
    Route {
        method: "GET",
        path: "/metrics",
        needs: Needs::Metrics,
        parameters: &[],
        answer: Answer::Drawn(api::metrics, Sharing::Look),
    },
    page("/", &[]),
    page("/nodes", &page::NODES),
    page("/nodes/{binding}", &[]),
    page("/incidents", &page::INCIDENTS),
    page("/execution", &page::EXECUTION),
    page("/audit", &[]),
    page("/live", &[]),
    page("/keys", &[]),
    page("/notices", &[]),
    Route {
        method: "GET",
        path: "/watch",
        needs: READ,
        parameters: &watch::WATCHED,
        answer: Answer::Watched(watch::watch),
    },
    Route {
        method: "GET",
        path: "/assets/{asset}",
        needs: Needs::Nothing,
        parameters: &[],
        answer: Answer::Now(page::asset),
    },
    Route { method: "GET", path: "/open/{link}", needs: Needs::Link, parameters: &[], answer: Answer::Now(page::open) },
    Route {
        method: "GET",
        path: "/api/v1/openapi.json",
        needs: READ,
        parameters: &[],
        answer: Answer::Now(api::document),
    },
    Route {
        method: "GET",
        path: "/api/v1/status",
        needs: READ,
        parameters: &[],
        answer: Answer::Drawn(api::status, Sharing::Look),
    },
    Route { method: "GET", path: "/api/v1/problems", needs: READ, parameters: &[], answer: Answer::Now(api::problems) },
    Route {
        method: "GET",
        path: "/api/v1/sets",
        needs: READ,
        parameters: &[],
        answer: Answer::Drawn(api::sets, Sharing::Look),
    },
    Route {
        method: "GET",
        path: "/api/v1/sets/{set}/rotation",
        needs: READ,
        parameters: &views::ROTATION,
        answer: Answer::Drawn(api::rotation, Sharing::Answer),
    },
    Route {
        method: "GET",
        path: "/api/v1/sets/{set}/reasons",
        needs: READ,
        parameters: &reasons::PARAMETERS,
        answer: Answer::Drawn(api::reasons, Sharing::Answer),
    },
    Route {
        method: "POST",
        path: "/api/v1/sets/{set}/checked",
        needs: WRITE,
        parameters: &api::CHECKED,
        answer: Answer::Now(api::checked),
    },
    Route {
        method: "POST",
        path: "/api/v1/keys/{key}/expiry",
        needs: WRITE,
        parameters: &api::EXPIRY,
        answer: Answer::Now(api::note_expiry),
    },
    Route {
        method: "GET",
        path: "/api/v1/bindings",
        needs: READ,
        parameters: &views::BINDINGS,
        answer: Answer::Drawn(api::bindings, Sharing::Answer),
    },
    Route {
        method: "GET",
        path: "/api/v1/bindings/{binding}",
        needs: READ,
        parameters: &[],
        answer: Answer::Drawn(api::binding, Sharing::Answer),
    },
    Route {
        method: "POST",
        path: "/api/v1/bindings/{binding}/ack",
        needs: WRITE,
        parameters: &[],
        answer: Answer::Drawn(api::acknowledge, Sharing::Nothing),
    },
    Route {
        method: "GET",
        path: "/api/v1/doubts/{doubt}",
        needs: READ,
        parameters: &[],
        answer: Answer::Drawn(api::doubt, Sharing::Answer),
    },
    Route {
        method: "POST",
        path: "/api/v1/doubts/{doubt}/accept",
        needs: WRITE,
        parameters: &views::ACCEPT,
        answer: Answer::Drawn(api::accept, Sharing::Nothing),
    },
    Route {
        method: "POST",
        path: "/api/v1/doubts/{doubt}/withdraw",
        needs: WRITE,
        parameters: &[],
        answer: Answer::Drawn(api::withdraw, Sharing::Nothing),
    },
    Route {
        method: "GET",
        path: "/api/v1/incidents",
        needs: READ,
        parameters: &views::INCIDENTS,
        answer: Answer::Drawn(api::incidents, Sharing::Answer),
    },
    Route {
        method: "GET",
        path: "/api/v1/n8n",
        needs: READ,
        parameters: &[],
        answer: Answer::Drawn(api::n8n_audits, Sharing::Look),
    },
    Route {
        method: "POST",
        path: "/api/v1/n8n/{n8n}/credentials/{credential}/press",
        needs: WRITE,
        parameters: &["said"],
        answer: Answer::Now(api::press),
    },
    Route {
        method: "GET",
        path: "/api/v1/executions/{execution}",
        needs: READ,
        parameters: &[],
        answer: Answer::Drawn(api::execution, Sharing::Answer),
    },
    Route {
        method: "GET",
        path: "/api/v1/events",
        needs: READ,
        parameters: &events::FILTERS,
        answer: Answer::Now(events::follow),
    },
    Route { method: "GET", path: "/api/v1/notices", needs: READ, parameters: &[], answer: Answer::Now(api::notices) },
    Route {
        method: "POST",
        path: "/api/v1/notices/mute",
        needs: WRITE,
        parameters: &["seconds"],
        answer: Answer::Now(api::mute_notices),
    },
    Route {
        method: "POST",
        path: "/api/v1/notices/test",
        needs: WRITE,
        parameters: &["receiver"],
        answer: Answer::Now(api::test_notices),
    },
    Route { method: "POST", path: "/api/v1/reload", needs: WRITE, parameters: &api::RELOAD, answer: Answer::Reload },
    Route { method: "POST", path: "/api/v1/links", needs: WRITE, parameters: &[], answer: Answer::Now(api::make_link) },
];

const fn page(path: &'static str, parameters: &'static [&'static str]) -> Route {
    Route { method: "GET", path, needs: READ, parameters, answer: Answer::Page }
}

const READ: Needs = Needs::Token(Scope::Read);

const WRITE: Needs = Needs::Token(Scope::Write);

/// The answer to a request.
pub async fn answer(admin: &Arc<AdminState>, looks: &Looks, head: Parts, connection: &Connection) -> Response {
    // Where a person asked, a person reads what is wrong.
    let found = find(&head);
    let is_page = head.uri.path().starts_with("/open/") || found.is_page();
    let answer = serve(admin, looks, head, connection, found).await;
    let answer = answer.map_err(|problem| admin.wrong_tokens.look_at(problem, connection));
    answer.unwrap_or_else(
        |problem| if is_page { problem_response::page(&problem) } else { problem_response::json(&problem) },
    )
}

async fn serve(
    admin: &Arc<AdminState>,
    looks: &Looks,
    head: Parts,
    connection: &Connection,
    found: Found,
) -> Result<Response, Problem> {
    let needs = match &found {
        Found::Route(route, _) => route.needs,
        Found::Nothing(_) => READ,
    };
    let pass = let_in(admin, &head, needs)?;
    if pass.is_some() {
        connection.is_let_in();
    }
    let (route, texts) = match found {
        Found::Route(route, texts) => (route, texts),
        Found::Nothing(problem) => return Err(problem),
    };
    // A probe may say what it likes.
    let query = if route.needs == Needs::Nothing { "" } else { head.uri.query().unwrap_or_default() };
    let read = if matches!(route.answer, Answer::Page) { Parameters::read_form } else { Parameters::read };
    let parameters = read(query, route.parameters)?;
    let call = Call { head, texts, parameters, pass };
    match route.answer {
        Answer::Now(answer) => answer(admin, &call),
        Answer::Drawn(draw, sharing) => looks.ask(call, draw, sharing).await.map(Drawn::into_response),
        Answer::Reload => api::reload(admin, &call).await,
        Answer::Page => looks.ask(call, page::whole, Sharing::Answer).await.map(Drawn::into_response),
        Answer::Watched(watch) => watch(admin, looks, call),
    }
}

/// Whether keyward lives is told to every probe, whatever it calls keyward.
fn let_in(admin: &AdminState, head: &Parts, needs: Needs) -> Result<Option<Pass>, Problem> {
    if needs == Needs::Nothing {
        return Ok(None);
    }
    guard::check_sender(head, &admin.settings.allow_host)?;
    let scope = match needs {
        Needs::Nothing | Needs::Link => return Ok(None),
        Needs::Metrics if admin.settings.metrics == MetricsFor::Anyone => return Ok(None),
        Needs::Metrics => Scope::Read,
        Needs::Token(scope) => scope,
    };
    guard::admit(&head.headers, scope, &admin.access).map(Some)
}

enum Found {
    Route(&'static Route, Vec<String>),
    /// What those are told who may know that there is nothing.
    Nothing(Problem),
}

impl Found {
    /// Whether a person asked, who wants to read what is wrong.
    fn is_page(&self) -> bool {
        matches!(self, Self::Route(Route { answer: Answer::Page, .. }, _))
    }
}

fn find(head: &Parts) -> Found {
    let path = head.uri.path();
    let mut at_path = ROUTES.iter().filter_map(|route| Some((route, texts_of(route.path, path)?))).peekable();
    let Some((first, _)) = at_path.peek() else {
        return Found::Nothing(Problem::new(
            Kind::NotFound,
            "There is nothing at this path: see /api/v1/openapi.json.",
        ));
    };
    let allowed = if first.takes(&Method::HEAD) { "GET, HEAD" } else { first.method };
    let found = at_path.find(|(route, _)| route.takes(&head.method));
    let misused = || Found::Nothing(Problem::method_not_allowed(allowed));
    found.map_or_else(misused, |(route, texts)| Found::Route(route, texts))
}

/// The texts that stand for the parts in braces, where the path is one of that pattern. They are never empty.
fn texts_of(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    let (mut wanted, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), parts.next()) {
            (None, None) => return Some(texts),
            (Some(wanted), Some(part)) if wanted.starts_with('{') && !part.is_empty() => {
                texts.push(percent_decode_str(part).decode_utf8().ok()?.into_owned());
            }
            (Some(wanted), Some(part)) if wanted == part => {}
            (Some(_) | None, _) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        #[track_caller]
        fn check(pattern: &str, path: &str, expected: Option<&[&str]>) {
            let expected = expected.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect());
            assert_eq!(texts_of(pattern, path), expected, "{pattern} {path}");
        }
        check("/", "/", Some(&[]));
        check("/", "", None);
        check("/open/{link}", "/open/a%2Fb", Some(&["a/b"]));
        check("/open/{link}", "/open/", None);
        check("/open/{link}", "/open/a/", None);
        check("/open/{link}", "/open/%ff", None);
        check("/b/{id}/ack", "/b/a/ack", Some(&["a"]));
        check("/b/{id}/ack", "/b/a", None);
        check("/healthz", "/healthz/", None);
    }

    #[test]
    fn every_route_stands_in_the_table_of_the_documentation() {
        let documentation = include_str!("routes.rs");
        for route in &ROUTES {
            let line = format!("//! | `{} {}` |", route.method, route.path);
            assert_eq!(documentation.matches(&line).count(), 1, "{line}");
        }
    }
}
