//! Pure. The receivers of notices, put together from all that was given of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Environment;
use super::parse::{self, Unfit};
use super::problem::{Place, Problem, Problems};
use super::proxy_env;
use super::raw::ReceiverValue;
use super::schema::{ReceiverField, receiver_key};
use crate::keys::source::Source;
use crate::net::egress_proxy::EgressProxyChoice;
use crate::notices::{Heartbeat, Receiver, ReceiverKind, Settings, Timing, Topic};

/// What is known of each receiver, by name.
#[derive(Debug, Default)]
pub(super) struct Receivers(BTreeMap<Box<str>, Draft>);

/// A receiver whose fields may not go together yet.
#[derive(Debug, Default)]
struct Draft {
    to: Option<Source>,
    kind: ReceiverKind,
    secrets: Option<(Place, Vec<Source>)>,
    topics: Option<Vec<Topic>>,
    sets: Option<(Place, Vec<Box<str>>)>,
    timing: Timing,
    heartbeat_to: Option<Source>,
    heartbeat_every: Option<(Place, Duration)>,
}

impl Receivers {
    /// Takes what was given of a receiver, over what was given of it before.
    pub(super) fn apply(&mut self, name: &str, value: ReceiverValue, place: Place, problems: &mut Problems) {
        let draft = self.0.entry(name.into()).or_default();
        let applied = match value {
            ReceiverValue::Declared => Ok(()),
            ReceiverValue::To(source) => {
                draft.to = Some(source);
                Ok(())
            }
            ReceiverValue::Secrets(sources) if sources.len() > 2 => Err((ReceiverField::Secret, None)),
            ReceiverValue::Secrets(sources) => {
                draft.secrets = Some((place.clone(), sources));
                Ok(())
            }
            ReceiverValue::HeartbeatTo(source) => {
                draft.heartbeat_to = Some(source);
                Ok(())
            }
            ReceiverValue::HeartbeatEvery(text) => match parse::refresh(&text) {
                Ok(every) => {
                    draft.heartbeat_every = Some((place.clone(), every));
                    Ok(())
                }
                Err(_) => Err((ReceiverField::Heartbeat, Some(text))),
            },
            ReceiverValue::Text(field, text) => {
                draft.apply(field, &text, &place).map_err(|_: Unfit| (field, Some(text)))
            }
        };
        if let Err((field, text)) = applied {
            let problem = Problem::misfit(place, receiver_key(name, field), Unfit::NotAllowed, field.allowed());
            problems.push(text.iter().fold(problem, |problem, text| problem.quoting(text)));
        }
    }

    /// Finds what is missing, and what does not go together. `sets` are the names of all key sets.
    pub(super) fn check(&self, sets: &[&str], problems: &mut Problems) {
        for (name, draft) in &self.0 {
            let mut report = |field, place: &Place, text: String| {
                let problem = Problem::new(place.clone(), receiver_key(name, field), text);
                problems.push_if_first(problem.allowing(field.allowed()));
            };
            if draft.to.is_none() {
                report(ReceiverField::To, &Place::Nowhere, "keyward cannot send notices without it.".into());
            }
            if let (Some((place, _)), None) = (&draft.heartbeat_every, &draft.heartbeat_to) {
                report(ReceiverField::Heartbeat, place, "A heartbeat needs a URL to go to.".into());
            }
            if let (ReceiverKind::Slack, Some((place, _))) = (draft.kind, &draft.secrets) {
                let text = "Leave it out: Slack checks no signature, and its URL is the secret.";
                report(ReceiverField::Secret, place, text.into());
            }
            if let Some((place, named)) = &draft.sets
                && let Some(unknown) = named.iter().find(|named| !sets.contains(&&***named))
            {
                let text = format!("There is no key set `{unknown}`; there are: {}.", sets.join(", "));
                report(ReceiverField::Sets, place, text);
            }
        }
    }

    /// All receivers that are whole.
    pub(super) fn into_settings(
        self,
        choice: &EgressProxyChoice,
        environment: &Environment,
        problems: &mut Problems,
    ) -> Settings {
        let receivers: Vec<_> = self.0.into_iter().filter_map(|(name, draft)| draft.into_receiver(name)).collect();
        if receivers.is_empty() {
            return Settings::default();
        }
        Settings { receivers, proxies: proxy_env::for_any(choice, environment, problems) }
    }
}

impl Draft {
    fn apply(&mut self, field: ReceiverField, text: &str, place: &Place) -> Result<(), Unfit> {
        match field {
            ReceiverField::Kind => self.kind = ReceiverKind::from_code(text).ok_or(Unfit::NotAllowed)?,
            ReceiverField::About => {
                let topic = |item: &str| Topic::from_code(item).ok_or(Unfit::NotAllowed);
                self.topics = Some(parse::each(text, topic)?);
            }
            ReceiverField::Sets => {
                let name = |item: &str| parse::is_set_name(item).then(|| item.into()).ok_or(Unfit::NotAllowed);
                self.sets = Some((place.clone(), parse::each(text, name)?));
            }
            ReceiverField::Quiet => self.timing.quiet = parse::span(text)?,
            ReceiverField::Every => self.timing.every = parse::span(text)?,
            ReceiverField::Remind => self.timing.remind = parse::span(text)?,
            ReceiverField::To | ReceiverField::Secret | ReceiverField::Heartbeat => return Err(Unfit::NotAllowed),
        }
        Ok(())
    }

    fn into_receiver(self, name: Box<str>) -> Option<Receiver> {
        let every = self.heartbeat_every.map_or(HEARTBEAT, |(_, every)| every);
        Some(Receiver {
            name,
            to: self.to?,
            kind: self.kind,
            secrets: self.secrets.map(|(_, secrets)| secrets).unwrap_or_default(),
            topics: self.topics.unwrap_or_else(|| Topic::ALL.to_vec()),
            sets: self.sets.map(|(_, sets)| sets).unwrap_or_default(),
            timing: self.timing,
            heartbeat: self.heartbeat_to.map(|to| Heartbeat { every, to }),
        })
    }
}

const HEARTBEAT: Duration = Duration::from_mins(5);
