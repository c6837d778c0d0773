//! Pure. What of a request may be looked at, collected in one walk over its headers: no header is looked up again.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

/// A borrowed view of the request's head.
#[derive(Clone, Copy, Debug)]
pub struct Head<'r> {
    pub method: &'r Method,
    /// The path as it came, our prefix included.
    pub path: &'r str,
    /// Every header that means something to keyward.
    pub fields: Fields<'r>,
}

impl<'r> Head<'r> {
    /// Reads what keyward looks at, in one walk over the headers.
    #[must_use]
    pub fn new(method: &'r Method, uri: &'r Uri, headers: &'r HeaderMap) -> Self {
        Self { method, path: uri.path(), fields: Fields::collect(headers) }
    }
}

/// How often a header stands in the request, and its first value.
#[derive(Clone, Copy, Debug, Default)]
pub enum Field<'r> {
    #[default]
    Absent,
    /// Once.
    One(&'r HeaderValue),
    /// More than once; this is the first.
    Repeated(&'r HeaderValue),
}

impl<'r> Field<'r> {
    /// The first value's bytes, however often the header came.
    #[must_use]
    pub fn first(self) -> Option<&'r [u8]> {
        match self {
            Self::Absent => None,
            Self::One(value) | Self::Repeated(value) => Some(value.as_bytes()),
        }
    }

    /// The first value, if it is visible ASCII.
    #[must_use]
    pub fn text(self) -> Option<&'r str> {
        match self {
            Self::Absent => None,
            Self::One(value) | Self::Repeated(value) => value.to_str().ok(),
        }
    }

    /// Whether the header came at all.
    #[must_use]
    pub fn is_present(self) -> bool {
        !matches!(self, Self::Absent)
    }

    fn add(&mut self, value: &'r HeaderValue) {
        *self = match *self {
            Self::Absent => Self::One(value),
            Self::One(first) | Self::Repeated(first) => Self::Repeated(first),
        };
    }
}

/// The headers that keyward reads. Names compare without case (RFC 9110, 5.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'r> {
    pub authorization: Field<'r>,
    /// `api-key`, Azure's place for the credential.
    pub api_key: Field<'r>,
    /// `Sec-WebSocket-Protocol`, as far as it carries the credential of a Realtime session.
    pub websocket_protocol: Field<'r>,
    /// `X-N8N-Tag`, our tag.
    pub tag: Field<'r>,
    /// `X-N8N-Workflow-Id`.
    pub workflow_id: Field<'r>,
    /// `X-N8N-Execution-Id`.
    pub execution_id: Field<'r>,
    /// `X-N8N-Node-Id`.
    pub node_id: Field<'r>,
    /// `X-N8N-Workflow-Name`.
    pub workflow_name: Field<'r>,
    /// `OpenAI-Organization`.
    pub organization: Field<'r>,
    /// `OpenAI-Platform`, a constant that n8n's LangChain nodes send (2.x).
    pub platform: Field<'r>,
    pub user_agent: Field<'r>,
    pub accept: Field<'r>,
    /// `X-Stainless-Lang`: the language of an OpenAI SDK.
    pub stainless_lang: Field<'r>,
    /// `X-Stainless-Package-Version`: the SDK's version.
    pub stainless_version: Field<'r>,
    pub host: Field<'r>,
    /// `Origin`: a browser sends it by order of a page.
    pub origin: Field<'r>,
    /// Whether a browser asks what a page may send, before it sends it (`Access-Control-Request-Method`).
    pub asks_for_page: bool,
    /// Whether another proxy says that it passed the request on: `Via`, `Forwarded`, `X-Forwarded-For`, `X-Real-IP`.
    pub is_relayed: bool,
    pub expect: Field<'r>,
    /// `TE`: what the client makes of an answer's transfer.
    pub te: Field<'r>,
    pub connection: Field<'r>,
    /// Which headers must not go on, for the code that edits the head in place.
    pub unforwarded: Unforwarded,
}

/// How a protocol begins that carries a key: browsers cannot set `Authorization` on a WebSocket.
pub const PROTOCOL_WITH_KEY: &str = "openai-insecure-api-key.";

/// A header that carries a key for Azure's form of the API.
pub const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// The header that names an organization.
pub const ORGANIZATION: HeaderName = HeaderName::from_static("openai-organization");

fn carries_key(value: &HeaderValue) -> bool {
    memchr::memmem::find(value.as_bytes(), PROTOCOL_WITH_KEY.as_bytes()).is_some()
}

/// Whether a request carries the credential of a gateway that may stand in front of the API: OpenAI reads none of them.
#[must_use]
pub fn has_gateway_key(headers: &HeaderMap) -> bool {
    GATEWAY_KEYS.iter().any(|name| headers.get(name).is_some_and(|value| !value.is_empty()))
}

/// Azure API Management, AWS API Gateway (and Kong), Kong, Google's API Gateway, Cloudflare AI Gateway and Access, Portkey,
/// Helicone, `LiteLLM`.
static GATEWAY_KEYS: [HeaderName; 9] = [
    HeaderName::from_static("ocp-apim-subscription-key"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("apikey"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("cf-aig-authorization"),
    HeaderName::from_static("cf-access-client-secret"),
    HeaderName::from_static("x-portkey-api-key"),
    HeaderName::from_static("helicone-auth"),
    HeaderName::from_static("x-litellm-api-key"),
];

/// A set of the headers that stand in a request and end at this proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unforwarded(u16);

/// The headers that never go on, in the order of [`Unforwarded`]'s bits: the connection's own (RFC 9110, 7.6.1), and ours.
pub static UNFORWARDED: [HeaderName; 12] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("x-n8n-tag"),
    HeaderName::from_static("x-n8n-workflow-id"),
    HeaderName::from_static("x-n8n-execution-id"),
    HeaderName::from_static("x-n8n-node-id"),
    HeaderName::from_static("x-n8n-workflow-name"),
];

impl Unforwarded {
    fn add(&mut self, bit: u16) {
        self.0 |= 1 << bit;
    }

    /// Whether that header stands in the request.
    #[must_use]
    pub fn contains(self, name: &HeaderName) -> bool {
        self.names().any(|other| other == name)
    }

    /// The names in the set.
    pub fn names(self) -> impl Iterator<Item = &'static HeaderName> {
        UNFORWARDED.iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| name)
    }
}

impl<'r> Fields<'r> {
    fn collect(headers: &'r HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            fields.add(name.as_str(), value);
        }
        fields
    }

    /// The length parts the names so well that most headers of a request cost one comparison.
    fn add(&mut self, name: &str, value: &'r HeaderValue) {
        match (name.len(), name) {
            (2, "te") => {
                self.te.add(value);
                self.unforwarded.add(4);
            }
            (3, "via") | (9, "forwarded" | "x-real-ip") | (15, "x-forwarded-for") => self.is_relayed = true,
            (4, "host") => self.host.add(value),
            (6, "accept") => self.accept.add(value),
            (6, "expect") => self.expect.add(value),
            (6, "origin") => self.origin.add(value),
            (7, "api-key") => self.api_key.add(value),
            (7, "upgrade") => self.unforwarded.add(6),
            (9, "x-n8n-tag") => {
                self.tag.add(value);
                self.unforwarded.add(7);
            }
            (10, "user-agent") => self.user_agent.add(value),
            (10, "connection") => {
                self.connection.add(value);
                self.unforwarded.add(0);
            }
            (10, "keep-alive") => self.unforwarded.add(1),
            (13, "authorization") => self.authorization.add(value),
            (13, "x-n8n-node-id") => {
                self.node_id.add(value);
                self.unforwarded.add(10);
            }
            (15, "openai-platform") => self.platform.add(value),
            (29, "access-control-request-method") => self.asks_for_page = true,
            (16, "x-stainless-lang") => self.stainless_lang.add(value),
            (16, "proxy-connection") => self.unforwarded.add(2),
            (17, "transfer-encoding") => self.unforwarded.add(5),
            (17, "x-n8n-workflow-id") => {
                self.workflow_id.add(value);
                self.unforwarded.add(8);
            }
            (18, "x-n8n-execution-id") => {
                self.execution_id.add(value);
                self.unforwarded.add(9);
            }
            (19, "openai-organization") => self.organization.add(value),
            (19, "proxy-authorization") => self.unforwarded.add(3),
            (19, "x-n8n-workflow-name") => {
                self.workflow_name.add(value);
                self.unforwarded.add(11);
            }
            (22, "sec-websocket-protocol") if carries_key(value) => self.websocket_protocol.add(value),
            (27, "x-stainless-package-version") => self.stainless_version.add(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_table_sets_its_own_bit() {
        for (bit, name) in UNFORWARDED.iter().enumerate() {
            let mut headers = HeaderMap::new();
            headers.insert(name.clone(), HeaderValue::from_static("x"));
            assert_eq!(Fields::collect(&headers).unforwarded, Unforwarded(1 << bit), "{name}");
            assert_eq!(Fields::collect(&headers).unforwarded.names().collect::<Vec<_>>(), [name]);
        }
    }

    #[test]
    fn a_header_that_came_twice_is_repeated() {
        let mut headers = HeaderMap::new();
        headers.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        headers.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        let fields = Fields::collect(&headers);
        assert!(matches!(fields.authorization, Field::Repeated(first) if first == "Bearer a"));
        assert!(!fields.api_key.is_present());
    }
}
