//! The OpenAPI document and the types of the answers say the same: what a schema allows the type reads and writes again, and
//! what it does not allow the type does not read.
//!
//! An answer is made from each schema, and changed in each of its places: without a field, with null, with a value of another
//! type, with each of the words that may stand there and with one that may not. Both sides are asked about each.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Validator;
use keyward::admin::problem;
use keyward::answers;
use keyward::answers::audit::{Instance, Instances};
use keyward::answers::binding::{Binding, Bindings, WholeBinding};
use keyward::answers::execution::Execution;
use keyward::answers::incident::{Incident, Incidents, ListedIncident};
use keyward::answers::key::{ExpiryNoted, Key, KeyNames};
use keyward::answers::link::{Link, PressBegun, PressEnded};
use keyward::answers::old_key::{
    Basis, CanGo, ListedReason, ListedReasons, OldKey, OldKeyOfSet, OldKeySummary, Reason, ReasonKind, Traffic,
};
use keyward::answers::problem::ProblemDetails;
use keyward::answers::reload::Reload;
use keyward::answers::rotation::{CurrentKey, RotatingBinding, Rotation};
use keyward::answers::sender::Sender;
use keyward::answers::status::{N8n, OpenProblem, OpenProblems, Set, Sets, Status, Store};
use keyward::answers::{audit, binding, execution, notice};
use keyward::ledger::bar_kind::BarKind;
use keyward::ledger::doubt_kind::DoubtKind;
use keyward::ledger::incident::Closing;
use keyward::ledger::progress::Progress;
use keyward::n8n::finding_kind::FindingKind;
use keyward::problems::kind::ProblemKind;
use keyward::verdict::VerdictKind;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Reads an answer and writes it again.
type Read = fn(&Value) -> Result<Value, String>;

/// Every schema that describes an object, by its place in the document, and the type that is the same.
const TYPES: [(&str, Read); 57] = [
    ("/paths/~1api~1v1~1sets/get/responses/200/content/application~1json/schema", read::<Sets>),
    ("/paths/~1api~1v1~1n8n/get/responses/200/content/application~1json/schema", read::<Instances>),
    ("Answer", read::<CanGo>),
    ("Audit", read::<Instance>),
    ("AuditDoubt", read::<audit::AuditDoubt>),
    ("AuditedNode", read::<audit::AuditedNode>),
    ("Basis", read::<Basis>),
    ("Binding", read::<Binding>),
    ("Bindings", read::<Bindings>),
    ("Credential", read::<audit::Credential>),
    ("CurrentKey", read::<CurrentKey>),
    ("Execution", read::<Execution>),
    ("Finding", read::<audit::Finding>),
    ("Incident", read::<Incident>),
    ("Incidents", read::<Incidents>),
    ("Key", read::<Key>),
    ("KeyUse", read::<binding::KeyUse>),
    ("Link", read::<Link>),
    ("ListedIncident", read::<ListedIncident>),
    ("N8n", read::<N8n>),
    ("NamedNode", read::<audit::NamedNode>),
    ("NamedWorkflow", read::<audit::NamedWorkflow>),
    ("OldKey", read::<OldKey>),
    ("OldKeyOfSet", read::<OldKeyOfSet>),
    ("OldKeySummary", read::<OldKeySummary>),
    ("PastExchange", read::<execution::PastExchange>),
    ("Heartbeat", read::<notice::Beat>),
    ("Muted", read::<notice::Muted>),
    ("NoticeMessage", read::<notice::Message>),
    ("NoticeTest", read::<notice::Test>),
    ("NoticeTests", read::<notice::Tests>),
    ("Notices", read::<notice::Notices>),
    ("Receiver", read::<notice::Receiver>),
    ("ExpiryNoted", read::<ExpiryNoted>),
    ("PressBegun", read::<PressBegun>),
    ("OpenProblem", read::<OpenProblem>),
    ("OpenProblems", read::<OpenProblems>),
    ("PressEnded", read::<PressEnded>),
    ("Problem", read::<ProblemDetails>),
    ("Progress", read::<Progress>),
    ("PublicNames", read::<KeyNames>),
    ("ListedReason", read::<ListedReason>),
    ("ListedReasons", read::<ListedReasons>),
    ("Reason", read::<Reason>),
    ("ReasonKind", read::<ReasonKind>),
    ("Record", read::<audit::Record>),
    ("Reload", read::<Reload>),
    ("RememberedUse", read::<execution::RememberedUse>),
    ("RotatingBinding", read::<RotatingBinding>),
    ("Rotation", read::<Rotation>),
    ("Sender", read::<Sender>),
    ("Set", read::<Set>),
    ("Status", read::<Status>),
    ("Store", read::<Store>),
    ("Traffic", read::<Traffic>),
    ("Unfinished", read::<audit::Unfinished>),
    ("WholeBinding", read::<WholeBinding>),
];

/// The codes that this keyward sends in a place.
type Codes = fn() -> Vec<String>;

/// Words in whose place a later keyward may send another, so that the type takes any text: each with what this keyward sends.
const OPEN: [(&str, Codes); 9] = [
    ("AuditDoubt/code", doubt_codes),
    ("Finding/code", || texts(&FindingKind::CODES)),
    ("Incident/closed/by", || texts(&Closing::CODES)),
    ("KeyUse/verdict", || texts(&VerdictKind::CODES)),
    ("ListedIncident/closed/by", || texts(&Closing::CODES)),
    ("OpenProblem/code", || texts(&ProblemKind::CODES)),
    ("Problem/type", || problem::Kind::CODES.iter().map(|code| format!("urn:keyward:problem:{code}")).collect()),
    ("Reason/code", || texts(&BarKind::CODES)),
    ("ReasonKind/code", || texts(&BarKind::CODES)),
];

/// Words that the type has and that are never sent there.
const NEVER_SENT: [(&str, &str); 4] = [
    ("Incident/severity", "fine"),
    ("Key/role", "token"),
    ("ListedIncident/severity", "fine"),
    ("OpenProblem/severity", "fine"),
];

#[test]
fn every_schema_of_an_object_has_its_type() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let objects = schemas.iter().filter(|(_, schema)| schema["type"] == "object").map(|(name, _)| name.as_str());
    let typed = TYPES.iter().map(|(name, _)| *name).filter(|name| !name.starts_with('/'));
    assert_eq!(typed.collect::<BTreeSet<_>>(), objects.collect());
}

#[test]
fn a_type_reads_what_its_schema_allows_and_nothing_else() {
    let document = document();
    let (mut wrong, mut open) = (Vec::new(), BTreeMap::new());
    for (name, read) in TYPES {
        let mut case = Case::new(&document, name, read);
        case.read_whole();
        case.read_changed();
        wrong.append(&mut case.wrong);
        open.append(&mut case.open);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let sent = OPEN.map(|(place, codes)| (place.to_owned(), codes().into_iter().collect()));
    assert_eq!(open, sent.into(), "which words are open, and those that the code sends");
}

/// A schema, and an answer that it allows, with a value in each place.
struct Case<'d> {
    name: &'d str,
    read: Read,
    validator: Validator,
    whole: Value,
    /// Every place in the answer: its pointer, what it is called, and its schema.
    places: Vec<(String, String, &'d Value)>,
    wrong: Vec<String>,
    /// The words of the document in each place in whose place the type takes any text.
    open: BTreeMap<String, BTreeSet<String>>,
}

impl<'d> Case<'d> {
    fn new(document: &'d Value, name: &'d str, read: Read) -> Self {
        let pointer = if name.starts_with('/') { name.to_owned() } else { format!("/components/schemas/{name}") };
        let schema = document.pointer(&pointer).unwrap();
        let whole = sample(document, schema);
        let mut places = Vec::new();
        find_places(document, (String::new(), name.to_owned(), schema), &whole, &mut places);
        // What lies within another schema is looked at with that one.
        places.retain(|(_, place, _)| place.starts_with(name) || !place.contains('/'));
        let validator = validator(document, schema);
        Self { name, read, validator, whole, places, wrong: Vec::new(), open: BTreeMap::new() }
    }

    fn check(&mut self, is_right: bool, what: impl FnOnce() -> String) {
        if !is_right {
            self.wrong.push(format!("{}: {}", self.name, what()));
        }
    }

    /// The type writes what it has read: no field more, and none less.
    fn read_whole(&mut self) {
        let (whole, read) = (self.whole.clone(), (self.read)(&self.whole));
        assert!(self.validator.is_valid(&whole), "{}: no sample can be made: {whole:#}", self.name);
        self.check(read.as_ref() == Ok(&whole), || format!("{whole} is written as {read:?}"));
    }

    fn read_changed(&mut self) {
        for (pointer, place, schema) in self.places.clone() {
            let words = words_of(schema);
            for word in &words {
                let (changed, read) = self.with(&pointer, json!(word));
                self.check(read.as_ref() == Ok(&changed), || format!("{place}, {word}: {:?}", read.err()));
            }
            if !words.is_empty() {
                self.put_a_word_that_is_none(&pointer, &place, words);
            } else if schema["pattern"].is_null() || is_read_strictly(schema) {
                self.compare(&pointer, &place, &json!("no_such_word"));
            }
            for value in [Value::Null, json!(-1), json!(1.5), json!(true), json!([]), json!({})] {
                self.compare(&pointer, &place, &value);
            }
            let fields = self.whole.pointer(&pointer).and_then(Value::as_object).cloned().unwrap_or_default();
            for field in fields.keys() {
                let mut without = fields.clone();
                without.remove(field);
                self.compare(&pointer, &format!("{place} without {field}"), &without.into());
            }
        }
    }

    /// Either both take that value in that place, or neither does.
    fn compare(&mut self, pointer: &str, place: &str, value: &Value) {
        let (changed, read) = self.with(pointer, value.clone());
        let is_allowed = self.validator.is_valid(&changed);
        let error = read.err();
        self.check(error.is_none() == is_allowed, || format!("{place}, {value}: allowed is {is_allowed}, {error:?}"));
    }

    /// It is refused with the words that may stand there, which are those of the document.
    fn put_a_word_that_is_none(&mut self, pointer: &str, place: &str, mut words: BTreeSet<String>) {
        let (_, read) = self.with(pointer, json!("no_such_word"));
        let Err(error) = read else {
            self.open.insert(place.to_owned(), words);
            return;
        };
        words.extend(NEVER_SENT.iter().filter(|(field, _)| *field == place).map(|(_, word)| (*word).to_owned()));
        let known: BTreeSet<_> = error.split('`').skip(3).step_by(2).map(str::to_owned).collect();
        self.check(known == words, || format!("{place}: the type knows {known:?}, and the document {words:?}"));
    }

    fn with(&self, pointer: &str, value: Value) -> (Value, Result<Value, String>) {
        let mut changed = self.whole.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        let read = (self.read)(&changed);
        (changed, read)
    }
}

/// Moments and fingerprints. Of other texts with a pattern, the type takes any.
fn is_read_strictly(schema: &Value) -> bool {
    [MOMENT, FINGERPRINT].iter().any(|text| Some(*text) == sample(&Value::Null, schema).as_str())
}

fn words_of(schema: &Value) -> BTreeSet<String> {
    schema["enum"].as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

/// What a schema refers to, and the alternative that is not null; with the name under which the document has it.
fn resolve<'d>(document: &'d Value, schema: &'d Value) -> (Option<&'d str>, &'d Value) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        let (inner, found) = resolve(document, &document["components"]["schemas"][name]);
        let is_object = found["type"] == "object";
        return (inner.or_else(|| is_object.then_some(name)), found);
    }
    match schema["oneOf"].as_array() {
        Some(alternatives) => resolve(document, alternatives.iter().find(|one| one["type"] != "null").unwrap()),
        None => (None, schema),
    }
}

/// A value that the schema allows, as full as it can be.
fn sample(document: &Value, schema: &Value) -> Value {
    let (_, schema) = resolve(document, schema);
    if let Some(fields) = schema["properties"].as_object() {
        return fields.iter().map(|(name, field)| (name.clone(), sample(document, field))).collect();
    }
    if schema["items"].is_object() {
        return json!([sample(document, &schema["items"])]);
    }
    if let Some(word) = words_of(schema).into_iter().next() {
        return word.into();
    }
    let validator = jsonschema::draft202012::new(schema).unwrap();
    let link = format!("/open/{}", "a".repeat(43));
    let texts = ["text", MOMENT, FINGERPRINT, "0123456789abcdef", "01234567", &link].map(Value::from);
    let others = [json!(true), json!(1.5), json!(400)];
    texts.into_iter().chain(others).find(|value| validator.is_valid(value)).unwrap()
}

/// Every place in a value: its pointer, what it is called, and its schema.
fn find_places<'d>(
    document: &'d Value,
    (pointer, place, schema): (String, String, &'d Value),
    value: &Value,
    places: &mut Vec<(String, String, &'d Value)>,
) {
    let (name, schema) = resolve(document, schema);
    let place = name.map_or(place, str::to_owned);
    for (field, inner) in value.as_object().into_iter().flatten() {
        let below = (format!("{pointer}/{field}"), format!("{place}/{field}"), &schema["properties"][field]);
        find_places(document, below, inner, places);
    }
    for (position, inner) in value.as_array().into_iter().flatten().enumerate() {
        find_places(document, (format!("{pointer}/{position}"), place.clone(), &schema["items"]), inner, places);
    }
    places.push((pointer, place, schema));
}

fn validator(document: &Value, schema: &Value) -> Validator {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    jsonschema::draft202012::new(&whole).unwrap()
}

fn doubt_codes() -> Vec<String> {
    let of_audit = DoubtKind::ALL.into_iter().filter(|kind| kind.is_of_audit());
    of_audit.map(|kind| kind.code().to_owned()).collect()
}

fn texts(codes: &[&str]) -> Vec<String> {
    codes.iter().map(|code| (*code).to_owned()).collect()
}

fn document() -> Value {
    serde_json::from_str(include_str!("../../src/admin/openapi.json")).unwrap()
}

fn read<T: DeserializeOwned + Serialize>(answer: &Value) -> Result<Value, String> {
    let read: T = answers::read(answer).map_err(|error| error.to_string())?;
    Ok(serde_json::to_value(read).unwrap())
}

const MOMENT: &str = "2026-11-23T08:15:00Z";

const FINGERPRINT: &str = "0123456789abcdef0123456789abcdef";
