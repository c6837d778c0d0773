//! No key, nor twelve characters of one, stands in anything that keyward prints, serves of its own or keeps.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::thread;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use keyward::admin::routes::ROUTES;

use crate::process::client::{ask, get, request};
use crate::process::tunnels::{Manner, TunnelProxy};
use crate::process::{Finished, Home, Keyward, Launch, files_below};
use crate::support::{Answer, Answering, Client, FakeUpstream, eventually};

/// Canaries: no two have twelve characters in common, and no word of any output has twelve in common with one.
const CURRENT: &str = "sk-proj-wk59pfKL0jFi2YYvLBpEGbpRuHrzDSVdqUC8DwRDe03wkPM15uelHuoUzaZhX4lp";
const NEXT: &str = "sk-svcacct-4aZuDig1ohQTTIDVrZfrytORAzb3do7gwiqTuLMos6ecjsro5K0a8uCI0QrHsbhP";
const PREVIOUS: &str = "sk-VKtsoSQ63hVZL8ibTpNrnBZOC51fEOGDVBZdP8MfMqP5ZVQy";
const OTHER_SET: &str = "sk-proj-mTRB1UVzWNzUdmJjXYzllkCGtaogsF9UIH4VMUgmgkaUwFPtBMrShDrxFR8Nbnxy";
const LEARNED: &str = "sk-svcacct-k7gH5qHY50b7p6NlSBwSxajkIL8kRK3qci33JoQW5lOvfQXTPUpZnp3mZtTPCQPY";
const UNKNOWN: &str = "sk-proj-z9nFuL36OHKJxrs4asFZGuovM0hNco3v3XKHtoA1BffhIcV1jTCDmOcKCxsuYqbI";
const SESSION: &str = "sess-SvfoS3cFyLCDGdS25SpDDtEYlYGDERBtzbw4NzRk";
const EPHEMERAL: &str = "ek_6SyqSUneT1Ixr1U8G1YPkm9oE1mqH4nMwi1yXnoK";
const TOKEN: &str = "kw_wFT1k6Ig3TtWzK7BCCTmfYw8dGkACN26CdbBYy7P";
const ACCESS: &str =
    "eyJIeCZ80X5UwhQM1XhGkK7GWXiBzKjPr.eyJl4SqY17nTpD88AM4FvuPB5cukr87Xp.KUMiK3ZlP1F4wdEkSOM9Z3VgC87QfR";

const CANARIES: [&str; 10] = [CURRENT, NEXT, PREVIOUS, OTHER_SET, LEARNED, UNKNOWN, SESSION, EPHEMERAL, TOKEN, ACCESS];

/// A proxy's, in no form that is known: whatever keeps it out, it is not that it looks like a key.
const PASSWORD: &str = "h7RkV2mQx9TbLc4WfYd8NsJg3ZpAe6Hu";

/// What only sounds like a key: the part that all keys of a kind begin with, which hints show.
const KINDS: [&str; 3] = ["sk-svcacct-", "sk-admin-", "sk-proj-"];

const WINDOW: usize = 12;

const SETS: &str = "[keys.default]\ncurrent = { file = \"current\" }\nnext = { file = \"next\" }\n\
    previous = [{ file = \"previous\" }]\n[keys.staging]\ncurrent = { env = \"OTHER\" }\n[keys.learning]\n";

#[test]
fn the_canaries_are_fit_for_it() {
    for (index, canary) in CANARIES.iter().enumerate() {
        let others = CANARIES.iter().enumerate().filter(|(other, _)| *other != index);
        for (_, other) in others {
            assert!(!windows(other).any(|window| bare(canary).contains(window)), "{canary} and {other}");
        }
    }
    assert_eq!(
        find(format!("a line with {} in it", &CURRENT[20..32]).as_bytes()),
        Some(20..32).map(|part| CURRENT[part].to_owned())
    );
    let basic = BASE64_STANDARD.encode(format!(":{CURRENT}"));
    assert!(find(basic.as_bytes()).is_some(), "an encoded one is found");
    assert_eq!(find(format!("sk-svcacct-…{} (12345678)", &NEXT[NEXT.len() - 4..]).as_bytes()), None, "a hint is none");
}

#[test]
fn keys_in_every_place_of_a_request_stay_out_of_the_json_log() {
    check_requests(&["--log", "json"]);
}

#[test]
fn keys_in_every_place_of_a_request_stay_out_of_the_human_log() {
    check_requests(&["--log", "human"]);
}

#[test]
fn keys_in_what_upstream_says_stay_out() {
    let upstream = FakeUpstream::answering(telltale_answer());
    let (home, keyward) = start(|launch| launch.upstream(&upstream));
    for key in CANARIES {
        ask_everywhere(&keyward, key);
    }
    check_all(&home, keyward);
}

#[test]
fn keys_stay_out_when_upstream_cannot_be_reached() {
    let (home, keyward) = start(|launch| launch.args(&["--upstream", "http://127.0.0.1:1"]));
    assert!(ask_everywhere(&keyward, UNKNOWN).iter().any(|answer| answer.status == 502));
    check_all(&home, keyward);
}

#[test]
fn keys_stay_out_when_upstream_is_silent_or_breaks_off() {
    let upstream = FakeUpstream::scripted(|visit| {
        if !visit.head.line.starts_with("GET") {
            visit.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf");
            visit.close();
        }
    });
    let limits = "[proxy]\nanswer_timeout = \"100ms\"\nidle_timeout = \"100ms\"\n";
    let (home, keyward) = start_with(&format!("{limits}{SETS}"), |launch| launch.upstream(&upstream));
    let answers = [post(&keyward, CURRENT), with(&keyward, "Authorization", &format!("Bearer {CURRENT}"))];
    assert_eq!(answers.each_ref().map(|answer| answer.whole), [false, true]);
    assert_eq!(answers[1].status, 504);
    check_all(&home, keyward);
}

#[test]
fn keys_stay_out_when_upstream_speaks_another_protocol() {
    let garbage = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", garbage.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in garbage.incoming().map_while(Result::ok) {
            let _ = stream.write_all(format!("220 {UNKNOWN} smtp ready\r\n").as_bytes());
        }
    });
    let (home, keyward) = start(|launch| launch.args(&["--upstream", &url]));
    let answer = with(&keyward, "Authorization", &format!("Bearer {CURRENT}"));
    assert_eq!(answer.status, 502);
    assert_clean("the answer", &answer.body);
    check_all(&home, keyward);
}

#[test]
fn the_password_of_a_proxy_stays_out_whether_it_is_taken_or_not() {
    let upstream = FakeUpstream::accepting();
    let refused = Manner::Says(format!("HTTP/1.1 407 {PASSWORD}\r\nX-Echo: {PASSWORD}\r\n\r\n{PASSWORD}").into());
    for (manner, status) in [(Manner::Opens(upstream.address()), 200), (refused, 502), (Manner::Silent, 502)] {
        let proxy = TunnelProxy::start(manner);
        let limit = format!("[proxy]\nconnect_timeout = \"1s\"\n{SETS}");
        let (home, keyward) = start_with(&limit, |launch| {
            launch.upstream(&upstream).env("http_proxy", &proxy.url(&format!("a:{PASSWORD}@")))
        });
        let answer = with(&keyward, "Authorization", &format!("Bearer {CURRENT}"));
        assert_eq!(answer.status, status);
        assert_clean("the answer", &[&answer.head.raw[..], &answer.body].concat());
        let basic = BASE64_STANDARD.encode(format!("a:{PASSWORD}"));
        assert!(proxy.asked()[0].contains(&basic), "it was sent where it belongs");
        check_all(&home, keyward);
        let url = proxy.url(&format!("a:{PASSWORD}@"));
        let check = home.keyward(&["check", "--online"]).env("HTTPS_PROXY", &url).key(CURRENT);
        let check = check.env("KEYWARD_PROXY_CONNECT_TIMEOUT", "1s").run();
        assert!(check.stdout.contains("proxy.via: https://api.openai.com is reached through"), "{}", check.stdout);
        assert_clean_end("the check", &check);
    }
}

/// n8n sends the key back wherever it can, and has other keys in its nodes.
#[test]
fn the_key_of_n8ns_api_and_what_stands_in_its_nodes_stay_out() {
    let n8n = FakeUpstream::scripted(|visit| {
        let target = visit.head.line.split(' ').nth(1).unwrap().to_owned();
        let node = serde_json::json!({
            "id": "n1", "name": format!("Node {PASSWORD} {ACCESS}"), "type": PASSWORD,
            "parameters": { "headerParameters": { "parameters": [{ "name": PASSWORD, "value": format!("Bearer {LEARNED}") }] } },
            "credentials": { "openAiApi": { "id": PASSWORD, "name": CURRENT } },
        });
        let workflow = serde_json::json!({ "id": "w1", "name": format!("{PASSWORD} {SESSION}"), "nodes": [node] });
        visit.answer(&match target.trim_start_matches("/api/v1/") {
            path if path.starts_with("workflows?") => {
                Answering::json(200, serde_json::json!({ "data": [workflow] }).to_string())
            }
            path if path.starts_with("workflows/w1") => Answering::json(200, workflow.to_string()),
            path if path.starts_with("credentials") => {
                Answering::with(302, &format!("Location: http://a:{PASSWORD}@b/{PASSWORD}?{PASSWORD}\r\n"), PASSWORD)
            }
            _ => Answering::json(400, format!(r#"{{"message":"no {PASSWORD} {TOKEN}"}}"#)),
        });
    });
    let config = format!("{SETS}[n8n.main]\nurl = \"{}\"\napi_key = {{ file = \"n8n\" }}\n", n8n.origin());
    let home = Home::new();
    for (name, key) in [("current", CURRENT), ("next", NEXT), ("previous", PREVIOUS), ("n8n", PASSWORD)] {
        home.write(name, key);
    }
    let upstream = FakeUpstream::accepting();
    let launch = home.serve_for(&upstream).config(&config).env("OTHER", OTHER_SET).env("KEYWARD_LOG_LEVEL", "trace");
    let mut keyward = launch.log_file("log").start();
    keyward.hear_events();
    eventually("n8n's trouble", || keyward.admin("/api/v1/status").text().contains("troubled").then_some(()));
    for key in CANARIES {
        let bearer = format!("Bearer {key}");
        let headers = [("Authorization", &*bearer), ("X-N8N-Tag", "wf=w1;ex=7;node=n1")];
        assert_no_canary_of_ours(&ask(keyward.listen, "/v1/models", &headers));
    }
    check_all(&home, keyward);
}

#[test]
fn keys_in_a_wrong_configuration_stay_out_of_its_problems() {
    for line in [
        format!("[keys.default]\ncurrent = \"{CURRENT}\""),
        format!("[keys.default]\ncurrent = {{ file = \"{CURRENT}\" }}"),
        format!("[keys.default]\ncurrent = {{ env = \"{CURRENT}\" }}"),
        format!("[keys.default]\ncurrent = {{ env = \"{TOKEN}\" }}"),
        format!("[keys.default]\nprevious = [\"{PREVIOUS}\"]"),
        format!("[keys.default]\n{CURRENT} = 1"),
        format!("[keys.{CURRENT}]"),
        format!("[keys]\ndefault = \"{CURRENT}\""),
        CURRENT.to_owned(),
        format!("{CURRENT} = \"{NEXT}\""),
        format!("[proxy]\nlisten = \"{CURRENT}\""),
        format!("[proxy]\nupstream = \"https://user:{UNKNOWN}@host\""),
        format!("[proxy]\nupstream = \"https://host/?key={SESSION}\""),
        format!("[proxy]\nvia = \"http://user:{PASSWORD}\""),
        format!("[proxy]\nvia = \"http://a:{PASSWORD}/@proxy\""),
        format!("[proxy]\nvia = \"socks5://a:{PASSWORD}@proxy\""),
        format!("[proxy]\nvia = \"{PASSWORD} \""),
        format!("[proxy]\nworkers = \"{ACCESS}\""),
        format!("[log]\nlevel = \"{SESSION}\""),
        format!("[log]\nformat = \"{EPHEMERAL}\n"),
    ] {
        let home = Home::new();
        let finished = home.keyward(&["serve", "--listen", "127.0.0.1:0"]).config(&line).run();
        assert_eq!(finished.code(), Some(1), "{line}");
        assert_clean_end(&line, &finished);
    }
}

#[test]
fn keys_in_the_environment_stay_out_of_problems() {
    for (name, value) in [
        ("KEYWARD_PROXY_LISTEN", CURRENT),
        ("KEYWARD_LOG_LEVEL", SESSION),
        ("KEYWARD_LOG_FORMAT", ACCESS),
        ("KEYWARD_PROXY_WORKERS", EPHEMERAL),
        ("KEYWARD_KEYS_DEFAULT_CURRENT_FILE", CURRENT),
        ("KEYWARD_KEYS_DEFAULT_CURRENT_ENV", CURRENT),
        ("KEYWARD_KEYS_DEFAULT_CURRENT_ENV", TOKEN),
        ("KEYWARD_KEYS_DEFAULT_CURRENT", CURRENT),
        ("KEYWARD_KEYS_DEFAULT_GRACE", CURRENT),
        ("KEYWARD_KEYS_DEFAULT", CURRENT),
        ("KEYWARD_CONFIG", CURRENT),
        ("KEYWARD_PROXY_VIA", &format!("user:{PASSWORD}")),
        ("HTTPS_PROXY", &format!("http://user:{PASSWORD}")),
        ("ALL_PROXY", &format!("socks5://a:{PASSWORD}@proxy")),
    ] {
        let finished = Home::new().serve().env(name, value).run();
        assert_eq!(finished.code(), Some(1), "{name}");
        assert_clean_end(name, &finished);
    }
}

#[test]
fn keys_in_variables_that_mean_nothing_stay_out() {
    let (home, pasted) = (Home::new(), format!("KEYWARD_{CURRENT}"));
    let launch = home.serve().env(&pasted, "1").env("KEYWARD_OPENAI_API_KEY", UNKNOWN);
    let finished = launch.start().stop();
    assert!(finished.stdout.contains("is ignored"), "{}", finished.stdout);
    assert_clean_end("ignored variables", &finished);
}

#[test]
fn keys_on_the_command_line_stay_out_of_the_complaint() {
    let userinfo = format!("https://user:{CURRENT}@api.openai.com");
    let option = format!("--key={CURRENT}");
    let spelt = format!("--{CURRENT}");
    for arguments in [
        &[CURRENT][..],
        &["serve", CURRENT],
        &["serve", &option],
        &["serve", &spelt],
        &["serve", "--log", SESSION],
        &["serve", "--listen", CURRENT],
        &["serve", "--upstream", CURRENT],
        &["serve", "--upstream", &userinfo],
        &["serve", "--config", CURRENT],
        &["serve", "--config", ACCESS],
    ] {
        let finished = Home::new().keyward(arguments).run();
        assert_eq!(finished.code(), Some(2), "{arguments:?}");
        assert!(!finished.stderr.is_empty());
        assert_clean_end(&format!("{arguments:?}"), &finished);
    }
}

#[test]
fn keys_that_cannot_be_read_are_not_quoted() {
    let home = Home::new();
    home.write("current", format!("{CURRENT} {NEXT}\n"));
    let launch = home.serve().config("[keys.default]\ncurrent = { file = \"current\" }\nnext = { env = \"NEXT\" }\n");
    let finished = launch.env("NEXT", &format!("{NEXT}\u{e9}")).start().stop();
    assert!(finished.stdout.contains("not known"), "{}", finished.stdout);
    assert_clean_end("a bad key file", &finished);
}

#[test]
fn keys_and_tokens_stay_out_of_what_the_commands_print_and_keep() {
    let home = Home::new();
    for (name, key) in [("current", CURRENT), ("next", NEXT), ("previous", PREVIOUS)] {
        home.write(name, key);
    }
    let upstream = FakeUpstream::answering(telltale_answer());
    let config = format!("[proxy]\nupstream = \"{}\"\npolicy = \"enforce\"\n{SETS}", upstream.url());
    let config = config.replace("[keys.learning]", "[keys.learning]\npolicy = \"observe\"");
    let with_other = |arguments: &[&str]| home.keyward(arguments).config(&config).env("OTHER", OTHER_SET);
    let made = with_other(&["token", "new", "default", "--name", "canary"]).run();
    let token = made.stdout.trim_end();
    assert!(token.len() == 46 && !made.stderr.contains(&token[3..20]), "{}", made.stderr);
    for (arguments, input) in [
        (&["token", "new", "default", "--name", CURRENT][..], ""),
        (&["token", "new", UNKNOWN], ""),
        (&["token", "revoke", TOKEN], ""),
        (&["token", "revoke", UNKNOWN], ""),
        (&["token", "list"], ""),
        (&["token", "list", "--json"], ""),
        (&["keys", "list"], ""),
        (&["keys", "list", "--json"], ""),
        (&["keys", "fingerprint"], CURRENT),
        (&["keys", "fingerprint"], &format!("{NEXT} {PREVIOUS}")),
        (&["keys", "revoke", UNKNOWN], ""),
        (&["keys", UNKNOWN], ""),
        (&["check"], ""),
        (&["check", "--online"], ""),
        (&["check", "--online", "--json"], ""),
        (&["check", UNKNOWN], ""),
        (&["token", "revoke", token], ""),
    ] {
        let finished = with_other(arguments).input(input).run();
        let what = format!("{:?}", arguments.first());
        assert!(!finished.stdout.is_empty() || !finished.stderr.is_empty(), "{what}");
        assert_clean_end(&what, &finished);
        assert!(![&finished.stdout, &finished.stderr].iter().any(|text| text.contains(&token[3..15])), "{what}");
    }
    for (path, bytes) in files_below(&home.state()) {
        assert_clean(&path.display().to_string(), &bytes);
        assert!(!String::from_utf8_lossy(&bytes).contains(&token[3..15]), "{}", path.display());
    }
}

#[test]
fn keys_and_tokens_stay_out_where_keyward_acts() {
    let upstream = FakeUpstream::answering(telltale_answer());
    for policy in ["enforce", "inject"] {
        let config = format!("[proxy]\npolicy = \"{policy}\"\n{SETS}policy = \"observe\"\n");
        let (home, keyward) = start_with(&config, |launch| launch.upstream(&upstream));
        let made = home.keyward(&["token", "new", "default"]).config(&config).env("OTHER", OTHER_SET).run();
        let token = made.stdout.trim_end().to_owned();
        for key in CANARIES.iter().copied().chain([token.as_str()]) {
            ask_everywhere(&keyward, key);
        }
        let pages = [get(keyward.listen, "/"), keyward.admin("/metrics")];
        let log = fs::read(home.path("log")).unwrap();
        let finished = keyward.stop();
        assert_clean_end(policy, &finished);
        for text in pages.iter().map(|page| &page.body).chain([&log]) {
            assert_clean(policy, text);
            assert!(!String::from_utf8_lossy(text).contains(&token[3..15]), "{policy}");
        }
        for (path, bytes) in files_below(&home.state()) {
            assert_clean(&path.display().to_string(), &bytes);
        }
    }
}

/// Everything a caller can do with each key, judged by two sets, one of them with all roles, and by one that learns.
fn check_requests(arguments: &[&str]) {
    let upstream = FakeUpstream::scripted(|visit| {
        let is_bad = visit.head.header("authorization").is_some_and(|value| value.contains(UNKNOWN));
        visit.answer(&if is_bad { telltale_answer() } else { Answering::json(200, "{}") });
    });
    let (home, keyward) = start(|launch| launch.upstream(&upstream).args(arguments));
    for key in CANARIES {
        let answers = ask_everywhere(&keyward, key);
        assert!(answers.iter().filter(|answer| !answer.verdict().is_empty()).count() > 20, "most are exchanges");
    }
    malformed_heads(&keyward);
    let learned = [("X-N8N-Tag", "wf=a;set=learning"), ("Authorization", &format!("Bearer {LEARNED}"))];
    ask(keyward.listen, "/v1/models", &learned);
    assert_eq!(ask(keyward.listen, "/v1/models", &learned).verdict(), "current");
    check_all(&home, keyward);
    for (table, column) in
        [("bindings", "workflow"), ("bindings", "workflow_name"), ("bindings", "node"), ("uses", "hint_last")]
    {
        let filled = home.rows::<i64>(&format!("SELECT count({column}) FROM {table}"));
        assert!(filled[0] > 0, "there is something to look through in {column}");
    }
}

/// With a full ring, at trace level.
fn start(more: impl FnOnce(Launch) -> Launch) -> (Home, Keyward) {
    start_with(SETS, more)
}

fn start_with(config: &str, more: impl FnOnce(Launch) -> Launch) -> (Home, Keyward) {
    let home = Home::new();
    for (name, key) in [("current", CURRENT), ("next", NEXT), ("previous", PREVIOUS)] {
        home.write(name, key);
    }
    let launch = home.serve().config(config).key(UNKNOWN).env("OTHER", OTHER_SET).env("KEYWARD_LOG_LEVEL", "trace");
    let mut keyward = more(launch).log_file("log").start();
    keyward.hear_events();
    (home, keyward)
}

#[test]
fn the_stream_of_events_was_heard() {
    let upstream = FakeUpstream::accepting();
    let (_home, keyward) = start(|launch| launch.upstream(&upstream));
    with(&keyward, "Authorization", &format!("Bearer {CURRENT}"));
    eventually("the line", || (!keyward.exchanges(1).is_empty()).then_some(()));
    let finished = keyward.stop();
    assert!(finished.events.contains("event: exchange") && finished.events.contains("\"verdict\":\"current\""));
}

/// Puts the key into every place that a caller can write to, one at a time.
#[track_caller]
fn ask_everywhere(keyward: &Keyward, key: &str) -> Vec<Answer> {
    let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
    let protocol = format!("realtime, openai-insecure-api-key.{key}");
    let mut answers = Vec::new();
    for value in authorizations(key) {
        answers.push(with(keyward, "Authorization", &value));
    }
    for (name, value) in [
        ("Authorization", basic(&format!(":{key}"))),
        ("Authorization", basic(&format!("{key}:"))),
        ("Authorization", basic(key)),
        ("api-key", key.to_owned()),
        ("api-key", format!("Bearer {key}")),
        ("Sec-WebSocket-Protocol", protocol),
        ("OpenAI-Organization", key.to_owned()),
        ("OpenAI-Organization", format!("n8n-{key}-7")),
        ("OpenAI-Project", key.to_owned()),
        ("X-N8N-Tag", key.to_owned()),
        ("X-N8N-Tag", format!("wf={key};ex={key};node={key};inst={key};set={key};name={key}")),
        ("X-N8N-Tag", format!("wf=a;name=my%20{key}")),
        ("X-N8N-Workflow-Id", key.to_owned()),
        ("X-N8N-Workflow-Name", format!("Report \"{key}\"")),
        ("X-N8N-Workflow-Name", format!("{}{key}", "n".repeat(256 - 30))),
        ("X-N8N-Execution-Id", key.to_owned()),
        ("X-N8N-Node-Id", key.to_owned()),
        ("User-Agent", key.to_owned()),
        ("User-Agent", format!("OpenAI/JS {key}")),
        ("User-Agent", format!("axios/1{key}")),
        ("X-Stainless-Package-Version", format!("4.{key}")),
        ("Connection", key.to_owned()),
        ("Cookie", key.to_owned()),
        (key, "a name".to_owned()),
    ] {
        answers.push(with(keyward, name, &value));
    }
    for path in paths(key) {
        answers.push(ask(keyward.listen, &path, &[]));
    }
    answers.push(post(keyward, key));
    answers.push(ask_by_method(keyward, key));
    for answer in &answers {
        assert_no_canary_of_ours(answer);
    }
    answers
}

fn authorizations(key: &str) -> Vec<String> {
    let half = key.len() / 2;
    [
        "Bearer [key]",
        "bearer [key]",
        "[key]",
        "Bearer Bearer [key]",
        "Bearer \"[key]\"",
        "Bearer '[key]'",
        "Bearer  [key]",
        "Bearer [key] ",
        "Bearer [key] [key]",
        "Bearer\t[key]",
        "Bearer=[key]",
        "Token [key]",
        "Basic [key]",
        "Bearer {[key]}",
        "Bearer https://[key]",
        "Bearer undefined[key]",
        "[key] [key]",
        "[key]: [key]",
    ]
    .map(|form| form.replace("[key]", key))
    .into_iter()
    .chain([format!("Bearer {} {}", &key[..half], &key[half..]), format!("Bearer {}", key.repeat(40))])
    .collect()
}

fn paths(key: &str) -> Vec<String> {
    [
        "/[key]",
        "/v1/[key]",
        "/v1/models?key=[key]",
        "/v1/models/[key]/[key]",
        "/n8n/[key]/v1/models",
        "/n8n/[key]/[key]/[key]/v1/models",
        "/set/[key]/v1/models",
        "/set/[key]/n8n/a/v1/models",
        "/set/default/n8n/a/b/c/v1/[key]",
        "/n8n/a/b/c/[key]",
        "/v1/v1/[key]",
        "/v1//[key]",
        "/v1/%22[key]%22",
        "/v1/a[key]",
        "http://keyward/[key]",
        "http://[key]/v1/models",
        "http://user:[key]@keyward/v1/models",
    ]
    .map(|form| form.replace("[key]", key))
    .into_iter()
    // Where the log's cap cuts a path, no part of a key must be left over.
    .chain((480..512).map(|length| format!("/v1/{}/{key}", "x".repeat(length - 5))))
    .collect()
}

/// What no server takes for a request.
fn malformed_heads(keyward: &Keyward) {
    for head in [
        format!("GET /v1/models HTTP/1.1\r\nAuthorization Bearer {CURRENT}\r\n\r\n"),
        format!("GET /v1/{CURRENT} HTTP/9.9\r\nHost: k\r\n\r\n"),
        format!("GET /v1 {CURRENT} HTTP/1.1\r\nHost: k\r\n\r\n"),
        format!("{CURRENT}\r\n\r\n"),
        format!("GET /v1 HTTP/1.1\r\nHost: k\r\nContent-Length: {CURRENT}\r\n\r\n"),
        format!("GET /v1 HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: {CURRENT}\r\n\r\n"),
        format!("GET /v1 HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {}\r\n\r\n", CURRENT.repeat(2000)),
        format!("CONNECT {CURRENT}:443 HTTP/1.1\r\nHost: {CURRENT}\r\n\r\n"),
        format!("POST /v1 HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n\r\n{CURRENT}\r\n"),
    ] {
        let mut client = Client::connect(keyward.listen);
        client.send(head.as_bytes());
        assert_no_canary_of_ours(&client.read());
    }
}

#[track_caller]
fn with(keyward: &Keyward, name: &str, value: &str) -> Answer {
    ask(keyward.listen, "/v1/models", &[(name, value)])
}

#[track_caller]
fn post(keyward: &Keyward, key: &str) -> Answer {
    let body = format!("{{\"api_key\":\"{key}\"}}");
    let mut client = Client::connect(keyward.listen);
    client.send(request("POST", "/v1/chat/completions", &[("Content-Type", "application/json")], body.as_bytes()));
    client.read()
}

#[track_caller]
fn ask_by_method(keyward: &Keyward, key: &str) -> Answer {
    let mut client = Client::connect(keyward.listen);
    client.send(request(key, "/v1/models", &[], b""));
    client.read()
}

/// An error that tells of keys in each of its parts.
fn telltale_answer() -> Vec<u8> {
    let body = format!(
        "{{\"error\":{{\"message\":\"Incorrect API key provided: {UNKNOWN}\",\"type\":\"{UNKNOWN}\",\
         \"param\":\"{UNKNOWN}\",\"code\":\"{UNKNOWN}\"}}}}"
    );
    let more = format!("x-request-id: {UNKNOWN}\r\nx-keyward-id: {UNKNOWN}\r\nlocation: https://{UNKNOWN}\r\n");
    Answering::with(401, &format!("{more}content-type: application/json\r\n"), body)
}

/// Every output and every file, after the page, all that the admin listener says, and a clean end.
#[track_caller]
fn check_all(home: &Home, keyward: Keyward) {
    let token = keyward.admin_token();
    let mut said = vec![("the page", get(keyward.listen, "/"))];
    let bindings: serde_json::Value =
        serde_json::from_slice(&keyward.admin("/api/v1/bindings?limit=1000").body).unwrap();
    let bindings = bindings["bindings"].as_array().unwrap();
    assert!(!bindings.is_empty(), "there is something to look at");
    let binding = bindings[0]["binding"].as_str().unwrap().to_owned();
    for binding in bindings {
        let path = format!("/api/v1/bindings/{}", binding["binding"].as_str().unwrap());
        said.push(("a binding", keyward.admin(&path)));
    }
    for route in &ROUTES {
        let target = route.path.replace("{link}", &token).replace("{set}", "default").replace("{binding}", &binding);
        let target = target.replace("{execution}", "7");
        if !["/api/v1/events", "/watch"].contains(&route.path) {
            said.push((route.path, keyward.ask_admin(route.method, &target)));
            said.push((route.path, keyward.ask_admin("PUT", &target)));
        }
        said.push((route.path, keyward.ask_admin(route.method, &format!("{target}?a={UNKNOWN}"))));
    }
    for (what, answer) in said {
        let bytes = [&answer.head.raw[..], &answer.body].concat();
        assert_clean(what, &bytes);
        assert_without_token(what, &bytes, &token);
    }
    // While it runs, with what the store has not yet taken out of its log.
    eventually("rows", || home.rows::<i64>("SELECT count(*) FROM uses").first().filter(|rows| **rows > 0).copied());
    check_state(home);
    check_commands(home, &token, &keyward.admin.to_string());
    let finished = keyward.stop();
    assert_eq!(finished.code(), Some(0));
    assert_clean_end("the end", &finished);
    for text in [&finished.stdout, &finished.stderr, &finished.log(), &finished.events] {
        assert_without_token("the end", text.as_bytes(), &token);
    }
    let log = fs::read(home.path("log")).unwrap();
    assert!(log.len() > 1000, "there is something to look through");
    let copy = back_up(home);
    let state = check_state(home);
    assert!(state.len() == 5 && state.contains(&copy), "{state:?}");
    for path in state.iter().filter(|path| !path.ends_with("admin.token")) {
        assert_without_token(&path.display().to_string(), &fs::read(path).unwrap(), &token);
    }
    check_commands(home, &token, "127.0.0.1:1");
}

/// What the commands print that ask a running keyward, or its store.
#[track_caller]
fn check_commands(home: &Home, token: &str, admin: &str) {
    for arguments in [
        &["status"][..],
        &["rotation"],
        &["bindings"],
        &["bindings", "--json"],
        &["incidents", "--all"],
        &["ack", UNKNOWN],
        &["bindings", "--workflow", UNKNOWN],
        &["rotation", UNKNOWN],
        &["n8n", "blame", "7"],
        &["n8n", "blame", "7", "--json"],
        &["n8n", "blame", UNKNOWN],
        &["check", "--online"],
    ] {
        let launch = home.keyward(&[arguments, &["--config", "keyward.toml"]].concat());
        let finished = launch.env("KEYWARD_ADMIN_LISTEN", admin).env("OTHER", OTHER_SET).run();
        let what = arguments.first().unwrap();
        assert!(!finished.stdout.is_empty() || !finished.stderr.is_empty(), "{what}");
        assert_clean_end(what, &finished);
        for text in [&finished.stdout, &finished.stderr] {
            assert_without_token(what, text.as_bytes(), token);
        }
    }
}

/// What a migration leaves beside the store: a copy of it in its old shape.
fn back_up(home: &Home) -> PathBuf {
    let store = rusqlite::Connection::open(home.store()).unwrap();
    let copy = keyward::ledger::sqlite::copy_aside(&store, &home.store(), 1).unwrap();
    assert!(fs::metadata(&copy).unwrap().len() > 4096, "there is something to look through");
    copy
}

/// The store, its log, its index, its copy and every other file of the state.
#[track_caller]
fn check_state(home: &Home) -> Vec<PathBuf> {
    let files = files_below(&home.state()).into_iter().map(|(path, bytes)| {
        assert_clean(&path.display().to_string(), &bytes);
        path
    });
    files.collect()
}

/// No twelve characters of the admin token.
#[track_caller]
fn assert_without_token(what: &str, bytes: &[u8], token: &str) {
    let text = String::from_utf8_lossy(bytes);
    assert!(token.len() == 52 && !windows(&token[9..]).any(|window| text.contains(window)), "{what} has the token");
}

#[track_caller]
fn assert_clean_end(what: &str, finished: &Finished) {
    assert_clean(&format!("standard output: {what}"), finished.stdout.as_bytes());
    assert_clean(&format!("standard error: {what}"), finished.stderr.as_bytes());
    assert_clean(&format!("the log: {what}"), finished.log().as_bytes());
    assert_clean(&format!("the events: {what}"), finished.events.as_bytes());
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}

/// Of an answer, what keyward wrote itself: all of it where it made the answer, else its own headers.
#[track_caller]
fn assert_no_canary_of_ours(answer: &Answer) {
    let is_ours = answer.text().contains("keyward") || answer.verdict().is_empty();
    if is_ours {
        assert_clean("an answer", &[&answer.head.raw[..], &answer.body].concat());
    }
    let ours = answer.head.headers.iter().filter(|(name, _)| name.starts_with("x-keyward-"));
    ours.for_each(|(name, value)| assert_clean("a header", format!("{name}: {value}").as_bytes()));
}

#[track_caller]
fn assert_clean(what: &str, bytes: &[u8]) {
    if let Some(part) = find(bytes) {
        let text = String::from_utf8_lossy(bytes);
        let line = text.lines().find(|line| line.contains(&part)).unwrap_or_default();
        panic!("{what} has {part}: {line}");
    }
}

/// The first piece of a canary in there.
fn find(bytes: &[u8]) -> Option<String> {
    static PIECES: LazyLock<HashSet<Vec<u8>>> = LazyLock::new(pieces);
    let found = bytes.windows(WINDOW).find(|window| PIECES.contains(*window))?;
    Some(String::from_utf8_lossy(found).into_owned())
}

/// Every piece of every canary, as it is and as Basic credentials carry it.
fn pieces() -> HashSet<Vec<u8>> {
    let encoded = |canary: &str| ["", ":", "a:"].map(|user| BASE64_STANDARD.encode(format!("{user}{canary}")));
    let canaries = || CANARIES.iter().chain([&PASSWORD]);
    let encoded: Vec<_> = canaries().flat_map(|canary| encoded(canary)).collect();
    // What encodes the part that all keys of a kind share tells of none of them.
    let encoded = encoded.iter().flat_map(|text| windows(&text[16..]));
    let plain = canaries().flat_map(|canary| windows(bare(canary)));
    plain.chain(encoded).map(|piece| piece.as_bytes().to_vec()).collect()
}

/// Without the part that all keys of its kind begin with.
fn bare(canary: &str) -> &str {
    KINDS.iter().find_map(|kind| canary.strip_prefix(kind)).unwrap_or(canary)
}

fn windows(text: &str) -> impl Iterator<Item = &str> {
    (0..=text.len().saturating_sub(WINDOW)).map(move |start| &text[start..start + WINDOW])
}
