//! Every fault is found, and nothing where there is none.

#![expect(clippy::needless_pass_by_value, reason = "JSON that is written on the spot")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
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
fn seen(workflow: &str, node: &str, minute: i64, key: &str) -> Sighting {
    let standing = if key == NEW { Standing::Well } else { Standing::Stale("stale_binding".into()) };
    Sighting {
        binding: format!("{workflow}-{node}").into(),
        set: "default".into(),
        workflow: Some(workflow.into()),
        node: Some(node.into()),
        at: at(minute),
        key: Some(names(key.as_bytes())),
        execution: Some(format!("{workflow}-{minute}").into()),
        client: "sdk".into(),
        client_version: None,
        standing,
    }
}

struct Story {
    inventory: Inventory,
    sightings: Vec<Sighting>,
    hosts: Vec<String>,
    modes: HashMap<Box<str>, Box<str>>,
}

impl Story {
    fn of(workflows: &[Value], sightings: &[Sighting]) -> Self {
        let inventory = inventory(workflows);
        Self { inventory, sightings: sightings.to_vec(), hosts: Vec::new(), modes: HashMap::new() }
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
        let known = |role: &str| KnownKey { set: "default".into(), role: role.into() };
        let key = |key: &str| names(key.as_bytes()).fingerprint;
        let keys = HashMap::from([(key(OLD), known("previous")), (key(NEW), known("current"))]);
        let Self { inventory, sightings, hosts, modes } = self;
        audit(&Grounds { inventory, sightings, hosts, keys: &keys, modes, at: at(100) })
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
    assert_eq!((story.audit().doubts(), story.audit().workflows, story.audit().records), (vec![], 3, 1));
    // Another n8n, or nobody's.
    let strangers = [Sighting { workflow: None, ..seen("x", "x", 9, OLD) }, seen("x", "x", 9, OLD)];
    Story::of(&workflows[2..], &strangers).check(&[], &[]);
}

#[test]
fn a_node_that_goes_past_keyward_is_found_in_each_of_its_ways() {
    let old_model = |url: Option<&str>| {
        json!({ "id": "l", "name": "l", "type": "@n8n/n8n-nodes-langchain.lmOpenAi", "typeVersion": 1,
            "parameters": { "options": { "baseURL": url } }, "credentials": { "openAiApi": { "id": "r", "name": "r" } } })
    };
    let story = |node: Value, more: &[Sighting]| {
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
    // Another API is nobody's business.
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
    let story = |node: Value, sightings: &[Sighting]| {
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
    // It was changed, and nobody has come since.
    let story = Story::of(&workflows, &stale).with_record("r", 7);
    story.check(&[("changed_since", "n")], &[("n", "unproven"), ("m", "unproven")]);
    assert_eq!(story.audit().faults().count(), 0);
    assert_eq!(
        story.audit().doubts(),
        ["node n of workflow a and 1 others were not seen with the right key since they were changed last"]
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
fn a_silent_record_is_stale_where_n8n_says_that_nobody_changed_it() {
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
    assert_eq!(story.audit().doubts().len(), 1);
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
    assert!(story().started_by("a-5", "webhook").audit().doubts().is_empty());
    let mut dead = story().started_by("a-5", "webhook");
    dead.sightings[0].standing = Standing::Dead;
    dead.check(&[], &rows);
    let archived = with(workflows[0].clone(), "isArchived", json!(true));
    Story::of(&[archived], &[seen("a", "n", 5, NEW)]).check(&[("archived", "a")], &[("n", "off")]);
}

#[test]
fn who_sent_by_an_older_client_than_others_of_its_type_is_told() {
    let by = |node: &str, minute, version: &str| Sighting {
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
    let other = Sighting { client: "vendor".into(), ..by("o", 7, "1.8.3") };
    Story::of(&workflows, &[by("n", 5, "6.49.0"), by("m", 6, "6.49.0"), other])
        .check(&[], &[("n", "passes"), ("m", "passes"), ("o", "passes")]);
}

#[test]
fn a_sub_workflow_runs_when_it_is_called() {
    let trigger = json!({ "id": "t", "type": "n8n-nodes-base.executeWorkflowTrigger" });
    let sub = with(workflow("s", &[trigger, model("n", "new")]), "active", json!(false));
    let call = |id: &str| json!({ "id": "c", "name": "c", "type": "n8n-nodes-base.executeWorkflow", "parameters": { "workflowId": id } });
    Story::of(std::slice::from_ref(&sub), &[]).check(&[("nobody_calls", "s")], &[("n", "off")]);
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

fn any_sightings() -> impl Strategy<Value = Vec<Sighting>> {
    let id = || prop::sample::select(vec!["a", "b", "c"]);
    let sighting = (id(), id(), 0..20_i64, any::<bool>())
        .prop_map(|(workflow, node, minute, is_new)| seen(workflow, node, minute, if is_new { NEW } else { OLD }));
    prop::collection::vec(sighting, 0..8)
}

proptest! {
    /// Whatever is configured and seen: no node that runs and was not seen with the right key is taken to be well without
    /// another of its record that was.
    #[test]
    fn nobody_is_well_without_a_witness(workflows in any_workflows(), sightings in any_sightings()) {
        let story = Story::of(&workflows, &sightings);
        let audit = story.audit();
        let is_well = |sighting: &Sighting| sighting.standing == Standing::Well;
        for row in audit.rows.iter().filter(|row| matches!(row.passage, Passage::Passes | Passage::Covered)) {
            prop_assert!(sightings.iter().any(is_well), "{row:?}");
            if row.passage == Passage::Passes {
                let own = |seen: &&Sighting| seen.workflow.as_deref() == Some(&row.node.workflow.id) && seen.node.as_deref() == Some(&row.node.id);
                prop_assert!(sightings.iter().filter(own).any(is_well), "{row:?}");
            }
        }
        prop_assert!(audit.findings.is_sorted_by_key(Finding::urgency));
        prop_assert!(audit.findings.iter().all(|finding| !finding.to_string().contains("0123456789")));
    }
}
