//! The client of n8n's public API, against servers that answer as n8n does, and against ones that do what they like.

use std::ops::ControlFlow;
use std::time::Duration;

use keyward::keys::source::Source;
use keyward::n8n::Instance;
use keyward::n8n::address::Address;
use keyward::n8n::client::{Bounds, Client, ClientError, Read, scope};
use keyward::net::origin::{Scheme, Upstream};
use keyward::telemetry::event::with_causes;
use serde_json::{Value, json};

use crate::support::{Answering, DEADLINE, FakeUpstream, Visit};

const KEY: &str = "eyJhbGciOiJIUzI1NiJ9.canary-n8n-api-key";

/// A client, and the folder with its key.
struct Rig {
    client: Client,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Rig {
    fn towards(origin: Upstream, path: &str, bounds: Bounds) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, format!("{KEY}\n")).unwrap();
        let instance = Instance {
            name: "main".into(),
            url: Address { origin, path: path.into() },
            api_key: Source::File(file),
            set: None,
            refresh: Instance::REFRESH,
            keyward: None,
            press: true,
            via: None,
        };
        let client = Client::new(&instance, bounds).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap();
        Self { client, folder, runtime }
    }

    fn of(n8n: &FakeUpstream) -> Self {
        Self::towards(n8n.origin(), "", patient())
    }

    fn workflows(&self) -> Result<Vec<Value>, ClientError> {
        let mut found = Vec::new();
        self.runtime.block_on(self.client.workflows(|workflow| found.push(workflow)))?;
        Ok(found)
    }

    fn workflow(&self, id: &str) -> Result<Value, ClientError> {
        self.runtime.block_on(self.client.workflow(id))
    }
}

/// The machine may be busy.
fn patient() -> Bounds {
    Bounds { connect: DEADLINE, answer: DEADLINE, list: DEADLINE, ..Bounds::default() }
}

/// What a client says that asks for the list of workflows, with its causes.
#[track_caller]
fn complaint(answer: impl Into<Vec<u8>>) -> String {
    let n8n = FakeUpstream::answering(answer);
    let error = Rig::of(&n8n).workflows().expect_err("a failure");
    assert_eq!(n8n.connections(), 1, "one failure is enough");
    told(&error).replace(&n8n.origin().to_string(), "http://n8n")
}

#[track_caller]
fn told(error: &ClientError) -> String {
    let text = with_causes(error);
    assert!(!text.contains("canary") && !format!("{error:?}").contains("canary"), "{text} {error:?}");
    text
}

#[test]
fn a_list_is_read_to_its_last_page_with_the_key_in_its_header() {
    let n8n = FakeUpstream::scripted(|visit| {
        let (id, next) = match visit.number() {
            0 => ("a", json!("b/+=")),
            _ => ("b", Value::Null),
        };
        visit.answer(&Answering::json(200, json!({ "data": [{ "id": id }], "nextCursor": next }).to_string()));
    });
    let rig = Rig::towards(n8n.origin(), "/n8n", patient());
    assert_eq!(rig.workflows().unwrap(), [json!({ "id": "a" }), json!({ "id": "b" })]);
    let received = n8n.received();
    let lines: Vec<_> = received.iter().map(|received| received.head.line.as_str()).collect();
    let list = "GET /n8n/api/v1/workflows?excludePinnedData=true&limit=250";
    assert_eq!(lines, [format!("{list} HTTP/1.1"), format!("{list}&cursor=b%2F%2B%3D HTTP/1.1")]);
    let headers = &received[0].head.headers;
    let header =
        |name: &str| headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    assert_eq!(header("x-n8n-api-key").map(String::as_str), Some(KEY));
    assert_eq!(header("host"), Some(&n8n.authority()));
    assert!(header("authorization").is_none());
}

#[test]
fn another_key_in_the_file_counts_at_once() {
    let n8n = FakeUpstream::answering(Answering::json(200, r#"{"data":[]}"#));
    let rig = Rig::of(&n8n);
    rig.workflows().unwrap();
    std::fs::write(rig.folder.path().join("key"), "eyJhbGciOiJIUzI1NiJ9.another").unwrap();
    rig.workflows().unwrap();
    let raw = String::from_utf8_lossy(&n8n.received()[1].head.raw).into_owned();
    assert!(raw.contains("another") && !raw.contains(KEY), "{raw}");
}

#[test]
fn what_changes_something_is_sent_as_json() {
    let n8n = FakeUpstream::answering(Answering::json(200, r#"{"id":"7"}"#));
    let rig = Rig::of(&n8n);
    let body = json!({ "name": "é" });
    let changed: Value =
        rig.runtime.block_on(rig.client.patch("credentials/7", "credential:update", &body)).expect("changed");
    assert_eq!(changed, json!({ "id": "7" }));
    let received = n8n.received();
    assert_eq!(received[0].head.line, "PATCH /api/v1/credentials/7 HTTP/1.1");
    assert_eq!(serde_json::from_slice::<Value>(&received[0].body).unwrap(), body);
    assert!(
        received[0]
            .head
            .headers
            .iter()
            .any(|(name, value)| { name.eq_ignore_ascii_case("content-type") && value == "application/json" })
    );
}

#[test]
fn what_n8ns_clock_shows_is_read_from_its_answers() {
    let dated = |date: &str| {
        let head = format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: application/json\r\n");
        let n8n = FakeUpstream::answering(format!("{head}Content-Length: 11\r\n\r\n{{\"data\":[]}}"));
        let rig = Rig::of(&n8n);
        rig.workflows().unwrap();
        rig.client.date().map(|date| date.to_string())
    };
    assert_eq!(dated("Sun, 29 Nov 2026 10:00:07 GMT").as_deref(), Some("2026-11-29T10:00:07Z"));
    assert_eq!(dated("yesterday"), None);
}

#[test]
fn each_failure_says_what_to_do() {
    let json = |status, text: &str| Answering::json(status, text);
    let html = |status| Answering::with(status, "Content-Type: text/html\r\n", "<html>canary</html>");
    let to = |place: &str| Answering::with(302, &format!("Location: {place}\r\n"), "");
    let said = [
        complaint(json(401, r#"{"message":"unauthorized"}"#)),
        complaint(json(403, r#"{"message":"Forbidden"}"#)),
        complaint(html(401)),
        complaint(html(200)),
        complaint(html(404)),
        complaint(json(404, r#"{"message":"not found"}"#)),
        complaint(json(405, r#"{"message":"GET method not allowed"}"#)),
        complaint(json(400, &format!(r#"{{"message":"limit {KEY} \u001b[2J\u202e{}"}}"#, "x".repeat(100_000)))),
        complaint(json(500, "")),
        complaint(to("https://user:canary@elsewhere.example/login?canary#canary")),
        complaint(to(&format!("/signin/{KEY}"))),
        complaint(to("")),
        complaint(json(200, "{")),
        complaint(json(200, r#"{"data":"canary"}"#)),
        complaint(json(200, &"[".repeat(100_000))),
        complaint("SSH-2.0-canary\r\n\r\n"),
    ];
    let said = said.map(|said| without_folder(&said));
    insta::assert_snapshot!(said.join("\n"), @r#"
    n8n at http://n8n refuses the API key (401): make a new one in n8n (Settings, n8n API) and put it into file …/key; it may have been deleted, or have expired
    n8n at http://n8n refuses workflows to this API key (403): it needs the scope workflow:list
    n8n at http://n8n answers workflows with 401, not as n8n does; is there a login or another server in front of it?
    there is no n8n API at http://n8n/api/v1 (a page, or something else that is no JSON; status 200): the url is the one of n8n's editor, without what follows it, and n8n must not have its public API switched off (N8N_PUBLIC_API_DISABLED)
    there is no n8n API at http://n8n/api/v1 (a page, or something else that is no JSON; status 404): the url is the one of n8n's editor, without what follows it, and n8n must not have its public API switched off (N8N_PUBLIC_API_DISABLED)
    there is no n8n API at http://n8n/api/v1 (nothing; status 404): the url is the one of n8n's editor, without what follows it, and n8n must not have its public API switched off (N8N_PUBLIC_API_DISABLED)
    this version of n8n cannot do GET workflows; 2.x can
    n8n at http://n8n answers workflows with 400: limit *************************************** �[2J�xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
    n8n at http://n8n answers workflows with 500, not as n8n does; is there a login or another server in front of it?
    n8n at http://n8n redirects to https://elsewhere.example/login (302), which is not followed: the API key is for http://n8n alone. If that is where n8n is, make it the url
    n8n at http://n8n redirects to /signin/*************************************** (302), which is not followed: the API key is for http://n8n alone. If that is where n8n is, make it the url
    n8n at http://n8n redirects to nowhere (302), which is not followed: the API key is for http://n8n alone. If that is where n8n is, make it the url
    n8n at http://n8n sends something for workflows that cannot be read; keyward knows n8n 1.100 to 2.41: it ends too early at line 1, column 1
    n8n at http://n8n sends something for workflows that cannot be read; keyward knows n8n 1.100 to 2.41: it has another kind of value than n8n sends at line 1, column 16
    n8n at http://n8n sends something for workflows that cannot be read; keyward knows n8n 1.100 to 2.41: it ends too early at line 1, column 100000
    n8n at http://n8n broke off, or speaks no HTTP; see its own log: invalid HTTP version parsed
    "#);
}

/// Without the folder of the test.
fn without_folder(text: &str) -> String {
    match text.split_once("file /") {
        Some((before, rest)) => format!("{before}file …{}", &rest[rest.find("/key").unwrap_or(0)..]),
        None => text.to_owned(),
    }
}

#[test]
fn what_a_version_does_not_have_and_what_is_not_there_are_told_apart() {
    let n8n = FakeUpstream::answering(Answering::json(404, r#"{"message":"Not Found"}"#));
    let rig = Rig::of(&n8n);
    let missing = rig.workflow("a/../b").expect_err("nothing");
    assert!(matches!(missing, ClientError::NotFound { .. }), "{missing:?}");
    assert_eq!(n8n.only_received().head.line, "GET /api/v1/workflows/a%2F%2E%2E%2Fb HTTP/1.1");
    let old = FakeUpstream::answering(Answering::json(405, r#"{"message":"GET method not allowed"}"#));
    let rig = Rig::of(&old);
    let unknown = rig.runtime.block_on(rig.client.credentials(|_: Value| {})).expect_err("1.x has no list");
    assert!(matches!(unknown, ClientError::NotInThisVersion { .. }), "{unknown:?}");
}

#[test]
fn a_redirect_is_not_followed_wherever_it_leads() {
    let elsewhere = FakeUpstream::accepting();
    for status in [301, 302, 303, 307, 308] {
        let place = format!("Location: http://{}/api/v1/workflows\r\n", elsewhere.address());
        let n8n = FakeUpstream::answering(Answering::with(status, &place, ""));
        let error = Rig::of(&n8n).workflows().expect_err("a redirect");
        assert!(told(&error).contains(&elsewhere.authority()), "{error}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn a_list_that_never_ends_is_given_up() {
    let next = |cursor: usize| json!({ "data": [], "nextCursor": cursor.to_string() }).to_string();
    let circle = FakeUpstream::scripted(move |visit| visit.answer(&Answering::json(200, next(1))));
    let error = Rig::of(&circle).workflows().expect_err("no end");
    assert!(matches!(error, ClientError::Endless { .. }) && circle.received().len() == 2, "{error:?}");
    let on_and_on = FakeUpstream::scripted(move |visit| visit.answer(&Answering::json(200, next(visit.number()))));
    let rig = Rig::towards(on_and_on.origin(), "", Bounds { pages: 7, ..patient() });
    let error = rig.workflows().expect_err("no end");
    assert!(matches!(error, ClientError::Endless { .. }) && on_and_on.received().len() == 7, "{error:?}");
}

#[test]
fn a_list_is_read_as_far_as_it_is_wanted() {
    let page = |visit: &mut Visit<'_>| {
        let first = 10 * visit.number();
        let data: Vec<_> = (first..first + 10).map(|id| json!({ "id": id })).collect();
        visit
            .answer(&Answering::json(200, json!({ "data": data, "nextCursor": (first + 10).to_string() }).to_string()));
    };
    let n8n = FakeUpstream::scripted(page);
    let rig = Rig::of(&n8n);
    let read = |pages, most: usize| {
        let mut found = Vec::new();
        let take = |entry: Value| {
            found.push(entry["id"].as_u64().unwrap());
            if found.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let read = rig.client.list_at_most("executions?", scope::EXECUTION_LIST, pages, take);
        (rig.runtime.block_on(read).unwrap(), found.len())
    };
    assert_eq!(read(3, 15), (Read::Part, 15));
    assert_eq!(n8n.received().len(), 2, "the third page is not asked for");
    assert_eq!(read(3, 1000), (Read::Part, 30));
    let short = FakeUpstream::answering(Answering::json(200, r#"{"data":[{"id":1}],"nextCursor":null}"#));
    let take = |_: Value| ControlFlow::Continue(());
    let rig = Rig::of(&short);
    let read = rig.runtime.block_on(rig.client.list_at_most("executions?", scope::EXECUTION_LIST, 3, take));
    assert_eq!(read.unwrap(), Read::Whole);
}

#[test]
fn a_test_of_a_credential_is_asked_for_and_what_n8n_says_is_harmless() {
    let test = |answer: Vec<u8>| {
        let n8n = FakeUpstream::answering(answer);
        let rig = Rig::of(&n8n);
        let tested = rig.runtime.block_on(rig.client.test_credential("a/b"));
        let received = n8n.only_received();
        assert_eq!(received.head.line, "POST /api/v1/credentials/a%2Fb/test HTTP/1.1");
        assert_eq!(received.body, b"{}");
        tested
    };
    let good = test(Answering::json(200, r#"{"status":"OK","message":"Connection successful!"}"#)).unwrap().unwrap();
    assert!(good.is_good() && !good.is_refusal());
    let refused = test(Answering::json(200, r#"{"status":"Error","message":"Unauthorized"}"#)).unwrap().unwrap();
    assert!(!refused.is_good() && refused.is_refusal());
    let odd = test(Answering::json(200, r#"{"status":7,"message":"\u001b[2J sk-proj-canary-0123456789abcdef"}"#));
    let odd = odd.unwrap().unwrap();
    assert!(!odd.is_good() && !odd.shown().contains(['\u{1b}']) && !odd.shown().contains("canary"), "{odd:?}");
    for (status, message) in [(404, "not found"), (404, "Credential with ID"), (405, "POST method not allowed")] {
        assert_eq!(test(Answering::json(status, json!({ "message": message }).to_string())).unwrap(), None);
    }
    let lacks = test(Answering::json(403, r#"{"message":"Forbidden"}"#)).expect_err("a scope is missing");
    assert!(told(&lacks).contains("credentials/a%2Fb/test to this API key (403): it needs the scope credential:read"));
}

#[test]
fn an_answer_that_is_too_large_is_not_read_to_its_end() {
    let million = FakeUpstream::scripted(|visit| {
        let _ = visit.body();
        visit.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
        visit.chunk(r#"{"data":[{"nodes":["#);
        let nodes = r#"{"id":"0"},"#.repeat(2048);
        while visit.try_send(format!("{:x}\r\n{nodes}\r\n", nodes.len())).is_ok() {}
    });
    let rig = Rig::towards(million.origin(), "", Bounds { answer_size: 1 << 20, ..patient() });
    let error = rig.workflows().expect_err("too much");
    assert!(matches!(error, ClientError::TooBig { limit, .. } if limit == 1 << 20), "{error:?}");
    let pages = FakeUpstream::scripted(|visit| {
        let next = visit.number().to_string();
        let page = json!({ "data": [{ "id": "x".repeat(1000) }], "nextCursor": next });
        visit.answer(&Answering::json(200, page.to_string()));
    });
    let rig = Rig::towards(pages.origin(), "", Bounds { list_size: 10_000, ..patient() });
    let error = rig.workflows().expect_err("too much in all");
    assert!(matches!(error, ClientError::TooBig { limit: 10_000, .. }) && pages.received().len() < 12, "{error:?}");
}

#[test]
fn an_answer_that_drips_is_given_up() {
    let drip = FakeUpstream::scripted(|visit| {
        let _ = visit.body();
        visit.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n");
        while visit.try_send(" ").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let rig = Rig::towards(drip.origin(), "", Bounds { answer: Duration::from_millis(300), ..patient() });
    let error = rig.workflows().expect_err("too slow");
    assert!(matches!(error, ClientError::TooSlow { .. }), "{error:?}");
    let silent = FakeUpstream::scripted(|visit| drop(visit.wait_until_left()));
    let rig = Rig::towards(silent.origin(), "", Bounds { list: Duration::from_millis(300), ..patient() });
    assert!(matches!(rig.workflows().expect_err("silence"), ClientError::TooSlow { .. }));
}

#[test]
fn the_key_is_struck_out_of_what_n8n_sends_back() {
    let echo = json!({ "data": [{ "id": "a", "name": KEY, "nodes": [{ "parameters": { "value": KEY } }] }] });
    let n8n = FakeUpstream::answering(Answering::json(200, echo.to_string()));
    let found = Rig::of(&n8n).workflows().unwrap();
    assert!(!format!("{found:?}").contains("canary"), "{found:?}");
    assert_eq!(found[0]["name"], "*".repeat(KEY.len()));
}

#[test]
fn an_openai_key_never_goes_to_n8n() {
    let n8n = FakeUpstream::accepting();
    let rig = Rig::of(&n8n);
    for (text, word) in
        [("sk-proj-canary-0123456789abcdef", "OpenAI"), ("kw_canary-0123456789abcdef", "token"), ("canary", "short")]
    {
        std::fs::write(rig.folder.path().join("key"), text).unwrap();
        let error = told(&rig.workflows().expect_err("no key"));
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(n8n.connections(), 0);
}

#[test]
fn an_address_without_n8n_is_told() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gone = Upstream { scheme: Scheme::Http, host: "127.0.0.1".into(), port };
    let error = Rig::towards(gone, "", patient()).workflows().expect_err("no n8n");
    assert!(told(&error).contains("is it up"), "{error}");
    assert_eq!(scope::LEAST.len(), 6);
}
