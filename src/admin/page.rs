//! What a person sees in a browser: how keyward is, in plain HTML without a script.

use std::fmt::Write as _;
use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use super::access::SESSION_LASTS;
use super::api::{failed, text};
use super::guard::cookie_name;
use super::problem::{Kind, Problem};
use super::routes::Call;
use super::views;
use super::{AdminState, Response};
use crate::welcome::escape;

/// How keyward is.
pub fn status(admin: &Arc<AdminState>, _: &Call<'_>) -> Result<Response, Problem> {
    Ok(text(StatusCode::OK, HTML, page("keyward", "", &of_status(&admin.status()))))
}

/// Begins a session in the browser that opens the link.
pub fn open(admin: &Arc<AdminState>, call: &Call<'_>) -> Result<Response, Problem> {
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

/// What is wrong, for a person.
#[must_use]
pub fn of_problem(title: &str, detail: &str) -> String {
    page(title, "", &format!("<p>{}</p>", escape(detail)))
}

fn page(title: &str, head: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n{head}<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )
}

fn of_status(status: &Value) -> String {
    let said = |name: &str| escape(status[name].as_str().unwrap_or_default());
    let mut html = String::new();
    let _ = writeln!(
        html,
        "<p>keyward {} is {} since {}, for {}. It knows {} bindings.</p>",
        said("version"),
        said("stage"),
        said("began"),
        said("upstream"),
        status["bindings"]
    );
    for n8n in status["n8n"].as_array().into_iter().flatten() {
        let said = |name: &str| escape(n8n[name].as_str().unwrap_or("no trouble"));
        let _ = writeln!(
            html,
            "<p>n8n {} at {}: {} workflows and {} nodes have names; {}.</p>",
            said("instance"),
            said("url"),
            n8n["workflows"],
            n8n["nodes"],
            said("trouble")
        );
    }
    for set in status["sets"].as_array().into_iter().flatten() {
        write_set(&mut html, set);
    }
    html
}

fn write_set(html: &mut String, set: &Value) {
    let said = |value: &Value| escape(value.as_str().unwrap_or("–"));
    let learned = if set["learned"] == true { ", learned from what upstream accepts" } else { "" };
    let _ = writeln!(
        html,
        "<h2>{}</h2>\n<p>Policy {}{learned}; {} tokens.</p>",
        said(&set["set"]),
        said(&set["policy"]),
        set["tokens"]
    );
    write_progress(html, set);
    let keys = set["keys"].as_array().map_or(&[][..], Vec::as_slice);
    if keys.is_empty() {
        html.push_str("<p>No key is known yet.</p>\n");
        return;
    }
    html.push_str("<table>\n<tr><th>role</th><th>key</th><th>fingerprint</th><th>since</th></tr>\n");
    for key in keys {
        let fingerprint = key["fingerprint"].as_str().and_then(|digits| digits.get(..8)).unwrap_or_default();
        let cells = [said(&key["role"]), said(&key["hint"]), escape(fingerprint), said(&key["since"])];
        let _ = writeln!(html, "<tr><td>{}</td></tr>", cells.join("</td><td>"));
    }
    html.push_str("</table>\n");
}

/// Who has changed to the current key, and whether the old ones can go.
fn write_progress(html: &mut String, set: &Value) {
    let progress = &set["progress"];
    let _ = writeln!(
        html,
        "<p><b>{} confirmed, {} stale, {} mixed</b>, {} due later, {} overdue, {} acknowledged to be dead.</p>",
        progress["confirmed"],
        progress["stale"],
        progress["mixed"],
        progress["due_later"],
        progress["overdue"],
        progress["acknowledged"]
    );
    if let Some(open) = set["open_incidents"].as_u64().filter(|open| *open > 0) {
        let _ = writeln!(html, "<p>Open incidents: {open}.</p>");
    }
    for old in set["old_keys"].as_array().into_iter().flatten() {
        let said = |value: &Value| escape(value.as_str().unwrap_or_default());
        let fingerprint = old["fingerprint"].as_str().and_then(|digits| digits.get(..8)).unwrap_or_default();
        let can_go = &old["can_go"];
        let (hint, answer) = (said(&old["hint"]), said(&can_go["text"]));
        let _ = writeln!(html, "<p>Old key {hint} ({fingerprint}): can it go? <b>{answer}</b></p>\n<ul>");
        let listed = |list: &Value| list.as_array().cloned().unwrap_or_default();
        let mut bars = [&can_go["reasons"], &can_go["doubts"], &can_go["basis"]["accepted"]].map(listed).concat();
        for record in listed(&can_go["by_credential"]) {
            let _ = writeln!(html, "<li><b>{}</b>\n<ul>", said(&record["text"]));
            for bar in bars.extract_if(.., |bar| views::is_of_record(bar, &record)) {
                write_bar(html, &bar);
            }
            html.push_str("</ul></li>\n");
        }
        for bar in &bars {
            write_bar(html, bar);
        }
        for what in listed(&can_go["basis"]["assumes"]) {
            let _ = writeln!(html, "<li>assumes: {}</li>", said(&what));
        }
        html.push_str("</ul>\n");
    }
}

/// What bars an old key, what ends that, and how you accept it.
fn write_bar(html: &mut String, bar: &Value) {
    let said = |value: &Value| escape(value.as_str().unwrap_or_default());
    let _ = write!(html, "<li>{}", said(&bar["text"]));
    if bar["accepted"].is_object() {
        let _ = write!(html, "<br><small>accepted: {}</small>", said(&bar["accepted"]["reason"]));
    } else {
        let _ = write!(html, "<br><small>ends: {}</small>", said(&bar["end"]));
        if bar["doubt"].is_string() {
            let number = said(&bar["doubt"]);
            let _ = write!(html, "<br><small>accept: <code>keyward accept {number} --reason …</code></small>");
        }
    }
    html.push_str("</li>\n");
}

const HTML: &str = "text/html; charset=utf-8";

const OLD_LINK: &str = "This link was used already, or is too old. Run `keyward open` for another.";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}\
table{border-collapse:collapse}th,td{text-align:left;padding:.2rem 1rem .2rem 0;border-bottom:1px solid #8884}\
:root{color-scheme:light dark}";
