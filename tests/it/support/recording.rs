//! Requests that real n8n sent, as they were recorded: `tests/data/captures/<n8n version>/<what was run>.json`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// One recorded request, its names as they were written and in their order.
#[derive(Clone, Debug)]
pub struct Recording {
    /// `<n8n version>/<file name>`.
    pub name: String,
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// The body, or as much of it as was kept.
    pub body: Vec<u8>,
}

/// All of them, by name.
pub fn recordings() -> Vec<Recording> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/captures");
    let mut files: Vec<_> = files_in(&root).iter().flat_map(|version| files_in(version)).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files.iter().flat_map(|file| read(&root, file)).collect()
}

/// What n8n's Agents, Instance AI, Chat Hub and evaluations sent, with the tags that arrived: `…/<n8n version>/agents`.
pub fn recordings_beyond_nodes() -> Vec<Recording> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/captures/2.41.1/agents");
    let mut files = files_in(&root);
    files.sort();
    files.iter().flat_map(|file| read(&root, file)).collect()
}

/// The first that was recorded of that run.
#[track_caller]
pub fn recording(name: &str) -> Recording {
    recordings().into_iter().find(|recording| recording.name == name).expect("a recording of that name")
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn read(root: &Path, file: &Path) -> Vec<Recording> {
    let name = file.strip_prefix(root).unwrap().with_extension("").to_str().unwrap().replace('\\', "/");
    let requests: Vec<Value> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    requests.iter().map(|request| parse(name.clone(), request)).collect()
}

fn parse(name: String, request: &Value) -> Recording {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let line = text(&request["request_line"]);
    let mut line = line.split(' ').map(str::to_owned);
    let headers = request["headers"].as_array().unwrap().iter().map(|header| (text(&header[0]), text(&header[1])));
    Recording {
        name,
        method: line.next().unwrap(),
        target: line.next().unwrap(),
        headers: headers.collect(),
        body: request["body_prefix"].as_str().unwrap_or_default().as_bytes().to_vec(),
    }
}
