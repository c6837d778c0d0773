//! Configurations: a file, and behind a line of `---` the environment, a variable in each line.
//!
//! `[key]` stands for a key in the file and in the values of variables, so that it can be told where it turns up again.

use std::path::PathBuf;
use std::sync::LazyLock;

use keyward::config::{Config, Environment, Overrides, Problem, Problems};
use keyward::keys::rules::Policy;
use keyward::server::Settings;

/// Holds the reader of configurations to its promises.
pub fn check(data: &[u8]) {
    // What tells the key again comes with the key alone. The fuzzer has seen what it is looked for.
    let text = String::from_utf8_lossy(data).replace(TELLTALE, "?").replace("[key]", KEY);
    let (file, variables) = text.split_once("\n---\n").unwrap_or((&text, ""));
    std::fs::write(&*FILE, file).expect("room for a file");
    let environment = variables.lines().take(MOST).filter_map(|line| line.split_once('=')).fold(
        Environment::default().with_state_folder("/state"),
        // A key has no place in a variable's name, and does not get there by mistake.
        |environment, (name, value)| environment.with(&name.replace(KEY, "?"), value),
    );
    // The environment names no file here.
    let environment = environment.with("KEYWARD_CONFIG", "");
    match Config::load(Some(&FILE), &environment, Overrides::default()) {
        Ok(config) => check_config(&config),
        Err(problems) => check_problems(&problems),
    }
    assert!(!format!("{environment:?}").contains(TELLTALE));
}

fn check_config(config: &Config) {
    let names: Vec<_> = config.keys.sets.iter().map(|set| &*set.name).collect();
    assert_eq!(names.first(), Some(&"default"));
    assert!(names.iter().enumerate().all(|(position, name)| !names[..position].contains(name)), "{names:?}");
    assert_eq!(config.rules.sets.len(), names.len());
    for (set, rules) in config.keys.sets.iter().zip(&config.rules.sets) {
        assert!(rules.policy == Policy::Observe || set.current.is_some(), "{} learns and acts", set.name);
        assert!(set.current.is_some() || (set.next.is_none() && set.previous.is_empty()), "{} learns", set.name);
        assert!(rules.workflows.values().all(|own| rules.policy.may_tighten_to(*own)), "{}", set.name);
        let is_narrow = |range: &ipnet::IpNet| !range.addr().is_loopback() && range.prefix_len() >= 24;
        assert!(rules.allow_from_is_safe || rules.allow_from.iter().all(is_narrow), "{:?}", rules.allow_from);
    }
    let proxy = &config.proxy;
    assert!((1..=Settings::MAX_WORKERS).contains(&proxy.workers) && proxy.upstream.port != 0);
    assert!(!proxy.upstream.host.is_empty() && !proxy.upstream.host.contains(['/', '@', '?', '#', ' ']));
    assert!(proxy.limits.max_connections > 0 && (8 << 10..=1 << 20).contains(&proxy.limits.max_head));
    assert!(!proxy.limits.connect_timeout.is_zero() && !proxy.limits.answer_timeout.is_zero());
    assert_eq!(proxy.tls.cert.is_some(), proxy.tls.key.is_some());
}

fn check_problems(problems: &Problems) {
    assert!(!problems.is_empty());
    problems.iter().for_each(check_problem);
    let told = problems.to_string();
    assert!(!told.contains(TELLTALE), "{told}");
}

/// Each says what is wrong or what is allowed, and cannot be taken for something else on a terminal.
fn check_problem(problem: &Problem) {
    assert!(!problem.key.is_empty());
    assert!(!problem.text.is_empty() || problem.allowed.is_some_and(|allowed| !allowed.is_empty()), "{problem:?}");
    let is_odd = |character: char| character.is_control() && character != '\n';
    assert!(!problem.to_string().contains(is_odd), "{problem:?}");
}

/// Written for each input.
static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("keyward-fuzz-{}.toml", std::process::id())));

/// The nearest setting to an unknown one is looked for among many, which takes its time.
const MOST: usize = 8;

const KEY: &str = "sk-proj-c4nary0123456789Telltale";

/// The part of the key that stands nowhere else.
const TELLTALE: &str = "c4nary0123456789";
