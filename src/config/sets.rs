//! Pure. The key sets, put together from all that was given of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::known::{self, Role, SetField};
use super::parse;
use super::problem::{Place, Problem, Problems};
use super::raw::SetValue;
use crate::keys::source::Source;
use crate::keys::{SetSettings, Settings};

/// What is known of each set, by name.
#[derive(Debug, Default)]
pub(super) struct Sets(BTreeMap<Box<str>, Draft>);

/// A set whose fields may not go together yet.
#[derive(Debug, Default)]
struct Draft {
    current: Option<Source>,
    next: Option<(Place, Source)>,
    previous: Option<(Place, Vec<Source>)>,
    grace: Duration,
}

impl Sets {
    /// Takes what was given of a set, over what was given of it before.
    pub(super) fn apply(&mut self, name: &str, value: SetValue, place: Place, problems: &mut Problems) {
        let draft = self.0.entry(name.into()).or_default();
        match value {
            SetValue::Declared => {}
            SetValue::Current(source) => draft.current = Some(source),
            SetValue::Next(source) => draft.next = Some((place, source)),
            SetValue::Previous(sources) => draft.previous = (!sources.is_empty()).then_some((place, sources)),
            SetValue::Grace(text) => match parse::span(&text) {
                Ok(grace) => draft.grace = grace,
                Err(unfit) => {
                    problems.push(Problem::misfit(place, field_key(name, SetField::Grace), unfit, known::SPAN));
                }
            },
        }
    }

    /// Finds fields that a set without a current key cannot have: it learns, and is told nothing.
    pub(super) fn check(&self, problems: &mut Problems) {
        for (name, draft) in self.0.iter().filter(|(_, draft)| draft.current.is_none()) {
            let current = field_key(name, SetField::Keys(Role::Current));
            if problems.iter().any(|problem| problem.key == current) {
                continue;
            }
            let next = draft.next.iter().map(|(place, _)| (place, Role::Next));
            let previous = draft.previous.iter().map(|(place, _)| (place, Role::Previous));
            for (place, role) in next.chain(previous) {
                let key = field_key(name, SetField::Keys(role));
                let text =
                    format!("A set without a current key learns its keys: set {current} too, or leave this out.");
                problems.push(Problem::new(place.clone(), key, text));
            }
        }
    }

    /// All sets, `default` first. Where nobody said anything of `default`, it has the key that `fallback` names.
    pub(super) fn into_settings(mut self, fallback: Option<Source>) -> Settings {
        let default = self.0.remove(DEFAULT_SET).unwrap_or(Draft { current: fallback, ..Draft::default() });
        let others = self.0.into_iter().map(|(name, draft)| draft.into_settings(name));
        Settings { sets: std::iter::once(default.into_settings(DEFAULT_SET.into())).chain(others).collect() }
    }
}

impl Draft {
    fn into_settings(self, name: Box<str>) -> SetSettings {
        SetSettings {
            name,
            current: self.current,
            next: self.next.map(|(_, source)| source),
            previous: self.previous.map_or_else(Vec::new, |(_, sources)| sources),
            grace: self.grace,
        }
    }
}

/// A field as people name it: `keys.default.current`.
pub(super) fn field_key(set: &str, field: SetField) -> String {
    format!("{}.{set}.{}", known::KEYS, field.name())
}

const DEFAULT_SET: &str = "default";
