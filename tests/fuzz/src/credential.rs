//! Credentials: headers in the shape of [`fields`], judged, and everything told that could be told of them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use keyward::caller::declared::Origin;
use keyward::caller::{Caller, Family};
use keyward::head::Head;
use keyward::outcome::{Ending, Outcome, Proof, UpstreamError};
use keyward::request_path::RequestPath;
use keyward::verdict::credential::{Credential, Malformed, find_fault};
use keyward::verdict::explain::{self, Context, CurrentKey, Handling, Sender};
use keyward::verdict::{Judgement, Verdict, judge};

use crate::fields;
use crate::world::{NOW, RING, sets};

/// Holds the reader of credentials to its promises.
pub fn check(data: &[u8]) {
    let headers = fields::read(data, &NAMES);
    let lines = headers.clone().into();
    let uri = Uri::from_static("/v1/models");
    let head = Head::new(&Method::POST, uri.path(), &lines);
    let credential = Credential::read(&head.fields);
    let judgement = judge(&credential, None, &RING, NOW);
    check_places(&headers, &credential);
    if let Credential::Key(presented) = &credential {
        check_key(&presented.value);
        check_told(&presented.value, &credential, &judgement);
        check_elsewhere(&presented.value, &judgement);
    }
    for set in sets(&RING) {
        let declared = judge(&credential, Some(set), &RING, NOW);
        let is_foreign = matches!(declared.verdict, Verdict::Foreign { owner } if owner != set);
        assert!(
            declared.set == set && (is_foreign || declared.verdict == judgement.verdict),
            "{declared:?} {judgement:?}"
        );
    }
    assert_eq!(judgement.at(NOW), judgement);
    let _ = Caller::identify(&head, &RequestPath::read(head.path));
}

/// Whatever stands in a place is seen, and two places never pass for one that is sound.
fn check_places(headers: &HeaderMap, credential: &Credential<'_>) {
    let count = |name: HeaderName| headers.get_all(name).iter().count();
    let has_protocol =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().any(|value| find(value.as_bytes(), PROTOCOL).is_some());
    let (authorization, api_key) = (count(header::AUTHORIZATION), count(API_KEY));
    if authorization + api_key == 0 && !has_protocol {
        assert_eq!(*credential, Credential::Missing);
    } else if authorization + api_key > 0 {
        assert_ne!(*credential, Credential::Missing);
    }
    if authorization > 1 || api_key > 1 {
        assert_eq!(*credential, Credential::Malformed(Malformed::Duplicate));
    }
}

fn check_key(key: &[u8]) {
    assert!((1..=4096).contains(&key.len()) && find_fault(key).is_none());
    assert!(!key.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()), "{key:?}");
}

/// The same key is the same in every place that can hold it, and however the scheme is written.
fn check_elsewhere(key: &[u8], judgement: &Judgement) {
    let with = |before: &[u8]| HeaderValue::from_bytes(&[before, key].concat());
    let (Ok(bearer), Ok(shouted), Ok(bare)) = (with(b"Bearer "), with(b"BEARER\t"), with(b"")) else { return };
    let mut same = vec![vec![(header::AUTHORIZATION, bearer.clone())], vec![(header::AUTHORIZATION, shouted)]];
    same.push(vec![(API_KEY, bare.clone())]);
    same.push(vec![(header::AUTHORIZATION, bearer.clone()), (API_KEY, bare.clone())]);
    if !key.contains(&b',') {
        let protocol = [b"realtime, ", PROTOCOL, key].concat();
        let protocol = HeaderValue::from_bytes(&protocol).expect("a key is fit for a header");
        same.push(vec![(header::SEC_WEBSOCKET_PROTOCOL, protocol)]);
    }
    for places in same {
        let elsewhere = judge_headers(places);
        assert_eq!(Judgement { place: judgement.place, ..elsewhere }, *judgement);
    }
    let other = HeaderValue::from_bytes(&[key, b"x"].concat()).expect("a key is fit for a header");
    let two = judge_headers(vec![(header::AUTHORIZATION, bearer), (API_KEY, other)]);
    assert_eq!(two.verdict, Verdict::Malformed(Malformed::Duplicate));
}

fn judge_headers(headers: Vec<(HeaderName, HeaderValue)>) -> Judgement {
    let headers: HeaderMap = headers.into_iter().collect();
    let lines = headers.into();
    let uri = Uri::from_static("/v1/models");
    judge(&Credential::read(&Head::new(&Method::POST, uri.path(), &lines).fields), None, &RING, NOW)
}

/// Nothing that is told of a key holds the key. What is told of any key of its kind may well hold a short one.
fn check_told(key: &[u8], credential: &Credential<'_>, judgement: &Judgement) {
    let told = tell(credential, judgement);
    let names = judgement.key.expect("a key has names");
    if let Some(hint) = names.hint {
        assert!(key.len() >= 20 && key.ends_with(hint.last()) && key.starts_with(hint.prefix().as_bytes()));
    }
    let Ok(key) = std::str::from_utf8(key) else { return };
    if key.len() >= 20 {
        let other = Credential::Key(keyward::verdict::credential::Presented {
            value: b"sk-another-key-of-no-set".into(),
            place: keyward::verdict::credential::Place::ApiKey,
        });
        let of_another = tell(&other, &Judgement { key: Some(RING.names(b"another")), ..*judgement });
        assert!(!told.contains(key) || of_another.contains(key), "{key:?} stands in {told}");
    }
}

fn tell(credential: &Credential<'_>, judgement: &Judgement) -> String {
    let mut told = format!("{credential:?} {judgement:?}");
    if let Some(names) = judgement.key {
        let _ = write!(told, " {names} {names:?} {}", names.fingerprint.to_hex());
    }
    for handling in [Handling::Forwarded, Handling::Injected, Handling::Refused] {
        let status = if handling == Handling::Refused { None } else { Some(StatusCode::UNAUTHORIZED) };
        let outcome =
            Outcome { status, error: UpstreamError::InvalidApiKey, ending: Ending::Completed, proof: Proof::None };
        let sender = Sender { family: Family::Sdk, sent_key_before: true, learning: false };
        let diagnosis = explain::diagnose(judgement.verdict, outcome, sender);
        let explanation = explain::explain(diagnosis, &context(judgement, handling, status));
        let json = String::from_utf8_lossy(explanation.in_json()).into_owned();
        let _ = write!(told, "\n{}\n{}\n{json}", explanation.message, explanation.remedy);
    }
    told
}

fn context(judgement: &Judgement, handling: Handling, status: Option<StatusCode>) -> Context<'_> {
    Context {
        set: &RING.set(judgement.set).name,
        owner: if let Verdict::Foreign { owner } = judgement.verdict { Some(&RING.set(owner).name) } else { None },
        current: CurrentKey::Known,
        is_beside_good: false,
        is_token_held: handling != Handling::Forwarded,
        judgement,
        handling,
        workflow: Some("w1"),
        workflow_name: None,
        node: Some("n1"),
        node_name: None,
        family: Family::Sdk,
        origin: Origin::Workflow,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        status,
        upstream_code: None,
        cause: None,
        redirect: None,
        has_failed: false,
        projects: None,
    }
}

/// Where a text stands in another one.
fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

const PROTOCOL: &[u8] = b"openai-insecure-api-key.";

const API_KEY: HeaderName = HeaderName::from_static("api-key");

const NAMES: [(u8, HeaderName); 4] = [
    (b'a', header::AUTHORIZATION),
    (b'k', API_KEY),
    (b'p', header::SEC_WEBSOCKET_PROTOCOL),
    (b'u', header::USER_AGENT),
];
