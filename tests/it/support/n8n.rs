//! n8n's public API as far as keyward asks it: the workflows that a test puts there.

use std::sync::{Arc, Mutex};

use keyward::proxy::Upstream;
use serde_json::{Value, json};

use super::upstream::{Answering, FakeUpstream, Visit};

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
    /// What every request is answered with, where it is set.
    trouble: Option<Vec<u8>>,
    /// The lists that the key has no scope for.
    forbidden: Vec<&'static str>,
}

impl FakeN8n {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = FakeUpstream::scripted(move |visit| {
            let answer = shared.lock().unwrap().answer(visit);
            visit.answer(&answer);
        });
        Self { server, state }
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
        self.state.lock().unwrap().forbidden = lists.to_vec();
    }

    /// The paths that it was asked for, below the API.
    pub fn asked(&self) -> Vec<String> {
        let received = self.server.received();
        let path = |line: &str| line.split(' ').nth(1).unwrap().trim_start_matches("/api/v1/").to_owned();
        received.iter().map(|received| path(&received.head.line)).collect()
    }
}

impl State {
    fn answer(&self, visit: &Visit<'_>) -> Vec<u8> {
        if let Some(trouble) = &self.trouble {
            return trouble.clone();
        }
        let has_key = visit.head.headers.iter().any(|(name, value)| name == "x-n8n-api-key" && value == API_KEY);
        if !has_key {
            return Answering::json(401, r#"{"message":"unauthorized"}"#);
        }
        let target = visit.head.line.split(' ').nth(1).unwrap();
        let path = target.split('?').next().unwrap().trim_start_matches("/api/v1/");
        if self.forbidden.contains(&path) {
            return Answering::json(403, r#"{"message":"Forbidden"}"#);
        }
        match path.split_once('/') {
            None if path == "workflows" => list(&self.workflows),
            None if path == "credentials" => list(&[json!({ "id": "c1", "name": "Main key", "type": "openAiApi" })]),
            None if path == "executions" => list(&self.executions),
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
