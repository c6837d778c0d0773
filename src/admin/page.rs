//! What a person sees in a browser: each page drawn from a look at the bindings ([`crate::page`]), as a whole or as parts for
//! those who watch it; the files that a page needs; and the link that lets a browser in.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use maud::{PreEscaped, html};

use super::access::SESSION_LASTS;
use super::call::Call;
use super::guard::cookie_name;
use super::parameters::{Parameters, quote};
use super::problem::{Kind, Problem, failed};
use super::response::{Drawn, HTML, Response, text};
use super::state::AdminState;
use super::{api, views};
use crate::answers::notice::Notices;
use crate::answers::status::OpenProblem;
use crate::codes::Coded;
use crate::keys::set::SetIndex;
use crate::ledger::query::Query;
use crate::page::home::Start;
use crate::page::nodes::Asked;
use crate::page::view::View;
use crate::page::{
    assets, audit, execution, home, incidents, keys, layout, live, node, nodes, notices, parts, watcher,
};
use crate::problems::kind::ProblemKind;

/// The parameters of the list of nodes.
pub const NODES: [&str; 6] = ["q", "state", "set", "workflow", "limit", "cursor"];

/// The parameters of the list of incidents.
pub const INCIDENTS: [&str; 5] = ["set", "workflow", "state", "limit", "cursor"];

/// The parameter of the page of an execution.
pub const EXECUTION: [&str; 1] = ["id"];

/// A page, as it stands in the address of the request.
pub fn whole(admin: &AdminState, look: &Query<'_>, call: &Call) -> Result<Drawn, Problem> {
    let view = view(admin, look, call.head.uri.path(), &call.parameters)?;
    Ok(Drawn { content_type: HTML, body: layout::page(&view, look.now()).into() })
}

/// The page that `of` names, for those who watch it ([`watcher::encode`]).
pub fn in_parts(admin: &AdminState, look: &Query<'_>, call: &Call) -> Result<Drawn, Problem> {
    let (path, parameters) = watched(&call.parameters)?;
    let view = view(admin, look, path, &parameters)?;
    Ok(Drawn { content_type: HTML, body: watcher::encode(&view).into() })
}

/// The path and the parameters of the page that is watched.
pub fn watched(parameters: &Parameters) -> Result<(&str, Parameters), Problem> {
    let of = parameters.value("of").unwrap_or("/");
    let (path, query) = of.split_once('?').unwrap_or((of, ""));
    let known = known(path).ok_or_else(|| nothing(path))?;
    Ok((path, Parameters::read_form(query, known)?))
}

/// The parameters of the page at that path; nothing where there is none.
fn known(path: &str) -> Option<&'static [&'static str]> {
    match path {
        "/" | "/audit" | "/live" | "/keys" | "/notices" => Some(&[]),
        "/nodes" => Some(&NODES),
        "/incidents" => Some(&INCIDENTS),
        "/execution" => Some(&EXECUTION),
        _ => path.strip_prefix("/nodes/").filter(|id| !id.is_empty()).map(|_| &[][..]),
    }
}

fn nothing(path: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("There is no page at {}.", quote(path)))
}

fn view(admin: &AdminState, look: &Query<'_>, path: &str, asked: &Parameters) -> Result<View, Problem> {
    let now = look.now();
    match path {
        "/" => Ok(rotation(admin, look)),
        "/nodes" => list(look, asked),
        "/incidents" => {
            let (list, state) = (views::incidents(look, asked)?, asked.value("state"));
            let path = |cursor: &str| next_page("/incidents", asked, &INCIDENTS, cursor);
            Ok(incidents::incidents(&list, state, &refused_sets(admin), path, now))
        }
        "/execution" => {
            let told = asked.value("id").map(|id| views::execution(look, id));
            Ok(execution::execution(told.as_ref(), now))
        }
        "/audit" => Ok(audit::audit(&api::instances(admin, look).instances, asks_n8n(admin), now)),
        "/live" => Ok(live::live(&names_of_sets(look))),
        "/keys" => Ok(keys::keys(&admin.sets(look), &admin.shared.reloader.tokens(), now)),
        "/notices" => Ok(notices::notices(&Notices::from(admin.notices.snapshot()), now)),
        _ => {
            let id = path.strip_prefix("/nodes/").ok_or_else(|| nothing(path))?;
            let (whole, incidents) = (views::binding(look, id)?, views::incidents_of(look, id)?);
            Ok(node::node(&whole, &incidents, &refused_sets(admin), now))
        }
    }
}

/// The sets whose current key upstream refuses.
fn refused_sets(admin: &AdminState) -> Vec<String> {
    let is_refused = |problem: &OpenProblem| problem.code == Coded::Known(ProblemKind::CurrentKeyRefused);
    admin.problems().into_iter().filter(is_refused).filter_map(|problem| problem.about).collect()
}

fn rotation(admin: &AdminState, look: &Query<'_>) -> View {
    let ring = admin.shared.reloader.ring();
    let holds = |set: SetIndex| ring.rules().of_set(set.position()).policy.into();
    let sets: Vec<_> = look.sets().map(|(set, _)| views::course(look, set, holds(set))).collect();
    let start = Start { base_url: &admin.base_url, asks_n8n: asks_n8n(admin) };
    home::home(&home::Home { problems: &admin.problems(), sets: &sets, start, now: look.now() })
}

fn list(look: &Query<'_>, asked: &Parameters) -> Result<View, Problem> {
    let list = views::search(look, asked)?;
    let [search, state, set, workflow] = ["q", "state", "set", "workflow"].map(|name| asked.value(name));
    let asked = Asked { search, state, set, workflow };
    Ok(nodes::nodes(&list, asked, &names_of_sets(look), &views::STATES, look.now()))
}

fn asks_n8n(admin: &AdminState) -> bool {
    !admin.viewer.n8n.now().statuses.is_empty()
}

fn names_of_sets(look: &Query<'_>) -> Vec<String> {
    look.sets().map(|(_, name)| name.to_string()).collect()
}

/// The address of the next page of a list.
fn next_page(path: &str, asked: &Parameters, known: &[&str], cursor: &str) -> String {
    let chosen = known.iter().filter(|name| **name != "cursor").filter_map(|name| Some((*name, asked.value(name)?)));
    let pairs = chosen.chain([("cursor", cursor)]).map(|(name, value)| format!("{name}={}", parts::encoded(value)));
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// The style sheet, the script or the icon. Its name changes with what is in it, so a browser asks once.
pub fn asset(_: &Arc<AdminState>, call: &Call) -> Result<Response, Problem> {
    let asset = assets::find(call.text()).ok_or_else(|| nothing(call.head.uri.path()))?;
    let mut answer = text(StatusCode::OK, asset.content_type, asset.text);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    Ok(answer)
}

/// Begins a session in the browser that opens the link.
pub fn open(admin: &Arc<AdminState>, call: &Call) -> Result<Response, Problem> {
    let opened = admin.access.open_link(call.text().as_bytes()).map_err(|error| failed(&error))?;
    let session = opened.ok_or_else(|| Problem::new(Kind::LinkUnknown, OLD_LINK))?;
    let cookie = format!(
        "{}={}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict",
        cookie_name(&call.head.headers),
        &*session,
        SESSION_LASTS.as_secs()
    );
    let mut cookie = HeaderValue::try_from(cookie).map_err(|error| failed(&error))?;
    cookie.set_sensitive(true);
    // Not a redirect: behind one from elsewhere, browsers keep a cookie of this kind back.
    let refresh = PreEscaped(r#"<meta http-equiv="refresh" content="0; url=/">"#.to_owned());
    let page = layout::message("keyward", &refresh, &html! { p { a href="/" { "Go on to keyward" } } });
    let mut answer = text(StatusCode::OK, HTML, page);
    answer.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(answer)
}

const OLD_LINK: &str = "This link was used already, or is too old. Run `keyward open` for another.";
