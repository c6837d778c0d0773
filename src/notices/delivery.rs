//! Sends one message to its receiver, once, and says what came of it. No redirect is followed: the URL is a secret, and it is
//! for that receiver alone.

use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode, header};
use jiff::fmt::rfc2822;
use tokio::time::timeout;

use super::destination::{Destination, DestinationError, SigningSecret, SigningSecretError};
use super::{Receiver, ReceiverKind};
use crate::clock::Timestamp;
use crate::keys::source::{Source, SourceError};
use crate::net::client_tls::{self, TlsError};
use crate::net::connect::{ConnectError, Connector, Deadline, ProxyHop};
use crate::net::egress_proxy::EnvironmentProxies;
use crate::net::one_shot;
use crate::net::origin::Scheme;
use crate::net::protocol::Protocol;

/// A message that is ready to be signed and sent.
pub struct Parcel {
    pub id: Box<str>,
    pub body: Box<str>,
    pub at: Timestamp,
}

/// Why a message did not arrive, or may not have. None quotes the URL.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error("its URL cannot be read from {place}")]
    Url { place: Box<str>, source: SourceError },
    #[error("{place} cannot be used")]
    BadUrl { place: Box<str>, source: DestinationError },
    #[error("its signing secret cannot be read from {place}")]
    Secret { place: Box<str>, source: SourceError },
    #[error("{place} cannot be used")]
    BadSecret { place: Box<str>, source: SigningSecretError },
    #[error("cannot speak TLS to {origin}")]
    Tls { origin: Box<str>, source: TlsError },
    #[error("{origin} is not reached")]
    Unreachable { origin: Box<str>, source: ConnectError },
    #[error("{origin} broke off, or speaks no HTTP")]
    CutOff { origin: Box<str>, source: hyper::Error },
    #[error("{origin} did not answer within {limit:?}")]
    TooSlow { origin: Box<str>, limit: Duration },
    #[error("{origin} redirects ({}), which is not followed: put the URL there that it redirects to", status.as_u16())]
    Redirect { origin: Box<str>, status: StatusCode },
    #[error("{origin} answers 410 (Gone): it wants no more messages")]
    Gone { origin: Box<str> },
    #[error("{origin} answers {}", status.as_u16())]
    Refused {
        origin: Box<str>,
        status: StatusCode,
        /// How long it wants to be left alone (RFC 9110, 10.2.3).
        retry_after: Option<Duration>,
    },
}

/// What a failure means for what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The receiver takes nothing for now.
    Receiver,
    /// This message, while others may well be taken.
    Message,
    /// The receiver, for good.
    Gone,
}

impl DeliveryError {
    /// Whether the fault lies with the receiver or with this message: it decides what waits, and what is given up.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Gone { .. } => Blame::Gone,
            Self::Refused { status, .. } if OF_MESSAGE.contains(&status.as_u16()) => Blame::Message,
            Self::Url { .. }
            | Self::BadUrl { .. }
            | Self::Secret { .. }
            | Self::BadSecret { .. }
            | Self::Tls { .. }
            | Self::Unreachable { .. }
            | Self::CutOff { .. }
            | Self::TooSlow { .. }
            | Self::Redirect { .. }
            | Self::Refused { .. } => Blame::Receiver,
        }
    }

    /// How long the receiver wants to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Refused { retry_after, .. } = self { *retry_after } else { None }
    }
}

/// Posts a message. Its URL and its secrets are read now, so that new ones hold from the next message on.
pub async fn post(receiver: &Receiver, proxies: &EnvironmentProxies, parcel: &Parcel) -> Result<(), DeliveryError> {
    let destination = destination(&receiver.to)?;
    let mut request = request(Method::POST, &destination, parcel.body.clone().into());
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if receiver.kind == ReceiverKind::Webhook {
        let seconds = parcel.at.as_millis().div_euclid(1000);
        let signatures = signatures(&receiver.secrets, &parcel.id, seconds, &parcel.body)?;
        let mut insert = |name, value: &str| {
            // Ids, numbers and Base64 are visible ASCII.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        insert("webhook-id", &parcel.id);
        insert("webhook-timestamp", &seconds.to_string());
        if !signatures.is_empty() {
            insert("webhook-signature", &signatures);
        }
    }
    send(&destination, proxies, request).await
}

/// Makes one request to a monitor.
pub async fn beat(to: &Source, proxies: &EnvironmentProxies) -> Result<(), DeliveryError> {
    let destination = destination(to)?;
    send(&destination, proxies, request(Method::GET, &destination, String::new())).await
}

/// What of a receiver's URLs and secrets cannot be used, by the name of the setting.
#[must_use]
pub fn faults(receiver: &Receiver) -> Vec<(&'static str, DeliveryError)> {
    let of_url = |name, to: &Source| destination(to).err().map(|error| (name, error));
    let of_secret = |from: &Source| signing_secret(from).err().map(|error| ("secret", error));
    let heartbeat = receiver.heartbeat.as_ref().and_then(|heartbeat| of_url("heartbeat", &heartbeat.to));
    of_url("to", &receiver.to)
        .into_iter()
        .chain(receiver.secrets.iter().filter_map(of_secret))
        .chain(heartbeat)
        .collect()
}

fn destination(to: &Source) -> Result<Destination, DeliveryError> {
    let place = || to.to_string().into();
    let url = to.read().map_err(|source| DeliveryError::Url { place: place(), source })?;
    Destination::parse(&url).map_err(|source| DeliveryError::BadUrl { place: place(), source })
}

/// One signature for each secret, with spaces between them.
fn signatures(secrets: &[Source], id: &str, seconds: i64, body: &str) -> Result<String, DeliveryError> {
    let sign = |from: &Source| Ok(signing_secret(from)?.sign(id, seconds, body));
    Ok(secrets.iter().map(sign).collect::<Result<Vec<_>, _>>()?.join(" "))
}

fn signing_secret(from: &Source) -> Result<SigningSecret, DeliveryError> {
    let place = || from.to_string().into();
    let secret = from.read().map_err(|source| DeliveryError::Secret { place: place(), source })?;
    SigningSecret::parse(&secret).map_err(|source| DeliveryError::BadSecret { place: place(), source })
}

fn request(method: Method, destination: &Destination, body: String) -> Request<String> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = destination.target.clone();
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(&destination.origin.authority()) {
        headers.insert(header::HOST, host);
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static(one_shot::USER_AGENT));
    if let Some(authorization) = &destination.authorization {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    request
}

async fn send(
    destination: &Destination,
    proxies: &EnvironmentProxies,
    request: Request<String>,
) -> Result<(), DeliveryError> {
    let origin: Box<str> = destination.to_string().into();
    let late = |_elapsed| DeliveryError::TooSlow { origin: origin.clone(), limit: LIMIT };
    timeout(LIMIT, converse(destination, proxies, request)).await.map_err(late)?
}

async fn converse(
    destination: &Destination,
    proxies: &EnvironmentProxies,
    request: Request<String>,
) -> Result<(), DeliveryError> {
    let origin = || destination.to_string().into();
    let no_tls = |source| DeliveryError::Tls { origin: origin(), source };
    let tls = match destination.origin.scheme {
        Scheme::Http => None,
        Scheme::Https => Some(client_tls::client(&destination.origin, None).map_err(no_tls)?),
    };
    let via = proxies.to(&destination.origin).map(ProxyHop::new).transpose().map_err(no_tls)?;
    let connector = Connector { origin: destination.origin.clone(), tls, via };
    let connected = connector.connect(Deadline::after(CONNECT), Protocol::Http1).await;
    let stream = connected.map_err(|source| DeliveryError::Unreachable { origin: origin(), source })?;
    let cut_off = |source| DeliveryError::CutOff { origin: origin(), source };
    let mut answer = one_shot::send(stream, request).await.map_err(cut_off)?;
    let (status, retry_after) = (answer.head.status, answer.head.headers.get(header::RETRY_AFTER).cloned());
    // What it says matters to it alone; a receiver that is cut off while it speaks may count the message as lost.
    let _ = answer.read_body(MOST_READ).await;
    match status {
        status if status.is_success() => Ok(()),
        status if status.is_redirection() => Err(DeliveryError::Redirect { origin: origin(), status }),
        StatusCode::GONE => Err(DeliveryError::Gone { origin: origin() }),
        status => {
            let retry_after = retry_after.and_then(|value| pause(value.to_str().ok()?, jiff::Timestamp::now()));
            Err(DeliveryError::Refused { origin: origin(), status, retry_after })
        }
    }
}

/// What `Retry-After` asks for: seconds, or a date (RFC 9110, 10.2.3). No more than a day.
fn pause(text: &str, now: jiff::Timestamp) -> Option<Duration> {
    let text = text.trim();
    let seconds = text.parse::<u64>().ok().or_else(|| {
        let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Some(u64::try_from(date.as_second() - now.as_second()).unwrap_or(0))
    });
    seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// For a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(10);

/// For all of it.
const LIMIT: Duration = Duration::from_secs(20);

/// How much of an answer is read, in bytes.
const MOST_READ: usize = 64 << 10;

/// How long a receiver may be left alone.
const LONGEST_PAUSE: Duration = Duration::from_hours(24);

/// Statuses by which a receiver refuses one message for what it is: 400, 405, 411, 413, 414, 415, 422.
const OF_MESSAGE: [u16; 7] = [400, 405, 411, 413, 414, 415, 422];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_date_and_a_day_at_most() {
        let now = "2026-11-30T12:00:00Z".parse().expect("a moment");
        let seconds = |text| pause(text, now).map(|pause| pause.as_secs());
        assert_eq!(seconds("30"), Some(30));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Mon, 30 Nov 2026 12:01:00 GMT"), Some(60));
        assert_eq!(seconds("Mon, 30 Nov 2026 11:00:00 GMT"), Some(0));
        assert_eq!(seconds("99999999"), Some(86_400));
        assert_eq!(seconds("soon"), None);
        assert_eq!(seconds("-1"), None);
    }
}
