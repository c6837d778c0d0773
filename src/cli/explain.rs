//! `keyward explain`: what a code stands for, and what to do about it.

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};

use super::output::{Line, Tone, print_json, print_wrapped};
use crate::answers::codebook::{MEND_MIXED, MIXED};
use crate::answers::words::capitalised;
use crate::caller::names::harmless;
use crate::early_refusal::EarlyRefusal;
use crate::ledger::bar_kind::BarKind;
use crate::ledger::doubt_kind::DoubtKind;
use crate::ledger::standing::StandingKind;
use crate::n8n::doubt;
use crate::n8n::finding::{self, Finding};
use crate::problems::kind::ProblemKind;
use crate::verdict::explain::DiagnosisKind;
use crate::verdict::meaning::{meaning, remedy};

/// What `keyward explain` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Say what a code means and what to do about it", after_help = HELP)]
pub(super) struct ExplainArguments {
    #[arg(value_name = "CODE", help = "The code, as logs and lists show it; without one, all are listed")]
    code: Option<String>,
    #[arg(long, value_name = "SET", default_value = "default", help = "The key set that the steps name")]
    set: String,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

/// What a code stands for.
struct Entry {
    code: String,
    kind: Kind,
    meaning: String,
    steps: Vec<String>,
}

/// Where a code stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// On a line of the log, and on an incident.
    Diagnosis,
    /// Under an old key that cannot go.
    Reason,
    /// In an audit of n8n.
    Finding,
    /// In `keyward status`: what is wrong beside single callers.
    Problem,
    /// On a line about what was refused before there was a request to judge.
    EarlyRefusal,
}

impl ExplainArguments {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let entries = entries(&self.set);
        let Some(asked) = &self.code else {
            self.tell(&entries, list);
            return Ok(());
        };
        let found: Vec<_> = entries.into_iter().filter(|entry| entry.is_called(asked)).collect();
        if found.is_empty() {
            bail!("{}", unknown(asked));
        }
        self.tell(&found, |found| found.iter().flat_map(whole).collect());
        Ok(())
    }

    fn tell(&self, entries: &[Entry], in_words: impl Fn(&[Entry]) -> Vec<Line>) {
        if self.json {
            print_json(&json!({ "codes": entries.iter().map(Entry::in_json).collect::<Vec<_>>() }));
        } else {
            print_wrapped(&in_words(entries));
        }
    }
}

fn entries(set: &str) -> Vec<Entry> {
    let entry = |kind, code: &str, meaning: &str, steps: Vec<String>| Entry {
        code: code.to_owned(),
        kind,
        meaning: meaning.to_owned(),
        steps,
    };
    let step = |text: &str| vec![text.to_owned()];
    let of_problem = |one: ProblemKind| entry(Kind::Problem, one.code(), one.title(), step(&one.remedy(set)));
    let of_diagnosis = |one: DiagnosisKind| entry(Kind::Diagnosis, one.code(), meaning(one), remedy(one, set));
    let mixed = entry(Kind::Diagnosis, StandingKind::Mixed.code(), MIXED, step(MEND_MIXED));
    let of_reason = |one: BarKind| entry(Kind::Reason, one.code(), one.meaning(), step(one.end()));
    let of_finding =
        |one: Finding| entry(Kind::Finding, one.code(), &format!("such as: {one}"), vec![one.step().into_owned()]);
    let unproven = entry(Kind::Finding, DoubtKind::Unproven.code(), UNPROVEN, step(doubt::UNPROVEN_END));
    let of_refusal = |one: EarlyRefusal| entry(Kind::EarlyRefusal, one.code(), one.message(), Vec::new());
    let problems = ProblemKind::ALL.map(of_problem).into_iter();
    let diagnoses = DiagnosisKind::ALL.map(of_diagnosis).into_iter().chain([mixed]);
    let reasons = BarKind::ALL.map(of_reason);
    let findings = finding::examples().into_iter().map(of_finding).chain([unproven]);
    problems.chain(diagnoses).chain(reasons).chain(findings).chain(EarlyRefusal::ALL.map(of_refusal)).collect()
}

// === impl Entry, Kind ===

impl Entry {
    /// A kind of what is no key is also known by its own word, as in `malformed_url` and `url`.
    fn is_called(&self, asked: &str) -> bool {
        let asked = &*asked.to_ascii_lowercase();
        self.code == asked || self.code.strip_prefix("malformed_") == Some(asked)
    }

    fn in_json(&self) -> Value {
        json!({ "code": self.code, "kind": self.kind.name(), "meaning": self.meaning, "steps": self.steps })
    }
}

impl Kind {
    const ALL: [Self; 5] = [Self::Problem, Self::Diagnosis, Self::Reason, Self::Finding, Self::EarlyRefusal];

    fn name(self) -> &'static str {
        match self {
            Self::Diagnosis => "diagnosis",
            Self::Reason => "reason",
            Self::Finding => "finding",
            Self::Problem => "problem",
            Self::EarlyRefusal => "early_refusal",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Diagnosis => "Diagnoses: what is wrong with a request, in the log and in keyward incidents",
            Self::Reason => "Reasons: why an old key cannot go yet, in keyward rotation",
            Self::Finding => "Findings: what an audit of n8n shows, in keyward n8n audit",
            Self::Problem => "Problems: what is wrong beside single callers, in keyward status",
            Self::EarlyRefusal => "Refused early: what keyward sends away before it looks at a key, in the log",
        }
    }
}

fn list(entries: &[Entry]) -> Vec<Line> {
    let mut lines = vec![Line::from("keyward explain CODE says what to do.")];
    for kind in Kind::ALL {
        lines.extend([Line::default(), Line::toned(Tone::Title, kind.title())]);
        let of_kind = entries.iter().filter(|entry| entry.kind == kind);
        lines.extend(of_kind.map(|entry| Line::from(format!("{:<22} {}", entry.code, entry.meaning)).hanging(23)));
    }
    lines
}

fn whole(entry: &Entry) -> Vec<Line> {
    let mut lines = vec![
        Line::toned(Tone::Title, &entry.code).and(format!(" ({})", entry.kind.name().replace('_', " "))),
        Line::from(capitalised(&entry.meaning)).within(2),
    ];
    lines.extend(numbered(&entry.steps).map(|step| step.within(2)));
    lines
}

/// The steps of a remedy, each with its number where there are several.
pub(super) fn numbered(steps: &[String]) -> impl Iterator<Item = Line> {
    let is_alone = steps.len() == 1;
    (1..).zip(steps).map(move |(number, step)| {
        let step = capitalised(step);
        if is_alone {
            Line::from(format!("-> {step}")).hanging(3)
        } else {
            Line::from(format!("{number}. {step}")).hanging(3)
        }
    })
}

/// Why there is nothing to say of it, with the codes that look most like it.
fn unknown(asked: &str) -> String {
    let entries = entries("");
    let short = asked.to_lowercase();
    let likeness = |entry: &Entry| {
        let own = entry.code.strip_prefix("malformed_").unwrap_or(&entry.code);
        strsim::jaro(&entry.code, &short).max(strsim::jaro(own, &short))
    };
    let mut near: Vec<_> = entries.iter().map(|entry| (likeness(entry), &entry.code)).collect();
    near.retain(|(likeness, _)| *likeness >= LIKE_ENOUGH);
    near.sort_by(|one, other| other.0.total_cmp(&one.0));
    near.dedup_by(|one, other| one.1 == other.1);
    let near: Vec<_> = near.into_iter().take(MOST_NEAR).map(|(_, code)| code.as_str()).collect();
    let hint = if near.is_empty() { String::new() } else { format!(" (like it: {})", near.join(", ")) };
    let asked = harmless(asked, LONGEST_SHOWN);
    format!("there is no code `{asked}`{hint}: `keyward explain` lists them all")
}

const UNPROVEN: &str = "nodes were not seen with the right key since they, or their credential, were changed last";

/// As likely meant as `stale` for `stale_node`.
const LIKE_ENOUGH: f64 = 0.75;

const MOST_NEAR: usize = 4;

/// How much of what was asked is quoted, in characters.
const LONGEST_SHOWN: usize = 60;

const HELP: &str = "\
Codes stand on bad lines of the log, in `keyward incidents`, under old keys that cannot go, and in
audits of n8n. It needs no keyward that runs.

Example: keyward explain stale_binding";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_known_with_its_meaning_and_all_but_refusals_with_a_step() {
        for entry in entries("default") {
            assert!(!entry.meaning.is_empty(), "{}", entry.code);
            let is_filled_in = |step: &String| !step.is_empty() && !step.contains("[set]") && !step.contains("[key]");
            assert!(entry.steps.iter().all(is_filled_in), "{}: {:?}", entry.code, entry.steps);
            assert_eq!(entry.steps.is_empty(), entry.kind == Kind::EarlyRefusal, "{}", entry.code);
        }
    }

    #[test]
    fn a_kind_of_what_is_no_key_is_known_by_its_own_word_too() {
        let is_called = |asked: &str| entries("").iter().filter(|entry| entry.is_called(asked)).count();
        assert_eq!((is_called("url"), is_called("malformed_url"), is_called("binding")), (1, 1, 0));
        assert_eq!(is_called("record_without_node"), 2, "a reason and a finding");
    }

    #[test]
    fn an_unknown_code_is_told_with_those_that_look_like_it() {
        assert!(unknown("stale_bindng").contains("stale_binding"), "{}", unknown("stale_bindng"));
        assert!(unknown("MALFORMED_URLS").contains("malformed_url"));
        let odd = unknown("zz\u{1b}[2J");
        assert!(!odd.contains('\u{1b}') && !odd.contains("like it"), "{odd}");
    }
}
