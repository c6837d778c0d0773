//! Every fault is found, and nothing where there is none.

#![expect(clippy::needless_pass_by_value, reason = "JSON that is written on the spot")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ledger::look::Pressed;
use crate::n8n::documents;
use crate::n8n::inventory::Builder;
use crate::n8n::inventory::tests::{inventory, names};

const OLD: &str = "sk-proj-0123456789abcdefghijOldd";
const NEW: &str = "sk-proj-0123456789abcdefghijNeww";
const KEYWARD: &str = "http://keyward:8080/v1/chat/completions";

/// The minutes of the day of a story.
fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(1_795_420_800_000 + minute * 60_000)
}

fn text(minute: i64) -> String {
    at(minute).to_string()
}

/// A chat model with that record.
fn model(id: &str, record: &str) -> Value {
    json!({ "id": id, "name": id, "type": "@n8n/n8n-nodes-langchain.lmChatOpenAi", "typeVersion": 1.2, "parameters": {},
        "credentials": { "openAiApi": { "id": record, "name": record } } })
}

fn request(id: &str, url: &str, more: Value) -> Value {
    let mut node = json!({ "id": id, "name": id, "type": "n8n-nodes-base.httpRequest", "typeVersion": 4.2, "parameters": { "url": url } });
    for (name, value) in more.as_object().expect("an object") {
        node["parameters"][name] = value.clone();
    }
    node
}

fn predefined() -> Value {
    json!({ "authentication": "predefinedCredentialType", "nodeCredentialType": "openAiApi" })
}

fn typed(key: &str) -> Value {
    json!({ "headerParameters": { "parameters": [{ "name": "Authorization", "value": format!("Bearer {key}") }] } })
}

fn with_record(mut node: Value, record: &str) -> Value {
    node["credentials"] = json!({ "openAiApi": { "id": record, "name": record } });
    node
}

/// An active workflow of n8n 1.x that was changed in minute 0.
fn workflow(id: &str, nodes: &[Value]) -> Value {
    json!({ "id": id, "name": id, "active": true, "updatedAt": text(0), "nodes": nodes })
}

fn with(mut value: Value, name: &str, field: Value) -> Value {
    value[name] = field;
    value
}

/// A sighting of that node in that minute with a key, well if it is the new one.
fn seen(workflow: &'static str, node: &'static str, minute: i64, key: &str) -> Sighting<'static> {
    let standing = if key == NEW { Standing::Well } else { Standing::Stale("stale_binding".into()) };
    Sighting {
        binding: BindingId(AuditDoubt::state_of([workflow, node])),
        set: "default",
        instance: None,
        is_single: false,
        is_acknowledged: false,
        workflow: Some(workflow),
        node: Some(node),
        at: at(minute),
        key: Some(names(key.as_bytes())),
        execution: Some(format!("{workflow}-{minute}").into()),
        client: "sdk",
        client_version: None,
        standing,
    }
}

struct Story {
    inventory: Inventory,
    sightings: Vec<Sighting<'static>>,
    hosts: Vec<String>,
    modes: HashMap<Box<str>, Box<str>>,
    lacks: Vec<&'static str>,
    set: Option<&'static str>,
    /// Another n8n.
    other: Option<Inventory>,
    look: Option<Look>,
    left: Vec<Left>,
    entrance: Option<Entrance>,
}

impl Story {
    fn of(workflows: &[Value], sightings: &[Sighting<'static>]) -> Self {
        Self {
            inventory: inventory(workflows),
            sightings: sightings.to_vec(),
            hosts: Vec::new(),
            modes: HashMap::new(),
            lacks: Vec::new(),
            set: None,
            other: None,
            look: None,
            left: Vec::new(),
            entrance: None,
        }
    }

    fn with_record(mut self, id: &str, changed: i64) -> Self {
        let facts = json!({ "id": id, "name": format!("{id} of today"), "updatedAt": text(changed) });
        let record: documents::CredentialRecord = serde_json::from_value(facts).expect("a record");
        let mut builder = Builder::new(&names);
        builder.add_record(&record);
        self.inventory.records.append(&mut builder.finish().records);
        self
    }

    fn reached_at(mut self, host: &str) -> Self {
        self.hosts.push(host.to_owned());
        self
    }

    fn started_by(mut self, execution: &str, mode: &str) -> Self {
        self.modes.insert(execution.into(), mode.into());
        self
    }

    fn audit(&self) -> Audit {
        let audit = self.judged(audit);
        assert_eq!(audit.doubts, self.judged(clear).doubts, "what is told of old keys is the same");
        audit
    }

    fn cleared(&self) -> Cleared {
        self.judged(clear)
    }

    fn judged<T>(&self, judge: fn(&Grounds<'_>) -> T) -> T {
        let known = |role: &str| KnownKey { set: "default".into(), role: role.into() };
        let key = |key: &str| names(key.as_bytes()).fingerprint;
        let keys = HashMap::from([(key(OLD), known("previous")), (key(NEW), known("current"))]);
        let Self { inventory, sightings, hosts, modes, lacks, set, other, look, left, entrance } = self;
        let others: Vec<_> = other.iter().map(|other| ("staging", other)).collect();
        let around = Around {
            instance: "main",
            set: *set,
            lacks,
            others: &others,
            look: look.as_ref(),
            left,
            entrance: entrance.as_ref(),
        };
        judge(&Grounds { inventory, sightings, hosts, keys: &keys, modes, at: at(100), around })
    }

    /// The doubts by code, each with what it is about.
    fn doubts(&self) -> Vec<(&'static str, String)> {
        self.audit().doubts.into_iter().map(|doubt| (doubt.kind.code(), doubt.subject.into())).collect()
    }

    #[track_caller]
    fn check_doubts(&self, expected: &[(&str, &str)]) {
        let found = self.doubts();
        let found: Vec<_> = found.iter().map(|(code, subject)| (*code, subject.as_str())).collect();
        assert_eq!(found, expected, "{:#?}", self.audit().doubts);
        for doubt in self.audit().doubts {
            assert!(!doubt.text.is_empty() && !doubt.end.is_empty() && doubt.state != 0, "{doubt:?}");
        }
    }

    #[track_caller]
    fn doubt(&self) -> AuditDoubt {
        let [doubt] = &self.audit().doubts[..] else { panic!("{:#?}", self.audit().doubts) };
        doubt.clone()
    }

    /// The findings by code, each with what it names first; and how each node passes.
    #[track_caller]
    fn check(&self, findings: &[(&str, &str)], rows: &[(&str, &str)]) {
        let audit = self.audit();
        let named = |finding: &Finding| {
            let node = finding.nodes().first().map(|node| node.id.to_string());
            node.or_else(|| finding.workflow().map(|workflow| workflow.id.to_string())).unwrap_or_default()
        };
        let found: Vec<_> = audit.findings.iter().map(|finding| (finding.code(), named(finding))).collect();
        let found: Vec<_> = found.iter().map(|(code, named)| (*code, named.as_str())).collect();
        assert_eq!(found, findings, "{:#?}", audit.findings);
        let passages: Vec<_> = audit.rows.iter().map(|row| (&*row.node.id, row.passage.code())).collect();
        assert_eq!(passages, rows, "{:#?}", audit.rows);
    }
}

#[test]
fn nothing_is_wrong_where_every_node_passes() {
    let workflows = [
        workflow("a", &[model("n", "r"), model("m", "r")]),
        workflow("b", &[model("o", "r"), with_record(request("h", KEYWARD, predefined()), "r")]),
        workflow("c", &[json!({ "id": "s", "type": "n8n-nodes-base.set" })]),
    ];
    let story = Story::of(&workflows, &[seen("a", "n", 5, NEW), seen("b", "h", 6, NEW)]);
    story.check(&[], &[("n", "passes"), ("m", "covered"), ("o", "covered"), ("h", "passes")]);
    assert_eq!((story.doubts(), story.audit().workflows, story.audit().records), (vec![], 3, 1));
    // Without a tag it may be any client's.
    let strangers = [Sighting { workflow: None, ..seen("x", "x", 9, OLD) }];
    Story::of(&workflows[2..], &strangers).check(&[], &[]);
}

#[test]
fn a_node_that_goes_past_keyward_is_found_in_each_of_its_ways() {
    let old_model = |url: Option<&str>| {
        json!({ "id": "l", "name": "l", "type": "@n8n/n8n-nodes-langchain.lmOpenAi", "typeVersion": 1,
            "parameters": { "options": { "baseURL": url } }, "credentials": { "openAiApi": { "id": "r", "name": "r" } } })
    };
    let story = |node: Value, more: &[Sighting<'static>]| {
        let sightings = [&[seen("a", "n", 5, NEW)], more].concat();
        Story::of(&[workflow("a", &[model("n", "r"), node])], &sightings)
    };
    story(old_model(None), &[]).check(&[("bypass", "l")], &[("n", "passes"), ("l", "bypasses")]);
    story(old_model(Some("https://api.openai.com/v1")), &[])
        .check(&[("bypass", "l")], &[("n", "passes"), ("l", "bypasses")]);
    story(old_model(Some(KEYWARD)), &[]).check(&[("bypass", "l")], &[("n", "passes"), ("l", "bypasses")]);
    story(old_model(Some(KEYWARD)), &[]).reached_at("keyward:8080").check(&[], &[("n", "passes"), ("l", "covered")]);
    story(old_model(Some(KEYWARD)), &[seen("a", "l", 6, NEW)]).check(&[], &[("n", "passes"), ("l", "passes")]);
    // n8n's environment has an address for it.
    story(old_model(None), &[seen("a", "l", 6, NEW)]).check(&[], &[("n", "passes"), ("l", "passes")]);
    let straight = || with_record(request("h", "https://api.openai.com/v1/models", predefined()), "r");
    story(straight(), &[]).check(&[("bypass", "h")], &[("n", "passes"), ("h", "bypasses")]);
    // It was pointed there after it was seen.
    story(straight(), &[seen("a", "h", -1, NEW)]).check(&[("bypass", "h")], &[("n", "passes"), ("h", "bypasses")]);
    let header = json!({ "authentication": "genericCredentialType", "genericAuthType": "httpHeaderAuth" });
    let generic = request("h", "https://api.openai.com/v1/models", header);
    story(generic, &[]).check(&[("bypass", "h")], &[("n", "passes"), ("h", "bypasses")]);
    // Another API is not looked at.
    story(request("h", "https://api.deepseek.com/v1", typed("sk-0123456789abcdefghijAbCd")), &[])
        .check(&[], &[("n", "passes")]);
    story(request("h", "={{ $json.url }}", json!({})), &[]).check(&[], &[("n", "passes")]);
    let unclear = with_record(request("h", "={{ $json.url }}", predefined()), "r");
    story(unclear.clone(), &[]).check(&[("unclear_address", "h")], &[("n", "passes"), ("h", "unclear")]);
    story(unclear, &[seen("a", "h", 6, NEW)]).check(&[], &[("n", "passes"), ("h", "passes")]);
}

#[test]
fn where_one_node_was_seen_the_others_of_that_address_come_as_well() {
    let nodes =
        [with_record(request("g", KEYWARD, predefined()), "r"), with_record(request("h", KEYWARD, predefined()), "r")];
    let story = Story::of(&[workflow("a", &nodes)], &[seen("a", "g", 5, NEW)]);
    story.check(&[], &[("g", "passes"), ("h", "covered")]);
}

#[test]
fn a_record_that_was_never_seen_is_told_once_with_all_its_nodes() {
    let workflows = [workflow("a", &[model("n", "r"), model("m", "new")]), workflow("b", &[model("o", "new")])];
    let story = Story::of(&workflows, &[seen("a", "n", 5, NEW)]);
    story.check(&[("never_seen", "m")], &[("n", "passes"), ("m", "never_seen"), ("o", "never_seen")]);
    assert_eq!(story.audit().findings[0].to_string(), "credential new was never seen here, and 2 nodes use it");
    let untagged = Sighting { workflow: None, node: None, ..seen("", "", 5, NEW) };
    let story = Story::of(&workflows[1..], &[untagged]);
    let told = story.audit().findings[0].to_string();
    assert_eq!(
        told,
        "credential new was never seen here, and 1 node uses it; 1 caller came here without a tag, and may be some of them"
    );
    // A node of its own address tells the record's key, but not where the record leads.
    let nodes = [with_record(request("h", KEYWARD, predefined()), "r"), model("n", "r")];
    let story = Story::of(&[workflow("a", &nodes)], &[seen("a", "h", 5, NEW)]);
    story.check(&[("never_seen", "h")], &[("h", "passes"), ("n", "never_seen")]);
}

#[test]
fn a_key_that_is_typed_is_found_wherever_it_stands() {
    let story = |node: Value, sightings: &[Sighting<'static>]| {
        Story::of(&[workflow("a", &[node])], sightings).reached_at("keyward:8080")
    };
    story(request("h", KEYWARD, typed(NEW)), &[seen("a", "h", 5, NEW)])
        .check(&[("typed_key", "h")], &[("h", "passes")]);
    let stale = story(request("h", KEYWARD, typed(OLD)), &[seen("a", "h", 5, OLD)]);
    stale.check(&[("typed_key", "h")], &[("h", "stale")]);
    let told = stale.audit().findings[0].to_string();
    assert!(
        told.starts_with("node h of workflow a has key sk-proj-…Oldd (")
            && told.ends_with(") typed into it, the previous key of set default"),
        "{told}"
    );
    assert!(!format!("{:?}", stale.audit()).contains("0123456789"));
    let past = story(request("h", "https://api.openai.com/v1/models", typed("sk-short")), &[]);
    past.check(&[("typed_key", "h"), ("bypass", "h")], &[("h", "bypasses")]);
    let code =
        |code: &str| json!({ "id": "c", "name": "c", "type": "n8n-nodes-base.code", "parameters": { "jsCode": code } });
    story(code(&format!("const key = '{OLD}'")), &[]).check(&[("typed_key", "c")], &[]);
    story(code("const key = 'sk-0123456789abcdefghijAbCd'"), &[]).check(&[], &[]);
    story(code("fetch('https://api.openai.com/v1')"), &[]).check(&[("mentions", "c")], &[]);
    // A token of ours opens nothing elsewhere, and no rotation touches it.
    let token = typed("kw_0123456789abcdefghijAbCd");
    story(request("h", KEYWARD, token), &[seen("a", "h", 5, NEW)]).check(&[], &[("h", "passes")]);
    let off = with(workflow("a", &[code(OLD)]), "active", json!(false));
    Story::of(&[off], &[]).check(&[("typed_key", "c")], &[]);
}

#[test]
fn a_record_is_stale_by_the_last_word_of_any_of_its_nodes() {
    let workflows = [workflow("a", &[model("n", "r"), model("m", "r")])];
    let stale = [seen("a", "n", 5, NEW), seen("a", "m", 6, OLD)];
    Story::of(&workflows, &stale).check(&[("stale_record", "n")], &[("n", "stale"), ("m", "stale")]);
    // The record was put right, and one of its nodes has shown that.
    let mended = [seen("a", "n", 7, NEW), seen("a", "m", 6, OLD)];
    Story::of(&workflows, &mended).check(&[], &[("n", "passes"), ("m", "covered")]);
    // It was changed, and no request has come since.
    let story = Story::of(&workflows, &stale).with_record("r", 7);
    story.check(&[("changed_since", "n")], &[("n", "unproven"), ("m", "unproven")]);
    assert_eq!(story.audit().faults().count(), 0);
    let doubt = story.doubt();
    assert_eq!((doubt.kind.code(), &*doubt.subject), ("changed_since", "r"));
    assert_eq!(
        doubt.text,
        "credential r of today was changed at 2026-11-23T08:07:00Z and not seen since, and 2 nodes use it (in a)"
    );
    let story = Story::of(&workflows, &stale).with_record("r", 1);
    let told = story.audit().findings[0].to_string();
    assert!(
        told.starts_with("credential r of today sent key sk-proj-…Oldd (")
            && told.ends_with("(stale_binding), and 2 nodes use it"),
        "{told}"
    );
}

#[test]
fn a_silent_record_is_stale_where_n8n_says_that_it_was_not_changed() {
    let workflows = [workflow("a", &[model("n", "r")])];
    let silent = Sighting { standing: Standing::Silent, ..seen("a", "n", 5, OLD) };
    let story = || Story::of(&workflows, std::slice::from_ref(&silent));
    story().with_record("r", 1).check(&[("stale_record", "n")], &[("n", "stale")]);
    // n8n 1.x does not say.
    story().check(&[], &[("n", "unproven")]);
    story().with_record("r", 6).check(&[("changed_since", "n")], &[("n", "unproven")]);
}

#[test]
fn a_node_that_was_changed_since_tells_nothing_of_its_new_record() {
    let moved = with(workflow("a", &[model("n", "new")]), "updatedAt", json!(text(9)));
    let story = Story::of(&[moved, workflow("b", &[model("o", "new")])], &[seen("a", "n", 5, OLD)]);
    story.check(&[], &[("n", "unproven"), ("o", "unproven")]);
    story.check_doubts(&[("unproven", "new")]);
    assert_eq!(
        story.doubt().text,
        "node n of workflow a and 1 others were not seen with the right key since they were changed last (in a, b)"
    );
}

#[test]
fn a_node_without_a_record_stands_for_itself() {
    let node = request("h", KEYWARD, json!({}));
    let story = |sighting| Story::of(&[workflow("a", std::slice::from_ref(&node))], &[sighting]);
    story(seen("a", "h", 5, OLD)).check(&[("stale_node", "h")], &[("h", "stale")]);
    story(seen("a", "h", 5, NEW)).check(&[], &[("h", "passes")]);
    story(seen("a", "h", -5, OLD)).check(&[("bypass", "h")], &[("h", "bypasses")]);
    let silent = Sighting { standing: Standing::Silent, ..seen("a", "h", 5, OLD) };
    story(silent).check(&[], &[("h", "unproven")]);
}

#[test]
fn drafts_are_judged_by_what_they_would_change() {
    let published = |draft: &[Value]| {
        json!({ "id": "a", "name": "a", "active": true, "updatedAt": text(90), "versionId": "2", "activeVersionId": "1", "nodes": draft,
            "activeVersion": { "versionId": "1", "createdAt": text(0), "nodes": [model("n", "r")] } })
    };
    let story = |draft: &[Value]| Story::of(&[published(draft)], &[seen("a", "n", 5, NEW)]);
    story(&[model("n", "r")]).check(&[], &[("n", "passes")]);
    story(&[model("n", "new")]).check(&[("draft_differs", "a")], &[("n", "passes")]);
    story(&[]).check(&[("draft_differs", "a")], &[("n", "passes")]);
    story(&[model("n", "r"), model("m", "new")]).check(&[("draft_differs", "a")], &[("n", "passes"), ("m", "off")]);
    let told = story(&[model("m", "r")]).audit().findings[0].to_string();
    assert_eq!(told, "the draft of workflow a is not published: n is gone, m is new");
}

#[test]
fn a_workflow_that_was_switched_off_is_told_by_what_started_it() {
    let off = with(workflow("a", &[model("n", "r")]), "active", json!(false));
    let workflows = [off, workflow("b", &[model("o", "r")])];
    let story = || Story::of(&workflows, &[seen("a", "n", 5, NEW), seen("b", "o", 6, NEW)]);
    assert_eq!(suspects(&story().inventory, &story().sightings), [Box::from("a-5")]);
    let rows = [("n", "off"), ("o", "passes")];
    story().check(&[("perhaps_deactivated", "a")], &rows);
    story().started_by("a-5", "manual").check(&[], &rows);
    story().started_by("a-5", "webhook").check(&[("deactivated", "a")], &rows);
    story().started_by("a-5", "webhook").check_doubts(&[]);
    let mut dead = story().started_by("a-5", "webhook");
    dead.sightings[0].standing = Standing::Dead;
    dead.check(&[], &rows);
    let archived = with(workflows[0].clone(), "isArchived", json!(true));
    Story::of(&[archived], &[seen("a", "n", 5, NEW)]).check(&[("archived", "a")], &[("n", "off")]);
}

#[test]
fn who_sent_by_an_older_client_than_others_of_its_type_is_told() {
    let by = |node: &'static str, minute, version: &str| Sighting {
        client_version: Some(version.into()),
        ..seen("a", node, minute, NEW)
    };
    let workflows = [workflow("a", &[model("n", "r"), model("m", "r"), model("o", "r")])];
    let sightings = [by("n", 5, "4.21.3"), by("m", 6, "4.104.0"), by("o", 7, "4.104.0")];
    let story = Story::of(&workflows, &sightings);
    story.check(&[("older_client", "n")], &[("n", "passes"), ("m", "passes"), ("o", "passes")]);
    let told: Vec<_> = story.audit().findings.iter().map(ToString::to_string).collect();
    let type_name = "@n8n/n8n-nodes-langchain.lmChatOpenAi";
    assert_eq!(
        told,
        [format!("1 node of type {type_name} sent last by a client older than 4.104.0, which others here have")]
    );
    // Another family has versions of its own.
    let other = Sighting { client: "vendor", ..by("o", 7, "1.8.3") };
    Story::of(&workflows, &[by("n", 5, "6.49.0"), by("m", 6, "6.49.0"), other])
        .check(&[], &[("n", "passes"), ("m", "passes"), ("o", "passes")]);
}

#[test]
fn a_sub_workflow_runs_when_it_is_called() {
    let trigger = json!({ "id": "t", "type": "n8n-nodes-base.executeWorkflowTrigger" });
    let sub = with(workflow("s", &[trigger, model("n", "new")]), "active", json!(false));
    let call = |id: &str| json!({ "id": "c", "name": "c", "type": "n8n-nodes-base.executeWorkflow", "parameters": { "workflowId": id } });
    Story::of(std::slice::from_ref(&sub), &[]).check(&[("dormant", "n"), ("nobody_calls", "s")], &[("n", "off")]);
    let called = Story::of(&[sub.clone(), workflow("a", &[call("s")])], &[]);
    called.check(&[("never_seen", "n")], &[("n", "never_seen")]);
    assert_eq!(&*called.audit().rows[0].called_by[0].id, "a");
    let unclear = Story::of(&[sub, workflow("a", &[call("={{ $json.id }}")])], &[]);
    unclear.check(&[("never_seen", "n"), ("unclear_call", "a")], &[("n", "never_seen")]);
}

#[test]
fn what_a_person_should_know_is_no_fault() {
    let disabled = with(model("m", "r"), "disabled", json!(true));
    let older = with(model("o", "other"), "typeVersion", json!(1.1));
    let workflows = [workflow("a", &[model("n", "r"), disabled]), workflow("b", &[older])];
    let story = Story::of(&workflows, &[seen("a", "n", 5, NEW), seen("b", "o", 6, NEW)]);
    story.check(
        &[("disabled", "m"), ("several_records", ""), ("older_version", "o")],
        &[("n", "passes"), ("m", "off"), ("o", "passes")],
    );
    let told: Vec<_> = story.audit().findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "1 node of workflow a is switched off",
            "set default has its key in 2 credentials: other, r",
            "1 node of type @n8n/n8n-nodes-langchain.lmChatOpenAi is older than version 1.2, which others here have",
        ]
    );
    // It was imported, and no credential was ever chosen.
    Story::of(&[workflow("a", &[with(model("n", "r"), "credentials", json!({}))])], &[]).check(&[], &[("n", "off")]);
}

// === Doubts: what each is, and that it ends ===

/// A record of that type and change, beside what the nodes tell of it.
fn record(id: &str, kind: &str, changed: i64) -> documents::CredentialRecord {
    let facts = json!({ "id": id, "name": format!("{id} of today"), "type": kind, "updatedAt": text(changed) });
    serde_json::from_value(facts).expect("a record")
}

impl Story {
    fn with_open_ai(mut self, id: &str, changed: i64) -> Self {
        let mut builder = Builder::new(&names);
        builder.add_record(&record(id, "openAiApi", changed));
        self.inventory.records.append(&mut builder.finish().records);
        self
    }

    /// n8n's test of that record showed the key in that minute.
    fn tested(mut self, id: &str, minute: i64, key: &str) -> Self {
        let mut look = crate::n8n::look::look(&self.inventory, None, "main", at(minute), 0);
        let pressed = Pressed { at: at(minute), key: Some(names(key.as_bytes())) };
        look.records.get_mut(id).expect("a record").pressed = Some(pressed);
        self.look = Some(look);
        self
    }
}

fn off(id: &str, nodes: &[Value]) -> Value {
    with(workflow(id, nodes), "active", json!(false))
}

fn header_auth(url: &str) -> Value {
    let mut node =
        request("h", url, json!({ "authentication": "genericCredentialType", "genericAuthType": "httpHeaderAuth" }));
    node["credentials"] = json!({ "httpHeaderAuth": { "id": "RH", "name": "Header" } });
    node
}

#[test]
fn what_a_person_alone_starts_is_a_doubt_until_its_record_is_proven() {
    let manual = off("b", &[model("o", "r"), with(model("p", "r"), "disabled", json!(true))]);
    let alone = || Story::of(std::slice::from_ref(&manual), &[]);
    alone().check_doubts(&[("dormant", "r")]);
    let doubt = alone().doubt();
    assert_eq!(
        doubt.text,
        "credential r was not seen with the right key since it was changed last, and 1 node uses it in workflows that a \
         person may start (in b)"
    );
    assert!(doubt.end.contains("run one of the nodes"), "{}", doubt.end);
    // It was run by hand, or another node of the record was.
    Story::of(std::slice::from_ref(&manual), &[seen("b", "o", 5, NEW)]).check_doubts(&[]);
    Story::of(std::slice::from_ref(&manual), &[seen("b", "o", 5, OLD)]).check_doubts(&[("dormant", "r")]);
    let both = [manual.clone(), workflow("a", &[model("n", "r")])];
    Story::of(&both, &[seen("a", "n", 5, NEW)]).check_doubts(&[]);
    // The record was changed since: the doubt is another one, so that what was accepted before holds no more.
    let changed =
        |minute| Story::of(std::slice::from_ref(&manual), &[seen("b", "o", 5, NEW)]).with_open_ai("r", minute);
    changed(4).check_doubts(&[]);
    changed(6).check_doubts(&[("dormant", "r")]);
    assert_ne!(changed(6).doubt().state, changed(7).doubt().state);
    assert_eq!(changed(6).doubt(), changed(6).doubt());
    changed(6).tested("r", 8, NEW).check_doubts(&[]);
    changed(6).tested("r", 8, OLD).check_doubts(&[("dormant", "r")]);
    changed(9).tested("r", 8, NEW).check_doubts(&[("dormant", "r")]);
    // What is put away cannot be started.
    Story::of(&[with(manual.clone(), "isArchived", json!(true))], &[]).check_doubts(&[]);
}

#[test]
fn what_is_put_away_runs_where_it_is_called() {
    let call = |id: &str| json!({ "id": "c", "name": "c", "type": "n8n-nodes-base.executeWorkflow", "parameters": { "workflowId": id } });
    let archived = with(off("s", &[model("n", "new")]), "isArchived", json!(true));
    // n8n 1.x does not look whether it is.
    let caller = workflow("a", &[call("s")]);
    Story::of(&[archived.clone(), caller.clone()], &[]).check(&[("never_seen", "n")], &[("n", "never_seen")]);
    // n8n 2.x has it run where a person runs the caller.
    let later = with(with(archived.clone(), "versionId", json!("1")), "activeVersionId", json!(null));
    Story::of(&[later.clone(), caller], &[]).check_doubts(&[("dormant", "new")]);
    Story::of(std::slice::from_ref(&later), &[]).check_doubts(&[]);
    // One that is put away as well calls nothing, unless it is called.
    let middle = with(later.clone(), "id", json!("m"));
    let middle = with(middle, "nodes", json!([call("s")]));
    Story::of(&[later.clone(), middle.clone()], &[]).check_doubts(&[]);
    Story::of(&[later, middle, workflow("a", &[call("m")])], &[]).check_doubts(&[("dormant", "new")]);
}

#[test]
fn what_was_never_published_is_run_from_its_draft() {
    let never = json!({ "id": "w", "name": "w", "active": false, "updatedAt": text(0), "versionId": "1",
        "activeVersionId": null, "nodes": [model("n", "r")] });
    Story::of(std::slice::from_ref(&never), &[]).check_doubts(&[("dormant", "r")]);
    Story::of(std::slice::from_ref(&never), &[seen("w", "n", 5, NEW)]).check_doubts(&[]);
}

#[test]
fn a_seasonal_workflow_is_a_doubt_until_it_runs_or_its_record_is_proven() {
    let workflows = [workflow("yearly", &[model("n", "r")])];
    let story = |sightings: &[Sighting<'static>]| Story::of(&workflows, sightings).with_open_ai("r", 3);
    story(&[]).check_doubts(&[("never_seen", "r")]);
    story(&[seen("yearly", "n", 2, OLD)]).check_doubts(&[("changed_since", "r")]);
    assert_eq!(story(&[seen("yearly", "n", 2, OLD)]).doubt().end, "run one of the nodes, or wait for the next run");
    story(&[seen("yearly", "n", 4, NEW)]).check_doubts(&[]);
    story(&[seen("yearly", "n", 2, OLD)]).tested("r", 5, NEW).check(&[], &[("n", "covered")]);
    story(&[]).tested("r", 5, NEW).check(&[], &[("n", "covered")]);
    story(&[]).tested("r", 5, OLD).check(&[("stale_record", "n")], &[("n", "stale")]);
    // A node that came later has the last word.
    story(&[seen("yearly", "n", 6, OLD)]).tested("r", 5, NEW).check(&[("stale_record", "n")], &[("n", "stale")]);
}

#[test]
fn generic_authentication_is_a_doubt_where_it_may_lead_to_open_ai_or_here() {
    let story =
        |url: &str, sightings: &[Sighting<'static>]| Story::of(&[workflow("a", &[header_auth(url)])], sightings);
    for url in [
        "={{ $vars.OPENAI_URL }}/chat/completions",
        "={{ $json.url }}",
        "http://keyward:8080/v1/x",
        "=http://10.0.0.3/{{ $json.x }}",
    ] {
        story(url, &[]).check_doubts(&[("generic_auth", "a/h")]);
        story(url, &[seen("a", "h", 5, NEW)]).check_doubts(&[]);
    }
    assert_eq!(
        story("={{ $vars.OPENAI_URL }}/chat/completions", &[]).doubt().text,
        "node h of workflow a may lead to OpenAI or to keyward, with a credential of type httpHeaderAuth: n8n does not tell \
         what that holds"
    );
    // Past keyward it goes surely.
    story("https://api.openai.com/v1/models", &[]).check_doubts(&[("bypass", "a/h")]);
    // Another API's business.
    story("https://api.deepseek.com/v1/chat/completions", &[]).check_doubts(&[]);
    story("http://crm:3000/api/contacts", &[]).check_doubts(&[]);
    for auth in ["httpCustomAuth", "httpBearerAuth", "httpQueryAuth", "httpBasicAuth", "oAuth2Api"] {
        let of = json!({ "authentication": "genericCredentialType", "genericAuthType": auth });
        let node = request("h", "={{ $json.url }}", of);
        Story::of(&[workflow("a", std::slice::from_ref(&node))], &[]).check_doubts(&[("generic_auth", "a/h")]);
        Story::of(&[off("a", &[node])], &[]).check_doubts(&[("generic_auth", "a/h")]);
    }
    let old = request("h", "={{ $json.url }}", json!({ "authentication": "queryAuth" }));
    Story::of(&[workflow("a", &[old])], &[]).check_doubts(&[("generic_auth", "a/h")]);
}

#[test]
fn a_host_is_private_where_no_public_name_server_knows_it() {
    for host in
        ["keyward", "keyward:8080", "10.0.0.3:80", "127.0.0.1", "[::1]:8080", "[fd00::1]", "100.64.1.1", "a.internal"]
    {
        assert!(is_private(host), "{host}");
    }
    for host in ["api.deepseek.com", "keyward.example.com:8443", "8.8.8.8", "100.128.0.1", "[2606:4700::1]:443"] {
        assert!(!is_private(host), "{host}");
    }
}

#[test]
fn a_key_or_an_address_by_expression_is_a_doubt_until_it_is_seen() {
    let key =
        |value: &str| json!({ "headerParameters": { "parameters": [{ "name": "Authorization", "value": value }] } });
    let story = |node: &Value, sightings: &[Sighting<'static>]| {
        Story::of(&[workflow("a", std::slice::from_ref(node))], sightings)
    };
    for node in [
        request("h", "={{ $vars.OPENAI_URL }}/x", key("=Bearer {{ $env.OPENAI_KEY }}")),
        request("h", "={{ $json.url }}", json!({ "jsonHeaders": "={{ $json.headers }}" })),
        request("h", "http://keyward:8080/v1/x", key("={{ 'Bearer ' + $vars.KEY }}")),
    ] {
        story(&node, &[]).check_doubts(&[("unclear_key", "a/h")]);
        story(&node, &[seen("a", "h", 5, NEW)]).check_doubts(&[]);
        story(&node, &[seen("a", "h", -5, NEW)]).check_doubts(&[("unclear_key", "a/h")]);
    }
    let unclear = with_record(request("h", "={{ $vars.OPENAI_URL }}/x", predefined()), "r");
    story(&unclear, &[]).check_doubts(&[("unclear_address", "a/h")]);
    story(&unclear, &[seen("a", "h", 5, NEW)]).check_doubts(&[]);
    // It sends no key at all.
    story(&request("h", "={{ $json.url }}", json!({})), &[]).check_doubts(&[]);
    story(&request("h", "https://api.example.com/v1", key("=Bearer {{ $env.X }}")), &[]).check_doubts(&[]);
}

#[test]
fn behind_a_mixed_node_its_record_is_right_and_another_sender_is_not() {
    let workflows = [workflow("a", &[model("n", "r"), model("m", "r")])];
    let mut story = Story::of(&workflows, &[seen("a", "n", 6, NEW), seen("a", "m", 5, NEW)]);
    story.sightings[0].standing = Standing::Mixed;
    story.check(&[("mixed", "n")], &[("n", "stale"), ("m", "passes")]);
    story.check_doubts(&[]);
    let finding = &story.audit().findings[0];
    assert!(finding.step().contains("a worker with an older environment, a clone of n8n"), "{}", finding.step());
}

#[test]
fn a_record_without_a_node_is_a_doubt_and_never_said_to_be_unused() {
    let workflows = [workflow("a", &[model("n", "r")])];
    let story = || Story::of(&workflows, &[seen("a", "n", 5, NEW)]).with_open_ai("r", 1).with_open_ai("s", 2);
    story().check_doubts(&[("record_without_node", "s")]);
    let doubt = story().doubt();
    assert_eq!(
        doubt.text,
        "n8n does not tell who uses credential s of today: no node does, but its Agents, Instance AI or Chat Hub may"
    );
    assert!(!doubt.text.contains("unused") && !doubt.end.starts_with("delete"), "{}", doubt.end);
    story().tested("s", 6, NEW).check_doubts(&[]);
    story().tested("s", 1, NEW).check_doubts(&[("record_without_node", "s")]);
    let old = story().tested("s", 6, OLD).doubt();
    assert!(old.text.contains(", and its test showed key sk-proj-…Oldd ("), "{}", old.text);
    assert_ne!(old.state, doubt.state);
    let is_fault = |story: Story| story.audit().faults().next().is_some();
    assert!(is_fault(story().tested("s", 6, OLD)) && !is_fault(story()), "a wrong key is a fault, no key a doubt");
    // A token of ours is no key that rotates.
    story().tested("s", 6, "kw_0123456789abcdefghijAbCd").check_doubts(&[]);
    // What only archived workflows and disabled nodes name has no node that may run.
    let archived = with(off("b", &[model("m", "s")]), "isArchived", json!(true));
    let disabled = workflow("c", &[with(model("k", "s"), "disabled", json!(true))]);
    let workflows = [workflows[0].clone(), archived, disabled];
    let story = Story::of(&workflows, &[seen("a", "n", 5, NEW)]).with_open_ai("s", 2);
    story.check_doubts(&[("record_without_node", "s")]);
    // Records of other types are none of ours.
    let mut builder = Builder::new(&names);
    builder.add_record(&record("t", "slackApi", 1));
    let mut story = Story::of(&workflows[..1], &[seen("a", "n", 5, NEW)]);
    story.inventory.records = builder.finish().records;
    story.check_doubts(&[]);
}

#[test]
fn what_the_api_key_may_not_do_is_a_doubt_with_its_scope() {
    let mut story = Story::of(&[workflow("a", &[model("n", "r")])], &[seen("a", "n", 5, NEW)]);
    story.check_doubts(&[]);
    story.lacks = vec!["credential:list", "execution:list"];
    story.check_doubts(&[("scope_lacks", "credential:list"), ("scope_lacks", "execution:list")]);
    let doubts = story.audit().doubts;
    assert_eq!(doubts[1].end, "give n8n's API key the scope execution:list");
    assert_eq!(
        doubts[1].text,
        "n8n's API key lacks the scope execution:list: which executions wait or run with what they began with is not known"
    );
    assert_eq!(story.audit().faults().count(), 0);
}

#[test]
fn requests_of_workflows_that_n8n_does_not_list_are_a_doubt() {
    let workflows = [workflow("a", &[model("n", "r")])];
    let own = seen("a", "n", 5, NEW);
    let stranger = |id: &'static str| seen(id, "s1", 6, NEW);
    let story = |more: &[Sighting<'static>]| Story::of(&workflows, &[std::slice::from_ref(&own), more].concat());
    story(&[stranger("SECRET"), stranger("OTHER"), stranger("SECRET")]).check_doubts(&[("unlisted_workflow", "main")]);
    let doubt = story(&[stranger("SECRET"), stranger("OTHER")]).doubt();
    assert_eq!(doubt.text, "requests come from workflows OTHER, SECRET, which n8n's API does not list to this API key");
    assert!(doubt.end.contains("keyward ack"), "{}", doubt.end);
    assert_ne!(doubt.state, story(&[stranger("SECRET")]).doubt().state, "one more is another doubt");
    // It ends when they are acknowledged, listed, listed by another n8n of the set, or of another set.
    story(&[Sighting { is_acknowledged: true, ..stranger("SECRET") }]).check_doubts(&[]);
    let listed = [workflows[0].clone(), workflow("SECRET", &[])];
    Story::of(&listed, &[own.clone(), stranger("SECRET")]).check_doubts(&[]);
    let mut other = story(&[stranger("SECRET")]);
    other.other = Some(inventory(&listed[1..]));
    other.check_doubts(&[]);
    let named = Sighting { instance: Some("main"), ..stranger("SECRET") };
    let mut other = story(&[named]);
    other.other = Some(inventory(&listed[1..]));
    other.check_doubts(&[("unlisted_workflow", "main")]);
    let mut of_set = story(&[Sighting { set: "staging", ..stranger("SECRET") }]);
    of_set.check_doubts(&[("unlisted_workflow", "main")]);
    of_set.set = Some("default");
    of_set.check_doubts(&[]);
}

#[test]
fn what_came_once_may_be_a_chat_and_is_accepted_as_such() {
    let workflows = [workflow("a", &[model("n", "r")])];
    let turn = |id: &'static str| Sighting { is_single: true, ..seen(id, "m", 6, NEW) };
    let story = |turns: &[&'static str]| {
        let turns = turns.iter().map(|id| turn(id));
        Story::of(&workflows, &[seen("a", "n", 5, NEW)].into_iter().chain(turns).collect::<Vec<_>>())
    };
    story(&["21FYybvGctNHMY9c"]).check_doubts(&[("unlisted_once", "main")]);
    let (one, two) = (story(&["21FYybvGctNHMY9c"]).doubt(), story(&["21FYybvGctNHMY9c", "y6RSYp92UDO5Ef81"]).doubt());
    assert_eq!(one.state, two.state, "an acceptance is not ended by the next turn");
    assert!(two.text.contains("21FYybvGctNHMY9c, y6RSYp92UDO5Ef81"), "{}", two.text);
    // Nothing but n8n's LangChain nodes sends so, and a workflow that comes again is none of a chat.
    let vendor = Sighting { client: "vendor", ..turn("x") };
    Story::of(&workflows, &[seen("a", "n", 5, NEW), vendor]).check_doubts(&[("unlisted_workflow", "main")]);
    story(&["x", "x"]).check_doubts(&[("unlisted_workflow", "main")]);
}

#[test]
fn the_same_ids_in_two_n8n_are_a_doubt_until_requests_say_whose_they_are() {
    let workflows = [workflow("a", &[model("n", "r")]), workflow("b", &[model("m", "r")])];
    let story = |sightings: &[Sighting<'static>], other: &[Value]| {
        let mut story = Story::of(&workflows, sightings);
        story.other = Some(inventory(other));
        story
    };
    let own = |minute, name: Option<&'static str>| Sighting { instance: name, ..seen("a", "n", minute, NEW) };
    story(&[own(5, None)], &workflows).check_doubts(&[("same_ids", "staging")]);
    assert_eq!(
        story(&[own(5, None)], &workflows).doubt().text,
        "workflow a stands in n8n `staging` as well, and requests do not say which n8n they come from"
    );
    story(&[own(5, None), own(6, Some("main"))], &workflows).check_doubts(&[]);
    story(&[own(6, None), own(5, Some("main"))], &workflows).check_doubts(&[("same_ids", "staging")]);
    story(&[own(5, None)], &[workflow("c", &[model("n", "r")])]).check_doubts(&[]);
    story(&[own(5, None)], &[workflow("a", &[model("other", "r")])]).check_doubts(&[]);
}

#[test]
fn a_workflow_that_stands_in_a_node_has_its_nodes_among_the_others() {
    let call = |workflow: Value| {
        json!({ "id": "c", "name": "Call", "type": "n8n-nodes-base.executeWorkflow",
            "parameters": { "source": "parameter", "workflowJson": workflow } })
    };
    let inner = json!({ "nodes": [model("i", "new")] });
    let story =
        |call: Value, sightings: &[Sighting<'static>]| Story::of(&[workflow("a", &[model("n", "r"), call])], sightings);
    let own = seen("a", "n", 5, NEW);
    for written in [call(json!(inner.to_string())), call(inner.clone())] {
        story(written.clone(), std::slice::from_ref(&own)).check_doubts(&[("never_seen", "new")]);
        let story = story(written, &[own.clone(), seen("a", "i", 6, NEW)]);
        story.check_doubts(&[]);
        assert_eq!(&*story.audit().rows[1].node.name, "i in Call");
    }
    // With an id of its own, its requests name that as their workflow.
    let named = json!({ "id": "inside", "nodes": [model("i", "new")] });
    let seen_inside = [own.clone(), seen("inside", "i", 6, NEW)];
    story(call(named.clone()), &seen_inside).check(&[("several_records", "")], &[("n", "passes"), ("i", "passes")]);
    story(call(named), &seen_inside).check_doubts(&[]);
    // One in another, and a key that is typed there.
    let typed_inside = json!({ "nodes": [request("t", "https://api.openai.com/v1/models", typed(OLD))] });
    let nested = call(json!({ "nodes": [call(json!(typed_inside.to_string()))] }));
    assert_eq!(story(nested, std::slice::from_ref(&own)).cleared().typed.len(), 1);
    // What cannot be read is a doubt.
    for written in [json!("={{ $json.workflow }}"), json!("{"), json!(5)] {
        story(call(written), std::slice::from_ref(&own)).check_doubts(&[("unclear_call", "a/Call")]);
    }
    let fetched = json!({ "id": "c", "name": "Call", "type": "n8n-nodes-base.executeWorkflow",
        "parameters": { "source": "url", "workflowUrl": "https://example.com/workflow.json" } });
    story(fetched, std::slice::from_ref(&own)).check_doubts(&[("unclear_call", "a/Call")]);
}

#[test]
fn a_call_by_expression_is_a_doubt_until_it_names_a_workflow() {
    let call = |id: &str| json!({ "id": "c", "name": "Call", "type": "n8n-nodes-base.executeWorkflow", "parameters": { "workflowId": id } });
    let story = |id: &str| Story::of(&[workflow("a", &[model("n", "r"), call(id)])], &[seen("a", "n", 5, NEW)]);
    story("={{ $json.id }}").check_doubts(&[("unclear_call", "a/Call")]);
    assert_eq!(
        story("={{ $json.id }}").doubt().text,
        "node Call of workflow a calls a workflow that only a run can tell"
    );
    story("b").check_doubts(&[]);
}

#[test]
fn agents_that_stand_in_nodes_are_listed_with_their_records() {
    let agent = |parameters: Value| json!({ "id": "g", "name": "Ask", "type": "n8n-nodes-base.messageAnAgent", "parameters": parameters });
    let inline = |config: Value| agent(json!({ "agentSource": "inline", "inlineAgent": { "config": config } }));
    let own = seen("a", "n", 5, NEW);
    let story = |node: Value| {
        let story = Story::of(&[workflow("a", &[model("n", "r"), node])], std::slice::from_ref(&own));
        story.with_open_ai("r", 1)
    };
    story(inline(json!({ "model": "openai/gpt-5", "credential": "r" })))
        .check(&[], &[("n", "passes"), ("g", "covered")]);
    let other = || story(inline(json!({ "credential": "s" }))).with_open_ai("s", 2);
    other().check(&[("never_seen", "g")], &[("n", "passes"), ("g", "never_seen")]);
    assert_eq!(
        other().audit().rows[1].record.as_ref().map(|record| record.name.to_string()).as_deref(),
        Some("s of today")
    );
    other().tested("s", 6, NEW).check(&[], &[("n", "passes"), ("g", "covered")]);
    // Its memory and its tools have records of their own.
    let tool = json!({ "node": { "credentials": { "openAiApi": { "id": "s", "name": "" } } } });
    let several = inline(
        json!({ "credential": "r", "memory": { "episodicMemory": { "credential": "managed" } }, "tools": [tool] }),
    );
    let story_of_several = story(several).with_open_ai("s", 2);
    story_of_several.check(&[("never_seen", "g")], &[("n", "passes"), ("g", "covered"), ("g", "never_seen")]);
    // One that stands elsewhere is known by its traffic alone; what was written down before is not used.
    let referenced = agent(json!({ "agentSource": "referenced", "agentId": { "value": "x" },
        "inlineAgent": { "config": { "credential": "r" } } }));
    story(referenced.clone()).check(&[("asks_agent", "g")], &[("n", "passes")]);
    story(referenced).check_doubts(&[]);
    // A record of another provider is none of ours.
    let mut anthropic = Builder::new(&names);
    anthropic.add(&serde_json::from_value(workflow("a", &[inline(json!({ "credential": "z" }))])).expect("a workflow"));
    anthropic.add_record(&record("z", "anthropicApi", 1));
    assert_eq!(anthropic.finish().workflows[0].nodes.len(), 0);
}

#[test]
fn what_n8n_pays_for_is_said_and_no_doubt() {
    let managed = json!({ "id": "m", "name": "m", "type": "@n8n/n8n-nodes-langchain.lmChatOpenAi", "typeVersion": 1.2, "parameters": {},
        "credentials": { "openAiApi": { "id": null, "name": "", "__aiGatewayManaged": true } } });
    let story = Story::of(&[workflow("a", &[model("n", "r"), managed])], &[seen("a", "n", 5, NEW)]);
    story.check(&[("gateway", "m")], &[("n", "passes"), ("m", "off")]);
    assert_eq!(story.audit().findings[0].to_string(), "n8n itself pays for 1 node, so that they never pass keyward");
    story.check_doubts(&[]);
}

#[test]
fn what_was_a_doubt_before_has_an_end_as_well() {
    let code = json!({ "id": "c", "name": "c", "type": "n8n-nodes-base.code", "parameters": { "jsCode": "fetch('https://api.openai.com')" } });
    let own = seen("a", "n", 5, NEW);
    let story = |node: Value| Story::of(&[workflow("a", &[model("n", "r"), node])], std::slice::from_ref(&own));
    story(code.clone()).check_doubts(&[("mentions", "a/c")]);
    story(with(code, "disabled", json!(true))).check_doubts(&[]);
    let old_model = json!({ "id": "l", "name": "l", "type": "@n8n/n8n-nodes-langchain.lmOpenAi", "parameters": {},
        "credentials": { "openAiApi": { "id": "r", "name": "r" } } });
    story(old_model.clone()).check_doubts(&[("bypass", "a/l")]);
    story(with(old_model, "parameters", json!({ "options": { "baseURL": KEYWARD } })))
        .reached_at("keyward:8080")
        .check_doubts(&[]);
    Story::of(&[workflow("a", &[model("n", "r")])], &[seen("a", "n", 5, OLD)]).check_doubts(&[("stale_record", "r")]);
    let node = request("h", KEYWARD, json!({}));
    Story::of(&[workflow("a", &[node])], &[seen("a", "h", 5, OLD)]).check_doubts(&[("stale_node", "a/h")]);
    let draft = |draft: &[Value]| {
        let published = json!({ "id": "a", "name": "a", "active": true, "versionId": "2", "activeVersionId": "1", "nodes": draft,
            "activeVersion": { "versionId": "1", "createdAt": text(0), "nodes": [model("n", "r")] } });
        Story::of(&[published], std::slice::from_ref(&own))
    };
    draft(&[model("n", "new")]).check_doubts(&[("draft_differs", "a")]);
    assert_eq!(draft(&[model("n", "new")]).doubt().end, "publish the draft, or discard it");
    draft(&[model("n", "r")]).check_doubts(&[]);
    // A key that is typed is told by itself.
    story(json!({ "id": "c", "name": "c", "type": "n8n-nodes-base.code", "parameters": { "jsCode": OLD } }))
        .check_doubts(&[]);
}

fn any_workflows() -> impl Strategy<Value = Vec<Value>> {
    let id = || prop::sample::select(vec!["a", "b", "c"]);
    let url = prop::sample::select(vec![KEYWARD, "https://api.openai.com/v1", "={{ $json }}", ""]);
    let node = (id(), id(), url, 0..4_u8, any::<bool>()).prop_map(|(id, record, url, kind, disabled)| {
        let node = match kind {
            0 => model(id, record),
            1 => with_record(request(id, url, predefined()), record),
            2 => request(id, url, typed(OLD)),
            _ => json!({ "id": id, "type": "n8n-nodes-base.executeWorkflow", "parameters": { "workflowId": record } }),
        };
        with(node, "disabled", json!(disabled))
    });
    let parts = (id(), prop::collection::vec(node, 0..5), any::<bool>(), any::<bool>(), 0..20_i64);
    let whole = parts.prop_map(|(id, nodes, active, archived, changed)| {
        let value = with(with(workflow(id, &nodes), "active", json!(active)), "isArchived", json!(archived));
        with(value, "updatedAt", json!(text(changed)))
    });
    prop::collection::vec(whole, 0..5)
}

fn any_sightings() -> impl Strategy<Value = Vec<Sighting<'static>>> {
    let id = || prop::sample::select(vec!["a", "b", "c"]);
    let sighting = (id(), id(), 0..20_i64, any::<bool>())
        .prop_map(|(workflow, node, minute, is_new)| seen(workflow, node, minute, if is_new { NEW } else { OLD }));
    prop::collection::vec(sighting, 0..8)
}

proptest! {
    /// Whatever is configured and seen: no node that runs and was not seen with the right key is taken to be well without
    /// another of its record that was.
    #[test]
    fn no_node_is_well_without_a_sighting_of_its_record(workflows in any_workflows(), sightings in any_sightings()) {
        let story = Story::of(&workflows, &sightings);
        let audit = story.audit();
        let is_well = |sighting: &Sighting| sighting.standing == Standing::Well;
        for row in audit.rows.iter().filter(|row| matches!(row.passage, Passage::Passes | Passage::Covered)) {
            prop_assert!(sightings.iter().any(is_well), "{row:?}");
            if row.passage == Passage::Passes {
                let own = |seen: &&Sighting| seen.workflow == Some(&row.node.workflow.id) && seen.node == Some(&row.node.id);
                prop_assert!(sightings.iter().filter(own).any(is_well), "{row:?}");
            }
        }
        prop_assert!(audit.findings.is_sorted_by_key(Finding::urgency));
        prop_assert!(audit.findings.iter().all(|finding| !finding.to_string().contains("0123456789")));
    }
}

fn entrance() -> Entrance {
    let origin =
        crate::net::origin::Upstream { scheme: crate::net::origin::Scheme::Http, host: "keyward".into(), port: 8080 };
    Entrance::new(crate::n8n::address::Address { origin, path: "".into() }).expect("an entrance")
}

#[test]
fn the_nodes_of_a_record_that_was_disconnected_are_off_keyward_until_it_is_changed_or_seen() {
    let left = |changed: i64| Left {
        n8n: "http://n8n".to_owned(),
        credential: "r".to_owned(),
        url: "https://api.openai.com/v1".to_owned(),
        at: at(20).as_millis(),
        changed: Some(at(changed).as_millis()),
    };
    let nodes = [model("a", "r"), model("b", "r"), model("c", "other")];
    let story = |left: Left, sightings: &[Sighting<'static>]| Story {
        left: vec![left],
        ..Story::of(&[workflow("w", &nodes)], sightings).with_record("r", 20)
    };
    let texts = |story: &Story| -> Vec<_> { story.audit().faults().map(ToString::to_string).collect() };
    let said = |node: &str| {
        format!(
            "node {node} of workflow w sends past keyward: its credential was disconnected at {}, and leads to \
             https://api.openai.com/v1",
            text(20)
        )
    };
    let before = [seen("w", "a", 10, NEW)];
    let told = texts(&story(left(20), &before));
    assert_eq!(told.iter().filter(|text| text.contains("disconnected")).collect::<Vec<_>>(), [&said("a"), &said("b")]);
    let doubts = story(left(20), &before).doubts();
    assert!(doubts.contains(&("bypass", "w/a".to_owned())), "{doubts:?}");
    assert!(doubts.iter().all(|(code, _)| *code != "changed_since"), "each is named once: {doubts:?}");
    let is_told = |story: &Story| texts(story).iter().any(|text| text.contains("disconnected"));
    // Changed in n8n since; and seen here since.
    assert!(!is_told(&story(left(19), &before)));
    assert!(!is_told(&story(left(20), &[seen("w", "a", 30, NEW)])));
}

#[test]
fn what_to_put_into_a_node_stands_in_its_remedy() {
    let openai = "https://api.openai.com/v1/chat/completions";
    let steps = |story: Story| -> Vec<_> {
        let story = Story { entrance: Some(entrance()), ..story };
        story.audit().faults().filter(|fault| fault.code() == "bypass").map(|fault| fault.step().into_owned()).collect()
    };
    let of = |node: Value| Story::of(&[workflow("w", &[node])], &[]);
    let tagging = "http://keyward:8080/n8n/{{ $execution.id == '__UNKNOWN__' ? 'editor' : $workflow.id }}/{{ $execution.id \
                   }}/{{ $nodeId || 'none' }}/v1/chat/completions";
    assert_eq!(
        steps(of(request("a", openai, typed(OLD)))),
        [format!("put {tagging} into the node's URL, as an expression")]
    );
    // On n8n 2.x its credential tags it.
    let mut story = of(with_record(request("a", openai, predefined()), "r"));
    story.inventory.lists_records = true;
    let plain = "put http://keyward:8080/v1/chat/completions into the node's URL";
    assert_eq!(steps(story), [plain]);
    // What may hold a secret is not repeated.
    let steps_of_secret = steps(of(request("a", "https://api.openai.com/v1/files/SECRET", typed(OLD))));
    assert!(steps_of_secret[0].ends_with("/v1 into the node's URL, as an expression"), "{steps_of_secret:?}");
    // A model with an address of its own has it among its options.
    let model = json!({ "id": "l", "name": "l", "type": "@n8n/n8n-nodes-langchain.lmOpenAi", "parameters": {} });
    let mut story = of(with_record(model, "r"));
    story.inventory.lists_records = true;
    assert!(steps(story)[0].starts_with("give the node http://keyward:8080/v1 as its own Base URL, or use the OpenAI"));
}

#[test]
fn a_node_that_is_both_typed_and_unpublished_is_named_once() {
    let there = "https://api.openai.com/v1/chat/completions";
    let published = json!({
        "id": "w", "name": "w", "active": true, "versionId": "2", "activeVersionId": "1", "updatedAt": text(0),
        "nodes": [model("a", "r"), request("t", there, typed(OLD))],
        "activeVersion": { "nodes": [model("a", "r")] },
    });
    let texts: Vec<_> = Story::of(&[published], &[]).audit().findings.iter().map(ToString::to_string).collect();
    let named: Vec<_> = texts.iter().filter(|text| text.contains("node t ") || text.contains("t is new")).collect();
    assert_eq!(named.len(), 1, "{texts:?}");
    assert!(named[0].ends_with("it stands in the draft alone, which is not published"), "{named:?}");
    assert!(texts.contains(&"the draft of workflow w is not published".to_owned()), "{texts:?}");
}
