//! The environment: what of it keyward looks at, and which settings its `KEYWARD_…` variables give.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use super::parse::{self, Unfit};
use super::problem::{Place, Problem, Problems, nearest};
use super::raw::{Given, InstanceValue, ReceiverValue, SetValue, Value};
use super::schema::{
    self, CONFIG_VARIABLE, INSTANCE_SUFFIXES, INSTANCE_VARIABLE_PREFIX, InstanceField, InstanceVariable,
    RECEIVER_SUFFIXES, RECEIVER_VARIABLE_PREFIX, ReceiverField, ReceiverVariable, Role, SET_SUFFIXES,
    SET_VARIABLE_PREFIX, SETTINGS, SetField, SetVariable, Setting,
};
use crate::keys::source::Source;

/// The process's surroundings, handed in as a plain map so that a test can choose them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    state_folder: Option<PathBuf>,
}

impl Environment {
    /// The variables of this process, and the state folder that its platform has.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        Self {
            variables: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
            state_folder: platform_state_folder(),
        }
    }

    /// With that variable as well, in place of one that has its name.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a folder where programs keep their state.
    #[must_use]
    pub fn with_state_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.state_folder = Some(folder.into());
        self
    }

    /// What a variable holds. An empty one counts as not set: that is what container tools pass for "nothing".
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The folder where programs of this user keep their state, if there is one.
    #[must_use]
    pub fn state_folder(&self) -> Option<&Path> {
        self.state_folder.as_deref()
    }
}

/// Shows names alone: a variable may hold a key.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("variables", &self.variables.keys())
            .field("state_folder", &self.state_folder)
            .finish()
    }
}

/// Reads the `KEYWARD_…` variables. `file` is what the config file gave: its sets are found by their names, and the
/// variables that it names as the place of a key are no settings.
pub(super) fn read(environment: &Environment, file: &[Given], problems: &mut Problems) -> Read {
    let read = Read::default();
    let mut reader = Reader {
        set_names: names(file, name_of_set),
        instance_names: names(file, name_of_instance),
        receiver_names: names(file, name_of_receiver),
        set_sources: BTreeMap::new(),
        api_keys: BTreeMap::new(),
        receiver_sources: BTreeMap::new(),
        problems,
        read,
    };
    let key_holders = key_holders(environment, file);
    for name in environment.variables.keys() {
        if !name.starts_with(schema::VARIABLE_PREFIX) || name == CONFIG_VARIABLE || key_holders.contains(name.as_str())
        {
            continue;
        }
        reader.read_variable(name, environment.value(name));
    }
    reader.give_sources();
    reader.give_api_keys();
    reader.give_receiver_sources();
    reader.read
}

/// What the environment gave.
#[derive(Default)]
pub(super) struct Read {
    pub(super) given: Vec<Given>,
    /// Variables that only begin like keyward's own. Kubernetes sets such ones for a service of that name.
    pub(super) ignored: Vec<Box<str>>,
}

struct Reader<'a> {
    /// Names of the sets in the file by how they look in the environment. More than one may look alike.
    set_names: Names<'a>,
    /// Likewise of the n8n instances.
    instance_names: Names<'a>,
    /// Likewise of the receivers of notices.
    receiver_names: Names<'a>,
    /// A key may stand in a file or in a variable, so two settings speak of the same thing.
    set_sources: BTreeMap<(Box<str>, Role), Vec<Found>>,
    /// Likewise the keys of the instances' APIs.
    api_keys: BTreeMap<Box<str>, Vec<(Place, Source)>>,
    /// Likewise the secrets of the receivers.
    receiver_sources: BTreeMap<(Box<str>, ReceiverField), Vec<Found>>,
    problems: &'a mut Problems,
    read: Read,
}

/// Names in the file by how they look in the environment.
type Names<'a> = BTreeMap<String, Vec<&'a str>>;

/// The places of keys that one variable names.
type Found = (Place, Vec<Source>);

impl Reader<'_> {
    fn read_variable(&mut self, name: &str, value: Option<&str>) {
        let mut plain = SETTINGS.iter().filter(|setting| setting.stands_alone());
        if let Some(setting) = plain.find(|setting| setting.variables().iter().any(|variable| variable == name)) {
            let given = value.map(|text| Given { place: place(name), value: Value::Text(setting, text.to_owned()) });
            self.read.given.extend(given);
        } else if let Some((set, variable)) = split_set_variable(name) {
            self.read_set_variable(name, set, variable, value);
        } else if let Some((instance, variable)) = split_instance_variable(name) {
            self.read_instance_variable(name, instance, variable, value);
        } else if let Some((receiver, variable)) = split_receiver_variable(name) {
            self.read_receiver_variable(name, receiver, variable, value);
        } else {
            self.report_unknown(name);
        }
    }

    fn read_set_variable(&mut self, name: &str, set: &str, variable: SetVariable, value: Option<&str>) {
        let set = match name_in_file(&self.set_names, set, "key set") {
            Ok(set) => set,
            Err(text) => return self.problems.push(Problem::new(place(name), schema::KEYS, text)),
        };
        let Some(text) = value else { return };
        let (role, sources) = match variable {
            SetVariable::Files(role) => (role, sources(role, text, parse::file_source)),
            SetVariable::Envs(role) => (role, sources(role, text, parse::env_source)),
            SetVariable::Rule(rule) => {
                let value = Value::OfSet(set, SetValue::Rule(rule, text.to_owned()));
                return self.read.given.push(Given { place: place(name), value });
            }
        };
        match sources {
            Ok(sources) => self.set_sources.entry((set, role)).or_default().push((place(name), sources)),
            Err(unfit) => {
                let key = schema::set_key(&set, SetField::Keys(role));
                self.problems.push(Problem::misfit(place(name), key, unfit, variable.allowed()));
            }
        }
    }

    fn read_instance_variable(&mut self, name: &str, instance: &str, variable: InstanceVariable, value: Option<&str>) {
        let instance = match name_in_file(&self.instance_names, instance, "n8n") {
            Ok(instance) => instance,
            Err(text) => return self.problems.push(Problem::new(place(name), schema::N8N, text)),
        };
        let Some(text) = value else { return };
        let source = match variable {
            InstanceVariable::File => parse::file_source(text),
            InstanceVariable::Env => parse::env_source(text),
            InstanceVariable::Text(field) => {
                let value = Value::OfInstance(instance, InstanceValue::Text(field, text.to_owned()));
                return self.read.given.push(Given { place: place(name), value });
            }
        };
        match source {
            Ok(source) => self.api_keys.entry(instance).or_default().push((place(name), source)),
            Err(unfit) => {
                let key = schema::instance_key(&instance, variable.field());
                self.problems.push(Problem::misfit(place(name), key, unfit, variable.allowed()));
            }
        }
    }

    fn read_receiver_variable(&mut self, name: &str, receiver: &str, variable: ReceiverVariable, value: Option<&str>) {
        let receiver = match name_in_file(&self.receiver_names, receiver, "receiver") {
            Ok(receiver) => receiver,
            Err(text) => return self.problems.push(Problem::new(place(name), schema::NOTICES, text)),
        };
        let Some(text) = value else { return };
        let field = variable.field();
        let parse = match variable {
            ReceiverVariable::Files(_) => parse::file_source,
            ReceiverVariable::Envs(_) => parse::env_source,
            ReceiverVariable::HeartbeatEvery => {
                return self.give_to_receiver(name, receiver, ReceiverValue::HeartbeatEvery(text.to_owned()));
            }
            ReceiverVariable::Text(field) => {
                return self.give_to_receiver(name, receiver, ReceiverValue::Text(field, text.to_owned()));
            }
        };
        // Only of secrets there may be two.
        let role = if field == ReceiverField::Secret { Role::Previous } else { Role::Current };
        match sources(role, text, parse) {
            Ok(sources) => self.receiver_sources.entry((receiver, field)).or_default().push((place(name), sources)),
            Err(unfit) => {
                let key = schema::receiver_key(&receiver, field);
                self.problems.push(Problem::misfit(place(name), key, unfit, variable.allowed()));
            }
        }
    }

    fn give_to_receiver(&mut self, name: &str, receiver: Box<str>, value: ReceiverValue) {
        self.read.given.push(Given { place: place(name), value: Value::OfReceiver(receiver, value) });
    }

    fn give_receiver_sources(&mut self) {
        for ((receiver, field), found) in std::mem::take(&mut self.receiver_sources) {
            let (places, sources): (Vec<_>, Vec<_>) = found.into_iter().unzip();
            let mut sources: Vec<_> = sources.into_iter().flatten().collect();
            let value = match (field, sources.len()) {
                (ReceiverField::Secret, _) => Some(ReceiverValue::Secrets(sources)),
                (ReceiverField::Heartbeat, 1) => sources.pop().map(ReceiverValue::HeartbeatTo),
                (_, 1) => sources.pop().map(ReceiverValue::To),
                (_, _) => None,
            };
            let Some(value) = value else {
                self.report_two(&schema::receiver_key(&receiver, field), places);
                continue;
            };
            let place = places.into_iter().next();
            self.read.given.extend(place.map(|place| Given { place, value: Value::OfReceiver(receiver, value) }));
        }
    }

    fn give_api_keys(&mut self) {
        for (instance, mut found) in std::mem::take(&mut self.api_keys) {
            if found.len() > 1 {
                let places = found.into_iter().map(|(place, _)| place).collect();
                self.report_two(&schema::instance_key(&instance, InstanceField::ApiKey), places);
            } else if let Some((place, source)) = found.pop() {
                let value = Value::OfInstance(instance, InstanceValue::ApiKey(source));
                self.read.given.push(Given { place, value });
            }
        }
    }

    fn give_sources(&mut self) {
        for ((set, role), found) in std::mem::take(&mut self.set_sources) {
            let (places, sources): (Vec<_>, Vec<_>) = found.into_iter().unzip();
            let mut sources = sources.into_iter().flatten();
            let value = match (role, sources.next(), sources.next()) {
                (Role::Current, Some(source), None) => SetValue::Current(source),
                (Role::Next, Some(source), None) => SetValue::Next(source),
                (Role::Previous, first, second) => {
                    SetValue::Previous(first.into_iter().chain(second).chain(sources).collect())
                }
                (Role::Current | Role::Next, _, _) => {
                    self.report_two(&schema::set_key(&set, SetField::Keys(role)), places);
                    continue;
                }
            };
            let place = places.into_iter().next();
            self.read.given.extend(place.map(|place| Given { place, value: Value::OfSet(set, value) }));
        }
    }

    fn report_two(&mut self, key: &str, places: Vec<Place>) {
        let text = "Name one place: either the file or the environment variable.";
        for place in places {
            self.problems.push(Problem::new(place, key, text));
        }
    }

    fn report_unknown(&mut self, name: &str) {
        let plain = SETTINGS.iter().filter(|setting| setting.stands_alone());
        let mut known: Vec<_> = plain.flat_map(Setting::variables).collect();
        let sets = self.set_names.keys().map(String::as_str).chain(["DEFAULT"]);
        for set in sets.chain(possible_names(name, SET_VARIABLE_PREFIX)) {
            known.extend(SET_SUFFIXES.iter().map(|(suffix, _)| format!("{SET_VARIABLE_PREFIX}{set}{suffix}")));
        }
        let instances = self.instance_names.keys().map(String::as_str).chain(["MAIN"]);
        for instance in instances.chain(possible_names(name, INSTANCE_VARIABLE_PREFIX)) {
            let variable = |(suffix, _): &(_, _)| format!("{INSTANCE_VARIABLE_PREFIX}{instance}{suffix}");
            known.extend(INSTANCE_SUFFIXES.iter().map(variable));
        }
        let receivers = self.receiver_names.keys().map(String::as_str).chain(["TEAM"]);
        for receiver in receivers.chain(possible_names(name, RECEIVER_VARIABLE_PREFIX)) {
            let variable = |(suffix, _): &(_, _)| format!("{RECEIVER_VARIABLE_PREFIX}{receiver}{suffix}");
            known.extend(RECEIVER_SUFFIXES.iter().map(variable));
        }
        let meant = meant(name).into_iter().find(|meant| known.contains(meant));
        // Their common prefix must not make names look nearer than they are.
        let known = known.iter().map(String::as_str).chain([CONFIG_VARIABLE]).map(without_prefix);
        let near = meant.as_deref().map(without_prefix).or_else(|| nearest(without_prefix(name), known));
        let text = match near {
            Some(near) => format!("There is no such setting: did you mean `{}{near}`?", schema::VARIABLE_PREFIX),
            None if schema::is_of_a_table(name) => {
                "There is no such setting, and no name is near: config/reference.toml lists all.".to_owned()
            }
            None => return self.read.ignored.push(name.into()),
        };
        self.problems.push(Problem::new(place(name), "unknown variable", text));
    }
}

/// What is meant by the name of a secret without its place, and by the URL of a receiver, which is called `to`.
fn meant(name: &str) -> [String; 2] {
    let of_receiver = name.starts_with(RECEIVER_VARIABLE_PREFIX);
    let name = if of_receiver { name.replace("_URL", "_TO") } else { name.to_owned() };
    [format!("{name}_ENV"), name]
}

fn without_prefix(name: &str) -> &str {
    name.strip_prefix(schema::VARIABLE_PREFIX).unwrap_or(name)
}

/// What may have been meant as the name of a set or an n8n: whatever ends before a `_` and can be one.
fn possible_names<'a>(variable: &'a str, prefix: &str) -> impl Iterator<Item = &'a str> {
    let rest = variable.strip_prefix(prefix).unwrap_or("");
    let names = rest.match_indices('_').map(|(end, _)| &rest[..end]);
    names.filter(|set| parse::is_set_name(&set.to_ascii_lowercase()))
}

fn place(variable: &str) -> Place {
    Place::Environment(variable.into())
}

/// One place of a key, or for previous keys a list with commas.
fn sources(role: Role, text: &str, parse: fn(&str) -> Result<Source, Unfit>) -> Result<Vec<Source>, Unfit> {
    match role {
        Role::Current | Role::Next => parse(text).map(|source| vec![source]),
        Role::Previous => text.split(',').map(str::trim).map(parse).collect(),
    }
}

/// `KEYWARD_KEYS_TEAM_A_NEXT_FILE` into `TEAM_A` and what the rest means.
fn split_set_variable(name: &str) -> Option<(&str, SetVariable)> {
    let rest = name.strip_prefix(SET_VARIABLE_PREFIX)?;
    SET_SUFFIXES.iter().find_map(|(suffix, variable)| Some((rest.strip_suffix(suffix)?, *variable)))
}

/// `KEYWARD_N8N_MAIN_URL` into `MAIN` and what the rest means.
fn split_instance_variable(name: &str) -> Option<(&str, InstanceVariable)> {
    let rest = name.strip_prefix(INSTANCE_VARIABLE_PREFIX)?;
    INSTANCE_SUFFIXES.iter().find_map(|(suffix, variable)| Some((rest.strip_suffix(suffix)?, *variable)))
}

/// `KEYWARD_NOTICES_TEAM_TO_FILE` into `TEAM` and what the rest means.
fn split_receiver_variable(name: &str) -> Option<(&str, ReceiverVariable)> {
    let rest = name.strip_prefix(RECEIVER_VARIABLE_PREFIX)?;
    RECEIVER_SUFFIXES.iter().find_map(|(suffix, variable)| Some((rest.strip_suffix(suffix)?, *variable)))
}

/// What the file calls it, or the name in lower case where the file has nothing of that name.
fn name_in_file(names: &Names<'_>, in_environment: &str, what: &str) -> Result<Box<str>, String> {
    match names.get(in_environment).map(Vec::as_slice) {
        Some([name]) => Ok((*name).into()),
        Some(names) => Err(format!("This means each of the {what}s {}: rename one.", names.join(", "))),
        None => {
            let name = in_environment.to_ascii_lowercase();
            if parse::is_set_name(&name) && in_environment == in_environment.to_ascii_uppercase() {
                Ok(name.into())
            } else {
                let article = if what == "n8n" { "an" } else { "a" };
                Err(format!(
                    "The name of {article} {what} has up to 32 of A-Z, 0-9 and _ here, the first a letter or digit."
                ))
            }
        }
    }
}

fn names(file: &[Given], name_of: fn(&Value) -> Option<&str>) -> Names<'_> {
    let mut names = Names::new();
    for name in file.iter().filter_map(|given| name_of(&given.value)) {
        names.entry(name.to_ascii_uppercase().replace('-', "_")).or_default().push(name);
    }
    names
}

fn name_of_set(value: &Value) -> Option<&str> {
    if let Value::OfSet(name, SetValue::Declared) = value { Some(name) } else { None }
}

fn name_of_instance(value: &Value) -> Option<&str> {
    if let Value::OfInstance(name, InstanceValue::Declared) = value { Some(name) } else { None }
}

fn name_of_receiver(value: &Value) -> Option<&str> {
    if let Value::OfReceiver(name, ReceiverValue::Declared) = value { Some(name) } else { None }
}

/// The variables that hold secrets, by the file and by the environment itself.
fn key_holders<'a>(environment: &'a Environment, file: &'a [Given]) -> BTreeSet<&'a str> {
    let of_file = file.iter().flat_map(|given| match &given.value {
        Value::OfSet(_, value) => value.sources(),
        Value::OfInstance(_, InstanceValue::ApiKey(source)) => std::slice::from_ref(source),
        Value::OfReceiver(_, value) => value.sources(),
        Value::OfInstance(..) | Value::Text(..) => &[],
    });
    let of_file = of_file.filter_map(|source| match source {
        Source::Env(name) => Some(&**name),
        Source::File(_) | Source::Command(_) => None,
    });
    let of_environment = environment.variables.iter().filter_map(|(name, value)| match split_set_variable(name)? {
        (_, SetVariable::Envs(_)) => Some(value.split(',').map(str::trim)),
        (_, SetVariable::Files(_) | SetVariable::Rule(_)) => None,
    });
    let of_instances = environment.variables.iter().filter_map(|(name, value)| match split_instance_variable(name)? {
        (_, InstanceVariable::Env) => Some(value.trim()),
        (_, InstanceVariable::File | InstanceVariable::Text(_)) => None,
    });
    let of_receivers = environment.variables.iter().filter_map(|(name, value)| match split_receiver_variable(name)? {
        (_, ReceiverVariable::Envs(_)) => Some(value.split(',').map(str::trim)),
        (_, ReceiverVariable::Files(_) | ReceiverVariable::HeartbeatEvery | ReceiverVariable::Text(_)) => None,
    });
    of_file.chain(of_environment.flatten()).chain(of_instances).chain(of_receivers.flatten()).collect()
}

/// `$XDG_STATE_HOME` or `~/.local/state` (XDG Base Directory Specification), the local application data on Windows.
fn platform_state_folder() -> Option<PathBuf> {
    let folders = etcetera::choose_base_strategy().ok()?;
    let folder = folders.state_dir().unwrap_or_else(|| folders.data_dir());
    // Without a home there may still be an empty one, which would make the folder relative to anything.
    folder.is_absolute().then_some(folder)
}
