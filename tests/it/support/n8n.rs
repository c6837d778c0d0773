//! n8n's public API as far as keyward asks it: the workflows, executions and credential records that a test puts there, and its
//! test of a record, which comes to where the record leads as n8n 2.41.1 was seen to send it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use keyward::net::origin::Upstream;
use serde_json::{Value, json};

use super::client::Client;
use super::upstream::{Answering, FakeUpstream, Visit};

/// A workflow's id, and the id of a node of it.
pub const WORKFLOW: &str = "wf1";
pub const NODE: &str = "11111111-2222-3333-4444-555555555555";

pub const API_KEY: &str = "eyJhbGciOiJIUzI1NiJ9.canary-n8n-api-key-0123456789";

/// A listening n8n.
pub struct FakeN8n {
    server: FakeUpstream,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    workflows: Vec<Value>,
    executions: Vec<Value>,
    /// The credential records, where they are others than the one of `has`; nothing where n8n does not list them.
    records: Option<Vec<Value>>,
    /// What each record holds.
    held: HashMap<String, Held>,
    /// What happens while n8n tests a record.
    meanwhile: Option<Happens>,
    /// It is one of n8n 1: it tests no record, and does not list what runs or waits.
    is_first: bool,
    /// What is answered with 403.
    forbidden: Vec<String>,
    /// The records whose test it cannot make.
    failing: Vec<String>,
    /// What every request is answered with, where it is set.
    trouble: Option<Vec<u8>>,
}

impl FakeN8n {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = FakeUpstream::scripted(move |visit| {
            let tested = shared.lock().unwrap().test_of(visit);
            let changed = shared.lock().unwrap().change_of(visit);
            // Not with the lock held: what the test meets may ask this n8n for something.
            let answer = match (tested, changed) {
                (Some(test), _) => Answering::json(200, test.press().to_string()),
                (None, Some(changed)) => changed,
                (None, None) => shared.lock().unwrap().answer(visit),
            };
            visit.answer(&answer);
        });
        Self { server, state }
    }

    /// Answers as n8n 1.100.1 does.
    pub fn of_first_release() -> Self {
        let n8n = Self::start();
        n8n.state.lock().unwrap().is_first = true;
        n8n
    }

    /// Has a record for `OpenAI` of that id, last changed at that moment, which leads there and holds that key.
    pub fn has_record(&self, id: &str, changed: &str, leads_to: SocketAddr, key: &str) {
        let record = json!({ "id": id, "name": format!("Record {id}"), "type": "openAiApi", "updatedAt": changed });
        let mut state = self.state.lock().unwrap();
        let records = state.records.get_or_insert_default();
        records.retain(|known| known["id"] != id);
        records.push(record);
        let held = Held { leads_to, key: key.to_owned(), tag: Some("wf=editor;ex=__UNKNOWN__;node=".to_owned()) };
        state.held.insert(id.to_owned(), held);
    }

    /// The key that a record holds.
    pub fn key_of(&self, id: &str) -> String {
        self.state.lock().unwrap().held[id].key.clone()
    }

    /// The tag header that the record's requests bear, or none.
    pub fn tags(&self, id: &str, tag: Option<&str>) {
        self.state.lock().unwrap().held.get_mut(id).unwrap().tag = tag.map(str::to_owned);
    }

    /// Answers a test of that record with an error of its own.
    pub fn fails_to_test(&self, id: &str) {
        self.state.lock().unwrap().failing.push(id.to_owned());
    }

    /// Calls that with the record's id whenever it tests one.
    pub fn meanwhile(&self, happens: impl Fn(&str) + Send + Sync + 'static) {
        self.state.lock().unwrap().meanwhile = Some(Arc::new(happens));
    }

    /// Answers with 403 what begins like that, below the API.
    pub fn forbids(&self, path: &str) {
        self.state.lock().unwrap().forbidden.push(path.to_owned());
    }

    /// Has no executions any more.
    pub fn forgets_executions(&self) {
        self.state.lock().unwrap().executions.clear();
    }

    pub fn origin(&self) -> Upstream {
        self.server.origin()
    }

    /// Has a workflow of that id and name, with those nodes: each an id and a name.
    pub fn has(&self, id: &str, name: &str, nodes: &[(&str, &str)]) {
        let node = |(id, name): &(&str, &str)| {
            json!({
                "id": id, "name": name, "type": "n8n-nodes-base.openAi", "parameters": {},
                "credentials": { "openAiApi": { "id": "c1", "name": "Main key" } },
            })
        };
        let nodes: Vec<_> = nodes.iter().map(node).collect();
        self.has_document(json!({ "id": id, "name": name, "active": true, "nodes": nodes }));
    }

    /// Has that workflow.
    pub fn has_document(&self, workflow: Value) {
        self.state.lock().unwrap().workflows.push(workflow);
    }

    /// Has that execution.
    pub fn has_execution(&self, execution: Value) {
        self.state.lock().unwrap().executions.push(execution);
    }

    /// Answers everything with these bytes from now on, or as it should.
    pub fn trouble(&self, answer: Option<Vec<u8>>) {
        self.state.lock().unwrap().trouble = answer;
    }

    /// Has its key no scope for these lists.
    pub fn forbid(&self, lists: &[&'static str]) {
        self.state.lock().unwrap().forbidden = lists.iter().map(|list| (*list).to_owned()).collect();
    }

    /// The paths that it was asked for, below the API.
    pub fn asked(&self) -> Vec<String> {
        let received = self.server.received();
        let path = |line: &str| line.split(' ').nth(1).unwrap().trim_start_matches("/api/v1/").to_owned();
        received.iter().map(|received| path(&received.head.line)).collect()
    }
}

/// Something that happens to a record of that id.
type Happens = Arc<dyn Fn(&str) + Send + Sync>;

/// What stands in a record.
#[derive(Clone)]
struct Held {
    leads_to: SocketAddr,
    key: String,
    tag: Option<String>,
}

/// A test that n8n was asked for.
struct Test {
    record: String,
    held: Held,
    meanwhile: Option<Happens>,
}

impl Test {
    /// n8n asks once more where the key is refused.
    fn press(&self) -> Value {
        if let Some(happens) = &self.meanwhile {
            happens(&self.record);
        }
        match self.ask() {
            Some(200) => json!({ "status": "OK", "message": "Connection successful!" }),
            Some(401) => {
                self.ask();
                json!({ "status": "Error", "message": "Unauthorized" })
            }
            Some(_) => json!({ "status": "Error", "message": "Bad gateway" }),
            None => json!({ "status": "Error", "message": "ECONNREFUSED" }),
        }
    }

    fn ask(&self) -> Option<u16> {
        let stream = std::net::TcpStream::connect(self.held.leads_to).ok()?;
        let tag = self.held.tag.as_ref().map_or_else(String::new, |tag| format!("X-N8N-Tag: {tag}\r\n"));
        let mut client = Client::over(stream);
        client.send(format!(
            "GET /v1/models HTTP/1.1\r\nAccept: application/json, text/plain, */*\r\nAuthorization: Bearer {}\r\n\
             OpenAI-Organization: \r\n{tag}User-Agent: n8n\r\nHost: keyward\r\nConnection: close\r\n\r\n",
            self.held.key
        ));
        Some(client.answer().status)
    }
}

impl State {
    /// The test that is asked for, if one is that can be had.
    fn test_of(&self, visit: &Visit<'_>) -> Option<Test> {
        let target = visit.head.line.strip_prefix("POST /api/v1/credentials/")?;
        let record = target.strip_suffix("/test HTTP/1.1").filter(|_| !self.is_first && self.trouble.is_none())?;
        let is_refused = self.forbids(&format!("credentials/{record}")) || self.failing.iter().any(|id| id == record);
        let held = self.held.get(record).filter(|_| !is_refused)?.clone();
        Some(Test { record: record.to_owned(), held, meanwhile: self.meanwhile.clone() })
    }

    /// The answer to a change of a record's key, if that is asked for and can be had. It changes as 2.41.1 was seen to: what is
    /// sent is merged into the record.
    fn change_of(&mut self, visit: &mut Visit<'_>) -> Option<Vec<u8>> {
        let target = visit.head.line.strip_prefix("PATCH /api/v1/credentials/")?;
        let id = target.strip_suffix(" HTTP/1.1").filter(|_| !self.is_first && self.trouble.is_none())?.to_owned();
        if self.forbids(&format!("PATCH credentials/{id}")) {
            return Some(Answering::json(403, r#"{"message":"Forbidden"}"#));
        }
        let body: Value = serde_json::from_slice(&visit.request().ok()?.body).ok()?;
        let record = self.records.as_mut()?.iter_mut().find(|record| record["id"] == *id)?;
        record["updatedAt"] = jiff::Timestamp::now().to_string().into();
        let held = self.held.get_mut(&id)?;
        assert_eq!(body["isPartialData"], true, "anything else loses what is not sent");
        if let Some(key) = body["data"]["apiKey"].as_str() {
            key.clone_into(&mut held.key);
        }
        Some(Answering::json(200, record.to_string()))
    }

    fn forbids(&self, path: &str) -> bool {
        self.forbidden.iter().any(|forbidden| path.starts_with(forbidden.as_str()))
    }

    /// The executions that a status selects, the newest first.
    fn listed(&self, query: &str) -> Vec<u8> {
        let status = query.split('&').find_map(|part| part.strip_prefix("status="));
        if self.is_first && !matches!(status, None | Some("error" | "success" | "waiting")) {
            let message = "request/query/status must be equal to one of the allowed values: error, success, waiting";
            return Answering::json(400, json!({ "message": message }).to_string());
        }
        let is_selected = |execution: &&Value| match (status, execution["status"].as_str()) {
            (None, Some("running")) => false,
            (Some("waiting"), _) if self.is_first => false,
            (None, Some("waiting")) => !self.is_first,
            (None, _) => true,
            (Some(status), is) => is == Some(status),
        };
        let mut found: Vec<_> = self.executions.iter().filter(is_selected).cloned().collect();
        found
            .sort_by_key(|execution| std::cmp::Reverse(execution["id"].as_str().and_then(|id| id.parse::<u64>().ok())));
        for execution in &mut found {
            execution.as_object_mut().unwrap().retain(|name, _| name != "data" && name != "workflowData");
        }
        list(&found)
    }

    fn answer(&self, visit: &Visit<'_>) -> Vec<u8> {
        if let Some(trouble) = &self.trouble {
            return trouble.clone();
        }
        let has_key = visit.head.headers.iter().any(|(name, value)| name == "x-n8n-api-key" && value == API_KEY);
        if !has_key {
            return Answering::json(401, r#"{"message":"unauthorized"}"#);
        }
        let target = visit.head.line.split(' ').nth(1).unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.trim_start_matches("/api/v1/");
        if self.forbids(path) {
            return Answering::json(403, r#"{"message":"Forbidden"}"#);
        }
        if self.failing.iter().any(|id| path == format!("credentials/{id}/test")) {
            return Answering::json(500, r#"{"message":"Internal Server Error"}"#);
        }
        match path.split_once('/') {
            None if path == "workflows" => list(&self.workflows),
            None if path == "executions" => self.listed(query),
            None | Some(("credentials", _)) if path.starts_with("credentials") && self.is_first => {
                Answering::json(405, r#"{"message":"GET method not allowed"}"#)
            }
            None if path == "credentials" => match &self.records {
                Some(records) => list(records),
                None => list(&[json!({ "id": "c1", "name": "Main key", "type": "openAiApi" })]),
            },
            Some(("workflows", id)) => one(&self.workflows, id),
            Some(("executions", id)) => one(&self.executions, id),
            _ => Answering::json(404, r#"{"message":"not found"}"#),
        }
    }
}

fn list(data: &[Value]) -> Vec<u8> {
    Answering::json(200, json!({ "data": data, "nextCursor": null }).to_string())
}

fn one(all: &[Value], id: &str) -> Vec<u8> {
    match all.iter().find(|one| one["id"] == id) {
        Some(found) => Answering::json(200, found.to_string()),
        None => Answering::json(404, r#"{"message":"Not Found"}"#),
    }
}
