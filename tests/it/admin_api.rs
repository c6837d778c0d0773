//! What the admin listener answers: as its OpenAPI document says, for every route that it serves and for no other.

use std::collections::BTreeSet;
use std::net::TcpStream;

use jsonschema::Validator;
use keyward::admin::routes::ROUTES;
use keyward::answers::event::Line;
use keyward::page::assets::STYLE;
use serde_json::{Value, json};

use crate::support::{Answer, CURRENT, Client, FakeUpstream, Framing, OUTDATED, TestProxy, UNLISTED, eventually};

fn start(upstream: &FakeUpstream) -> TestProxy {
    TestProxy::with(upstream).current_key(CURRENT).previous_key(OUTDATED).learning_set("learning").start()
}

#[track_caller]
fn json_of(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

fn document(proxy: &TestProxy) -> Value {
    json_of(&proxy.admin("/api/v1/openapi.json"))
}

/// Looks at an answer with the schema that the document has for it.
#[track_caller]
fn check(document: &Value, method: &str, path: &str, answer: &Answer) {
    let responses = &document["paths"][path][method.to_lowercase()]["responses"];
    let exact = &responses[answer.status.to_string()];
    let told = resolve(document, if exact.is_null() { &responses["default"] } else { exact });
    let content_type = answer.header("content-type").unwrap().split(';').next().unwrap();
    let media = &told["content"][content_type];
    assert!(
        media.is_object(),
        "{method} {path} answers {} in {content_type}, which the document does not say",
        answer.status
    );
    if content_type.ends_with("json") {
        let mut schema = media["schema"].clone();
        schema["components"] = document["components"].clone();
        let value: Value = serde_json::from_slice(&answer.body).unwrap();
        let errors: Vec<_> = validator(&schema).iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{method} {path}: {errors:?} in {value:#}");
    }
}

/// A path with things that there are in place of its braces.
/// They have no end.
const STREAMS: [&str; 2] = ["/api/v1/events", "/watch"];

fn target(proxy: &TestProxy, path: &str) -> String {
    let bindings = json_of(&proxy.admin("/api/v1/bindings"));
    let binding = bindings["bindings"][0]["binding"].as_str().unwrap_or("0123456789abcdef");
    path.replace("{link}", "unknown")
        .replace("{set}", "default")
        .replace("{binding}", binding)
        .replace("{execution}", "7")
        .replace("{key}", "00000000000000000000000000000000")
        .replace("{asset}", &STYLE.name)
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).unwrap()
}

fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).expect("what it refers to"),
        None => value,
    }
}

#[test]
fn the_document_has_every_route_and_no_other() {
    let document = document(&start(&FakeUpstream::accepting()));
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut told = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let parameters: Vec<_> = parameters.iter().map(|it| resolve(&document, it)).collect();
            let names = |place: &str| -> BTreeSet<String> {
                let here = parameters.iter().filter(|it| it["in"] == place);
                here.map(|it| it["name"].as_str().unwrap().to_owned()).collect()
            };
            let braces: BTreeSet<_> = path.split(['{', '}']).skip(1).step_by(2).map(str::to_owned).collect();
            assert_eq!(names("path"), braces, "{path}");
            told.insert((method.to_uppercase(), path.clone(), names("query")));
        }
    }
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let served = ROUTES.iter().map(|route| (route.method.to_owned(), route.path.to_owned(), owned(route.parameters)));
    assert_eq!(told, served.collect());
}

#[test]
fn the_document_says_which_routes_take_a_token() {
    use keyward::admin::access::Scope;
    use keyward::admin::routes::Needs;
    let document = document(&start(&FakeUpstream::accepting()));
    for route in &ROUTES {
        let operation = &document["paths"][route.path][route.method.to_lowercase()];
        let expected = match route.needs {
            Needs::Nothing | Needs::Link => json!([]),
            Needs::Token(Scope::Write) => json!([{ "token": [] }]),
            Needs::Token(Scope::Read) | Needs::Metrics => Value::Null,
        };
        assert_eq!(operation["security"], expected, "{}", route.path);
    }
    assert_eq!(document["security"], json!([{ "token": [] }, { "session": [] }]));
}

/// <https://spec.openapis.org/oas/v3.1.1.html>
#[test]
fn the_document_is_sound() {
    let document = document(&start(&FakeUpstream::accepting()));
    assert_eq!(document["openapi"], "3.1.0");
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        let mut whole = schema.clone();
        whole["components"] = document["components"].clone();
        assert!(jsonschema::draft202012::new(&whole).is_ok(), "{name} is no schema");
        if schema["type"] == "object" {
            let required: BTreeSet<_> =
                schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            let known: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!((required, &schema["additionalProperties"]), (known, &json!(false)), "{name} is told in full");
        }
    }
    let text = document.to_string();
    let parts: BTreeSet<_> =
        text.split("\"#/components/").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    for part in &parts {
        assert!(document.pointer(&format!("/components/{part}")).is_some(), "{part}");
    }
    for name in schemas.keys() {
        assert!(parts.contains(&*format!("schemas/{name}")), "{name} is told and never used");
    }
    let ids: Vec<_> = text.matches("\"operationId\":").collect();
    assert_eq!(ids.len(), ROUTES.len());
}

#[test]
fn every_answer_is_as_the_document_says() {
    let upstream = FakeUpstream::accepting();
    let proxy = start(&upstream);
    for (key, tag) in
        [(CURRENT, "wf=w1;ex=7;node=n1"), (OUTDATED, "wf=w1;ex=7;node=n2"), (UNLISTED, "wf=w2;set=learning")]
    {
        proxy.get("/v1/models").key(key).header("X-N8N-Tag", tag).logged();
    }
    let document = document(&proxy);
    let bearer = proxy.admin_bearer();
    for route in ROUTES.iter().filter(|route| !STREAMS.contains(&route.path)) {
        let target = target(&proxy, route.path);
        for headers in [&[("Authorization", &*bearer)][..], &[], &[("Authorization", "Bearer wrong")]] {
            check(&document, route.method, route.path, &proxy.ask_admin(route.method, &target, headers));
        }
        let unknown = format!("{target}?nothing=1");
        check(
            &document,
            route.method,
            route.path,
            &proxy.ask_admin(route.method, &unknown, &[("Authorization", &bearer)]),
        );
    }
    proxy.server().drain();
    eventually("draining", || (proxy.admin("/readyz").status == 503).then_some(()));
    check(&document, "GET", "/readyz", &proxy.admin("/readyz"));
    assert_eq!(json_of(&proxy.admin("/api/v1/status"))["stage"], "draining");
}

/// The validator does find what is wrong, or the tests above would say nothing.
#[test]
fn an_answer_that_is_not_as_the_document_says_is_found() {
    let upstream = FakeUpstream::accepting();
    let proxy = start(&upstream);
    let document = document(&proxy);
    let mut schema = document["components"]["schemas"]["Status"].clone();
    schema["components"] = document["components"].clone();
    let validator = validator(&schema);
    let status = json_of(&proxy.admin("/api/v1/status"));
    assert!(validator.is_valid(&status));
    for change in [
        ("/stage", json!("asleep")),
        ("/began", json!(17)),
        ("/sets/0/keys/0/fingerprint", json!("sk-proj-x")),
        ("/sets/0/secret", json!("x")),
    ] {
        let mut wrong = status.clone();
        match wrong.pointer_mut(change.0) {
            Some(place) => *place = change.1,
            None => wrong["sets"][0]["secret"] = change.1,
        }
        assert!(!validator.is_valid(&wrong), "{}", change.0);
    }
}

#[test]
fn the_status_says_how_keyward_is() {
    let upstream = FakeUpstream::accepting();
    let proxy = start(&upstream);
    proxy.get("/v1/models").key(CURRENT).header("X-N8N-Tag", "wf=w1").logged();
    let status = json_of(&proxy.admin("/api/v1/status"));
    assert_eq!((&status["stage"], &status["bindings"]), (&json!("running"), &json!(1)));
    assert_eq!(status["began"], "2026-11-23T08:00:00Z");
    let sets = json_of(&proxy.admin("/api/v1/sets"));
    assert_eq!(status["sets"], sets["sets"]);
    let [default, learning] = &sets["sets"].as_array().unwrap()[..] else { panic!("{sets}") };
    assert_eq!((&default["set"], &default["policy"]), (&json!("default"), &json!("observe")));
    assert_eq!((&default["learned"], &learning["learned"]), (&json!(false), &json!(true)));
    let roles: Vec<_> = default["keys"].as_array().unwrap().iter().map(|key| &key["role"]).collect();
    assert_eq!(roles, ["current", "previous"]);
    assert_eq!(default["keys"][0]["hint"], "sk-proj-…CuRr");
}

#[test]
fn a_parameter_that_makes_no_sense_is_told() {
    let upstream = FakeUpstream::accepting();
    let proxy = start(&upstream);
    for (target, said) in [
        ("/api/v1/status?a=1", "There is no parameter"),
        ("/api/v1/events?verdict=stale", "Allowed: current, next, token, outdated"),
        ("/api/v1/events?set=nowhere", "There is no key set"),
        ("/api/v1/events?workflow=", "is empty"),
    ] {
        let answer = proxy.admin(target);
        assert_eq!(answer.status, 400, "{target}");
        assert!(answer.text().contains(said), "{}", answer.text());
    }
}

/// A follower, whose stream of events has begun.
struct Following(Client, String);

impl Following {
    fn begin(proxy: &TestProxy, query: &str) -> Self {
        Self::over(proxy, proxy.admin_client(), query)
    }

    fn over(proxy: &TestProxy, mut client: Client, query: &str) -> Self {
        let (host, bearer) = (proxy.admin_address(), proxy.admin_bearer());
        client.send(format!("GET /api/v1/events{query} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\n\r\n"));
        let head = client.head();
        assert!(
            head.line.contains(" 200 ") && head.header("content-type") == Some("text/event-stream"),
            "{}",
            head.line
        );
        let mut following = Self(client, String::new());
        assert_eq!(following.next_block(), "retry: 2000", "it has begun");
        following
    }

    fn next_block(&mut self) -> String {
        loop {
            if let Some((block, rest)) = self.1.split_once("\n\n") {
                let block = block.to_owned();
                self.1 = rest.to_owned();
                return block;
            }
            let piece = self.0.piece(&mut Framing::Chunked).unwrap().expect("more events");
            self.1.push_str(&String::from_utf8(piece).unwrap());
        }
    }

    /// The next event's name and data.
    fn next(&mut self) -> (String, Value) {
        loop {
            let block = self.next_block();
            if block.starts_with(':') {
                continue;
            }
            let (event, data) = block.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
            return (event.to_owned(), serde_json::from_str(data).unwrap());
        }
    }
}

#[test]
fn events_are_the_lines_of_the_log_as_they_come() {
    let upstream = FakeUpstream::accepting();
    let proxy = start(&upstream);
    let mut following = Following::begin(&proxy, "");
    for key in [CURRENT, OUTDATED] {
        let line = proxy.get("/v1/models").key(key).header("X-N8N-Tag", "wf=w1;node=n1").logged();
        let (event, told) = following.next();
        assert_eq!(event, "exchange");
        for (field, value) in line.as_object().unwrap().iter().filter(|(field, _)| *field != "ms") {
            assert_eq!(told[field], *value, "{field}");
        }
        assert_eq!(told.as_object().unwrap().len(), line.as_object().unwrap().len());
        let read: Line = keyward::answers::read(&told).expect("the command line reads it");
        assert_eq!((read.verdict.as_str(), read.is_good()), (line["verdict"].as_str().unwrap(), key == CURRENT));
        assert_eq!(read.message.is_none(), read.is_good(), "{told}");
    }
}

#[test]
fn events_are_chosen_by_workflow_verdict_and_set() {
    let upstream = FakeUpstream::accepting();
    let proxy = start(&upstream);
    let requests = [
        ("wf=w1", CURRENT),
        ("wf=w2", CURRENT),
        ("wf=w1", OUTDATED),
        ("wf=w1;set=learning", UNLISTED),
        ("wf=w2", OUTDATED),
        ("wf=last", UNLISTED),
    ];
    let mut followings: Vec<_> = [
        ("?workflow=w1", vec![0, 2, 3]),
        ("?workflow=w1&verdict=outdated", vec![2]),
        ("?set=learning", vec![3]),
        ("?verdict=outdated&set=default", vec![2, 4]),
        ("", vec![0, 1, 2, 3, 4, 5]),
    ]
    .map(|(query, expected)| (Following::begin(&proxy, query), expected))
    .into();
    let ids: Vec<_> = requests
        .iter()
        .map(|(tag, key)| proxy.get("/v1/models").key(key).header("X-N8N-Tag", tag).logged()["id"].clone())
        .collect();
    for (following, expected) in &mut followings {
        let told: Vec<_> = expected.iter().map(|_| following.next().1["id"].clone()).collect();
        assert_eq!(told, expected.iter().map(|number| ids[*number].clone()).collect::<Vec<_>>());
    }
}

#[test]
fn events_come_whatever_the_log_leaves_out() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).log_level(keyward::telemetry::Level::Error).start();
    let mut following = Following::begin(&proxy, "");
    let answer = proxy.get("/v1/models").key(CURRENT).send();
    assert_eq!(following.next().1["id"], answer.header("x-keyward-id").unwrap());
    assert!(proxy.lines().is_empty(), "the log tells of errors alone");
}

#[test]
fn a_slow_reader_loses_events_and_is_told_how_many_while_requests_go_on() {
    let upstream = FakeUpstream::accepting();
    let proxy = start(&upstream);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&proxy.admin_address().into()).unwrap();
    let stream: TcpStream = socket.into();
    let mut following = Following::over(&proxy, Client::over(stream), "");
    let mut client = proxy.connect();
    let request = proxy.get("/v1/models").key(CURRENT).header("X-N8N-Workflow-Name", "n".repeat(250)).bytes();
    // More than fits into the buffer, and into whatever lies between.
    let sent = 8_000;
    for _ in 0..sent {
        client.send(&request);
        assert_eq!(client.answer().status, 200, "no request waits for a reader");
    }
    let (mut told, mut lost) = (0, 0);
    while told + lost < sent {
        match following.next() {
            (event, data) if event == "lost" => lost += data["lost"].as_u64().unwrap(),
            _ => told += 1,
        }
    }
    assert_eq!((told + lost, lost > 0), (sent, true), "what is not told is counted");
    assert_eq!(proxy.metric("keyward_events_lost_total"), lost);
}

#[test]
fn followers_are_bounded_and_one_who_leaves_makes_room() {
    let upstream = FakeUpstream::accepting();
    let proxy = start(&upstream);
    let mut followers: Vec<_> = (0..32).map(|_| Following::begin(&proxy, "")).collect();
    let refused = proxy.admin("/api/v1/events");
    assert_eq!(refused.status, 503);
    check(&document(&proxy), "GET", "/api/v1/events", &refused);
    followers.pop();
    let ask = || {
        let mut client = proxy.admin_client();
        let (host, bearer) = (proxy.admin_address(), proxy.admin_bearer());
        client.send(format!("GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\n\r\n"));
        client.head().line.contains(" 200 ")
    };
    eventually("room for another", || ask().then_some(()));
}

/// A keyward in whose set `default` five workflows have sent the current key, and one the outdated one.
fn busy(upstream: &FakeUpstream) -> TestProxy {
    let proxy = start(upstream);
    for number in 0..5 {
        proxy.get("/v1/models").key(CURRENT).header("X-N8N-Tag", format!("wf=w{number};node=n")).logged();
        proxy.advance(std::time::Duration::from_secs(1));
    }
    proxy.get("/v1/models").key(OUTDATED).header("X-N8N-Tag", "wf=old;node=n;name=Report").logged();
    proxy.get("/v1/models").key(UNLISTED).header("X-N8N-Tag", "wf=new;set=learning").logged();
    proxy
}

/// That field of each row.
fn column(answer: &Value, rows: &str, field: &str) -> Vec<String> {
    let rows = answer[rows].as_array().unwrap().iter();
    rows.map(|row| row[field].as_str().unwrap_or("-").to_owned()).collect()
}

#[test]
fn bindings_come_in_pages_those_that_were_seen_last_first() {
    let upstream = FakeUpstream::accepting();
    let proxy = busy(&upstream);
    let whole = json_of(&proxy.admin("/api/v1/bindings"));
    assert_eq!((&whole["total"], &whole["next"]), (&json!(7), &Value::Null));
    let all = column(&whole, "bindings", "workflow_id");
    assert_eq!(all[2..], ["w4", "w3", "w2", "w1", "w0"]);
    let (mut told, mut cursor) = (Vec::new(), String::new());
    for _ in 0..4 {
        let page = json_of(&proxy.admin(&format!("/api/v1/bindings?limit=2{cursor}")));
        told.extend(column(&page, "bindings", "workflow_id"));
        cursor = page["next"].as_str().map_or(String::new(), |next| format!("&cursor={next}"));
        // A new binding comes to the front meanwhile, which changes no page behind.
        proxy.advance(std::time::Duration::from_secs(1));
        proxy.get("/v1/models").key(CURRENT).header("X-N8N-Tag", "wf=meanwhile").logged();
    }
    assert_eq!((told, cursor.as_str()), (all, ""));
}

#[test]
fn bindings_are_chosen_by_set_workflow_and_state() {
    let upstream = FakeUpstream::accepting();
    let proxy = busy(&upstream);
    for (query, expected) in [
        ("?set=learning", &["new"][..]),
        ("?workflow=w3", &["w3"]),
        ("?state=stale", &["old"]),
        ("?state=stale&set=learning", &[]),
        ("?state=confirmed&workflow=w0", &["w0"]),
        ("?state=silent", &[]),
    ] {
        let found = json_of(&proxy.admin(&format!("/api/v1/bindings{query}")));
        assert_eq!(column(&found, "bindings", "workflow_id"), expected, "{query}");
        assert_eq!(found["total"], expected.len(), "{query}");
    }
    for query in ["?state=asleep", "?set=nowhere", "?limit=0", "?limit=10001", "?cursor=7", "?sate=stale"] {
        assert_eq!(proxy.admin(&format!("/api/v1/bindings{query}")).status, 400, "{query}");
    }
}

#[test]
fn a_binding_is_found_by_the_beginning_of_its_id_and_tells_of_each_key() {
    let upstream = FakeUpstream::accepting();
    let proxy = busy(&upstream);
    proxy.get("/v1/models").key(CURRENT).header("X-N8N-Tag", "wf=w0;node=n;ex=17").logged();
    let found = json_of(&proxy.admin("/api/v1/bindings?workflow=w0"));
    let id = found["bindings"][0]["binding"].as_str().unwrap();
    for digits in [id, &id[..10], &id[..6], &id.to_uppercase()] {
        let binding = json_of(&proxy.admin(&format!("/api/v1/bindings/{digits}")));
        assert_eq!((&binding["who"], &binding["sightings"]), (&json!("workflow w0, node n"), &json!(2)));
        assert_eq!(binding["uses"][0]["execution_id"], "17");
        assert_eq!(
            (&binding["uses"][0]["hint"], &binding["uses"][0]["upstream"]),
            (&json!("sk-proj-…CuRr"), &json!("accepted"))
        );
    }
    for unknown in ["0000000000", "w0", &id[..5], "%00", &format!("{id}0")] {
        assert_eq!(proxy.admin(&format!("/api/v1/bindings/{unknown}")).status, 404, "{unknown}");
    }
}

#[test]
fn an_acknowledgement_closes_the_incident_and_is_told_where_it_was() {
    let upstream = FakeUpstream::accepting();
    let proxy = busy(&upstream);
    let open = json_of(&proxy.admin("/api/v1/incidents?state=open&set=default"));
    assert_eq!(column(&open, "incidents", "who"), ["workflow old (Report), node n"]);
    assert_eq!(column(&open, "incidents", "diagnosis"), ["stale_binding"]);
    let id = open["incidents"][0]["binding"].as_str().unwrap();
    let acknowledge = |id: &str| {
        proxy.ask_admin("POST", &format!("/api/v1/bindings/{id}/ack"), &[("Authorization", &proxy.admin_bearer())])
    };
    assert_eq!(acknowledge("0000000000").status, 404);
    let told = json_of(&acknowledge(id));
    assert_eq!(
        (&told["incident"], &told["state"], &told["silence"]),
        (&Value::Null, &json!("silent"), &json!("acknowledged"))
    );
    assert_eq!(json_of(&proxy.admin("/api/v1/incidents?state=open&set=default"))["total"], 0);
    let closed = json_of(&proxy.admin("/api/v1/incidents?state=closed"));
    assert_eq!(closed["incidents"][0]["closed"]["by"], "acknowledged");
    let sum = |name: &str| proxy.metric(&format!("keyward_{name}"));
    assert_eq!(sum("bindings{set=\"default\",state=\"acknowledged\"}"), 1);
    assert_eq!(sum("bindings{set=\"default\",state=\"confirmed\"}"), 5);
    assert_eq!(sum("incidents_open{set=\"default\",severity=\"error\"}"), 0);
}

#[test]
fn the_rotation_says_who_has_changed_and_whether_the_old_key_can_go() {
    let upstream = FakeUpstream::accepting();
    let proxy = busy(&upstream);
    let view = json_of(&proxy.admin("/api/v1/sets/default/rotation?limit=3"));
    assert_eq!(column(&view, "bindings", "state"), ["stale", "confirmed", "confirmed"]);
    assert_eq!((&view["total"], &view["done"], &view["progress"]["stale"]), (&json!(6), &json!(false), &json!(1)));
    let next = view["next"].as_str().unwrap();
    let rest = json_of(&proxy.admin(&format!("/api/v1/sets/default/rotation?limit=3&cursor={next}")));
    assert_eq!((rest["bindings"].as_array().unwrap().len(), &rest["next"]), (3, &Value::Null));
    let can_go = &view["old_keys"][0]["can_go"];
    assert_eq!((&can_go["answer"], &can_go["reasons"][0]["code"]), (&json!("no"), &json!("still_sent")));
    assert_eq!(can_go["reasons"][0]["binding"], view["bindings"][0]["binding"]);
    assert_eq!(proxy.admin("/api/v1/sets/nowhere/rotation").status, 404);
}
