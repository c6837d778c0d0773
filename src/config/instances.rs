//! Pure. The n8n instances, put together from all that was given of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Environment;
use super::parse::{self, Unfit};
use super::problem::{Place, Problem, Problems};
use super::proxy_env;
use super::raw::InstanceValue;
use super::schema::{InstanceField, instance_key};
use crate::keys::source::Source;
use crate::n8n::address::Address;
use crate::n8n::connect::Entrance;
use crate::n8n::{Instance, Settings};
use crate::net::egress_proxy::EgressProxyChoice;

/// What is known of each n8n, by name.
#[derive(Debug, Default)]
pub(super) struct Instances(BTreeMap<Box<str>, Draft>);

/// An n8n whose fields may not go together yet.
#[derive(Debug, Default)]
struct Draft {
    url: Option<Address>,
    api_key: Option<Source>,
    set: Option<(Place, Box<str>)>,
    refresh: Option<Duration>,
    keyward: Option<Entrance>,
    press: Option<bool>,
}

impl Instances {
    /// Takes what was given of an n8n, over what was given of it before.
    pub(super) fn apply(&mut self, name: &str, value: InstanceValue, place: Place, problems: &mut Problems) {
        let draft = self.0.entry(name.into()).or_default();
        match value {
            InstanceValue::Declared => {}
            InstanceValue::ApiKey(source) => draft.api_key = Some(source),
            InstanceValue::Text(field, text) => {
                if let Err(unfit) = draft.apply(field, &text, &place) {
                    let problem = Problem::misfit(place, instance_key(name, field), unfit, field.allowed());
                    problems.push(problem.quoting(&text));
                }
            }
        }
    }

    /// Finds what is missing, and what does not go together. `sets` are the names of all key sets.
    pub(super) fn check(&self, sets: &[&str], problems: &mut Problems) {
        for (name, draft) in &self.0 {
            let no_url = draft.url.is_none().then_some(InstanceField::Url);
            let no_key = draft.api_key.is_none().then_some(InstanceField::ApiKey);
            for field in no_url.into_iter().chain(no_key) {
                let (key, text) = (instance_key(name, field), "keyward cannot ask this n8n without it.");
                problems.push_if_first(Problem::new(Place::Nowhere, key, text).allowing(field.allowed()));
            }
            if let Some((place, set)) = draft.set.as_ref().filter(|(_, set)| !sets.contains(&&**set)) {
                let text = format!("There is no such key set; there are: {}.", sets.join(", "));
                let key = instance_key(name, InstanceField::Set);
                problems.push(Problem::new(place.clone(), key, text).quoting(set));
            }
        }
    }

    /// All instances that are whole. The environment names the proxy on the way to each, unless `choice` wants none.
    pub(super) fn into_settings(
        self,
        choice: &EgressProxyChoice,
        environment: &Environment,
        problems: &mut Problems,
    ) -> Settings {
        let choice = choice.of_others();
        let whole = self.0.into_iter().filter_map(|(name, draft)| {
            let (url, api_key) = (draft.url?, draft.api_key?);
            let via = proxy_env::resolve(&choice, &url.origin, environment, problems);
            let refresh = draft.refresh.unwrap_or(Instance::REFRESH);
            let set = draft.set.map(|(_, set)| set);
            let press = draft.press.unwrap_or(true);
            Some(Instance { name, url, api_key, set, refresh, keyward: draft.keyward, press, via })
        });
        Settings { instances: whole.collect() }
    }
}

impl Draft {
    fn apply(&mut self, field: InstanceField, text: &str, place: &Place) -> Result<(), Unfit> {
        match field {
            InstanceField::Url => self.url = Some(parse::n8n_address(text)?),
            InstanceField::Set if parse::is_set_name(text) => self.set = Some((place.clone(), text.into())),
            InstanceField::Refresh => self.refresh = Some(parse::refresh(text)?),
            InstanceField::Keyward => self.keyward = Some(parse::entrance(text)?),
            InstanceField::Press => self.press = Some(parse::fit(text)?),
            InstanceField::Set | InstanceField::ApiKey => return Err(Unfit::NotAllowed),
        }
        Ok(())
    }
}
