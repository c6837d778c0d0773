//! What a client asks of the upstream, sent along in a header, and what it then has to get.

use serde::{Deserialize, Serialize};

use crate::content;

/// What the upstream does about a request.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum Plan {
    /// Take the body, and say how much it was and what its hash is.
    Answer,
    /// The same, but take the body with pauses at first.
    AnswerSlowly { millis: u64 },
    /// The same as `Answer`, and close the connection, as announced.
    AnswerAndClose,
    /// Events at that distance, and an end.
    Stream { events: u64, millis: u64 },
    /// Events, each byte of them and of their framing written by itself.
    Trickle { events: u64 },
    /// Events that say when they were due, until all such streams end.
    Clocked { millis: u64 },
    /// That many bytes.
    Download { bytes: u64, is_chunked: bool },
    /// An error of OpenAI's.
    Refuse { status: u16 },
    /// Break the connection before the answer.
    Reset,
    /// Say nothing for a while, then close.
    Silence { millis: u64 },
    /// Close within the head of the answer.
    CutHead,
    /// Close within a body whose length was said.
    CutBody,
    /// Close after so many events, without an end.
    CutStream { events: u64 },
    /// Switch to a WebSocket, and send back what comes.
    Echo,
}

/// What a client got.
pub struct Received {
    pub status: u16,
    pub body: Vec<u8>,
    /// Whether the answer had an end.
    pub is_whole: bool,
}

/// What a body has to be.
enum Body {
    Exactly(Vec<u8>),
    /// An error that has this in it.
    Saying(&'static str),
}

impl Plan {
    /// Compares what came with what had to come.
    pub fn check(&self, sent: &[u8], received: &Received) -> Result<(), String> {
        let (status, body, is_whole) = self.expected(sent);
        let is_right = match &body {
            Body::Exactly(bytes) => received.body == *bytes,
            Body::Saying(text) => memchr::memmem::find(&received.body, text.as_bytes()).is_some(),
        };
        if received.status == status && is_right && received.is_whole == is_whole {
            return Ok(());
        }
        Err(format!("{self:?} should give {status}, whole: {is_whole}, and gave {}", received.describe()))
    }

    fn expected(&self, sent: &[u8]) -> (u16, Body, bool) {
        match self {
            Self::Answer | Self::AnswerSlowly { .. } | Self::AnswerAndClose => {
                (200, Body::Exactly(receipt(sent.len() as u64, &content::digest(sent)).into()), true)
            }
            Self::Stream { events, .. } | Self::Trickle { events } => (200, Body::Exactly(stream(*events, true)), true),
            Self::Download { bytes, .. } => (200, Body::Exactly(content::make(*bytes)), true),
            // The answer to a key that keyward put in is keyward's own.
            Self::Refuse { status: 401 } => (401, Body::Saying("current_key_rejected"), true),
            Self::Refuse { status } => (*status, Body::Exactly(refusal(*status).into()), true),
            Self::Reset | Self::Silence { .. } | Self::CutHead => (502, Body::Saying("upstream_failed"), true),
            Self::CutBody => (200, Body::Exactly(content::make(CUT_AT)), false),
            Self::CutStream { events } => (200, Body::Exactly(stream(*events, false)), false),
            Self::Clocked { .. } | Self::Echo => (200, Body::Saying(""), true),
        }
    }
}

impl Received {
    /// In a line.
    pub fn describe(&self) -> String {
        let beginning = String::from_utf8_lossy(&self.body[..self.body.len().min(300)]);
        format!("{}, whole: {}, {} bytes: {beginning:?}", self.status, self.is_whole, self.body.len())
    }

    /// Whether keyward says that upstream did not answer.
    pub fn tells_of_upstream(&self) -> bool {
        self.status == 502 && memchr::memmem::find(&self.body, b"upstream_failed").is_some()
    }
}

/// What the upstream says of a body that it has taken.
pub fn receipt(taken: u64, digest: &str) -> String {
    format!("{{\"taken\":{taken},\"sha256\":\"{digest}\"}}")
}

/// An event of a stream.
pub fn event(number: u64) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-{number}\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" the\"}}}}]}}\n\n"
    )
}

/// What a stream ends with.
pub const DONE: &str = "data: [DONE]\n\n";

/// All events of a stream, perhaps with its end.
fn stream(events: u64, has_end: bool) -> Vec<u8> {
    let end = if has_end { DONE } else { "" };
    (0..events).map(event).chain([end.to_owned()]).collect::<String>().into()
}

/// The body of an error.
pub fn refusal(status: u16) -> String {
    let code = match status {
        401 => "invalid_api_key",
        429 => "rate_limit_exceeded",
        _ => "server_error",
    };
    format!("{{\"error\":{{\"message\":\"as planned\",\"type\":\"error\",\"param\":null,\"code\":\"{code}\"}}}}")
}

/// Where the upstream cuts a body, in bytes, and how much it had promised.
pub const CUT_AT: u64 = 40_000;
pub const PROMISED: u64 = 100_000;
