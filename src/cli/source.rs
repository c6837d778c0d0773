//! What the commands read bindings and rotations from: the running keyward, or else what its store remembers.

use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::client::{Client, Said, somebody_listens};
use super::output::remark;
use super::setup::Setup;
use crate::admin::parameters::Parameters;
use crate::admin::problem::Problem;
use crate::admin::views;
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

/// What is asked.
#[derive(Clone, Copy)]
pub(super) enum Question<'q> {
    /// How keyward is, and each of its sets.
    Status,
    /// How each n8n was when it was looked through last.
    N8n,
    /// The rotation of that set.
    Rotation(&'q str),
    /// The bindings.
    Bindings,
    /// The incidents.
    Incidents,
    /// What was sent in that execution.
    Execution(&'q str),
}

/// What chooses among the rows of an answer, by name.
pub(super) type Choice<'q> = [(&'static str, &'q str)];

impl Source {
    /// The running keyward, where there is one.
    pub(super) fn open(setup: Setup) -> anyhow::Result<Self> {
        let client = setup.config().admin.listen.map(|_| Client::new(&setup)).transpose();
        match client {
            Ok(Some(client)) if client.is_answered() => Ok(Self::Running(client)),
            Ok(_) => Self::of_store(setup),
            // It would not be true that none runs.
            Err(error) if somebody_listens(&setup) => Err(error),
            // Without a token it cannot be asked; a keyward that was never started has none.
            Err(error) => Self::of_store(setup).map_err(|_also| error),
        }
    }

    fn of_store(setup: Setup) -> anyhow::Result<Self> {
        let sets: Arc<[Arc<str>]> = setup.set_names().into_iter().map(Arc::from).collect();
        let config = setup.config();
        let (settings, configured) = config.rotation();
        let ledger = Ledger::new(config.store.bounds, sets).with_rotation(settings, configured);
        let opened = Offline::open(ledger, &config.store, &config.state.dir, setup.clock(), random_number()?);
        let Some(offline) = opened.context("the store cannot be read (store.url)")? else {
            bail!("no keyward runs here, and there is no store that one has written to");
        };
        let reloader = setup.reloader()?;
        remark("No keyward runs here: this is what its store remembers.");
        Ok(Self::Stored(Box::new(Stored { setup, offline, reloader })))
    }

    /// The running keyward alone.
    pub(super) fn running(self) -> anyhow::Result<Client> {
        match self {
            Self::Running(client) => Ok(client),
            Self::Stored(_) => Err(anyhow!("that takes a keyward that runs")),
        }
    }

    /// The names of all sets.
    pub(super) fn sets(&self) -> anyhow::Result<Vec<String>> {
        let status = self.ask(Question::Status, &[])?;
        let sets = status["sets"].as_array().into_iter().flatten();
        Ok(sets.filter_map(|set| set["set"].as_str().map(str::to_owned)).collect())
    }

    /// The answer, with all rows of all its pages.
    pub(super) fn ask(&self, question: Question<'_>, choice: &Choice<'_>) -> anyhow::Result<Value> {
        let mut answer = self.ask_for_page(question, choice)?;
        let Some(rows) = question.rows() else { return Ok(answer) };
        while let Some(next) = answer["next"].as_str().map(str::to_owned) {
            let mut more = self.ask_for_page(question, &[choice, &[("cursor", next.as_str())]].concat())?;
            if let (Some(rows), Some(added)) = (answer[rows].as_array_mut(), more[rows].as_array_mut()) {
                rows.append(added);
            }
            answer["next"] = more["next"].take();
        }
        if let Some(answer) = answer.as_object_mut() {
            answer.remove("next");
        }
        Ok(answer)
    }

    /// Says that a binding is dead, or its incident dealt with; gives the binding.
    pub(super) fn acknowledge(self, binding: &str) -> anyhow::Result<Value> {
        let stored = match self {
            Self::Running(client) => return said(client.post(&format!("/api/v1/bindings/{}/ack", encoded(binding)))?),
            Self::Stored(stored) => stored,
        };
        let Stored { setup, offline, reloader } = *stored;
        let found = find(&offline.ledger, binding)?;
        offline.ledger.acknowledge(&found, setup.now());
        let look = Query::new(&offline.ledger, &reloader, setup.now()).with_names(setup.names());
        let told = views::binding(&look, &found.id().to_hex()).map_err(|problem| in_words(&problem))?;
        offline.save(&reloader).context("the store cannot be written (store.url)")?;
        Ok(told)
    }

    /// Accepts what bars an old key under that number, for a reason, or takes that back; gives it as it is then.
    pub(super) fn accept(self, number: &str, reason: Option<&str>) -> anyhow::Result<Value> {
        let stored = match self {
            Self::Running(client) => {
                let (verb, choice) =
                    reason.map_or(("withdraw", String::new()), |why| ("accept", query(&[("reason", why)])));
                return said(client.post(&format!("/api/v1/doubts/{}/{verb}{choice}", encoded(number)))?);
            }
            Self::Stored(stored) => stored,
        };
        let Stored { setup, offline, reloader } = *stored;
        let look = Query::new(&offline.ledger, &reloader, setup.now()).with_names(setup.names());
        let asked = reason.map(|why| views::reason(&Parameters::of(&[("reason", why)]))).transpose();
        let accepted = asked.map_err(|problem| in_words(&problem))?.map(|why| (why, setup.now()));
        let told = views::accept(&look, &offline.ledger, number, accepted).map_err(|problem| in_words(&problem))?;
        offline.save(&reloader).context("the store cannot be written (store.url)")?;
        Ok(told)
    }

    fn ask_for_page(&self, question: Question<'_>, choice: &Choice<'_>) -> anyhow::Result<Value> {
        let limit = question.rows().map(|_| ("limit", "10000"));
        let choice: Vec<_> = choice.iter().copied().chain(limit).collect();
        match self {
            Self::Running(client) => {
                let answer = said(client.get(&question.target(&choice))?)?;
                // Whatever else listens there must not be heard as saying that all is well.
                let is_answer = answer[question.list()].is_array();
                is_answer.then_some(answer).with_context(|| format!("{} gave no answer of keyward's", client.address()))
            }
            Self::Stored(stored) => stored.answer(question, &choice).map_err(|problem| in_words(&problem)),
        }
    }
}

impl Stored {
    fn answer(&self, question: Question<'_>, choice: &Choice<'_>) -> Result<Value, Problem> {
        let ledger: &Ledger = &self.offline.ledger;
        let look = Query::new(ledger, &self.reloader, self.setup.now()).with_names(self.setup.names());
        let asked = Parameters::of(choice);
        match question {
            Question::Status => Ok(json!({
                "version": env!("CARGO_PKG_VERSION"),
                "stage": "stopped",
                "bindings": ledger.len(),
                "sets": views::sets(&look, &self.setup.config().rules, &self.reloader.tokens()),
            })),
            // A store knows nothing of what is configured there.
            Question::N8n => Ok(json!({ "instances": [] })),
            Question::Rotation(set) => views::rotation(&look, set, &asked),
            Question::Bindings => views::bindings(&look, &asked),
            Question::Incidents => views::incidents(&look, &asked),
            Question::Execution(id) => Ok(views::execution(&look, id)),
        }
    }
}

impl Question<'_> {
    /// Under which name an answer has its rows, where it comes in pages.
    fn rows(self) -> Option<&'static str> {
        match self {
            Self::Status | Self::N8n | Self::Execution(_) => None,
            Self::Rotation(_) | Self::Bindings => Some("bindings"),
            Self::Incidents => Some("incidents"),
        }
    }

    /// Under which name every answer has a list.
    fn list(self) -> &'static str {
        match self {
            Self::Status => "sets",
            Self::N8n => "instances",
            Self::Execution(_) => "exchanges",
            Self::Rotation(_) | Self::Bindings | Self::Incidents => self.rows().unwrap_or_default(),
        }
    }

    fn target(self, choice: &Choice<'_>) -> String {
        let path = match self {
            Self::Status => "/api/v1/status".to_owned(),
            Self::N8n => "/api/v1/n8n".to_owned(),
            Self::Rotation(set) => format!("/api/v1/sets/{}/rotation", encoded(set)),
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
