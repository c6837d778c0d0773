//! What stands in for OpenAI in the demo: it answers as OpenAI does, in JSON, in streams and in its refusals.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A server on loopback that takes some keys and refuses all others.
///
/// It is part of the program, so it is none of those that tests and benches have: it answers each route as OpenAI does, to
/// show in logs and on pages what users will see.
pub struct Upstream {
    listener: TcpListener,
    keys: &'static [&'static str],
}

impl Upstream {
    /// On a port that the system chooses.
    pub async fn open(keys: &'static [&'static str]) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self { listener, keys })
    }

    /// Where it listens; an error where the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves as long as it is polled.
    pub async fn run(self) -> io::Result<Infallible> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let answer = move |request| async move { answer(self.keys, request).await };
            // A connection that breaks is keyward's to tell.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    }
}

async fn answer(keys: &[&str], request: Request<Incoming>) -> hyper::Result<Response<Chunks>> {
    let (head, body) = request.into_parts();
    let asked = serde_json::from_slice(&body.collect().await?.to_bytes()).unwrap_or(Value::Null);
    let credential = head.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let key = credential.and_then(|value| value.strip_prefix(b"Bearer ")).map(String::from_utf8_lossy);
    Ok(match key {
        None => refusal(NO_KEY, &Value::Null),
        Some(key) if keys.contains(&&*key) => granted(head.uri.path(), &asked),
        Some(key) => refusal(&WRONG_KEY.replace("[key]", &masked(&key)), &"invalid_api_key".into()),
    })
}

fn granted(path: &str, asked: &Value) -> Response<Chunks> {
    match path {
        "/v1/chat/completions" if asked["stream"] == true => stream(),
        "/v1/chat/completions" => {
            let message = json!({ "role": "assistant", "content": WORDS.concat(), "refusal": null });
            let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" });
            good(&json!({ "id": "chatcmpl-demo", "object": "chat.completion", "created": CREATED, "model": MODEL,
                "choices": [choice], "usage": usage() }))
        }
        "/v1/completions" => {
            let choice = json!({ "text": WORDS.concat(), "index": 0, "logprobs": null, "finish_reason": "stop" });
            good(&json!({ "id": "cmpl-demo", "object": "text_completion", "created": CREATED, "model": MODEL,
                "choices": [choice], "usage": usage() }))
        }
        "/v1/responses" => {
            let content = json!({ "type": "output_text", "text": WORDS.concat(), "annotations": [] });
            let message = json!({ "id": "msg_demo", "type": "message", "status": "completed", "role": "assistant",
                "content": [content] });
            good(&json!({ "id": "resp_demo", "object": "response", "created_at": CREATED, "status": "completed",
                "model": MODEL, "output": [message], "error": null }))
        }
        "/v1/embeddings" => {
            let embedding = json!({ "object": "embedding", "index": 0, "embedding": "AAAAAAAAgD8=" });
            good(&json!({ "object": "list", "data": [embedding], "model": "text-embedding-3-small",
                "usage": { "prompt_tokens": 2, "total_tokens": 2 } }))
        }
        "/v1/images/generations" => good(&json!({ "created": CREATED, "data": [{ "b64_json": PIXEL }] })),
        "/v1/audio/transcriptions" => good(&json!({ "text": WORDS.concat() })),
        "/v1/models" => {
            let model = json!({ "id": MODEL, "object": "model", "created": CREATED, "owned_by": "demo" });
            good(&json!({ "object": "list", "data": [model] }))
        }
        path => json_answer(StatusCode::NOT_FOUND, &error(&format!("Invalid URL (POST {path})"), &Value::Null)),
    }
}

fn good(value: &Value) -> Response<Chunks> {
    json_answer(StatusCode::OK, value)
}

/// A chat completion word by word, as server-sent events.
fn stream() -> Response<Chunks> {
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
        format!(
            "data: {}\n\n",
            json!({ "id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": CREATED, "model": MODEL,
                "choices": [choice] })
        )
    };
    let words = WORDS.iter().map(|word| chunk(json!({ "content": word }), Value::Null));
    let events = words.chain([chunk(json!({}), "stop".into()), "data: [DONE]\n\n".to_owned()]);
    let mut answer = Response::new(Chunks(events.map(Bytes::from).collect()));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    answer
}

fn refusal(message: &str, code: &Value) -> Response<Chunks> {
    let mut answer = json_answer(StatusCode::UNAUTHORIZED, &error(message, code));
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"OpenAI API\""));
    answer
}

fn json_answer(status: StatusCode, value: &Value) -> Response<Chunks> {
    let mut answer = Response::new(Chunks(VecDeque::from([Bytes::from(format!("{value:#}"))])));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn error(message: &str, code: &Value) -> Value {
    json!({ "error": { "message": message, "type": "invalid_request_error", "param": null, "code": code } })
}

fn usage() -> Value {
    json!({ "prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15 })
}

/// A key as OpenAI's refusals quote it: eight characters, stars, four characters, and a short one whole.
fn masked(key: &str) -> String {
    match (key.get(..8), key.len().checked_sub(12), key.get(key.len().saturating_sub(4)..)) {
        (Some(first), Some(hidden @ 1..), Some(last)) => format!("{first}{}{last}", "*".repeat(hidden)),
        _ => key.to_owned(),
    }
}

/// A body that is there already. One of a single chunk has a length.
struct Chunks(VecDeque<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match (self.0.len(), self.0.front()) {
            (1, Some(chunk)) => SizeHint::with_exact(chunk.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

const NO_KEY: &str = "You didn't provide an API key. You need to provide your API key in an Authorization header using \
    Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing \
    the API from your browser and are prompted for a username and password. You can obtain an API key from \
    https://platform.openai.com/account/api-keys.";

const WRONG_KEY: &str = "Incorrect API key provided: [key]. You can find your API key at \
    https://platform.openai.com/account/api-keys.";

const MODEL: &str = "gpt-4o-mini";

const WORDS: [&str; 5] = ["This", " is", " only", " a", " demo."];

const CREATED: u64 = 1_790_000_000;

/// A PNG of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_quote_keys_as_openai_does() {
        assert_eq!(masked("sk-demo-0123456789"), "sk-demo-******6789");
        assert_eq!(masked("0123456789ab"), "0123456789ab");
        assert_eq!(masked(""), "");
    }

    #[test]
    fn one_chunk_has_a_length_and_a_stream_has_none() {
        assert_eq!(good(&json!({})).body().size_hint().exact(), Some(2));
        assert_eq!(stream().body().size_hint().exact(), None);
    }
}
