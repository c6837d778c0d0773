//! `keyward serve` from the first line on: what a newcomer reads, what can be set, and how wrong settings are told.

use std::net::TcpListener;
use std::path::Path;

use crate::process::client::{ask_with, get};
use crate::process::{Finished, Home, Keyward, Launch, events};
use crate::support::{API_KEY, FakeUpstream};

const TAG: &str =
    "wf={{ $execution.id == '__UNKNOWN__' ? 'editor' : $workflow.id }};ex={{ $execution.id }};node={{ $nodeId }}";
const GUARDED: &str = "{{ $execution.id == '__UNKNOWN__' ? 'editor' : $workflow.id }}";

#[test]
fn without_any_setting_the_first_line_says_all_that_a_program_needs() {
    let home = Home::new();
    let keyward = home.serve().start();
    let log = keyward.log();
    let first = log.lines().next().unwrap();
    let line = &events(&log, "listening")[0];
    assert!(first.contains(r#""event":"listening""#), "it is the first: {first}");
    assert_eq!(line["upstream"], "https://api.openai.com");
    assert_eq!(line["policy"], "observe");
    assert_eq!(line["admin"], keyward.admin.to_string());
    assert_eq!(line["state"], home.state().to_str().unwrap());
    assert_eq!(line["base_url"], format!("http://{}/v1", keyward.listen));
    assert_eq!((&line["tag_header"], &line["tag"]), (&"X-N8N-Tag".into(), &TAG.into()));
    assert_eq!(line["tagging_base_url"], tagging_base_url(&keyward));
    assert_eq!(line["organization"], format!("n8n-{GUARDED}-{{{{ $execution.id }}}}"));
}

#[test]
fn where_there_are_several_n8n_the_first_line_has_the_tag_of_each() {
    let home = Home::new();
    home.write("api", API_KEY);
    let n8n = |name: &str| format!("[n8n.{name}]\nurl = \"http://127.0.0.1:1\"\napi_key = {{ file = \"api\" }}\n");
    let first = |names: &[&str]| {
        let config: String = names.iter().map(|name| n8n(name)).collect();
        let keyward = home.serve().config(&config).start();
        let line = events(&keyward.log(), "listening")[0].clone();
        keyward.stop();
        line["tag"].as_str().unwrap().to_owned()
    };
    assert_eq!(first(&["main"]), TAG);
    assert_eq!(first(&["main", "staging"]), format!("{TAG};inst=main\n{TAG};inst=staging"));
}

#[test]
fn without_any_setting_the_first_lines_say_all_that_a_person_needs() {
    let home = Home::new();
    let keyward = home.serve().args(&["--log", "human"]).start();
    let log = keyward.log();
    let begin = format!("keyward {} listens on http://{}", env!("CARGO_PKG_VERSION"), keyward.listen);
    assert!(log.starts_with(&format!("{begin} for https://api.openai.com\n")), "{log}");
    let said = [
        "observe",
        "default: no key declared, learns",
        &format!("Base URL           http://{}/v1\n", keyward.listen),
        &format!("Add Custom Header  X-N8N-Tag: {TAG}\n"),
        &format!("Base URL           {}\n", tagging_base_url(&keyward)),
        &format!("Organization ID    n8n-{GUARDED}-{{{{ $execution.id }}}}\n"),
        &format!("  state     {}\n", home.state().display()),
        &format!("http://{}/ (keyward open)", keyward.admin),
    ];
    for text in said {
        assert!(log.contains(text), "{text} is not in {log}");
    }
}

#[test]
fn a_browser_is_told_the_same_at_the_root() {
    let home = Home::new();
    let keyward = home.serve().key("sk-proj-0123456789abcdefAbCd").start();
    let page = get(keyward.listen, "/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().contains(TAG) && page.text().contains(&format!("http://{}", keyward.listen)));
    assert!(!page.text().contains("AbCd"), "anybody may look at it, so it shows no key, not by hint either");
}

#[test]
fn the_key_of_the_environment_is_the_current_one_and_shown_by_its_hint_alone() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let key = "sk-proj-0123456789abcdefAbCd";
    let keyward = home.serve_for(&upstream).key(key).start();
    assert_eq!(ask_with(keyward.listen, key).verdict(), "current");
    assert_eq!(ask_with(keyward.listen, "sk-proj-another-one").verdict(), "unknown");
    let keys = events(&keyward.log(), "listening")[0]["keys"].clone();
    let keys = keys.as_str().unwrap();
    assert!(keys.starts_with("default: current key sk-proj-…AbCd ("), "{keys}");
    assert!(keys.ends_with("from environment variable OPENAI_API_KEY"), "{keys}");
    assert!(!keyward.stop().stdout.contains("0123456789"));
}

#[test]
fn without_a_key_the_set_learns_which_one_is_current() {
    let (home, upstream) = (Home::new(), FakeUpstream::taking(&["sk-good"]));
    let keyward = home.serve_for(&upstream).key("").start();
    let verdicts = ["sk-good", "sk-good", "sk-bad"].map(|key| ask_with(keyward.listen, key).verdict().to_owned());
    assert_eq!(verdicts, ["unknown", "current", "unknown"]);
    let lines = keyward.exchanges(3);
    // Each worker has its own way into the log, so lines of one moment may stand in any order.
    let current = lines.iter().find(|line| line["verdict"] == "current").unwrap();
    assert_eq!((&current["learned"], &current["diagnosis"]), (&true.into(), &"ok".into()));
}

#[test]
fn a_config_file_is_read_and_an_option_overrides_it() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    home.write("key", "sk-of-the-file\n");
    let config = "[proxy]\nlisten = \"127.0.0.1:1\"\nupstream = \"http://127.0.0.1:1\"\n\
                  [keys.default]\ncurrent = { file = \"key\" }\n[log]\nformat = \"human\"\n";
    let keyward = home.serve_for(&upstream).config(config).args(&["--log", "json"]).start();
    assert_eq!(ask_with(keyward.listen, "sk-of-the-file").verdict(), "current");
    assert_eq!(events(&keyward.log(), "listening")[0]["upstream"], upstream.url());
    assert_eq!(upstream.wait_for(1)[0].head.header("host"), Some(&*upstream.authority()));
}

#[test]
fn the_environment_overrides_the_file_and_may_name_it() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let config = home.write("other.toml", "[proxy]\nupstream = \"http://127.0.0.1:1\"\nworkers = 1\n");
    let launch = home.serve().env("KEYWARD_CONFIG", config.to_str().unwrap());
    let keyward = launch.env("KEYWARD_PROXY_UPSTREAM", &upstream.url()).start();
    assert_eq!(get(keyward.listen, "/v1/models").status, 200);
}

#[test]
fn what_makes_no_sense_on_the_command_line_is_said_and_ends_with_2() {
    #[track_caller]
    fn check(arguments: &[&str], said: &[&str]) {
        let finished = Home::new().keyward(arguments).run();
        assert_eq!(finished.code(), Some(2), "{arguments:?}: {}", finished.stderr);
        assert_says(&finished, said);
    }
    check(&["serve", "--log", "loud"], &["'loud'", "--log <FORMAT>", "human, json"]);
    check(&["serve", "--listen", "example.com:80"], &["--listen", "proxy.listen = ", "an IP address and a port"]);
    check(&["serve", "--port", "65536"], &["--port", "65536"]);
    check(&["serve", "--port", "1", "--listen", "[::1]:1"], &["--port", "--listen"]);
    check(&["serve", "--upstream", "api.openai.com"], &["--upstream", "It has no scheme"]);
    check(&["serve", "--upstream", "https://api.openai.com/v1"], &["--upstream", "Leave out the /v1"]);
    check(&["serve", "--config", "/nowhere/keyward.toml"], &["--config", "/nowhere/keyward.toml", "cannot be read"]);
    check(&["serve", "--lisen", "127.0.0.1:0"], &["--lisen", "--listen"]);
    check(&["serve", "extra"], &["extra"]);
    check(&["sevre"], &["sevre", "serve"]);
    check(&[], &["Usage: keyward"]);
}

#[test]
fn a_wrong_configuration_is_told_with_all_its_problems_and_nothing_is_begun() {
    let home = Home::new();
    let config = "[proxy]\nlisen = \"127.0.0.1:0\"\nworkers = 1000\n[keys.default]\ncurrent = \"sk-literal\"\n";
    // Its port is taken: that it does not come to this shows that nothing was bound before all was read.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let launch = home.keyward(&["serve", "--listen", &listen]).config(config).env("KEYWARD_LOG_LEVEL", "loud");
    let finished = launch.env("KEYWARD_PROXY_WROKERS", "2").run();
    assert_eq!(finished.code(), Some(1), "{}", finished.stderr);
    let said = [
        "5 problems",
        "keyward.toml:2: proxy.lisen",
        "did you mean `listen`?",
        "keyward.toml:3: proxy.workers = 1000",
        "from 0 to 256",
        "keyward.toml:5: keys.default.current",
        "name the file or the environment variable that holds it",
        "environment KEYWARD_LOG_LEVEL: log.level = \"loud\"",
        "KEYWARD_PROXY_WROKERS",
        "did you mean `KEYWARD_PROXY_WORKERS`?",
    ];
    assert_says(&finished, &said);
    assert!(!finished.stderr.contains("sk-literal") && !finished.stderr.contains("in use"), "{}", finished.stderr);
    assert!(finished.stdout.is_empty() && !home.state().exists());
}

#[test]
fn a_certificate_file_that_is_none_is_told_at_the_start() {
    let home = Home::new();
    home.write("ca.pem", "no certificate");
    for (ca, said) in [("ca.pem", "holds no certificate"), ("missing.pem", "cannot be read")] {
        let finished = home.serve().env("KEYWARD_PROXY_UPSTREAM_CA", ca).run();
        assert_eq!(finished.code(), Some(1));
        assert_says(&finished, &["upstream_ca", ca, said]);
        assert!(finished.stdout.is_empty() && !home.state().exists(), "nothing was begun: {}", finished.stdout);
    }
}

#[test]
fn a_second_keyward_on_the_port_fails_at_once_and_the_first_goes_on() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let first = home.serve_for(&upstream).start();
    let listen = first.listen.to_string();
    let second = Home::new().keyward(&["serve", "--listen", &listen]).run();
    assert_cannot_listen(&second, &["proxy.listen", &listen]);
    for _ in 0..20 {
        assert_eq!(get(first.listen, "/v1/models").status, 200, "no other takes its clients");
    }
}

#[test]
fn an_admin_port_that_is_taken_is_told_by_its_setting() {
    let (home, taken) = (Home::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let admin = taken.local_addr().unwrap().to_string();
    let finished = home.serve().env("KEYWARD_ADMIN_LISTEN", &admin).run();
    assert_cannot_listen(&finished, &["admin.listen", &admin]);
}

#[test]
fn the_default_ports_are_8080_and_8081() {
    let help = Home::new().keyward(&["serve", "--help"]).run();
    assert_eq!(help.code(), Some(0));
    assert!(help.stdout.contains("[default: 127.0.0.1:8080]"), "{}", help.stdout);
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/reference.toml");
    let reference = std::fs::read_to_string(reference).unwrap();
    for default in ["#listen = \"127.0.0.1:8080\"", "#listen = \"127.0.0.1:8081\""] {
        assert!(reference.contains(default), "{default}");
    }
}

#[test]
fn the_admin_listener_can_be_switched_off() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let launch: Launch = home.serve_for(&upstream).env("KEYWARD_ADMIN_LISTEN", "off");
    let keyward = launch.start();
    assert_eq!(get(keyward.listen, "/v1/models").status, 200);
    assert!(events(&keyward.log(), "listening")[0].get("admin").is_none());
}

fn tagging_base_url(keyward: &Keyward) -> String {
    format!("http://{}/n8n/{GUARDED}/{{{{ $execution.id }}}}/{{{{ $nodeId || 'none' }}}}/v1", keyward.listen)
}

#[track_caller]
fn assert_cannot_listen(finished: &Finished, said: &[&str]) {
    assert_eq!(finished.code(), Some(1), "{}", finished.stderr);
    assert_says(finished, &[&["cannot listen on", "already"], said].concat());
    assert!(events(&finished.stdout, "listening").is_empty(), "it does not claim to listen: {}", finished.stdout);
}

/// One that ends at once says why on standard error, every time.
#[track_caller]
fn assert_says(finished: &Finished, said: &[&str]) {
    for text in said {
        assert!(finished.stderr.contains(text), "{text} is not in {}", finished.stderr);
    }
}
