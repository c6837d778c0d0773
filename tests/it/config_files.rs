//! The example files: `config/reference.toml` is true and complete, and every file under `config/` can be used.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyward::config::{Config, Environment, Overrides, SETTINGS, Setting};

#[test]
fn the_reference_as_it_stands_is_the_default() {
    assert_eq!(load(&reference()), defaults());
}

#[test]
fn the_reference_with_all_its_defaults_taken_in_is_the_default() {
    // An n8n needs more than defaults.
    let reference = reference();
    let (before, rest) = reference.split_once("#[n8n.default]").expect("the table");
    let (_, after) = rest.split_once("\n[log]\n").expect("the next table");
    let in_force: String = format!("{before}\n[log]\n{after}")
        .lines()
        .map(|line| if is_default_line(line) || line.starts_with("#[") { &line[1..] } else { line })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(load(&in_force), defaults());
}

#[test]
fn the_reference_with_all_its_examples_taken_in_is_valid() {
    let in_force: String = reference()
        .lines()
        .map(|line| if setting_line(line).is_some() || line.starts_with("#[") { &line[1..] } else { line })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_ne!(load(&in_force), defaults());
}

#[test]
fn the_reference_has_each_setting_once_in_order_with_its_sentence_and_its_default() {
    let reference = reference();
    let told = told_settings(&reference);
    let keys: Vec<_> = told.iter().map(|told| told.key.as_str()).collect();
    assert_eq!(keys, SETTINGS.each_ref().map(|setting| setting.key));
    for (told, setting) in told.iter().zip(&SETTINGS) {
        assert!(told.comment.starts_with(setting.sentence), "{}: {}", told.key, told.comment);
        if let Some(default) = setting.default {
            assert_eq!(told.value, default, "{}", told.key);
        }
    }
}

#[test]
fn every_example_file_can_be_used() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let files = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let toml: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    assert!(toml.len() >= 2, "{toml:?}");
    for path in toml {
        let loaded = Config::load(Some(&path), &environment(), Overrides::default());
        assert!(loaded.is_ok(), "{}: {}", path.display(), loaded.err().map_or_else(String::new, |all| all.to_string()));
    }
}

#[test]
fn the_image_runs_what_there_is_as_a_user_without_a_name_and_drains_in_dockers_time() {
    let dockerfile = file("Dockerfile");
    let after = |word: &str| dockerfile.lines().filter_map(|line| line.strip_prefix(word)).next_back().expect(word);
    let config = load(&file("container.toml"));
    assert_eq!(after("EXPOSE "), config.proxy.listen.port().to_string());
    assert!(config.proxy.listen.ip().is_unspecified(), "others reach it");
    assert!(config.proxy.limits.drain_timeout < Duration::from_secs(10), "docker stop kills then");
    assert_eq!(config.admin.listen.expect("the health check's").ip(), Ipv4Addr::LOCALHOST);
    let ids: Vec<u32> = after("USER ").split(':').map(|id| id.parse().expect("a number")).collect();
    assert!(ids.len() == 2 && ids.iter().all(|id| *id > 999), "{ids:?}");
    assert!(after("HEALTHCHECK ").ends_with(r#"["/usr/local/bin/keyward", "health"]"#));
    assert_eq!((after("ENTRYPOINT "), after("CMD ")), (r#"["/usr/local/bin/keyward"]"#, r#"["serve"]"#));
    let rust = dockerfile.split_once("FROM rust:").expect("a Rust").1;
    let parts = |version: &str| -> Vec<u32> { version.split('.').map_while(|part| part.parse().ok()).collect() };
    assert!(parts(rust.split('-').next().expect("a version")) >= parts(env!("CARGO_PKG_RUST_VERSION")));
}

#[test]
fn what_containers_and_services_set_are_settings_that_hold() {
    let compose = file("compose.yaml");
    let variables: Vec<_> = compose.lines().filter_map(|line| line.trim().split_once(": ")).collect();
    let variables = variables.into_iter().filter(|(name, _)| name.starts_with("KEYWARD_"));
    let environment = variables.fold(environment(), |environment, (name, value)| environment.with(name, value));
    let config = Config::load(None, &environment, Overrides::default()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.ignored, [] as [Box<str>; 0]);
    assert!(config.keys.sets[0].current.is_some());
    assert!(config.proxy.limits.drain_timeout < seconds(&compose, "stop_grace_period: "));

    let kubernetes = file("kubernetes.yaml");
    let (_, mounted) = kubernetes.split_once("  keyward.toml: |\n").expect("the mounted file");
    let mounted: String = mounted.split("\n---").next().unwrap().lines().flat_map(|line| [line.trim(), "\n"]).collect();
    let config = load(&mounted);
    let until_drained = seconds(&kubernetes, "sleep: {seconds: ") + config.proxy.limits.drain_timeout;
    assert!(until_drained < seconds(&kubernetes, "terminationGracePeriodSeconds: "));
    assert!(!config.admin.listen.expect("the probes'").ip().is_loopback());

    let drain = defaults().proxy.limits.drain_timeout;
    assert!(drain < seconds(&file("keyward.service"), "TimeoutStopSec="));
}

/// A setting as the reference tells of it.
struct Told {
    key: String,
    value: String,
    /// The lines above it, as one.
    comment: String,
}

fn told_settings(reference: &str) -> Vec<Told> {
    let (mut table, mut comment, mut told) = (String::new(), String::new(), Vec::new());
    for line in reference.lines() {
        let bare = line.trim_start_matches('#');
        if bare.starts_with('[') {
            table = bare
                .trim_matches(['[', ']'])
                .replace("keys.default", "keys.<set>")
                .replace("n8n.default", "n8n.<name>")
                .replace("notices.team", "notices.<name>");
        } else if let Some((name, value)) = setting_line(line) {
            let (key, value) = (format!("{table}.{name}"), value.to_owned());
            told.push(Told { key, value, comment: std::mem::take(&mut comment) });
        } else if let Some(text) = line.strip_prefix("# ") {
            let space = if comment.is_empty() { "" } else { " " };
            comment = format!("{comment}{space}{text}");
        } else {
            comment.clear();
        }
    }
    told
}

/// Name and value of `#name = value`. Prose has a space behind its `#`.
fn setting_line(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix('#')?.split_once(" = ")?;
    name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit()).then_some((name, value))
}

fn is_default_line(line: &str) -> bool {
    let holds = |setting: &Setting, (name, value)| setting.name() == name && setting.default == Some(value);
    setting_line(line).is_some_and(|told| SETTINGS.iter().any(|setting| holds(setting, told)))
}

fn reference() -> String {
    file("reference.toml")
}

/// The file of that name under `config/`.
fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    std::fs::read_to_string(path).expect(name)
}

/// The seconds that stand behind that word.
fn seconds(text: &str, word: &str) -> Duration {
    let (_, behind) = text.split_once(word).expect(word);
    let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
    Duration::from_secs(digits.parse().expect("a number"))
}

#[track_caller]
fn load(text: &str) -> Config {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keyward.toml");
    std::fs::write(&path, text).expect("a file");
    Config::load(Some(&path), &environment(), Overrides::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn defaults() -> Config {
    Config::load(None, &environment(), Overrides::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn environment() -> Environment {
    Environment::default().with_state_folder("/home/user/.local/state")
}
