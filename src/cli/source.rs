//! What the commands read bindings and rotations from: the running keyward, or else what its store remembers.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{Client, Said, reachable, something_listens};
use super::output::remark;
use super::setup::Setup;
use crate::admin::parameters::Parameters;
use crate::admin::problem::Problem;
use crate::admin::views;
use crate::answers;
use crate::answers::audit::Instances;
use crate::answers::binding::{Bindings, WholeBinding};
use crate::answers::execution::Execution;
use crate::answers::incident::Incidents;
use crate::answers::old_key::{ListedReasons, Reason, ReasonList};
use crate::answers::rotation::Rotation;
use crate::answers::status::{OpenProblem, Set, Status, Stopped, StoredStatus};
use crate::app::random_number;
use crate::keys::reloader::Reloader;
use crate::ledger::Ledger;
use crate::ledger::offline::Offline;
use crate::ledger::query::{Query, find};

/// What to ask.
pub(super) enum Source {
    /// A keyward that runs.
    Running(Client),
    /// What its store remembers.
    Stored(Box<Stored>),
}

/// The store of a keyward that does not run, and the keys by which it is judged.
pub(super) struct Stored {
    setup: Setup,
    offline: Offline,
    reloader: Reloader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    /// It answers.
    Yes,
    /// Nothing answers where its admin listener would be.
    No(SocketAddr),
    /// Its admin listener is off, so that it cannot be asked.
    CannotBeAsked,
}

/// An answer: as it came, which `--json` prints, and as it is read.
#[derive(Clone, Debug)]
pub(super) struct Received<T> {
    /// As it came, with fields that only a later keyward knows.
    pub(super) json: Value,
    pub(super) answer: T,
}

/// How keyward is, whether it runs or not.
pub(super) enum AnyStatus {
    Running(Status),
    /// None runs, and its store answers.
    Stored(StoredStatus),
}

#[derive(Clone, Copy)]
enum Question<'q> {
    /// How keyward is, and each of its sets.
    Status,
    /// How each n8n was when it was looked through last.
    N8n,
    /// The rotation of that set.
    Rotation(&'q str),
    /// All that bars the old keys of that set.
    Reasons(&'q str),
    /// What bars an old key under that number.
    Doubt(&'q str),
    Bindings,
    Incidents,
    /// What was sent in that execution.
    Execution(&'q str),
}

/// An answer that comes in pages.
trait Paged: DeserializeOwned {
    /// Under which name it has its rows.
    const ROWS: &'static str;

    /// The cursor of the next page.
    fn next(&self) -> Option<&str>;

    /// Adds the rows of the next page.
    fn append(&mut self, more: Self);
}

/// There is neither a keyward that runs nor a store.
#[derive(Debug)]
struct NothingToAsk(
    /// Where its admin listener would be, if it has one.
    Option<SocketAddr>,
);

impl fmt::Display for NothingToAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(f, "no keyward runs at {address} (admin.listen)")?,
            None => f.write_str("the admin listener is off (admin.listen), so that no keyward can be asked")?,
        }
        f.write_str(
            ", and there is no store that one has written to: `keyward serve` starts one. If yours has a configuration, name it \
             with --config or KEYWARD_CONFIG",
        )
    }
}

impl std::error::Error for NothingToAsk {}

/// What chooses among the rows of an answer, by name.
pub(super) type Choice<'q> = [(&'static str, &'q str)];

impl Source {
    /// The running keyward, or else its store, which is remarked.
    pub(super) fn open(setup: Setup) -> anyhow::Result<Self> {
        let source = Self::open_quietly(setup)?;
        if let Some(text) = source.runs().in_words() {
            remark(text);
        }
        Ok(source)
    }

    /// The same for a command whose answer says it, where it prints words.
    pub(super) fn open_for(setup: Setup, json: bool) -> anyhow::Result<Self> {
        if json { Self::open(setup) } else { Self::open_quietly(setup) }
    }

    fn open_quietly(setup: Setup) -> anyhow::Result<Self> {
        let client = setup.config().admin.listen.map(|_| Client::new(&setup)).transpose();
        match client {
            Ok(Some(client)) if client.is_answered() => Ok(Self::Running(client)),
            Ok(_) => Self::of_store(setup),
            // It would not be true that none runs.
            Err(error) if something_listens(&setup) => Err(error),
            // Without a token it cannot be asked; a keyward that was never started has none.
            Err(error) => match Self::of_store(setup) {
                Err(nothing) if !nothing.is::<NothingToAsk>() => Err(error),
                asked => asked,
            },
        }
    }

    fn of_store(setup: Setup) -> anyhow::Result<Self> {
        let sets: Vec<Arc<str>> = setup.set_names().into_iter().map(Arc::from).collect();
        let config = setup.config();
        let (settings, configured) = config.rotation();
        let ledger = Ledger::new(config.store.bounds, sets).with_rotation(settings, configured);
        let opened = Offline::open(ledger, &config.store, &config.state.dir, setup.clock(), random_number()?);
        let Some(offline) = opened.context("the store cannot be read (store.url)")? else {
            return Err(NothingToAsk(config.admin.listen.map(reachable)).into());
        };
        let reloader = setup.reloader()?;
        reloader.know_sets(&offline.ledger.sets());
        Ok(Self::Stored(Box::new(Stored { setup, offline, reloader })))
    }

    pub(super) fn runs(&self) -> Runs {
        match self {
            Self::Running(_) => Runs::Yes,
            Self::Stored(stored) => {
                stored.setup.config().admin.listen.map_or(Runs::CannotBeAsked, |listen| Runs::No(reachable(listen)))
            }
        }
    }

    /// The running keyward alone, for what its store cannot tell.
    pub(super) fn running(setup: &Setup) -> anyhow::Result<Client> {
        let client = Client::new(setup)?;
        if !client.is_answered() {
            bail!("this follows a keyward that runs, and none answers at {} (admin.listen)", client.address());
        }
        Ok(client)
    }

    /// The names of all sets.
    pub(super) fn sets(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.status()?.answer.sets().iter().map(|set| set.set.clone()).collect())
    }

    pub(super) fn status(&self) -> anyhow::Result<Received<AnyStatus>> {
        match self {
            Self::Running(_) => Ok(self.ask(Question::Status, &[])?.map(AnyStatus::Running)),
            Self::Stored(_) => Ok(self.ask(Question::Status, &[])?.map(AnyStatus::Stored)),
        }
    }

    /// What an audit says of each n8n.
    pub(super) fn n8n(&self) -> anyhow::Result<Instances> {
        Ok(self.ask(Question::N8n, &[])?.answer)
    }

    /// How far the rotation of a set is, with all its bindings and all that bars its old keys.
    pub(super) fn rotation(&self, set: &str) -> anyhow::Result<Received<Rotation>> {
        self.with_all_reasons(self.ask_for_all(Question::Rotation(set), &[])?)
    }

    /// The same rotation with all that bars its old keys, where an answer lists the first of each kind.
    pub(super) fn with_all_reasons(&self, told: Received<Rotation>) -> anyhow::Result<Received<Rotation>> {
        if told.answer.old_keys.iter().all(|old| old.summary.can_go.is_whole()) {
            return Ok(told);
        }
        let all: Received<ListedReasons> = self.ask_for_all(Question::Reasons(&told.answer.set), &[])?;
        let mut json = told.json;
        for old in json.get_mut("old_keys").and_then(Value::as_array_mut).into_iter().flatten() {
            let key = old["fingerprint"].clone();
            for (list, place) in LISTS {
                let is_own = |row: &&Value| row["key"] == key && row["list"] == list.code();
                let rows = all.json["reasons"].as_array().into_iter().flatten().filter(is_own);
                let rows: Vec<_> = rows.map(|row| row["reason"].clone()).collect();
                if let Some(listed) = old.pointer_mut(place).filter(|_| !rows.is_empty()) {
                    *listed = rows.into();
                }
            }
        }
        let mut answer = told.answer;
        for (old, json) in answer.old_keys.iter_mut().zip(json["old_keys"].as_array().into_iter().flatten()) {
            *old = answers::read(json)?;
        }
        Ok(Received { json, answer })
    }

    /// What bars an old key under that number, if it can be accepted.
    pub(super) fn doubt(&self, number: &str) -> anyhow::Result<Reason> {
        Ok(self.ask(Question::Doubt(number), &[])?.answer)
    }

    /// The same with so many of its bindings, those to which something is to be done first.
    pub(super) fn beginning_of_rotation(&self, set: &str, rows: usize) -> anyhow::Result<Received<Rotation>> {
        self.ask(Question::Rotation(set), &[("limit", &rows.to_string())])
    }

    pub(super) fn bindings(&self, choice: &Choice<'_>) -> anyhow::Result<Received<Bindings>> {
        self.ask_for_all(Question::Bindings, choice)
    }

    pub(super) fn incidents(&self, choice: &Choice<'_>) -> anyhow::Result<Received<Incidents>> {
        self.ask_for_all(Question::Incidents, choice)
    }

    /// What was sent in an execution.
    pub(super) fn execution(&self, id: &str) -> anyhow::Result<Received<Execution>> {
        self.ask(Question::Execution(id), &[])
    }

    /// The answer with all rows of all its pages, and without a cursor.
    fn ask_for_all<T: Paged>(&self, question: Question<'_>, choice: &Choice<'_>) -> anyhow::Result<Received<T>> {
        let page = |cursor: Option<&str>| {
            let cursor = cursor.map(|cursor| ("cursor", cursor));
            self.ask::<T>(question, &[choice, &[("limit", LARGEST_PAGE)], cursor.as_slice()].concat())
        };
        let mut told = page(None)?;
        while let Some(next) = told.answer.next().map(str::to_owned) {
            let mut more = page(Some(&next))?;
            let rows = more.json.get_mut(T::ROWS).and_then(Value::as_array_mut);
            if let Some((rows, added)) = told.json.get_mut(T::ROWS).and_then(Value::as_array_mut).zip(rows) {
                rows.append(added);
            }
            told.answer.append(more.answer);
        }
        if let Some(fields) = told.json.as_object_mut() {
            fields.remove("next");
        }
        Ok(told)
    }

    fn ask<T: DeserializeOwned>(&self, question: Question<'_>, choice: &Choice<'_>) -> anyhow::Result<Received<T>> {
        match self {
            Self::Running(client) => read(client, said(client.get(&question.target(choice))?)?),
            Self::Stored(stored) => stored.answer(question, choice),
        }
    }

    /// Says that a binding is dead, or its incident dealt with; gives the binding.
    pub(super) fn acknowledge(self, binding: &str) -> anyhow::Result<Received<WholeBinding>> {
        let stored = match self {
            Self::Running(client) => {
                let told = said(client.post(&format!("/api/v1/bindings/{}/ack", encoded(binding)))?)?;
                return read(&client, told);
            }
            Self::Stored(stored) => stored,
        };
        let Stored { setup, offline, reloader } = *stored;
        let found = find(&offline.ledger, binding)?;
        offline.ledger.acknowledge(&found, setup.now());
        let look = Query::new(&offline.ledger, &reloader, setup.now()).with_names(setup.names());
        let told = views::binding(&look, &found.id().to_hex()).map_err(|problem| in_words(&problem))?;
        offline.save(&reloader).context("the store cannot be written (store.url)")?;
        Received::new(&told)
    }

    /// Accepts what bars an old key under that number, for a reason, or takes that back; gives it as it is then.
    pub(super) fn accept(self, number: &str, reason: Option<&str>) -> anyhow::Result<Received<Reason>> {
        let stored = match self {
            Self::Running(client) => {
                let (verb, choice) =
                    reason.map_or(("withdraw", String::new()), |why| ("accept", query(&[("reason", why)])));
                let told = said(client.post(&format!("/api/v1/doubts/{}/{verb}{choice}", encoded(number)))?)?;
                return read(&client, told);
            }
            Self::Stored(stored) => stored,
        };
        let Stored { setup, offline, reloader } = *stored;
        let look = Query::new(&offline.ledger, &reloader, setup.now()).with_names(setup.names());
        let asked = reason.map(|why| views::reason(&Parameters::of(&[("reason", why)]))).transpose();
        let accepted = asked.map_err(|problem| in_words(&problem))?.map(|why| (why, setup.now()));
        let told = views::accept(&look, &offline.ledger, number, accepted).map_err(|problem| in_words(&problem))?;
        offline.save(&reloader).context("the store cannot be written (store.url)")?;
        Received::new(&told)
    }
}

impl Stored {
    fn answer<T: DeserializeOwned>(&self, question: Question<'_>, choice: &Choice<'_>) -> anyhow::Result<Received<T>> {
        let ledger: &Ledger = &self.offline.ledger;
        let look = Query::new(ledger, &self.reloader, self.setup.now()).with_names(self.setup.names());
        let asked = Parameters::of(choice);
        match question {
            Question::Status => Received::new(&StoredStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                stage: Stopped::Stopped,
                bindings: ledger.len(),
                sets: views::sets(&look, &self.setup.config().rules, &self.reloader.tokens()),
            }),
            // A store knows nothing of what is configured there.
            Question::N8n => Received::new(&Instances { instances: Vec::new() }),
            Question::Rotation(set) => Received::of(views::rotation(&look, set, &asked)),
            Question::Reasons(set) => Received::of(views::reasons(&look, set, &asked)),
            Question::Doubt(number) => Received::of(views::doubt(&look, number)),
            Question::Bindings => Received::of(views::bindings(&look, &asked)),
            Question::Incidents => Received::of(views::incidents(&look, &asked)),
            Question::Execution(id) => Received::new(&views::execution(&look, id)),
        }
    }
}

// === impl Runs ===

impl Runs {
    /// What there is to say of it, in a sentence.
    pub(super) fn in_words(self) -> Option<String> {
        match self {
            Self::Yes => None,
            Self::No(address) => {
                Some(format!("No keyward runs here (nothing answers at {address}): this is what its store remembers."))
            }
            Self::CannotBeAsked => Some(
                "The admin listener is off (admin.listen), so that keyward cannot be asked: this is what its store \
                 remembers."
                    .to_owned(),
            ),
        }
    }
}

// === impl Received ===

impl<T> Received<T> {
    /// Of what a store answers: as it would come from a keyward that runs.
    fn of(answer: Result<impl Serialize, Problem>) -> anyhow::Result<Self>
    where
        T: DeserializeOwned,
    {
        Self::new(&answer.map_err(|problem| in_words(&problem))?)
    }

    fn new(answer: &impl Serialize) -> anyhow::Result<Self>
    where
        T: DeserializeOwned,
    {
        let json = serde_json::to_value(answer)?;
        let answer = answers::read(&json)?;
        Ok(Self { json, answer })
    }

    fn map<U>(self, with: impl FnOnce(T) -> U) -> Received<U> {
        Received { json: self.json, answer: with(self.answer) }
    }
}

fn read<T: DeserializeOwned>(client: &Client, json: Value) -> anyhow::Result<Received<T>> {
    let answer = client.read(&json)?;
    Ok(Received { json, answer })
}

// === impl AnyStatus, Paged ===

impl AnyStatus {
    pub(super) fn sets(&self) -> &[Set] {
        match self {
            Self::Running(status) => &status.sets,
            Self::Stored(status) => &status.sets,
        }
    }

    /// What is wrong beside single callers, which a store does not remember.
    pub(super) fn problems(&self) -> &[OpenProblem] {
        match self {
            Self::Running(status) => &status.problems,
            Self::Stored(_) => &[],
        }
    }
}

macro_rules! paged {
    ($($answer:ident: $rows:ident,)*) => {$(
        impl Paged for $answer {
            const ROWS: &'static str = stringify!($rows);

            fn next(&self) -> Option<&str> {
                self.next.as_deref()
            }

            fn append(&mut self, mut more: Self) {
                self.$rows.append(&mut more.$rows);
                self.next = more.next;
            }
        }
    )*};
}

paged! {
    Bindings: bindings,
    Incidents: incidents,
    ListedReasons: reasons,
    Rotation: bindings,
}

// === impl Question ===

impl Question<'_> {
    fn target(self, choice: &Choice<'_>) -> String {
        let path = match self {
            Self::Status => "/api/v1/status".to_owned(),
            Self::N8n => "/api/v1/n8n".to_owned(),
            Self::Rotation(set) => format!("/api/v1/sets/{}/rotation", encoded(set)),
            Self::Reasons(set) => format!("/api/v1/sets/{}/reasons", encoded(set)),
            Self::Doubt(number) => format!("/api/v1/doubts/{}", encoded(number)),
            Self::Bindings => "/api/v1/bindings".to_owned(),
            Self::Incidents => "/api/v1/incidents".to_owned(),
            Self::Execution(id) => format!("/api/v1/executions/{}", encoded(id)),
        };
        format!("{path}{}", query(choice))
    }
}

/// What chooses, as it stands behind a path.
pub(super) fn query(choice: &Choice<'_>) -> String {
    let pairs: Vec<_> = choice.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn said(said: Said) -> anyhow::Result<Value> {
    match said {
        Said::Answer(value) => Ok(value),
        Said::NotRunning => Err(anyhow!("keyward has just stopped")),
    }
}

fn in_words(problem: &Problem) -> anyhow::Error {
    anyhow!("{}", problem.detail())
}

/// Where the lists of an answer stand in an old key.
const LISTS: [(ReasonList, &str); 3] = [
    (ReasonList::Reasons, "/can_go/reasons"),
    (ReasonList::Doubts, "/can_go/doubts"),
    (ReasonList::Accepted, "/can_go/basis/accepted"),
];

/// The most rows that a page may have.
const LARGEST_PAGE: &str = "10000";
