//! An n8n with a workflow for every ten bindings, as the public API of n8n 2.41.1 answers: its lists in pages, and nothing that
//! runs or waits.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use keyward::clock::{Clock, Timestamp};

use super::fill::{VISITS, execution_id, node_id, workflow_id};

/// What stands in it.
#[derive(Clone, Copy)]
pub struct N8n {
    pub bindings: usize,
    /// How many credential records the nodes use, those of one workflow the same.
    pub records: usize,
}

impl N8n {
    /// Answers on a port that the system chooses, for as long as the bench runs.
    pub fn serve(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that has gone away asks again.
                let _ = self.answer(&client);
            }
        });
        address
    }

    fn answer(self, client: &TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(client).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let target = first.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let body = match path.trim_start_matches("/api/v1/") {
            "workflows" => page(query, self.workflows(), |number| workflow(number, self.records)),
            "credentials" => page(query, self.records, record),
            "executions" if query.contains("status=") => page(query, 0, |_| String::new()),
            "executions" => page(query, VISITS * self.workflows(), |place| self.execution(place)),
            _ => return write!(&mut &*client, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
        };
        let length = body.len();
        write!(&mut &*client, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")?;
        (&mut &*client).write_all(body.as_bytes())
    }

    fn workflows(self) -> usize {
        self.bindings.div_ceil(10)
    }

    /// The one at that place of the list, which has the last one first.
    fn execution(self, place: usize) -> String {
        let (visit, number) = (VISITS - 1 - place / self.workflows(), self.workflows() - 1 - place % self.workflows());
        let began = ago(Duration::from_hours((VISITS + 1 - visit) as u64));
        format!(
            r#"{{"id":"{}","finished":true,"mode":"trigger","status":"success","startedAt":"{began}","stoppedAt":"{began}","workflowId":"{}"}}"#,
            execution_id(visit, number),
            workflow_id(number)
        )
    }
}

/// What a list has behind its cursor, which is a place in it.
fn page(query: &str, total: usize, one: impl Fn(usize) -> String) -> String {
    let value = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name)?.parse::<usize>().ok());
    let (first, limit) = (value("cursor=").unwrap_or(0), value("limit=").unwrap_or(100));
    let end = total.min(first + limit);
    let data: Vec<_> = (first..end).map(one).collect();
    let next = if end < total { format!("\"{end}\"") } else { "null".to_owned() };
    format!(r#"{{"data":[{}],"nextCursor":{next}}}"#, data.join(","))
}

fn workflow(number: usize, records: usize) -> String {
    let (id, record, changed) = (workflow_id(number), number % records, ago(CHANGED));
    let mut nodes = String::new();
    for place in 0..10 {
        let comma = if place == 0 { "" } else { "," };
        let _ = write!(
            nodes,
            r#"{comma}{{"id":"{}","name":"Message a model {place}","type":"@n8n/n8n-nodes-langchain.openAi","typeVersion":1.8,"position":[0,0],"parameters":{{"modelId":{{"value":"gpt-4o-mini"}}}},"credentials":{{"openAiApi":{{"id":"record{record}","name":"OpenAI account {record}"}}}}}}"#,
            node_id(10 * number + place)
        );
    }
    format!(
        r#"{{"id":"{id}","name":"Weekly report {number}","active":true,"isArchived":false,"versionId":"v{number}","activeVersionId":"v{number}","createdAt":"{changed}","updatedAt":"{changed}","triggerCount":1,"settings":{{}},"nodes":[{nodes}],"activeVersion":{{"versionId":"v{number}","createdAt":"{changed}","nodes":[{nodes}]}},"connections":{{}}}}"#
    )
}

fn record(number: usize) -> String {
    let changed = ago(CHANGED);
    format!(
        r#"{{"id":"record{number}","name":"OpenAI account {number}","type":"openAiApi","createdAt":"{changed}","updatedAt":"{changed}"}}"#
    )
}

fn ago(span: Duration) -> Timestamp {
    let now = Clock::System.now().as_millis();
    Timestamp::from_millis(now - i64::try_from(span.as_millis()).expect("not so long"))
}

/// Before any binding was seen.
const CHANGED: Duration = Duration::from_hours(30 * 24);
