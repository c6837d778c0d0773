//! `keyward check`: everything that can be told of a configuration before it is used.

use clap::Args;
use rustix::process::{Resource, getrlimit};
use serde_json::json;

use super::client::{Client, Said};
use super::output::{Line, print, print_json, print_wrapped};
use super::setup::{ConfigArgument, Setup};
use crate::answers::status::{OpenProblem, OpenProblems};
use crate::app;
use crate::check::online::{examine_n8n, probe, reach};
use crate::check::{self, Finding, Gravity};
use crate::clock::Clock;
use crate::codes::Coded;
use crate::config::{Config, Environment};
use crate::keys::command;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::history::History;
use crate::keys::reloader::{Kept, Reloader};
use crate::keys::set::{Bearer, KeyRing, SetIndex, Word};
use crate::ledger::offline;
use crate::n8n::client::encoded;
use crate::net::connect::Connector;
use crate::openai::probe::Standing;
use crate::problems::kind::ProblemKind;
use crate::telemetry::event::with_causes;
use crate::verdict::explain::Severity;

/// What `keyward check` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Tell what of the configuration would not work, or is unsafe", after_help = AFTER_HELP)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(
        long,
        help = "Ask upstream whether it answers and each current and next key is alive, and n8n what its key may do, at no cost"
    )]
    online: bool,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

impl CheckArguments {
    /// Says whether all is sound.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.config, environment)?;
        let Examined { findings: own, checked } = examine(setup.config(), self.online)?;
        let told = if self.online { told_by_running(&setup, &checked).unwrap_or_default() } else { Vec::new() };
        let is_told = |finding: &Finding| told.iter().any(|problem| covers(problem, finding));
        let is_reached = !checked.is_empty() || own.iter().any(is_of_upstream);
        let mut findings: Vec<_> = told.iter().map(|problem| of_problem(problem, is_reached)).collect();
        findings.extend(own.into_iter().filter(|finding| !is_told(finding)));
        findings.sort_by_key(|finding| finding.gravity);
        if self.json {
            print_json(&in_json(&findings));
        } else {
            tell(&findings);
        }
        Ok(findings.iter().all(|finding| finding.gravity != Gravity::Problem))
    }
}

/// Whether it says that upstream answers.
fn is_of_upstream(finding: &Finding) -> bool {
    finding.gravity == Gravity::Sound && finding.about == "proxy.upstream"
}

/// What was found, and what upstream said of current keys.
struct Examined {
    findings: Vec<Finding>,
    checked: Vec<Checked>,
}

/// What upstream said of a set's current key.
struct Checked {
    set: Box<str>,
    key: Fingerprint,
    /// Nothing where it answers something else: then the key is neither taken nor refused.
    word: Option<Word>,
}

fn examine(config: &Config, online: bool) -> anyhow::Result<Examined> {
    let clock = Clock::System;
    let mut checked = Vec::new();
    if online {
        command::run_all(config.keys.commands());
    }
    let mut findings = check::examine(config, &check::gateways::gateways(), clock.now());
    findings.extend(check::few_descriptors(&config.proxy.limits, getrlimit(Resource::Nofile).current));
    let kept = offline::history(&config.store, &config.state.dir).unwrap_or_else(|error| {
        findings.push(Finding::problem("store.url", with_causes(&error)));
        Kept::InStore(History::default())
    });
    let (reloader, troubles) = Reloader::open(&config.keys, &config.state, kept, check::fault_of_key, clock.clone())?;
    findings.extend(troubles.iter().filter_map(check::of_trouble));
    findings.extend(check::orphaned_tokens(config, &reloader.tokens()));
    for name in &config.ignored {
        findings.push(Finding::warning("environment", format!("{name} is no setting of keyward's and is ignored.")));
    }
    let connector = app::connector(&config.proxy);
    findings.extend(connector.as_ref().err().map(|error| Finding::problem("proxy.upstream", format!("{error:#}"))));
    let entrance = app::handshake(&config.proxy);
    findings.extend(entrance.err().map(|error| Finding::problem("tls", format!("{error:#}"))));
    findings.extend(check::keys_in_use(config, &reloader.ring()));
    if online {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        if let Ok(connector) = connector {
            let probed = runtime.block_on(probe_all(config, &reloader.ring(), &connector, &mut checked));
            if probed.is_empty() {
                findings.push(runtime.block_on(reach_upstream(config, &connector)));
            }
            findings.extend(probed);
        }
        for instance in &config.n8n.instances {
            findings.extend(runtime.block_on(examine_n8n(instance)));
        }
    }
    Ok(Examined { findings, checked })
}

/// What the keyward that runs with this configuration says is wrong now, once it knows what upstream said of current keys; nothing
/// where none can be asked.
fn told_by_running(setup: &Setup, checked: &[Checked]) -> Option<Vec<OpenProblem>> {
    let client = Client::new(setup).ok()?;
    for Checked { set, key, word } in checked {
        let Some(word) = word else { continue };
        // One that has another key by now, or of another version, says so; its own problems are told all the same.
        let _ =
            client.post(&format!("/api/v1/sets/{}/checked?key={}&word={}", encoded(set), key.to_hex(), word.code()));
    }
    let Said::Answer(answer) = client.get("/api/v1/problems").ok()? else { return None };
    let told: OpenProblems = client.read(&answer).ok()?;
    Some(told.problems)
}

fn of_problem(problem: &OpenProblem, is_reached: bool) -> Finding {
    if is_reached && problem.code == Coded::Known(ProblemKind::UpstreamUnreachable) {
        return reached_by_now(problem);
    }
    // That is what is being done.
    let remedy = THIS_COMMAND.iter().fold(problem.remedy.clone(), |remedy, named| remedy.replace(named, ""));
    let text = format!("{} Since {}. {remedy}", problem.text, problem.since);
    match problem.severity {
        Severity::Error => Finding::problem(RUNNING, text),
        Severity::Warning | Severity::Fine => Finding::warning(RUNNING, text),
    }
}

/// An upstream that the last request did not reach and this command does.
fn reached_by_now(problem: &OpenProblem) -> Finding {
    let last = problem.last.unwrap_or(problem.since);
    let text = format!(
        "Its last request, at {last}, did not reach upstream; this command reaches it now. The problem upstream_unreachable is \
         over with the next request that is answered: run a node."
    );
    Finding::warning(RUNNING, text)
}

/// Whether a finding is the same fault as a problem that was told.
fn covers(problem: &OpenProblem, finding: &Finding) -> bool {
    let Coded::Known(kind) = problem.code else { return false };
    if finding.gravity != Gravity::Problem {
        return false;
    }
    let about = problem.about.as_deref().unwrap_or_default();
    match kind {
        ProblemKind::CurrentKeyRefused | ProblemKind::KeyUnreadable => {
            finding.about == format!("keys.{about}.current") && !finding.text.contains(NOT_ASKED)
        }
        ProblemKind::UpstreamUnreachable => finding.about == "proxy.upstream" || finding.text.contains(NOT_ASKED),
        ProblemKind::N8nUnreachable | ProblemKind::N8nKeyUnusable => {
            finding.about.starts_with(&format!("n8n.{about}."))
        }
        ProblemKind::QuotaUsedUp
        | ProblemKind::UpstreamFailing
        | ProblemKind::TokensUnreadable
        | ProblemKind::FingerprintKeyLost
        | ProblemKind::StateUnusable
        | ProblemKind::StoreFailing
        | ProblemKind::CertificateUnreadable
        | ProblemKind::CertificateEnds
        | ProblemKind::KeyExpires
        | ProblemKind::AdminTokenUnreadable
        | ProblemKind::LogFailing
        | ProblemKind::BindingsFull
        | ProblemKind::TagUnreadable
        | ProblemKind::NoticesFailing => false,
    }
}

/// What a finding says of a key where upstream gave no answer.
const NOT_ASKED: &str = "could not be asked for";

/// How remedies name this command.
const THIS_COMMAND: [&str; 2] = [" `keyward check --online` tries to reach it.", ", and `keyward check --online`"];

/// What a finding is about that a running keyward tells.
const RUNNING: &str = "the keyward that runs";

/// Whether upstream is there at all, where no key shows it.
async fn reach_upstream(config: &Config, connector: &Connector) -> Finding {
    let proxy = &config.proxy;
    match reach(connector, proxy.base_path.as_ref(), proxy.limits.connect_timeout).await {
        Ok(status) => {
            let text = format!("{} answers (with {status} to a request without a key)", proxy.upstream);
            Finding::sound("proxy.upstream", text)
        }
        Err(error) => {
            let text = format!("{} gives no answer: {}", proxy.upstream, with_causes(&error));
            Finding::problem("proxy.upstream", text)
        }
    }
}

/// Each set's current and next key, one after the other.
async fn probe_all(config: &Config, ring: &KeyRing, connector: &Connector, checked: &mut Vec<Checked>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (set, index) in config.keys.sets.iter().zip(ring.indexes()) {
        for (role, bearer) in keys_to_probe(set, ring, index) {
            let about = format!("keys.{}.{role}", set.name);
            let names = bearer.names;
            let (base_path, patience) = (config.proxy.base_path.as_ref(), config.proxy.limits.connect_timeout);
            let answer = probe(connector, base_path, &bearer, patience).await;
            if let (Ok(standing), "current") = (&answer, role) {
                checked.push(Checked { set: set.name.clone(), key: names.fingerprint, word: word(standing) });
            }
            findings.push(match answer {
                Ok(standing) if standing.is_sound() => Finding::sound(about, format!("key {names} {standing}")),
                Ok(standing) => Finding::problem(about, format!("key {names} {standing}")),
                Err(error) => Finding::problem(about, format!("key {names} {NOT_ASKED}: {}", with_causes(&error))),
            });
        }
    }
    findings
}

/// What an answer says of a key; nothing where it says nothing.
fn word(standing: &Standing) -> Option<Word> {
    match standing {
        Standing::Alive | Standing::Restricted { .. } => Some(Word::Accepted),
        Standing::Dead => Some(Word::Refused),
        Standing::Unclear { .. } => None,
    }
}

fn keys_to_probe(set: &crate::keys::SetSettings, ring: &KeyRing, index: SetIndex) -> Vec<(&'static str, Bearer)> {
    let current = ring.bearer(index).cloned().map(|bearer| ("current", bearer));
    let next = set.next.as_ref().and_then(|source| source.read().ok());
    let next = next.and_then(|secret| Bearer::new(&secret, ring.names(secret.expose()))).map(|bearer| ("next", bearer));
    current.into_iter().chain(next).collect()
}

fn tell(findings: &[Finding]) {
    let line = |finding: &Finding| Line::from(format!("{:<8} {finding}", finding.gravity.name())).hanging(9);
    print_wrapped(&findings.iter().map(line).collect::<Vec<_>>());
    let count = |gravity| findings.iter().filter(|finding| finding.gravity == gravity).count();
    let (problems, warnings) = (count(Gravity::Problem), count(Gravity::Warning));
    print(match (problems, warnings) {
        (0, 0) => "The configuration is sound.".to_owned(),
        (0, warnings) => format!("The configuration works; {} to look at.", counted(warnings, "warning")),
        (problems, 0) => format!("{}: see above.", counted(problems, "problem")),
        (problems, warnings) => {
            format!("{} and {}: see above.", counted(problems, "problem"), counted(warnings, "warning"))
        }
    });
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn in_json(findings: &[Finding]) -> serde_json::Value {
    let findings: Vec<_> = findings
        .iter()
        .map(|finding| json!({ "gravity": finding.gravity.name(), "about": finding.about, "text": finding.text }))
        .collect();
    json!({ "findings": findings })
}

const AFTER_HELP: &str = "\
Ends with 0 if keyward would serve (perhaps with warnings), with 1 if there is a problem, and with 2
if the command line makes no sense.

Example: keyward check --config /etc/keyward/keyward.toml --online";
