//! The routes that answer at once: health, metrics, how keyward is, what it knows of keys.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::problem::{Kind, Problem};
use super::routes::Call;
use super::views;
use super::{AdminState, Response};
use crate::keys::set::Role;
use crate::ledger::look::Look;
use crate::ledger::query::{Query, find};
use crate::n8n::clearance::{self, Looked};
use crate::n8n::poller::Status;
use crate::n8n::report;
use crate::route::is_id;
use crate::server::Stage;

/// That the process runs.
pub fn health(_: &Arc<AdminState>, _: &Call<'_>) -> Result<Response, Problem> {
    Ok(text(StatusCode::OK, "text/plain; charset=utf-8", "alive\n"))
}

/// Whether it takes requests.
pub fn readiness(admin: &Arc<AdminState>, _: &Call<'_>) -> Result<Response, Problem> {
    let stage = *admin.stage.borrow();
    let (status, said) = match stage {
        Stage::Running => (StatusCode::OK, "ready\n"),
        Stage::Draining | Stage::Ended => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    };
    Ok(text(status, "text/plain; charset=utf-8", said))
}

/// The metrics, in the form that the scraper asks for.
pub fn metrics(admin: &Arc<AdminState>, call: &Call<'_>) -> Result<Response, Problem> {
    let accepted = call.head.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (content_type, said) = admin.exposition.text(accepted).map_err(|error| failed(&error))?;
    Ok(text(StatusCode::OK, content_type, said))
}

/// The description of the routes.
pub fn document(_: &Arc<AdminState>, _: &Call<'_>) -> Result<Response, Problem> {
    Ok(text(StatusCode::OK, JSON, DOCUMENT.replace("[version]", env!("CARGO_PKG_VERSION"))))
}

/// How keyward is.
pub fn status(admin: &Arc<AdminState>, _: &Call<'_>) -> Result<Response, Problem> {
    Ok(in_json(StatusCode::OK, &admin.status()))
}

/// The key sets, their keys and how far their rotations are.
pub fn sets(admin: &Arc<AdminState>, _: &Call<'_>) -> Result<Response, Problem> {
    Ok(in_json(StatusCode::OK, &json!({ "sets": admin.sets() })))
}

/// How far the rotation of a set is.
pub fn rotation(admin: &Arc<AdminState>, call: &Call<'_>) -> Result<Response, Problem> {
    Ok(in_json(StatusCode::OK, &views::rotation(&admin.look_with_audits(), call.text(), &call.parameters)?))
}

/// What an audit says of each n8n, by how it was when it was looked through last.
pub fn n8n_audits(admin: &Arc<AdminState>, _: &Call<'_>) -> Result<Response, Problem> {
    let (look, looked) = (admin.look_with_audits(), admin.looked());
    let audits = clearance::audits(&look, &looked, &admin.hosts);
    let told = audits.iter().zip(&admin.n8n).filter_map(|((_, audit), status)| {
        let mut told = report::in_json(audit.as_ref()?, &status.name, &status.url);
        report::add_old_keys(&mut told, views::old_keys(&look, status.set.as_deref()));
        let seen = status.look();
        let in_it = |tell: fn(&Look) -> Value| seen.as_deref().map_or_else(|| json!([]), tell);
        (told["credentials"], told["unfinished"]) = (in_it(report::credentials), in_it(report::unfinished));
        Some(told)
    });
    Ok(in_json(StatusCode::OK, &json!({ "instances": told.collect::<Vec<_>>() })))
}

/// Hears that a program has n8n test a credential from now on; or where it says what n8n has said, that this is over.
pub fn press(admin: &Arc<AdminState>, call: &Call<'_>) -> Result<Response, Problem> {
    let [instance, credential] = &call.texts[..] else {
        return Err(Problem::new(Kind::NotFound, "It takes an n8n and a credential."));
    };
    let nothing = || Problem::new(Kind::NotFound, "There is no n8n of that name, or it has no such credential.");
    let status = admin.n8n.iter().find(|status| *status.name == **instance).ok_or_else(nothing)?;
    if !is_id(credential) {
        return Err(nothing());
    }
    let ledger = &admin.shared.ledger;
    let told = match call.parameters.word("said", &["ok", "error"])? {
        None => json!({ "begun": status.lent.begin(ledger, instance, credential).is_some() }),
        Some(said) => {
            let key = status.lent.end(ledger, credential, said == "ok");
            json!({ "key": key.map(|names| names.fingerprint.to_hex()) })
        }
    };
    Ok(in_json(StatusCode::OK, &told))
}

/// The bindings.
pub fn bindings(admin: &Arc<AdminState>, call: &Call<'_>) -> Result<Response, Problem> {
    Ok(in_json(StatusCode::OK, &views::bindings(&admin.look(), &call.parameters)?))
}

/// One binding.
pub fn binding(admin: &Arc<AdminState>, call: &Call<'_>) -> Result<Response, Problem> {
    Ok(in_json(StatusCode::OK, &views::binding(&admin.look(), call.text())?))
}

/// One execution.
pub fn execution(admin: &Arc<AdminState>, call: &Call<'_>) -> Result<Response, Problem> {
    Ok(in_json(StatusCode::OK, &views::execution(&admin.look(), call.text())))
}

/// The incidents.
pub fn incidents(admin: &Arc<AdminState>, call: &Call<'_>) -> Result<Response, Problem> {
    Ok(in_json(StatusCode::OK, &views::incidents(&admin.look(), &call.parameters)?))
}

/// Notes that you say that a binding is dead, or its incident dealt with.
pub fn acknowledge(admin: &Arc<AdminState>, call: &Call<'_>) -> Result<Response, Problem> {
    let ledger = &admin.shared.ledger;
    let binding = find(ledger, call.text()).map_err(|error| views::not_found(&error))?;
    ledger.acknowledge(&binding, admin.shared.clock.now());
    Ok(in_json(StatusCode::OK, &views::binding(&admin.look(), &binding.id().to_hex())?))
}

/// Accepts what bars an old key from going.
pub fn accept(admin: &Arc<AdminState>, call: &Call<'_>) -> Result<Response, Problem> {
    let reason = views::reason(&call.parameters)?;
    let (look, now) = (admin.look_with_audits(), admin.shared.clock.now());
    Ok(in_json(StatusCode::OK, &views::accept(&look, &admin.shared.ledger, call.text(), Some((reason, now)))?))
}

/// Takes an acceptance back.
pub fn withdraw(admin: &Arc<AdminState>, call: &Call<'_>) -> Result<Response, Problem> {
    let look = admin.look_with_audits();
    Ok(in_json(StatusCode::OK, &views::accept(&look, &admin.shared.ledger, call.text(), None)?))
}

/// A link that begins a session.
pub fn make_link(admin: &Arc<AdminState>, call: &Call<'_>) -> Result<Response, Problem> {
    let pass = call.pass.ok_or_else(|| Problem::new(Kind::TokenMissing, "A link takes a token."))?;
    let (link, until) = admin.access.make_link(&pass).map_err(|error| failed(&error))?;
    let made = json!({ "path": format!("/open/{}", &*link), "until": until.to_string() });
    Ok(in_json(StatusCode::CREATED, &made))
}

impl AdminState {
    /// How keyward is, as JSON.
    #[must_use]
    pub fn status(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "stage": self.stage.borrow().code(),
            "began": self.began.to_string(),
            "upstream": self.shared.upstream,
            "bindings": self.shared.ledger.len(),
            "store": self.store(),
            "n8n": self.n8n.iter().map(|status| n8n(status)).collect::<Vec<_>>(),
            "log_dropped": self.log.dropped(),
            "sets": self.sets(),
        })
    }

    fn store(&self) -> Value {
        let store = &self.shared.store;
        let state = match store.trouble() {
            _ if !store.is_on() => "off",
            None => "ok",
            Some(_) => "troubled",
        };
        json!({ "state": state, "trouble": store.trouble(), "waiting": store.waiting(), "lost": store.lost() })
    }

    /// The key sets, as JSON.
    fn sets(&self) -> Value {
        views::sets(&self.look_with_audits(), &self.shared.rules, &self.shared.reloader.tokens())
    }

    /// A look at the ledger now.
    #[must_use]
    pub fn look(&self) -> Query<'_> {
        let shared = &self.shared;
        let look = Query::new(&shared.ledger, &shared.reloader, shared.clock.now());
        look.with_names(shared.names.snapshot())
    }
}

impl AdminState {
    /// A look that can tell whether an old key can go.
    #[must_use]
    pub fn look_with_audits(&self) -> Query<'_> {
        let look = self.look();
        // While an old key is there, what is asked next rests on a fresh look.
        if look.keys().iter().any(|key| matches!(key.role, Role::Previous { .. })) {
            self.n8n.iter().for_each(|status| status.want_look());
        }
        let audits = clearance::of_sets(&look, &self.looked(), &self.hosts);
        look.with_audits(audits)
    }

    fn looked(&self) -> Vec<Looked> {
        self.n8n.iter().map(|status| status.looked()).collect()
    }
}

/// How an n8n is.
fn n8n(status: &Status) -> Value {
    let seen = status.seen();
    let state = match (&seen.trouble, seen.read) {
        (Some(_), _) => "troubled",
        (None, Some(_)) => "ok",
        (None, None) => "not_asked",
    };
    json!({
        "instance": &*status.name,
        "url": &*status.url,
        "state": state,
        "trouble": seen.trouble,
        "lacks": seen.lacks(),
        "read": seen.read.map(|at| at.to_string()),
        "workflows": seen.workflows,
        "nodes": seen.nodes,
        "left_out": seen.left_out,
    })
}

/// An answer of JSON.
#[must_use]
pub fn in_json(status: StatusCode, value: &Value) -> Response {
    text(status, JSON, format!("{value}\n"))
}

/// An answer of text.
#[must_use]
pub fn text(status: StatusCode, content_type: &'static str, said: impl Into<Bytes>) -> Response {
    let mut answer = Response::new(Either::Left(Full::new(said.into())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// Something of keyward's own went wrong.
pub fn failed(error: &dyn std::error::Error) -> Problem {
    Problem::new(Kind::Failed, crate::telemetry::event::with_causes(error))
}

const JSON: &str = "application/json";

/// <https://spec.openapis.org/oas/v3.1.1.html>
const DOCUMENT: &str = include_str!("openapi.json");
