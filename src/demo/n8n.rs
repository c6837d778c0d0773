//! Pure. The requests of the demo's n8n: the same that real n8n was seen to send, with the demo's own key and tag.

use http::Request;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::story::{self, Kind, Means, Release};
use crate::demo::story::SET;
use crate::welcome::TAG_HEADER;

/// The request of a node, with that key if any.
pub fn request(sent: &story::Request, key: Option<&str>) -> http::Result<Request<String>> {
    let release = sent.workflow.release();
    let tagging = match (sent.means, release) {
        // No tag was typed.
        (Means::Typed, _) => Tagging { prefix: format!("/set/{SET}"), organization: None, header: None },
        (Means::Credential, Release::One) => Tagging::by_path(sent),
        (Means::Credential, Release::Two) => {
            Tagging { prefix: String::new(), organization: Some(String::new()), header: Some(tag(sent)) }
        }
    };
    Form::of(sent.node.kind, release).with(tagging, key)
}

/// The request of the test button of the main credential.
pub fn test(release: Release, key: &str) -> http::Result<Request<String>> {
    let prefix = match release {
        Release::One => format!("/set/{SET}/n8n/editor/__UNKNOWN__/none"),
        Release::Two => String::new(),
    };
    let form = Form { client: Client::Legacy, release, path: "/v1/models", body: "" };
    form.with(Tagging { prefix, organization: Some(String::new()), header: None }, Some(key))
}

/// How a request is tagged.
struct Tagging {
    /// In front of the path.
    prefix: String,
    /// The credential's Organization ID, where there is a credential.
    organization: Option<String>,
    /// The value of the custom header.
    header: Option<String>,
}

impl Tagging {
    /// By an expression in the Base URL, which nodes of HTTP Request do not heed, and one in the Organization ID.
    fn by_path(sent: &story::Request) -> Self {
        let (workflow, execution) = (sent.workflow.id, sent.execution);
        let prefix = if sent.node.kind == Kind::HttpRequest {
            format!("/set/{SET}")
        } else {
            format!("/set/{SET}/n8n/{workflow}/{execution}/{}", sent.node.id)
        };
        Self { prefix, organization: Some(format!("n8n-{workflow}-{execution}")), header: None }
    }
}

/// By a custom header.
fn tag(sent: &story::Request) -> String {
    let name = format!("{} ({SET})", sent.workflow.name);
    let name = utf8_percent_encode(&name, NON_ALPHANUMERIC);
    format!("wf={};ex={};node={};set={SET};name={name}", sent.workflow.id, sent.execution, sent.node.id)
}

/// A request without its key and tag.
struct Form {
    client: Client,
    release: Release,
    path: &'static str,
    body: &'static str,
}

/// What in n8n sends requests, each with headers of its own.
#[derive(Clone, Copy)]
enum Client {
    Legacy,
    Vendor,
    HttpRequest,
    /// The SDK, which says in 1.x for how many seconds it waits.
    Sdk(&'static str),
}

impl Form {
    fn of(kind: Kind, release: Release) -> Self {
        let (client, path, [of_one, of_two]) = match kind {
            Kind::LegacyChat => (Client::Legacy, CHAT, [HI, HI]),
            Kind::LegacyText => (Client::Legacy, "/v1/completions", [TEXT, TEXT]),
            Kind::Message if release == Release::One => (Client::Vendor, CHAT, [MESSAGE, MESSAGE]),
            Kind::Message => (Client::Vendor, "/v1/responses", [RESPONSE, RESPONSE]),
            Kind::Image => (Client::Vendor, "/v1/images/generations", [IMAGE, IMAGE]),
            Kind::Transcription => (Client::Vendor, TRANSCRIPTIONS, [SPEECH, SPEECH]),
            // An Agent of 1.x always streams.
            Kind::Agent => (Client::Sdk("60"), CHAT, [SDK_STREAM_OF_ONE, SDK_CHAT]),
            Kind::AgentStream => (Client::Sdk("60"), CHAT, [SDK_STREAM_OF_ONE, SDK_STREAM]),
            Kind::Chain => (Client::Sdk("60"), CHAT, [SDK_CHAT_OF_ONE, SDK_CHAT]),
            Kind::Embeddings => (Client::Sdk("600"), "/v1/embeddings", [EMBEDDING_OF_ONE, EMBEDDING]),
            Kind::HttpRequest => (Client::HttpRequest, CHAT, [HI, HI]),
        };
        Self { client, release, path, body: if release == Release::One { of_one } else { of_two } }
    }

    fn with(&self, tagging: Tagging, key: Option<&str>) -> http::Result<Request<String>> {
        let (method, content_type) = match self.path {
            _ if self.body.is_empty() => ("GET", None),
            TRANSCRIPTIONS => ("POST", Some(MULTIPART)),
            _ => ("POST", Some("application/json")),
        };
        let mut request = Request::builder().method(method).uri(format!("{}{}", tagging.prefix, self.path));
        // A reserved name (RFC 2606).
        request = request.header("host", "keyward.example");
        for (name, value) in self.client.headers(self.release) {
            request = request.header(name, value);
        }
        let organization = if matches!(self.client, Client::Sdk(_)) { None } else { tagging.organization };
        let texts = [
            ("content-type", content_type.map(str::to_owned)),
            ("authorization", key.map(|key| format!("Bearer {key}"))),
            ("openai-organization", organization),
            (TAG_HEADER, tagging.header),
        ];
        for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text?))) {
            request = request.header(name, text);
        }
        request.body(self.body.to_owned())
    }
}

impl Client {
    /// The headers that say what it is.
    fn headers(self, release: Release) -> Vec<(&'static str, &'static str)> {
        let axios = if release == Release::One { "axios/1.8.3" } else { "n8n" };
        let (accept, agent) = match (self, release) {
            (Self::Legacy, _) => ("application/json, text/plain, */*", "n8n"),
            (Self::Vendor, _) => ("application/json", axios),
            (Self::HttpRequest, _) => (HTTP_REQUEST_ACCEPT, axios),
            (Self::Sdk(timeout), Release::One) => {
                return [&SDK_OF_ONE[..], &[("x-stainless-timeout", timeout)]].concat();
            }
            (Self::Sdk(_), Release::Two) => return SDK_OF_TWO.to_vec(),
        };
        let encodings = "gzip, compress, deflate, br";
        vec![("accept", accept), ("user-agent", agent), ("accept-encoding", encodings), ("connection", "close")]
    }
}

const HTTP_REQUEST_ACCEPT: &str =
    "application/json,text/html,application/xhtml+xml,application/xml,text/*;q=0.9, image/*;q=0.8, */*;q=0.7";

const SDK_OF_ONE: [(&str, &str); 11] = [
    ("accept", "application/json"),
    ("user-agent", "OpenAI/JS 4.104.0"),
    ("x-stainless-lang", "js"),
    ("x-stainless-package-version", "4.104.0"),
    ("x-stainless-os", "Linux"),
    ("x-stainless-arch", "x64"),
    ("x-stainless-runtime", "node"),
    ("x-stainless-runtime-version", "v20.20.2"),
    ("x-stainless-retry-count", "0"),
    ("accept-encoding", "gzip,deflate"),
    ("connection", "keep-alive"),
];

const SDK_OF_TWO: [(&str, &str); 14] = [
    ("connection", "keep-alive"),
    ("accept", "application/json"),
    ("x-stainless-retry-count", "0"),
    ("x-stainless-lang", "js"),
    ("x-stainless-package-version", "6.49.0"),
    ("x-stainless-os", "Linux"),
    ("x-stainless-arch", "x64"),
    ("x-stainless-runtime", "node"),
    ("x-stainless-runtime-version", "v24.21.0"),
    // n8n's own constant.
    ("openai-platform", "org-qkmJQuJ2WnvoIKMr2UJwIJkZ"),
    ("user-agent", "langchainjs-openai/1.0.0 ((node/v24.21.0; linux; x64))"),
    ("accept-language", "*"),
    ("sec-fetch-mode", "cors"),
    ("accept-encoding", "gzip, deflate"),
];

const CHAT: &str = "/v1/chat/completions";

const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";

const HI: &str = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}"#;

const TEXT: &str = r#"{"model":"gpt-3.5-turbo-instruct","prompt":"hi"}"#;

const MESSAGE: &str = r#"{"model":"gpt-4o-mini","messages":[{"content":"hi WF lc_text_message","role":"user"}]}"#;

const RESPONSE: &str = concat!(
    r#"{"model":"gpt-4o-mini","input":[{"role":"user","content":[{"type":"input_text","text":"hi WF lc_text_message"}]}],"#,
    r#""parallel_tool_calls":true,"store":true,"background":false}"#
);

const IMAGE: &str = r#"{"prompt":"a cat","model":"dall-e-3","response_format":"b64_json"}"#;

const MULTIPART: &str = "multipart/form-data; boundary=--------------------------f39501fa2da137bce05c9643";

const SPEECH: &str = "----------------------------f39501fa2da137bce05c9643\r\n\
    Content-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
    ----------------------------f39501fa2da137bce05c9643\r\n\
    Content-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\
    Content-Type: text/plain\r\n\r\nhello\r\n\
    ----------------------------f39501fa2da137bce05c9643--\r\n";

const SDK_CHAT: &str = r#"{"model":"gpt-4o-mini","stream":false,"messages":[{"role":"user","content":"hi"}]}"#;

const SDK_STREAM: &str = concat!(
    r#"{"model":"gpt-4o-mini","stream":true,"stream_options":{"include_usage":true},"#,
    r#""messages":[{"role":"user","content":"hi"}]}"#
);

const SDK_CHAT_OF_ONE: &str = r#"{
  "model": "gpt-4o-mini",
  "stream": false,
  "messages": [
    {
      "role": "user",
      "content": "hi"
    }
  ]
}"#;

const SDK_STREAM_OF_ONE: &str = r#"{
  "model": "gpt-4o-mini",
  "stream": true,
  "stream_options": {
    "include_usage": true
  },
  "messages": [
    {
      "role": "user",
      "content": "hi"
    }
  ]
}"#;

const EMBEDDING: &str = r#"{"model":"text-embedding-3-small","input":["hello world"],"encoding_format":"base64"}"#;

const EMBEDDING_OF_ONE: &str = r#"{
  "model": "text-embedding-3-small",
  "input": [
    "hello world"
  ],
  "encoding_format": "base64"
}"#;
