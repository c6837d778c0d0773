//! What finding out the sender costs, for each way that n8n tells it.  `cargo bench --bench attribution`

use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use keyward::caller::Caller;
use keyward::head::Head;
use keyward::request_path::RequestPath;

fn main() {
    divan::main();
}

#[divan::bench(args = ["tag", "path", "organization", "none"])]
fn attribution(bencher: Bencher<'_, '_>, source: &str) {
    let uri = Uri::from_static(if source == "path" { PATH } else { "/v1/chat/completions" });
    let lines = headers(source).into();
    bencher.bench_local(|| {
        let head = Head::new(&Method::POST, black_box(uri.path()), black_box(&lines));
        let read = RequestPath::read(head.path);
        black_box(Caller::identify(&head, &read));
    });
}

fn headers(source: &str) -> HeaderMap {
    let of_source = match source {
        "tag" => Some(("x-n8n-tag", TAG)),
        "organization" => Some(("openai-organization", "n8n-Xk2vQ9wLmB7tRz4c-184467")),
        _ => None,
    };
    let fields = SENT_BY_AN_AGENT.into_iter().chain(of_source);
    fields.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

const PATH: &str = "/n8n/Xk2vQ9wLmB7tRz4c/184467/5d2a3f6e-1111-4222-8333-944445555666/v1/chat/completions";
const TAG: &str = "wf=Xk2vQ9wLmB7tRz4c;ex=184467;node=5d2a3f6e-1111-4222-8333-944445555666";

/// The head of an AI Agent's request (n8n 2.41.1), but for its key.
const SENT_BY_AN_AGENT: [(&str, &str); 16] = [
    ("host", "127.0.0.1:8080"),
    ("connection", "keep-alive"),
    ("accept", "application/json"),
    ("x-stainless-retry-count", "0"),
    ("x-stainless-lang", "js"),
    ("x-stainless-package-version", "6.49.0"),
    ("x-stainless-os", "Linux"),
    ("x-stainless-arch", "x64"),
    ("x-stainless-runtime", "node"),
    ("x-stainless-runtime-version", "v24.21.0"),
    ("user-agent", "langchainjs-openai/1.0.0 ((node/v24.21.0; linux; x64))"),
    ("content-type", "application/json"),
    ("accept-language", "*"),
    ("sec-fetch-mode", "cors"),
    ("accept-encoding", "gzip, deflate"),
    ("content-length", "82"),
];
