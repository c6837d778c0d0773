//! Pure. What of a request may be looked at, collected in one walk over its field lines: none is looked up again.

use http::Method;

use crate::field_lines::{FieldLine, FieldLines, Name, visible_text};

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
    /// Reads what keyward looks at, in one walk over the lines.
    #[must_use]
    pub fn new(method: &'r Method, path: &'r str, lines: &'r FieldLines) -> Self {
        Self { method, path, fields: Fields::collect(lines) }
    }
}

/// How often a header stands in the request, and its first value.
#[derive(Clone, Copy, Debug, Default)]
pub enum Field<'r> {
    #[default]
    Absent,
    /// Once.
    One(&'r [u8]),
    /// More than once; this is the first.
    Repeated(&'r [u8]),
}

impl<'r> Field<'r> {
    /// The first value's bytes, however often the header came.
    #[must_use]
    pub fn first(self) -> Option<&'r [u8]> {
        match self {
            Self::Absent => None,
            Self::One(value) | Self::Repeated(value) => Some(value),
        }
    }

    /// The first value, if it is visible ASCII, blanks and tabs.
    #[must_use]
    pub fn text(self) -> Option<&'r str> {
        visible_text(self.first()?)
    }

    /// Whether the header came at all.
    #[must_use]
    pub fn is_present(self) -> bool {
        !matches!(self, Self::Absent)
    }

    fn add(&mut self, value: &'r [u8]) {
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
    /// Whether it asks for another protocol.
    pub asks_for_upgrade: bool,
}

/// How a protocol begins that carries a key: browsers cannot set `Authorization` on a WebSocket.
pub const PROTOCOL_WITH_KEY: &str = "openai-insecure-api-key.";

fn carries_key(value: &[u8]) -> bool {
    memchr::memmem::find(value, PROTOCOL_WITH_KEY.as_bytes()).is_some()
}

/// Whether a request carries the credential of a gateway that may stand in front of the API: OpenAI reads none of them.
#[must_use]
pub fn has_gateway_key(lines: &FieldLines) -> bool {
    GATEWAY_KEYS.iter().any(|name| lines.first(*name).is_some_and(|value| !value.is_empty()))
}

/// Azure API Management, AWS API Gateway (and Kong), Kong, Google's API Gateway, Cloudflare AI Gateway and Access, Portkey,
/// Helicone, `LiteLLM`.
static GATEWAY_KEYS: [Name; 9] = [
    Name::OcpApimSubscriptionKey,
    Name::XApiKey,
    Name::Apikey,
    Name::XGoogApiKey,
    Name::CfAigAuthorization,
    Name::CfAccessClientSecret,
    Name::XPortkeyApiKey,
    Name::HeliconeAuth,
    Name::XLitellmApiKey,
];

/// The lines that never go on: the connection's own (RFC 9110, 7.6.1), and ours.
pub const UNFORWARDED: [Name; 12] = [
    Name::Connection,
    Name::KeepAlive,
    Name::ProxyConnection,
    Name::ProxyAuthorization,
    Name::Te,
    Name::TransferEncoding,
    Name::Upgrade,
    Name::N8nTag,
    Name::N8nWorkflowId,
    Name::N8nExecutionId,
    Name::N8nNodeId,
    Name::N8nWorkflowName,
];

impl<'r> Fields<'r> {
    fn collect(lines: &'r FieldLines) -> Self {
        let mut fields = Self::default();
        for line in lines.iter() {
            fields.add(line);
        }
        fields
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "most names mean nothing here")]
    fn add(&mut self, FieldLine { name, value, .. }: FieldLine<'r>) {
        let field = match name {
            Name::Authorization => &mut self.authorization,
            Name::ApiKey => &mut self.api_key,
            Name::SecWebSocketProtocol if carries_key(value) => &mut self.websocket_protocol,
            Name::N8nTag => &mut self.tag,
            Name::N8nWorkflowId => &mut self.workflow_id,
            Name::N8nExecutionId => &mut self.execution_id,
            Name::N8nNodeId => &mut self.node_id,
            Name::N8nWorkflowName => &mut self.workflow_name,
            Name::OpenAiOrganization => &mut self.organization,
            Name::OpenAiPlatform => &mut self.platform,
            Name::UserAgent => &mut self.user_agent,
            Name::Accept => &mut self.accept,
            Name::StainlessLang => &mut self.stainless_lang,
            Name::StainlessVersion => &mut self.stainless_version,
            Name::Host => &mut self.host,
            Name::Origin => &mut self.origin,
            Name::Expect => &mut self.expect,
            Name::Te => &mut self.te,
            Name::Connection => &mut self.connection,
            Name::Upgrade => {
                self.asks_for_upgrade = true;
                return;
            }
            Name::AccessControlRequestMethod => {
                self.asks_for_page = true;
                return;
            }
            Name::Via | Name::Forwarded | Name::XForwardedFor | Name::XRealIp => {
                self.is_relayed = true;
                return;
            }
            _ => return,
        };
        field.add(value);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_header_that_came_twice_is_repeated() {
        let mut lines = FieldLines::default();
        lines.add(Name::Authorization, HeaderValue::from_static("Bearer a"));
        lines.add(Name::Authorization, HeaderValue::from_static("Bearer b"));
        let fields = Fields::collect(&lines);
        assert!(matches!(fields.authorization, Field::Repeated(first) if first == b"Bearer a"));
        assert!(!fields.api_key.is_present());
    }
}
