//! Pure. The config file as it was written: which values it gives, where each stands, and what in it is no setting.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::accounts::AccountText;
use super::parse::{self, Unfit};
use super::problem::{Place, Problem, Problems, may_be_quoted, nearest};
use super::schema::{self, InstanceField, Reading, ReceiverField, Role, Rule, SETTINGS, SetField, Setting};
use crate::keys::command::{Command, Settings};
use crate::keys::source::Source;
use crate::request_path::{is_id, is_placeholder};

/// A value that was given, and where.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// The text of a setting, not yet parsed.
    Text(&'static Setting, String),
    /// Something of the key set of that name.
    OfSet(Box<str>, SetValue),
    /// Something of the n8n of that name.
    OfInstance(Box<str>, InstanceValue),
    /// Something of the receiver of notices of that name.
    OfReceiver(Box<str>, ReceiverValue),
}

/// What was given of an n8n.
#[derive(Clone, Debug)]
pub(super) enum InstanceValue {
    /// Its table is there, whatever may be in it.
    Declared,
    /// The place of its API's key.
    ApiKey(Source),
    /// The text of another field, not yet parsed.
    Text(InstanceField, String),
}

/// What was given of a receiver of notices.
#[derive(Clone, Debug)]
pub(super) enum ReceiverValue {
    /// Its table is there, whatever may be in it.
    Declared,
    /// The place of its URL.
    To(Source),
    /// The places of its signing secrets.
    Secrets(Vec<Source>),
    /// The place of its heartbeat's URL.
    HeartbeatTo(Source),
    /// How often that is asked for, not yet parsed.
    HeartbeatEvery(String),
    /// The text of another field, not yet parsed.
    Text(ReceiverField, String),
}

impl ReceiverValue {
    /// Every place of a secret in it.
    pub(super) fn sources(&self) -> &[Source] {
        match self {
            Self::To(source) | Self::HeartbeatTo(source) => std::slice::from_ref(source),
            Self::Secrets(sources) => sources,
            Self::Declared | Self::HeartbeatEvery(_) | Self::Text(..) => &[],
        }
    }
}

/// What was given of a key set.
#[derive(Clone, Debug)]
pub(super) enum SetValue {
    /// Its table is there, whatever may be in it.
    Declared,
    /// The place of its current key.
    Current(Source),
    /// The place of its next key.
    Next(Source),
    /// The places of its previous keys.
    Previous(Vec<Source>),
    /// The text of a rule, not yet parsed.
    Rule(Rule, String),
    /// A workflow that belongs to it, and the text of its policy if it has one of its own.
    Workflow(Box<str>, Option<String>),
    /// Its account at OpenAI.
    Admin(Box<AccountText>),
}

impl SetValue {
    /// Every place of a key in it.
    pub(super) fn sources(&self) -> &[Source] {
        match self {
            Self::Current(source) | Self::Next(source) => std::slice::from_ref(source),
            Self::Previous(sources) => sources,
            Self::Admin(account) => account.sources(),
            Self::Declared | Self::Rule(..) | Self::Workflow(..) => &[],
        }
    }
}

/// Reads a config file. A file with a syntax error gives nothing but its errors.
pub(super) fn read(path: &str, text: &str, problems: &mut Problems) -> Option<Vec<Given>> {
    let mut reader = Reader { path: path.into(), text, problems, given: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        reader.report_syntax(&errors);
        return None;
    }
    reader.read_document(document.get_ref());
    Some(reader.given)
}

struct Reader<'a> {
    path: Arc<str>,
    text: &'a str,
    problems: &'a mut Problems,
    given: Vec<Given>,
}

type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;

impl Reader<'_> {
    fn read_document(&mut self, document: &DeTable<'_>) {
        for (key, value) in document {
            let name = key.get_ref().as_ref();
            match value.get_ref().as_table() {
                Some(sets) if name == schema::KEYS => self.read_sets(sets),
                Some(instances) if name == schema::N8N => self.read_instances(instances),
                Some(receivers) if name == schema::NOTICES => self.read_receivers(receivers),
                Some(table) if is_table(name) => self.read_table(name, table),
                None if [schema::KEYS, schema::N8N, schema::NOTICES].contains(&name) || is_table(name) => {
                    self.report(key, name, format!("This is a table: it begins with [{name}]."));
                }
                Some(_) | None => self.report_unknown(key, "", &tables_and_settings()),
            }
        }
    }

    fn read_table(&mut self, table: &str, entries: &DeTable<'_>) {
        for (key, value) in entries {
            match schema::find(table, key.get_ref()) {
                Some(setting) => self.read_text(key, setting, value.get_ref()),
                None => self.report_unknown(key, table, &names_in(table)),
            }
        }
    }

    fn read_text(&mut self, key: &Key<'_>, setting: &'static Setting, value: &DeValue<'_>) {
        let text = match setting.reading {
            Reading::List(_) => list_text(value),
            Reading::Value(_) | Reading::OfSet(_) | Reading::OfInstance(_) | Reading::OfReceiver(_) => {
                scalar_text(value)
            }
        };
        match text {
            Some(text) => self.give(key, Value::Text(setting, text)),
            None => self.report_misfit(key, setting.key, setting.allowed, Unfit::NotAllowed),
        }
    }

    fn read_sets(&mut self, sets: &DeTable<'_>) {
        for (key, value) in sets {
            let name = key.get_ref().as_ref();
            match value.get_ref().as_table() {
                found if is_field(name) && found.is_none_or(is_source) => {
                    self.report(key, format!("keys.{name}"), "This belongs to a key set, such as [keys.default].");
                }
                Some(set) if parse::is_set_name(name) => self.read_set(key, name, set),
                // A name that cannot be one may be a key in the wrong place, so it is not quoted.
                Some(_) | None => self.report(key, "keys", BAD_SET),
            }
        }
    }

    fn read_set(&mut self, set_key: &Key<'_>, set: &str, entries: &DeTable<'_>) {
        self.give(set_key, Value::OfSet(set.into(), SetValue::Declared));
        for (key, value) in entries {
            let Some(setting) = schema::find(schema::ANY_SET, key.get_ref()) else {
                self.report_unknown(key, &format!("keys.{set}"), &names_in(schema::ANY_SET));
                continue;
            };
            let Reading::OfSet(field) = setting.reading else { continue };
            match set_values(field, value.get_ref()) {
                Ok(values) => values.into_iter().for_each(|value| self.give(key, Value::OfSet(set.into(), value))),
                Err(unfit) => self.report_misfit(key, schema::set_key(set, field), setting.allowed, unfit),
            }
        }
    }

    fn read_instances(&mut self, instances: &DeTable<'_>) {
        for (key, value) in instances {
            let name = key.get_ref().as_ref();
            match value.get_ref().as_table() {
                found if schema::find(schema::ANY_INSTANCE, name).is_some() && found.is_none_or(is_source) => {
                    self.report(key, format!("n8n.{name}"), "This belongs to an n8n, such as [n8n.main].");
                }
                Some(instance) if parse::is_set_name(name) => self.read_instance(key, name, instance),
                Some(_) | None => self.report(key, schema::N8N, BAD_INSTANCE),
            }
        }
    }

    fn read_instance(&mut self, instance_key: &Key<'_>, instance: &str, entries: &DeTable<'_>) {
        self.give(instance_key, Value::OfInstance(instance.into(), InstanceValue::Declared));
        for (key, value) in entries {
            let Some(setting) = schema::find(schema::ANY_INSTANCE, key.get_ref()) else {
                self.report_unknown(key, &format!("n8n.{instance}"), &names_in(schema::ANY_INSTANCE));
                continue;
            };
            let Reading::OfInstance(field) = setting.reading else { continue };
            let read = match field {
                InstanceField::ApiKey => source(value.get_ref()).map(InstanceValue::ApiKey),
                InstanceField::Url
                | InstanceField::Set
                | InstanceField::Refresh
                | InstanceField::Keyward
                | InstanceField::Press => {
                    scalar_text(value.get_ref()).map(|text| InstanceValue::Text(field, text)).ok_or(Unfit::NotAllowed)
                }
            };
            match read {
                Ok(value) => self.give(key, Value::OfInstance(instance.into(), value)),
                Err(unfit) => self.report_misfit(key, schema::instance_key(instance, field), setting.allowed, unfit),
            }
        }
    }

    fn read_receivers(&mut self, receivers: &DeTable<'_>) {
        for (key, value) in receivers {
            let name = key.get_ref().as_ref();
            match value.get_ref().as_table() {
                found if schema::find(schema::ANY_RECEIVER, name).is_some() && found.is_none_or(is_source) => {
                    self.report(key, format!("notices.{name}"), "This belongs to a receiver, such as [notices.team].");
                }
                Some(receiver) if parse::is_set_name(name) => self.read_receiver(key, name, receiver),
                Some(_) | None => self.report(key, schema::NOTICES, BAD_RECEIVER),
            }
        }
    }

    fn read_receiver(&mut self, receiver_key: &Key<'_>, receiver: &str, entries: &DeTable<'_>) {
        self.give(receiver_key, Value::OfReceiver(receiver.into(), ReceiverValue::Declared));
        for (key, value) in entries {
            let Some(setting) = schema::find(schema::ANY_RECEIVER, key.get_ref()) else {
                self.report_unknown(key, &format!("notices.{receiver}"), &names_in(schema::ANY_RECEIVER));
                continue;
            };
            let Reading::OfReceiver(field) = setting.reading else { continue };
            match receiver_values(field, value.get_ref()) {
                Ok(values) => {
                    for value in values {
                        self.give(key, Value::OfReceiver(receiver.into(), value));
                    }
                }
                Err(unfit) => self.report_misfit(key, schema::receiver_key(receiver, field), setting.allowed, unfit),
            }
        }
    }

    fn give(&mut self, key: &Key<'_>, value: Value) {
        let place = self.place(key);
        self.given.push(Given { place, value });
    }

    fn report(&mut self, key: &Key<'_>, name: impl Into<String>, text: impl Into<String>) {
        let place = self.place(key);
        self.problems.push(Problem::new(place, name, text));
    }

    fn report_misfit(&mut self, key: &Key<'_>, name: impl Into<String>, allowed: &'static str, unfit: Unfit) {
        let place = self.place(key);
        self.problems.push(Problem::misfit(place, name, unfit, allowed));
    }

    fn report_unknown(&mut self, key: &Key<'_>, table: &str, known: &[&str]) {
        let name = key.get_ref().as_ref();
        let dot = if table.is_empty() { "" } else { "." };
        let elsewhere = || SETTINGS.iter().find(|setting| setting.name() == name).map(|setting| setting.key);
        let text = match nearest(name, known.iter().copied()).or_else(elsewhere) {
            Some(near) => format!("There is no such setting: did you mean `{near}`?"),
            None => format!("There is no such setting; known here: {}.", known.join(", ")),
        };
        let shown = match name {
            "" => "\"\"".to_owned(),
            name if may_be_quoted(name) => name.escape_debug().to_string(),
            _ => "…".to_owned(),
        };
        self.report(key, format!("{table}{dot}{shown}"), text);
    }

    /// Only the parser's own sentences are told: its `Display` would show the line, and with it perhaps a key.
    fn report_syntax(&mut self, errors: &[toml::de::Error]) {
        for error in errors {
            let (line, column) = self.position(error.span().map_or(self.text.len(), |span| span.start));
            let place = Place::File { path: Arc::clone(&self.path), line, column: Some(column) };
            self.problems.push(Problem::new(place, "TOML syntax", capitalised(error.message())));
        }
    }

    fn place(&self, key: &Key<'_>) -> Place {
        let (line, _) = self.position(key.span().start);
        Place::File { path: Arc::clone(&self.path), line, column: None }
    }

    /// Line and column of a byte, both from 1.
    fn position(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

fn set_values(field: SetField, value: &DeValue<'_>) -> Result<Vec<SetValue>, Unfit> {
    let value = match field {
        SetField::Keys(Role::Current) => SetValue::Current(key_source(value)?),
        SetField::Keys(Role::Next) => SetValue::Next(key_source(value)?),
        SetField::Keys(Role::Previous) => {
            let list = value.as_array().ok_or_else(|| no_source(value))?;
            SetValue::Previous(list.iter().map(|value| key_source(value.get_ref())).collect::<Result<_, _>>()?)
        }
        SetField::Rule(rule @ Rule::AllowFrom) => SetValue::Rule(rule, list_text(value).ok_or(Unfit::NotAllowed)?),
        SetField::Rule(rule) => SetValue::Rule(rule, scalar_text(value).ok_or(Unfit::NotAllowed)?),
        SetField::Workflows => return value.as_table().ok_or(Unfit::NotAllowed)?.iter().map(workflow).collect(),
        SetField::Admin => SetValue::Admin(Box::new(account(value.as_table().ok_or(Unfit::NotAllowed)?)?)),
    };
    Ok(vec![value])
}

fn receiver_values(field: ReceiverField, value: &DeValue<'_>) -> Result<Vec<ReceiverValue>, Unfit> {
    let value = match field {
        ReceiverField::To => ReceiverValue::To(source(value)?),
        ReceiverField::Secret => {
            let sources = match value.as_array() {
                Some(list) => list.iter().map(|value| source(value.get_ref())).collect::<Result<_, _>>()?,
                None => vec![source(value)?],
            };
            ReceiverValue::Secrets(sources)
        }
        ReceiverField::Heartbeat => return heartbeat(value.as_table().ok_or(Unfit::NotAllowed)?),
        ReceiverField::About | ReceiverField::Sets => {
            ReceiverValue::Text(field, list_text(value).ok_or(Unfit::NotAllowed)?)
        }
        ReceiverField::Kind | ReceiverField::Quiet | ReceiverField::Every | ReceiverField::Remind => {
            ReceiverValue::Text(field, scalar_text(value).ok_or(Unfit::NotAllowed)?)
        }
    };
    Ok(vec![value])
}

fn heartbeat(table: &DeTable<'_>) -> Result<Vec<ReceiverValue>, Unfit> {
    let entry = |(key, value): (&Key<'_>, &Spanned<DeValue<'_>>)| match key.get_ref().as_ref() {
        "to" => source(value.get_ref()).map(ReceiverValue::HeartbeatTo),
        "every" => scalar_text(value.get_ref()).map(ReceiverValue::HeartbeatEvery).ok_or(Unfit::NotAllowed),
        _ => Err(Unfit::Because("A heartbeat has `every` and `to`, and nothing else.")),
    };
    table.iter().map(entry).collect()
}

fn account(table: &DeTable<'_>) -> Result<AccountText, Unfit> {
    let mut account = AccountText::default();
    for (key, value) in table {
        let value = value.get_ref();
        let text = || scalar_text(value).map(Some).ok_or(Unfit::NotAllowed);
        match key.get_ref().as_ref() {
            "project" => account.project = text()?,
            "service_account" => account.service_account = text()?,
            "key" => account.key = Some(source(value)?),
            "scopes" => account.scopes = Some(list_text(value).ok_or(Unfit::NotAllowed)?),
            "expires" => account.expires = text()?,
            "url" => account.url = text()?,
            _ => {
                return Err(Unfit::Because(
                    "It has `project`, `service_account`, `key`, `scopes`, `expires` and `url`, and nothing else.",
                ));
            }
        }
    }
    Ok(account)
}

fn workflow((id, value): (&Key<'_>, &Spanned<DeValue<'_>>)) -> Result<SetValue, Unfit> {
    let id = id.get_ref().as_ref();
    if !is_id(id) || is_placeholder(id) {
        return Err(Unfit::Because("One of the names in it is no workflow's id."));
    }
    let table = value.get_ref().as_table().ok_or(Unfit::NotAllowed)?;
    if table.keys().any(|key| key.get_ref() != "policy") {
        return Err(Unfit::Because("A workflow has a `policy` here, and nothing else."));
    }
    let policy = table.values().next().map(|policy| scalar_text(policy.get_ref()).ok_or(Unfit::NotAllowed));
    Ok(SetValue::Workflow(id.into(), policy.transpose()?))
}

/// The place of a set's key, which may be the output of a command.
fn key_source(value: &DeValue<'_>) -> Result<Source, Unfit> {
    match value.as_table().filter(|table| table.contains_key("command")) {
        Some(table) => command(table).map(Source::Command),
        None => source(value),
    }
}

fn command(table: &DeTable<'_>) -> Result<Command, Unfit> {
    let mut settings = Settings {
        program: PathBuf::new(),
        arguments: Vec::new(),
        every: Duration::from_mins(1),
        timeout: Duration::from_secs(10),
        pass: Vec::new(),
    };
    for (key, value) in table {
        let value = value.get_ref();
        let text = || scalar_text(value).ok_or(Unfit::NotAllowed);
        match key.get_ref().as_ref() {
            "command" => (settings.program, settings.arguments) = parse::command(&texts(value)?)?,
            "every" => settings.every = parse::every(&text()?)?,
            "timeout" => settings.timeout = parse::command_timeout(&text()?)?,
            "pass" => settings.pass = parse::variables(texts(value)?)?,
            _ => {
                return Err(Unfit::Because(
                    "A command has `command`, `every`, `timeout` and `pass`, and nothing else.",
                ));
            }
        }
    }
    Ok(Command::new(settings))
}

/// A list of texts.
fn texts(value: &DeValue<'_>) -> Result<Vec<Box<str>>, Unfit> {
    let list =
        value.as_array().ok_or(Unfit::Because("`command` and `pass` are lists of texts: no shell reads them."))?;
    let texts: Option<Vec<_>> = list.iter().map(|value| value.get_ref().as_str().map(Box::from)).collect();
    texts.ok_or(Unfit::Because("`command` and `pass` are lists of texts: no shell reads them."))
}

/// The place of a secret. No sentence quotes the value: it may be the secret itself.
fn source(value: &DeValue<'_>) -> Result<Source, Unfit> {
    let mut entries = value.as_table().ok_or_else(|| no_source(value))?.iter();
    let (Some((key, value)), None) = (entries.next(), entries.next()) else {
        return Err(Unfit::Because("Name one place: either a file or an environment variable."));
    };
    match (key.get_ref().as_ref(), value.get_ref().as_str()) {
        ("file", Some(path)) => parse::file_source(path),
        ("env", Some(name)) => parse::env_source(name),
        ("command", _) => {
            Err(Unfit::Because("A command gives keys of sets alone: name a file or an environment variable."))
        }
        (other, _) => Err(match nearest(other, ["file", "env"]) {
            Some("file") if other != "file" => Unfit::Because("Did you mean `file`?"),
            Some("env") if other != "env" => Unfit::Because("Did you mean `env`?"),
            Some(_) | None => Unfit::NotAllowed,
        }),
    }
}

fn no_source(value: &DeValue<'_>) -> Unfit {
    if value.is_str() {
        Unfit::Because(
            "A secret has no place in the config file: name the file or the environment variable that holds it.",
        )
    } else {
        Unfit::NotAllowed
    }
}

/// What a person would write for it on the command line; nothing for a list or a table.
fn scalar_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.to_string(),
            Err(_) => number.as_str().to_owned(),
        }),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Datetime(moment) => Some(moment.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// The texts of a list with commas between them; a single text is a list of one.
fn list_text(value: &DeValue<'_>) -> Option<String> {
    let Some(list) = value.as_array() else {
        return scalar_text(value);
    };
    let texts: Option<Vec<_>> = list.iter().map(|value| scalar_text(value.get_ref())).collect();
    texts.map(|texts| texts.join(","))
}

/// Whether it is what a set has, by its name.
fn is_field(name: &str) -> bool {
    schema::find(schema::ANY_SET, name).is_some()
}

/// Whether it looks like the place of a key, and not like a set.
fn is_source(table: &DeTable<'_>) -> bool {
    ["file", "env", "command"].iter().any(|place| table.contains_key(*place))
}

/// Whether it is a table with values in it: not one of the sets or instances, whose name here stands for any.
fn is_table(name: &str) -> bool {
    ![schema::ANY_SET, schema::ANY_INSTANCE, schema::ANY_RECEIVER].contains(&name)
        && SETTINGS.iter().any(|setting| setting.table() == name)
}

fn names_in(table: &str) -> Vec<&'static str> {
    SETTINGS.iter().filter(|setting| setting.table() == table).map(Setting::name).collect()
}

fn tables_and_settings() -> Vec<&'static str> {
    let mut names: Vec<_> = SETTINGS.iter().filter_map(|setting| setting.key.split('.').next()).collect();
    names.dedup();
    names
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}

const BAD_SET: &str =
    "A key set is a table, and its name has up to 32 of a-z, 0-9, _ and -, the first a letter or digit: [keys.team-a].";

const BAD_INSTANCE: &str =
    "An n8n is a table, and its name has up to 32 of a-z, 0-9, _ and -, the first a letter or digit: [n8n.main].";

const BAD_RECEIVER: &str = "A receiver is a table, and its name has up to 32 of a-z, 0-9, _ and -, the first a letter or digit: [notices.team].";
