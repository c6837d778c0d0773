//! The log line of an exchange as programs read it: one JSON object.

use super::line::Line;
use crate::caller::Agreement;
use crate::keys::set::Names;
use crate::telemetry::Level;
use crate::telemetry::json::{Json, name};
use crate::verdict::explain::Explanation;

/// Appends the line as one JSON object, with a line feed behind it. `docs/log.md` lists its fields.
pub fn write(buffer: &mut Vec<u8>, line: &Line<'_>, level: Level, explanation: Option<&Explanation>) {
    let exchange = line.exchange;
    let judgement = &exchange.judgement;
    let mut json = Json::begin(buffer, exchange.at);
    json.word(name!("level"), level.name());
    json.put(concat!(name!("event"), "\"exchange\""));
    json.bytes(name!("id"), &exchange.id.digits());
    json.word(name!("set"), line.set);
    json.word(name!("verdict"), judgement.verdict.code());
    json.word(name!("diagnosis"), line.diagnosis.code());
    json.word(name!("action"), exchange.action());
    json.text(name!("workflow_id"), exchange.workflow());
    json.text(name!("execution_id"), exchange.execution());
    json.text(name!("node_id"), exchange.node());
    json.text(name!("workflow_name"), line.workflow_name());
    json.word(name!("client"), exchange.family.code());
    json.text(name!("client_version"), exchange.client_version());
    json.word(name!("attribution"), exchange.attribution.code());
    write_key(&mut json, judgement.key);
    json.word(name!("method"), exchange.method.as_str());
    json.text(name!("path"), Some(exchange.path()));
    json.number(name!("status"), exchange.status().map(|status| u64::from(status.as_u16())));
    json.text(name!("upstream_code"), exchange.upstream_code());
    json.word(name!("outcome"), line.outcome.code());
    json.millis(name!("ttfb_ms"), exchange.time_to_first_byte());
    json.millis(name!("ms"), Some(exchange.started.elapsed()));
    json.number(name!("bytes_in"), Some(exchange.bytes_in()));
    json.number(name!("bytes_out"), Some(exchange.bytes_out()));
    write_rarities(&mut json, line);
    if let Some(explanation) = explanation {
        json.fields(explanation.in_json());
    }
    json.end();
}

/// Fields that most lines do without: who it was where nothing else says so, and what was odd.
fn write_rarities(json: &mut Json<'_>, line: &Line<'_>) {
    let exchange = line.exchange;
    if exchange.workflow().is_none() {
        json.display(name!("peer"), &exchange.peer);
    }
    if let Some(injected) = exchange.injected {
        json.bytes(name!("injected"), &injected.fingerprint.short());
    }
    let instance = exchange.instance().or(line.named.map(|named| named.instance()));
    if instance.is_some() {
        json.text(name!("instance"), instance);
    }
    if let Some(named) = line.named {
        if let Some(node) = named.node {
            json.text(name!("node_name"), Some(&node.name));
            json.text(name!("credential"), node.credential.as_deref());
        }
        json.display(name!("link"), &named.link(exchange.execution()));
    }
    if line.pressed.is_some() {
        json.text(name!("pressed"), line.pressed);
    }
    if exchange.judgement.learned {
        json.yes(name!("learned"));
    }
    if exchange.doubts.invalid_tag {
        json.yes(name!("invalid_tag"));
    }
    if exchange.doubts.agreement != Agreement::Full {
        json.yes(name!("sources_disagree"));
    }
    if exchange.doubts.unknown_set {
        json.yes(name!("unknown_set"));
    }
    if exchange.cause().is_some() {
        json.text(name!("cause"), exchange.cause());
    }
    if exchange.note.is_some() {
        json.text(name!("note"), exchange.note);
    }
}

/// The public names of the key that came.
fn write_key(json: &mut Json<'_>, names: Option<Names>) {
    match names {
        Some(names) => json.bytes(name!("fingerprint"), &names.fingerprint.short()),
        None => json.put(concat!(name!("fingerprint"), "null")),
    }
    match names.and_then(|names| names.hint) {
        Some(hint) => {
            json.put(concat!(name!("hint"), "\""));
            json.put(hint.prefix());
            json.put("…");
            json.quotable(hint.last());
            json.put("\"");
        }
        None => json.put(concat!(name!("hint"), "null")),
    }
}
