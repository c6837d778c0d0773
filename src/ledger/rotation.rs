//! Pure. The rotation view of a set: who sends its current key, who does not, and whether an old key can go.
//!
//! | a binding is | when |
//! |---|---|
//! | `stale` | it has an open incident: its last word was bad ([`super::incident`]) |
//! | `confirmed` | its last sighting carried the current key, the next one or a valid token |
//! | `silent` | neither: it has not been seen since the key that it sent last was replaced |
//! | not in the view | it never asked the API, or never with a key of the set: nothing of it rotates |
//!
//! A `silent` one is *due later*, *overdue* (silent for longer than its rhythm allows: [`rhythm::patience`]) or
//! *acknowledged dead*.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::binding::{Binding, BindingId, Holder, Memory};
use super::hours::Hours;
use super::incident::Incident;
use super::look::AuditDoubt;
use super::rhythm::{self, Rhythm};
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::listing::Entry;
use crate::keys::set::{KeySet, Names, Retired, Role, SetIndex};
use crate::verdict::explain::Severity;

/// What a view is drawn from.
#[derive(Clone, Copy)]
pub struct Grounds<'a> {
    /// Which set.
    pub set: SetIndex,
    /// The set's own facts.
    pub facts: &'a KeySet,
    /// The keys of all sets ([`crate::keys::keeper::Keeper::entries`]).
    pub keys: &'a [Entry],
    /// The tokens of the set that are valid.
    pub tokens: &'a [Fingerprint],
    /// Every binding.
    pub bindings: &'a [Arc<Binding>],
    /// Exchanges by the hour.
    pub hours: &'a Hours,
    /// What is known of nodes that do not pass here.
    pub audit: &'a Audit,
    /// Now.
    pub now: Timestamp,
}

/// What is known of the nodes of n8n that do not pass here. By default nothing: nobody has looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// When n8n was looked through; of several, the one that was so longest ago. Nothing where one of them was not, or not
    /// of late.
    pub at: Option<Timestamp>,
    /// The keys that stand in nodes themselves, each with where it does, in words.
    pub typed: Vec<(Fingerprint, String)>,
    /// What keeps it from saying that every node passes here with the right key.
    pub doubts: Vec<AuditDoubt>,
}

/// The view of one set.
#[derive(Clone, Debug)]
pub struct RotationView {
    /// The set.
    pub set: SetIndex,
    /// Its name.
    pub name: Arc<str>,
    /// When the view was drawn.
    pub at: Timestamp,
    /// Whether the set learns which key is current, so that all of this is a guess.
    pub learned: bool,
    /// The current key. A set that learns may have several, until one binding switches: then only a person can say which
    /// one is meant to be current. None where its source gave none, or nothing was learned.
    pub current: Vec<CurrentKey>,
    /// The announced next key.
    pub next: Option<Names>,
    /// Every binding of the set that rotates: stale ones first, then silent, then confirmed; within each, those that were
    /// seen last come first.
    pub rows: Vec<Row>,
    /// How many of them stand how.
    pub progress: Progress,
    /// The previous keys, the one that was replaced last first.
    pub old_keys: Vec<OldKey>,
}

/// A set's current key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentKey {
    /// Its public names.
    pub names: Names,
    /// Since when it is current, as far as keyward knows.
    pub since: Option<Timestamp>,
    /// Whether upstream says that it is no key.
    pub is_refused: bool,
}

/// How many bindings stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Confirmed ones.
    pub confirmed: usize,
    /// Stale ones.
    pub stale: usize,
    /// Silent ones that are due later.
    pub due_later: usize,
    /// Silent ones that are overdue.
    pub overdue: usize,
    /// Silent ones that somebody acknowledged to be dead.
    pub acknowledged: usize,
}

/// A binding in the view: what orders and counts it. A view has as many as there are bindings, of which people look at a
/// page.
#[derive(Clone, Debug)]
pub struct Row {
    /// The binding: its id, and whose it is.
    pub binding: Arc<Binding>,
    /// How it stands.
    pub standing: Standing,
    /// When its last request started.
    pub seen: Timestamp,
    /// How much its open incident matters.
    pub severity: Option<Severity>,
}

/// A row with all that is told of its binding.
#[derive(Clone, Debug)]
pub struct FullRow {
    /// The binding: its id, and whose it is.
    pub binding: Arc<Binding>,
    /// The workflow's name, as the caller gave it last.
    pub workflow_name: Option<Box<str>>,
    /// How it stands.
    pub standing: Standing,
    /// When its last request started.
    pub seen: Timestamp,
    /// The key that it sent last; nothing where its last request had none.
    pub key: Option<Names>,
    /// Its usual rhythm.
    pub rhythm: Option<Rhythm>,
    /// Its open incident.
    pub incident: Option<Box<Incident>>,
}

/// How a binding stands in a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is not well.
    Stale,
    /// It has not been seen since its key was replaced.
    Silent(Silence),
    /// It sends what it should.
    Confirmed,
}

/// What the silence of a binding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It should have come by then.
    Overdue {
        /// When it was due at the latest.
        since: Timestamp,
    },
    /// By its rhythm, it need not have come yet.
    DueLater {
        /// When it is due at the latest.
        by: Timestamp,
    },
    /// Somebody said that it is dead.
    Acknowledged {
        /// When.
        at: Timestamp,
    },
}

/// A previous key of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldKey {
    /// Its public names.
    pub names: Names,
    /// When it was replaced.
    pub retired: Retired,
    /// Until when it is still good.
    pub grace_until: Timestamp,
    /// When the last request with it started, whoever sent it.
    pub last_use: Option<Timestamp>,
    /// Exchanges with it by the hour, as far back as is remembered; hours without any are left out.
    pub traffic: Vec<(Timestamp, u64)>,
    /// Whether it can go.
    pub can_go: Answer,
}

/// The answer to *can the old key go?*
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No, because of each of these.
    No(Vec<Reason>),
    /// It has not been seen here for a while, but that proves nothing as long as these hold.
    NotSeen {
        /// For how long: since its last use; where it was never seen, since it was replaced.
        span: Duration,
        /// What keyward cannot rule out.
        but: Vec<Doubt>,
    },
    /// Yes: every node passes here, and every one of them was seen with another key since.
    Yes {
        /// When n8n was last looked through.
        audited: Timestamp,
    },
}

/// Why an old key cannot go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A binding still sends it.
    StillSent {
        /// Which one.
        binding: BindingId,
        /// Who that is, in words.
        who: String,
        /// When it did last.
        last: Timestamp,
    },
    /// Another set uses the same key.
    InUse {
        /// A position among the sets.
        set: SetIndex,
    },
    /// It stands in a node of n8n itself.
    Typed {
        /// Which one, in words.
        who: String,
    },
    /// keyward does not know the current key, so that it cannot tell who has changed to it.
    NoCurrentKey,
    /// Upstream refuses the current key: the old one may be needed again.
    CurrentKeyRefused,
}

/// What keyward cannot rule out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Nodes that bypass keyward: n8n was not looked through since the key was replaced.
    NotAudited,
    /// Something that was found when n8n was looked through, or why it was not.
    Audit {
        /// What.
        found: AuditDoubt,
    },
    /// A binding that sent the key last and has not been seen since.
    Silent {
        /// Which one.
        binding: BindingId,
        /// Who that is, in words.
        who: String,
        /// What its silence means.
        silence: Silence,
    },
    /// A binding that used the key and is not well for another reason: mended, it may send the key again.
    Unwell {
        /// Which one.
        binding: BindingId,
        /// Who that is, in words.
        who: String,
    },
    /// The key was tried out in n8n's editor since it was replaced: some credential still holds it.
    Edited {
        /// When it was last.
        last: Timestamp,
    },
    /// Somebody used it since, of whom too little is known to be a binding of its own.
    Unattributed {
        /// When it was last.
        last: Timestamp,
    },
}

/// Draws the view of a set. Locks each binding for a moment, and takes no more of it than one can count and order by: what
/// lies elsewhere in memory costs more than all the rest.
#[must_use]
pub fn view(grounds: &Grounds<'_>) -> RotationView {
    let keys = SetKeys::new(grounds.set, grounds.keys, grounds.tokens);
    let mut draft = Draft::new(grounds.old_keys().map(OldDraft::new).collect());
    for binding in grounds.bindings {
        let memory = binding.lock();
        draft.note_uses(binding, &memory);
        if binding.set() == grounds.set
            && let Some(row) = Row::of(binding, &memory, &keys, grounds.now)
        {
            draft.note_silence(&row, &memory);
            draft.rows.push(row);
        }
    }
    draft.into_view(grounds)
}

/// How a binding stands, if its set's rotations are its own.
#[must_use]
pub fn standing(memory: &Memory, keys: &SetKeys, now: Timestamp) -> Option<Standing> {
    let latest = memory.latest?;
    if memory.incident.is_some() {
        return Some(Standing::Stale);
    }
    if latest.key.is_some_and(|key| keys.confirms(key)) {
        return Some(Standing::Confirmed);
    }
    // Upstream took a key that nobody knows, or did not come to judge it.
    let is_strange = latest.finding.verdict() == "unknown" && !latest.key.is_some_and(|key| keys.is_previous(key));
    if is_strange {
        return None;
    }
    let due = latest.at.after(rhythm::patience(memory.visits.rhythm()));
    Some(Standing::Silent(match memory.acknowledgement() {
        Some(at) => Silence::Acknowledged { at },
        None if due < now => Silence::Overdue { since: due },
        None => Silence::DueLater { by: due },
    }))
}

/// The keys of one set, by what a binding that sends them is.
#[derive(Clone, Debug, Default)]
pub struct SetKeys {
    /// Sorted, as are the others: they are few, and looked up for every binding.
    confirming: Vec<Fingerprint>,
    previous: Vec<Fingerprint>,
}

// === impl SetKeys ===

impl SetKeys {
    /// Of that set, with its valid tokens.
    #[must_use]
    pub fn new(set: SetIndex, keys_of_all: &[Entry], tokens: &[Fingerprint]) -> Self {
        let mut keys = Self { confirming: tokens.to_vec(), previous: Vec::new() };
        for entry in keys_of_all.iter().filter(|entry| entry.set == set) {
            match entry.role {
                Role::Current | Role::Next | Role::Token if entry.revoked.is_none() => &mut keys.confirming,
                Role::Current | Role::Next | Role::Token | Role::Previous { .. } => &mut keys.previous,
            }
            .push(entry.names.fingerprint);
        }
        keys.confirming.sort_unstable();
        keys.previous.sort_unstable();
        keys
    }

    /// Whether a binding that sends that key has nothing to change.
    #[must_use]
    pub fn confirms(&self, key: Fingerprint) -> bool {
        self.confirming.binary_search(&key).is_ok()
    }

    fn is_previous(&self, key: Fingerprint) -> bool {
        self.previous.binary_search(&key).is_ok()
    }
}

// === impl Grounds ===

impl<'a> Grounds<'a> {
    /// The set's keys with their role, in the order of the list.
    fn own(&self) -> impl Iterator<Item = &'a Entry> {
        let set = self.set;
        self.keys.iter().filter(move |entry| entry.set == set)
    }

    fn old_keys(&self) -> impl Iterator<Item = &'a Entry> {
        self.own().filter(|entry| matches!(entry.role, Role::Previous { .. }))
    }
}

// === impl Row ===

impl Row {
    fn of(binding: &Arc<Binding>, memory: &Memory, keys: &SetKeys, now: Timestamp) -> Option<Self> {
        if binding.holder() != Holder::Caller {
            return None;
        }
        Some(Self {
            binding: Arc::clone(binding),
            standing: standing(memory, keys, now)?,
            seen: memory.latest?.at,
            severity: memory.incident.as_ref().map(|incident| incident.severity),
        })
    }

    /// With all that is told of the binding, as it is known now. Where it is seen in this very moment, it stands as it did
    /// when the view was drawn.
    #[must_use]
    pub fn in_full(&self) -> FullRow {
        let memory = self.binding.lock();
        FullRow {
            binding: Arc::clone(&self.binding),
            workflow_name: memory.name.clone(),
            standing: self.standing,
            seen: self.seen,
            key: memory.latest.and_then(|latest| latest.key).map(|key| names_of(&memory, key)),
            rhythm: memory.visits.rhythm(),
            incident: memory.incident.clone(),
        }
    }
}

/// The key with its hint, where the binding has room for it.
fn names_of(memory: &Memory, key: Fingerprint) -> Names {
    let used = memory.of_key(Some(key)).and_then(|used| used.key);
    used.unwrap_or(Names { fingerprint: key, hint: None })
}

/// A view that is being drawn.
struct Draft {
    rows: Vec<Row>,
    old: Vec<OldDraft>,
    /// Where each of the previous keys stands, sorted by key.
    by_key: Vec<(Fingerprint, usize)>,
}

/// A previous key, and what was found of it so far.
struct OldDraft {
    key: Fingerprint,
    names: Names,
    retired: Retired,
    grace_until: Timestamp,
    last_use: Option<Timestamp>,
    reasons: Vec<Reason>,
    doubts: Vec<Doubt>,
}

// === impl Draft ===

impl Draft {
    fn new(old: Vec<OldDraft>) -> Self {
        let mut by_key: Vec<_> = old.iter().enumerate().map(|(position, old)| (old.key, position)).collect();
        by_key.sort_unstable();
        Self { rows: Vec::new(), old, by_key }
    }

    /// What the uses of a binding of any set say of the old keys.
    fn note_uses(&mut self, binding: &Binding, memory: &Memory) {
        for used in &memory.uses {
            let Some(names) = used.key else { continue };
            if let Some(old) = find(&mut self.old, &self.by_key, names.fingerprint) {
                old.last_use = old.last_use.max(Some(used.last));
                old.names.hint = old.names.hint.or(names.hint);
                old.note(binding, memory, used.last);
            }
        }
    }

    fn note_silence(&mut self, row: &Row, memory: &Memory) {
        let Standing::Silent(silence @ (Silence::Overdue { .. } | Silence::DueLater { .. })) = row.standing else {
            return;
        };
        let Some(key) = memory.latest.and_then(|latest| latest.key) else { return };
        if let Some(old) = find(&mut self.old, &self.by_key, key) {
            let (binding, who) = (row.binding.id(), row.binding.describe(memory.name.as_deref()));
            old.doubts.push(Doubt::Silent { binding, who, silence });
        }
    }

    fn into_view(mut self, grounds: &Grounds<'_>) -> RotationView {
        // Each key is made once: what it is made of lies elsewhere in memory.
        self.rows.sort_by_cached_key(|row| (rank(row.standing), -row.seen.as_millis(), row.binding.id()));
        let current: Vec<_> = grounds.own().filter(|entry| entry.role == Role::Current).map(CurrentKey::of).collect();
        let old_keys = self.old.into_iter().map(|old| old.finish(grounds, &current)).collect();
        RotationView {
            set: grounds.set,
            name: Arc::clone(&grounds.facts.name),
            at: grounds.now,
            learned: grounds.facts.learning,
            next: grounds.own().find(|entry| entry.role == Role::Next).map(|entry| entry.names),
            progress: Progress::of(&self.rows),
            rows: self.rows,
            current,
            old_keys,
        }
    }
}

fn find<'a>(old: &'a mut [OldDraft], by_key: &[(Fingerprint, usize)], key: Fingerprint) -> Option<&'a mut OldDraft> {
    let place = by_key.binary_search_by_key(&key, |(key, _)| *key).ok()?;
    old.get_mut(by_key[place].1)
}

// === impl OldDraft ===

impl OldDraft {
    fn new(entry: &Entry) -> Self {
        let (retired, grace_until) = match entry.role {
            Role::Previous { retired, grace_until } => (retired, grace_until),
            Role::Current | Role::Next | Role::Token => {
                let never = Timestamp::from_millis(0);
                (Retired { after: None, by: never }, never)
            }
        };
        let (key, names) = (entry.names.fingerprint, entry.names);
        Self { key, names, retired, grace_until, last_use: None, reasons: Vec::new(), doubts: Vec::new() }
    }

    /// What one binding's last use of the key means.
    fn note(&mut self, binding: &Binding, memory: &Memory, last: Timestamp) {
        let is_since = last > self.retired.by;
        match binding.holder() {
            Holder::Editor if is_since => self.doubts.push(Doubt::Edited { last }),
            Holder::Other | Holder::Agent if is_since => self.doubts.push(Doubt::Unattributed { last }),
            Holder::Caller if memory.incident.is_some() => self.note_unwell(binding, memory, last),
            Holder::Caller | Holder::Editor | Holder::Agent | Holder::Other => {}
        }
    }

    fn note_unwell(&mut self, binding: &Binding, memory: &Memory, last: Timestamp) {
        let (id, who) = (binding.id(), binding.describe(memory.name.as_deref()));
        if memory.latest.is_some_and(|latest| latest.key == Some(self.key)) {
            self.reasons.push(Reason::StillSent { binding: id, who, last });
        } else {
            self.doubts.push(Doubt::Unwell { binding: id, who });
        }
    }

    fn finish(mut self, grounds: &Grounds<'_>, current: &[CurrentKey]) -> OldKey {
        self.note_keys(grounds, current);
        let traffic = grounds.hours.of_key(grounds.set, self.key);
        let can_go = self.answer(grounds);
        let Self { names, retired, grace_until, last_use, .. } = self;
        OldKey { names, retired, grace_until, last_use, traffic, can_go }
    }

    /// What the sets' other keys say of it.
    fn note_keys(&mut self, grounds: &Grounds<'_>, current: &[CurrentKey]) {
        let in_use =
            grounds.keys.iter().filter(|entry| entry.names.fingerprint == self.key && entry.set != grounds.set);
        let in_use = in_use.filter(|entry| matches!(entry.role, Role::Current | Role::Next));
        self.reasons.extend(in_use.map(|entry| Reason::InUse { set: entry.set }));
        if current.is_empty() {
            self.reasons.push(Reason::NoCurrentKey);
        } else if current.iter().all(|key| key.is_refused) {
            self.reasons.push(Reason::CurrentKeyRefused);
        }
        let typed = grounds.audit.typed.iter().filter(|(key, _)| *key == self.key).take(MOST_FOUND);
        self.reasons.extend(typed.map(|(_, who)| Reason::Typed { who: who.clone() }));
    }

    fn answer(&mut self, grounds: &Grounds<'_>) -> Answer {
        if !self.reasons.is_empty() {
            return Answer::No(std::mem::take(&mut self.reasons));
        }
        let found = grounds.audit.doubts.iter().take(MOST_FOUND).map(|found| Doubt::Audit { found: found.clone() });
        self.doubts.extend(found);
        match grounds.audit.at.filter(|at| *at > self.retired.by) {
            Some(audited) if self.doubts.is_empty() => Answer::Yes { audited },
            audited => {
                let span = grounds.now.since(self.last_use.unwrap_or(self.retired.by));
                // Why it was not looked through is said already.
                let is_news = audited.is_none() && grounds.audit.doubts.is_empty();
                let not_audited = is_news.then_some(Doubt::NotAudited);
                Answer::NotSeen { span, but: std::mem::take(&mut self.doubts).into_iter().chain(not_audited).collect() }
            }
        }
    }
}

// === impl Progress, CurrentKey, Standing ===

impl Progress {
    fn of(rows: &[Row]) -> Self {
        let mut progress = Self::default();
        for row in rows {
            *match row.standing {
                Standing::Confirmed => &mut progress.confirmed,
                Standing::Stale => &mut progress.stale,
                Standing::Silent(Silence::DueLater { .. }) => &mut progress.due_later,
                Standing::Silent(Silence::Overdue { .. }) => &mut progress.overdue,
                Standing::Silent(Silence::Acknowledged { .. }) => &mut progress.acknowledged,
            } += 1;
        }
        progress
    }

    /// Whether nothing is left to do here: no binding is stale, and none is silent but those that are dead.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stale + self.due_later + self.overdue == 0
    }

    /// How many bindings there are.
    #[must_use]
    pub fn total(&self) -> usize {
        self.confirmed + self.stale + self.due_later + self.overdue + self.acknowledged
    }
}

impl CurrentKey {
    fn of(entry: &Entry) -> Self {
        Self { names: entry.names, since: entry.since, is_refused: entry.is_refused || entry.revoked.is_some() }
    }
}

impl Standing {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Silent(_) => "silent",
            Self::Confirmed => "confirmed",
        }
    }

    /// What the silence means, by its stable code; nothing for who is not silent.
    #[must_use]
    pub fn silence(self) -> Option<&'static str> {
        match self {
            Self::Silent(silence) => Some(silence.code()),
            Self::Stale | Self::Confirmed => None,
        }
    }
}

impl Silence {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Overdue { .. } => "overdue",
            Self::DueLater { .. } => "due_later",
            Self::Acknowledged { .. } => "acknowledged",
        }
    }
}

fn rank(standing: Standing) -> u8 {
    match standing {
        Standing::Stale => 0,
        Standing::Silent(Silence::Overdue { .. }) => 1,
        Standing::Silent(Silence::DueLater { .. }) => 2,
        Standing::Silent(Silence::Acknowledged { .. }) => 3,
        Standing::Confirmed => 4,
    }
}

// === Words ===

impl Answer {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::No(_) => "no",
            Self::NotSeen { .. } => "not_seen",
            Self::Yes { .. } => "yes",
        }
    }
}

/// In one sentence, without the single reasons.
/// As people read it: `12 of 24 confirmed, 3 stale, 9 due later`. What there is none of is left out.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} confirmed", self.confirmed, self.total())?;
        let others = [
            (self.stale, "stale"),
            (self.overdue, "overdue"),
            (self.due_later, "due later"),
            (self.acknowledged, "dead"),
        ];
        others
            .iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(count, standing)| write!(f, ", {count} {standing}"))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No(_) => f.write_str("no"),
            Self::NotSeen { span, .. } => write!(f, "not seen here for {}, but that does not prove it", Span(*span)),
            Self::Yes { audited } => {
                write!(f, "yes: every node was seen to pass here at {audited}, and each of them has changed")
            }
        }
    }
}

impl Reason {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::StillSent { .. } => "still_sent",
            Self::InUse { .. } => "in_use",
            Self::Typed { .. } => "typed",
            Self::NoCurrentKey => "no_current_key",
            Self::CurrentKeyRefused => "current_key_refused",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StillSent { who, last, .. } => write!(f, "{who} still sends it, last at {last}"),
            Self::InUse { .. } => f.write_str("another set uses the same key"),
            Self::Typed { who } => write!(f, "{who} has it typed into it"),
            Self::NoCurrentKey => {
                f.write_str("keyward does not know the current key, so nobody can be seen to change to it")
            }
            Self::CurrentKeyRefused => f.write_str("upstream refuses the current key: the old one may be needed again"),
        }
    }
}

impl Doubt {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAudited => "not_audited",
            Self::Audit { .. } => "audit",
            Self::Silent { .. } => "silent",
            Self::Unwell { .. } => "unwell",
            Self::Edited { .. } => "edited",
            Self::Unattributed { .. } => "unattributed",
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAudited => f.write_str("keyward cannot see nodes that do not pass here"),
            Self::Audit { found } => f.write_str(&found.text),
            Self::Silent { who, silence: Silence::Overdue { since }, .. } => {
                write!(f, "{who} sent it last and is overdue since {since}")
            }
            Self::Silent { who, silence: Silence::DueLater { by }, .. } => {
                write!(f, "{who} sent it last and is due by {by}")
            }
            Self::Silent { who, silence: Silence::Acknowledged { at }, .. } => {
                write!(f, "{who} sent it last and was said to be dead at {at}")
            }
            Self::Unwell { who, .. } => {
                write!(f, "{who} has sent it before and is not well: mended, it may send it again")
            }
            Self::Edited { last } => {
                write!(f, "somebody tried it out in n8n's editor at {last}: a credential holds it")
            }
            Self::Unattributed { last } => write!(f, "somebody sent it at {last} of whom nothing more is known"),
        }
    }
}

/// A span as people say it, by its largest unit: `3 hours`.
#[derive(Clone, Copy, Debug)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)];
        let (unit, length) = units.into_iter().find(|(_, length)| seconds >= 2 * length).unwrap_or(("second", 1));
        let count = seconds / length;
        write!(f, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}

/// How many findings of an audit an answer names: one is enough to keep a key.
const MOST_FOUND: usize = 20;
