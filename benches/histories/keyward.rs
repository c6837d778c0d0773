//! keyward itself: its ledger is told what is seen, and its answer is asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use ipnet::IpNet;
use keyward::clock::Timestamp;
use keyward::keys::fingerprint::{Fingerprint, KeyKind};
use keyward::keys::listing::Entry;
use keyward::keys::set::{KeySet, Retired, Role, SetIndex};
use keyward::ledger::answer::Answer;
use keyward::ledger::destination::Destination;
use keyward::ledger::doubt_kind::DoubtKind;
use keyward::ledger::hours::Hours;
use keyward::ledger::identity::{Holder, Identity};
use keyward::ledger::look::{AuditDoubt, Look};
use keyward::ledger::proof::Settings;
use keyward::ledger::rotation;
use keyward::ledger::rotation_grounds::{Audit, Grounds, SetEvidence};
use keyward::ledger::seen::Seen;
use keyward::ledger::{Configured, Ledger, store::Bounds};
use keyward::outcome::{Ending, Outcome, Proof, UpstreamError};
use keyward::verdict::explain::Diagnosis;
use keyward::verdict::{Outdated, Verdict};

use crate::observed::{Acknowledged, Key, Observed, Origin, Request, Said, Statements, Subject};

/// A ledger with what the owner says, and the keys of its sets.
pub struct Keyward {
    ledger: Ledger,
    asked: Key,
    sets: Vec<Set>,
    looks: HashMap<Box<str>, Timestamp>,
    instances: Vec<&'static str>,
    open: HashMap<u64, Fingerprint>,
}

/// The keys of a set, as its configuration has them.
struct Set {
    name: &'static str,
    current: Key,
    next: Option<Key>,
    previous: Vec<(Key, Retired)>,
}

impl Keyward {
    pub fn new(statements: &Statements) -> Self {
        let names: Vec<Arc<str>> = statements.sets.iter().map(|(name, _)| Arc::from(*name)).collect();
        let configured = statements.instances.iter().map(|name| Configured { name: (*name).into(), set: None });
        let settings = Settings {
            quiet: statements.quiet,
            env_keys: statements.env_keys,
            shared_address: (statements.workers.is_some() || !statements.shared.is_empty())
                .then(|| statements.shared.iter().copied().map(IpNet::from).collect()),
            workers: statements.workers.map_or(5, |workers| u8::try_from(workers).unwrap_or(u8::MAX)),
        };
        let set =
            |(name, current): &(&'static str, Key)| Set { name, current: *current, next: None, previous: Vec::new() };
        Self {
            ledger: Ledger::new(Bounds::default(), names).with_rotation(settings, configured.collect()),
            asked: statements.asked,
            sets: statements.sets.iter().map(set).collect(),
            looks: HashMap::new(),
            instances: statements.instances.clone(),
            open: HashMap::new(),
        }
    }

    fn set(&self, name: &str) -> SetIndex {
        SetIndex::nth(self.sets.iter().position(|set| set.name == name).unwrap_or_default())
            .unwrap_or(SetIndex::DEFAULT)
    }

    fn see(&mut self, request: &Request<'_>) {
        let set = self.set(request.set);
        let names = Some(request.key.names()).filter(|_| request.key != Key::Missing);
        let verdict = self.verdict(set, request.key);
        let is_old = matches!(verdict, Verdict::Outdated(_));
        let who = Who {
            instance: request.instance,
            workflow: request.workflow,
            node: request.node,
            peer: request.peer,
            client: request.client,
            origin: request.origin,
            key: names.map(|names| names.fingerprint),
        };
        let execution = request.execution.map(|number| number.to_string());
        let status = if request.accepted { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        let seen = Seen {
            at: request.at,
            key: names,
            verdict,
            diagnosis: if is_old { Diagnosis::StaleBinding { tolerated: request.accepted } } else { Diagnosis::Ok },
            outcome: Outcome {
                ending: Ending::Completed,
                status: Some(status),
                error: UpstreamError::None,
                proof: Proof::None,
            },
            execution: execution.as_deref(),
            name: None,
            client_version: None,
            destination: Destination::Api,
            told: None,
            was_sent: true,
            was_refused: false,
            peer: request.peer,
            path: request.path,
        };
        let binding = self.ledger.binding(&identity(set, &who));
        self.ledger.tell_time(request.at);
        self.ledger.sight(&binding, &seen);
        if request.is_open {
            let key = request.upstream.names().fingerprint;
            self.ledger.in_flight.begin(key);
            self.open.insert(request.exchange, key);
        }
        self.ledger.take_in();
    }

    fn verdict(&self, set: SetIndex, key: Key) -> Verdict {
        let own = &self.sets[set.position()];
        let previous = own.previous.iter().find(|(previous, _)| *previous == key);
        match (key, previous) {
            (Key::Missing, _) => Verdict::Missing,
            (Key::Token, _) => Verdict::Token,
            _ if key == own.current => Verdict::Current,
            _ if Some(key) == own.next => Verdict::Next,
            (_, Some((_, retired))) => {
                let grace_until = retired.by;
                Verdict::Outdated(Outdated { retired: *retired, grace_until, in_grace: false, barred: None })
            }
            (_, None) => Verdict::Unknown(KeyKind::of(key.value().as_bytes())),
        }
    }

    fn rotate(&mut self, name: &str, current: Key, retired: Retired) {
        let set = self.set(name).position();
        let own = &mut self.sets[set];
        if own.current == current {
            return;
        }
        let before = std::mem::replace(&mut own.current, current);
        own.previous.retain(|(key, _)| *key != before && *key != current);
        own.previous.insert(0, (before, retired));
        own.next = own.next.filter(|next| *next != current);
    }

    fn acknowledge(&mut self, said: &Acknowledged<'_>) {
        let who = Who {
            instance: said.instance,
            workflow: said.workflow,
            node: said.node,
            peer: said.peer,
            client: said.client,
            origin: said.origin,
            key: Some(self.asked.names().fingerprint),
        };
        let binding = self.ledger.binding(&identity(SetIndex::DEFAULT, &who));
        self.ledger.acknowledge(&binding, said.at);
    }

    fn entries(&self) -> Vec<Entry> {
        let entry = |set, key: Key, role| Entry {
            set,
            names: key.names(),
            role,
            since: None,
            learned: false,
            revoked: None,
            word: None,
            never_accepted: false,
        };
        let mut entries = Vec::new();
        for (place, own) in self.sets.iter().enumerate() {
            let Some(set) = SetIndex::nth(place) else { continue };
            entries.push(entry(set, own.current, Role::Current));
            entries.extend(own.next.map(|next| entry(set, next, Role::Next)));
            let previous = own.previous.iter();
            entries.extend(
                previous.map(|(key, retired)| {
                    entry(set, *key, Role::Previous { retired: *retired, grace_until: retired.by })
                }),
            );
        }
        entries
    }

    /// What an audit says, as far as looks tell: whether each n8n was looked through of late.
    fn audit(&self, now: Timestamp) -> Audit {
        let is_recent = |name: &&&str| self.looks.get(**name).is_some_and(|at| now.since(*at) <= 2 * REFRESH);
        let stale = self.instances.iter().find(|name| !is_recent(name));
        let doubts = stale.map(|name| AuditDoubt {
            kind: DoubtKind::NotLookedThrough,
            subject: (*name).into(),
            text: format!("n8n {name} was not looked through of late"),
            end: String::new(),
            state: 0,
        });
        let at = self.instances.iter().filter_map(|name| self.looks.get(*name)).min().copied();
        Audit { at: at.filter(|_| stale.is_none()), typed: Vec::new(), doubts: doubts.into_iter().collect() }
    }
}

/// Who sent a request.
struct Who<'r> {
    instance: Option<&'r str>,
    workflow: Option<&'r str>,
    node: Option<&'r str>,
    peer: std::net::IpAddr,
    client: keyward::caller::Family,
    origin: Origin,
    key: Option<Fingerprint>,
}

impl Subject for Keyward {
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Request(request) => self.see(request),
            Observed::Ended { exchange, .. } => {
                if let Some(key) = self.open.remove(exchange) {
                    self.ledger.in_flight.end(key);
                }
            }
            // What was open is cut off with it.
            Observed::Restarted { .. } => self.open.drain().for_each(|(_, key)| self.ledger.in_flight.end(key)),
            Observed::ClockJumped { .. } | Observed::LookFailed { .. } => {}
            Observed::Announced { set, next, .. } => {
                let set = self.set(set).position();
                self.sets[set].next = Some(*next);
            }
            Observed::Rotated { after, by, set, current } => {
                self.rotate(set, *current, Retired { after: Some(*after), by: *by });
            }
            Observed::Acknowledged(said) => self.acknowledge(said),
            Observed::Looked(look) => {
                self.looks.insert(look.instance.clone(), look.at);
                self.ledger.take_in();
                self.ledger.look_came(&Arc::<Look>::new((*look).clone()));
            }
        }
    }

    fn answer(&mut self, at: Timestamp) -> Said {
        self.ledger.take_in();
        let (keys, bindings, audit) = (self.entries(), self.ledger.bindings(), self.audit(at));
        let by_id: HashMap<_, _> = bindings.iter().map(|binding| (binding.id(), binding)).collect();
        let looks = self.ledger.looks_of(SetIndex::DEFAULT);
        let tokens = vec![Key::Token.names().fingerprint];
        let facts = KeySet { name: "default".into(), learning: false, grace: Duration::ZERO };
        let view = self.ledger.with_senders(|senders| {
            let of_set = |senders| SetEvidence {
                senders,
                tokens: tokens.clone(),
                looks: looks.iter().map(|look| &**look).collect(),
            };
            let evidence: Vec<_> = senders.iter().map(of_set).collect();
            rotation::view(&Grounds {
                set: SetIndex::DEFAULT,
                facts: &facts,
                keys: &keys,
                tokens: &tokens,
                bindings: &bindings,
                binding_of: &|id| by_id.get(&id).map(|binding| Arc::clone(binding)),
                hours: &Hours::default(),
                audit: &audit,
                evidence: &evidence,
                settings: &self.ledger.rotation_settings(),
                is_taken: &|_| false,
                in_flight: &self.ledger.in_flight,
                now: at,
            })
        });
        let asked = self.asked.names().fingerprint;
        let Some(old) = view.old_keys.into_iter().find(|old| old.names.fingerprint == asked) else {
            return Said::NotProven(vec!["it is current".to_owned()]);
        };
        let told = |bars: &[keyward::ledger::answer::Bar]| {
            bars.iter().map(|bar| format!("{} {bar}", bar.kind.code())).collect::<Vec<_>>()
        };
        match &old.can_go {
            Answer::Yes(_) => Said::Yes,
            Answer::NotProven { but, .. } => Said::NotProven(told(but)),
            Answer::No { because, .. } => Said::No(told(because)),
        }
    }
}

/// How often n8n is looked through, where nothing is said.
const REFRESH: Duration = Duration::from_mins(5);

/// The name by which keyward knows a sender.
fn identity<'r>(set: SetIndex, who: &Who<'r>) -> Identity<'r> {
    let untagged = Identity::untagged(set, who.client, who.peer, who.key);
    let (instance, workflow, node) = (who.instance, who.workflow, who.node);
    match who.origin {
        // The tag of a chat has the name of its throw-away workflow.
        Origin::Workflow if workflow.is_some_and(|id| id.starts_with("chat")) => {
            Identity { holder: Holder::Agent, instance, workflow: Some("chats"), ..untagged }
        }
        Origin::Workflow => Identity { instance, workflow, node, ..untagged },
        Origin::Editor => Identity { holder: Holder::Editor, instance, ..untagged },
        Origin::Agent => Identity { holder: Holder::Agent, instance, ..untagged },
        Origin::Untagged => untagged,
    }
}
