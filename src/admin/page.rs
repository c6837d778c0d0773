//! What a person sees in a browser: how keyward is, in plain HTML without a script.

use std::fmt::Write as _;
use std::sync::Arc;

use super::access::SESSION_LASTS;
use super::call::Call;
use super::guard::cookie_name;
use super::html::{HTML, page};
use super::problem::{Kind, Problem, failed};
use super::response::{Drawn, Response, text};
use super::state::AdminState;
use crate::answers::old_key::{OldKeySummary, Reason};
use crate::answers::status::{OpenProblem, Set, Status};
use crate::ledger::query::Query;
use crate::welcome::escape;
use http::{HeaderValue, StatusCode, header};

/// How keyward is.
pub fn status(admin: &AdminState, look: &Query<'_>, _: &Call) -> Result<Drawn, Problem> {
    let body = page("keyward", "", &of_status(&admin.status(look))).into();
    Ok(Drawn { content_type: HTML, body })
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
    let refresh = r#"<meta http-equiv="refresh" content="0; url=/">"#;
    let mut answer = text(StatusCode::OK, HTML, page("keyward", refresh, r#"<p><a href="/">Go on to keyward</a></p>"#));
    answer.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(answer)
}

fn of_status(status: &Status) -> String {
    let mut html = String::new();
    status.problems.iter().for_each(|problem| write_problem(&mut html, problem));
    let _ = writeln!(
        html,
        "<p>keyward {} is {} since {}, for {}. It knows {} bindings.</p>",
        escape(&status.version),
        status.stage.code(),
        status.began,
        escape(&status.upstream),
        status.bindings
    );
    for n8n in &status.n8n {
        let _ = writeln!(
            html,
            "<p>n8n {} at {}: {} workflows and {} nodes have names; {}.</p>",
            escape(&n8n.instance),
            escape(&n8n.url),
            n8n.workflows,
            n8n.nodes,
            escape(n8n.trouble.as_deref().unwrap_or("no trouble"))
        );
    }
    status.sets.iter().for_each(|set| write_set(&mut html, set));
    html
}

/// What is wrong, since when, whom it hit, and what to do.
fn write_problem(html: &mut String, problem: &OpenProblem) {
    let _ = write!(html, "<p class=\"{}\"><b>{}</b>", problem.severity.code(), escape(&problem.text));
    let _ = write!(html, "<br>Since {}", problem.since);
    if let (Some(requests), Some(bindings)) = (problem.requests, problem.bindings) {
        let _ = write!(html, "; it hit {requests} requests from {bindings} callers");
    }
    let _ = writeln!(html, ".<br>{}</p>", escape(&problem.remedy));
}

fn write_set(html: &mut String, set: &Set) {
    let learned = if set.learned { ", learned from what upstream accepts" } else { "" };
    let _ = writeln!(
        html,
        "<h2>{}</h2>\n<p>Policy {}{learned}; {} tokens.</p>",
        escape(&set.set),
        set.policy.name(),
        set.tokens
    );
    write_progress(html, set);
    if set.keys.is_empty() {
        html.push_str("<p>No key is known yet.</p>\n");
        return;
    }
    html.push_str("<table>\n<tr><th>role</th><th>key</th><th>fingerprint</th><th>since</th></tr>\n");
    for key in &set.keys {
        let since = key.since.map_or_else(|| NOTHING.to_owned(), |at| at.to_string());
        let hint = escape(key.names.hint.as_deref().unwrap_or(NOTHING));
        let cells = [key.role.code().to_owned(), hint, key.names.fingerprint.to_string(), since];
        let _ = writeln!(html, "<tr><td>{}</td></tr>", cells.join("</td><td>"));
    }
    html.push_str("</table>\n");
}

/// How many bindings have changed to the current key, and whether the old ones can go.
fn write_progress(html: &mut String, set: &Set) {
    let progress = &set.progress;
    let _ = writeln!(
        html,
        "<p><b>{} confirmed, {} stale, {} failing, {} mixed</b>, {} due later, {} overdue, {} acknowledged.</p>",
        progress.confirmed,
        progress.stale,
        progress.failing,
        progress.mixed,
        progress.due_later,
        progress.overdue,
        progress.acknowledged
    );
    if set.open_incidents > 0 {
        let _ = writeln!(html, "<p>Open incidents: {}.</p>", set.open_incidents);
    }
    set.old_keys.iter().for_each(|old| write_old_key(html, old));
}

fn write_old_key(html: &mut String, old: &OldKeySummary) {
    let (hint, answer) = (escape(old.key.hint.as_deref().unwrap_or_default()), escape(&old.can_go.text));
    let _ = writeln!(html, "<p>Old key {hint} ({}): can it go? <b>{answer}</b></p>\n<ul>", old.key.fingerprint);
    let (by_record, rest) = old.can_go.by_record();
    for (record, reasons) in by_record {
        let _ = writeln!(html, "<li><b>{}</b>\n<ul>", escape(&record.text));
        for reason in reasons {
            write_reason(html, reason);
        }
        html.push_str("</ul></li>\n");
    }
    for reason in rest {
        write_reason(html, reason);
    }
    for what in old.can_go.assumes() {
        let _ = writeln!(html, "<li>assumes: {}</li>", escape(what));
    }
    html.push_str("</ul>\n");
}

/// What bars an old key, what ends that, and how you accept it.
fn write_reason(html: &mut String, reason: &Reason) {
    let _ = write!(html, "<li>{}", escape(&reason.text));
    if let Some(accepted) = &reason.accepted {
        let _ = write!(html, "<br><small>accepted: {}</small>", escape(&accepted.reason));
    } else {
        let _ = write!(html, "<br><small>ends: {}</small>", escape(&reason.end));
        if let Some(number) = &reason.doubt {
            let _ = write!(html, "<br><small>accept: <code>keyward accept {number} --reason …</code></small>");
        }
    }
    html.push_str("</li>\n");
}

/// In place of what is not known.
const NOTHING: &str = "–";

const OLD_LINK: &str = "This link was used already, or is too old. Run `keyward open` for another.";
