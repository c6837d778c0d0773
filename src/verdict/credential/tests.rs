//! Credentials in each place and each way to write them wrong.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::field_lines::FieldLines;
use crate::head::Head;

const KEY: &str = "sk-proj-0123456789abcdefABCDEF";

fn head(lines: &[(&'static str, &[u8])]) -> FieldLines {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).expect("a value"));
    }
    headers.into()
}

fn read(lines: &FieldLines) -> Credential<'_> {
    let fields = Head::new(&http::Method::GET, "/v1/models", lines).fields;
    match Credential::read(&fields) {
        Credential::Missing => Credential::Missing,
        Credential::Malformed(kind) => Credential::Malformed(kind),
        Credential::Key(Presented { value, place }) => {
            Credential::Key(Presented { value: Cow::Owned(value.into_owned()), place })
        }
    }
}

#[track_caller]
fn check_key(lines: &[(&'static str, &[u8])], expected: &str, place: Place) {
    let expected = Presented { value: Cow::Borrowed(expected.as_bytes()), place };
    assert_eq!(read(&head(lines)), Credential::Key(expected));
}

#[track_caller]
fn check_malformed(lines: &[(&'static str, &[u8])], expected: Malformed) {
    assert_eq!(read(&head(lines)), Credential::Malformed(expected));
}

#[track_caller]
fn check_value(authorization: &str, expected: Malformed) {
    check_malformed(&[("authorization", authorization.as_bytes())], expected);
}

#[test]
fn a_key_stands_in_one_of_four_places() {
    let bearer = format!("Bearer {KEY}");
    check_key(&[("authorization", bearer.as_bytes())], KEY, Place::Bearer);
    check_key(&[("authorization", format!("bearer {KEY}").as_bytes())], KEY, Place::Bearer);
    check_key(&[("authorization", format!("BEARER {KEY}").as_bytes())], KEY, Place::Bearer);
    for user in ["", "me"] {
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{KEY}")));
        check_key(&[("authorization", basic.as_bytes())], KEY, Place::Basic);
    }
    check_key(&[("api-key", KEY.as_bytes())], KEY, Place::ApiKey);
    let protocols = format!("realtime, openai-insecure-api-key.{KEY}, openai-beta.realtime-v1");
    check_key(&[("sec-websocket-protocol", protocols.as_bytes())], KEY, Place::WebSocketProtocol);
    let apart: [(&str, &[u8]); 2] =
        [("sec-websocket-protocol", b"realtime"), ("sec-websocket-protocol", protocols.as_bytes())];
    check_key(&apart, KEY, Place::WebSocketProtocol);
}

#[test]
fn nothing_anywhere_is_missing() {
    assert_eq!(read(&head(&[("accept", b"*/*")])), Credential::Missing);
    assert_eq!(read(&head(&[("sec-websocket-protocol", b"realtime")])), Credential::Missing);
}

#[test]
fn one_key_in_two_places_is_one_credential_and_two_keys_are_none() {
    let bearer = format!("Bearer {KEY}");
    let both: [(&str, &[u8]); 2] = [("authorization", bearer.as_bytes()), ("api-key", KEY.as_bytes())];
    check_key(&both, KEY, Place::Bearer);
    check_malformed(&[("authorization", bearer.as_bytes()), ("api-key", b"sk-other")], Malformed::Duplicate);
    check_malformed(&[("authorization", b"Bearer"), ("api-key", KEY.as_bytes())], Malformed::Duplicate);
    let twice: [(&str, &[u8]); 2] = [("authorization", bearer.as_bytes()), ("authorization", bearer.as_bytes())];
    check_malformed(&twice, Malformed::Duplicate);
    let two = b"openai-insecure-api-key.sk-a, openai-insecure-api-key.sk-b";
    check_malformed(&[("sec-websocket-protocol", two)], Malformed::Duplicate);
}

/// The values that n8n 1.100.1 and 2.41.1 were seen to send. hyper has trimmed their ends already (RFC 9110, 5.5).
#[test]
fn what_n8n_sends() {
    check_value("Bearer", Malformed::Empty);
    check_value("Bearer ", Malformed::Empty);
    check_value("Bearer  ", Malformed::Empty);
    check_value("", Malformed::Empty);
    check_value(&format!("Bearer  {KEY}"), Malformed::Whitespace);
    check_value(&format!("Bearer \"{KEY}\""), Malformed::Quoted);
    check_value(&format!("Bearer '{KEY}'"), Malformed::Quoted);
    check_value(&format!("Bearer Bearer {KEY}"), Malformed::Doubled);
    check_value("Bearer undefined", Malformed::Undefined);
    check_value("Bearer null", Malformed::Null);
    check_value("Bearer [object Object]", Malformed::Object);
    check_value("Bearer __n8n_BLANK_VALUE_e5362baf-c777-4d57-a609-6eaf1f9e87f6", Malformed::Placeholder);
    check_malformed(
        &[("authorization", &[format!("Bearer {KEY}").as_bytes(), b"\xa0"].concat())],
        Malformed::Whitespace,
    );
    for unlisted in ["a", "12", "false"] {
        check_key(&[("authorization", format!("Bearer {unlisted}").as_bytes())], unlisted, Place::Bearer);
    }
}

#[test]
fn what_people_paste() {
    for text in
        ["YOUR_API_KEY", "your-api-key", "sk-...", "sk-xxxxxxxx", "sk-proj-****", "<your key>", "OPENAI_API_KEY"]
    {
        check_value(&format!("Bearer {text}"), Malformed::Placeholder);
    }
    check_value("Bearer {{ $env.OPENAI_API_KEY }}", Malformed::Placeholder);
    check_value("Bearer ={{ $json.key }}", Malformed::Placeholder);
    check_value("Bearer https://api.openai.com/v1", Malformed::Url);
    check_value("Bearer HTTP://x", Malformed::Url);
    check_value("Bearer Bearer", Malformed::Doubled);
    check_value("Bearer \"broken key\"", Malformed::Quoted);
    check_value("Bearer sk-a sk-b", Malformed::Whitespace);
    check_value(&format!("Bearer {}", "a".repeat(LONGEST + 1)), Malformed::Oversized);
    check_malformed(&[("authorization", "Bearer sk-a\u{200b}".as_bytes())], Malformed::Whitespace);
    check_malformed(&[("authorization", "Bearer sk-…".as_bytes())], Malformed::Placeholder);
    check_malformed(&[("api-key", b"")], Malformed::Empty);
}

#[test]
fn other_schemes() {
    check_value(KEY, Malformed::Scheme);
    check_value("Token abc", Malformed::Scheme);
    check_value("Basic", Malformed::Scheme);
    check_value("Basic not-base64!", Malformed::Scheme);
    check_value(&format!("Basic {}", BASE64_STANDARD.encode("user:")), Malformed::Scheme);
    check_value(&format!("Basic {}", BASE64_STANDARD.encode("no colon")), Malformed::Scheme);
    check_value(&format!("Basic {}", BASE64_STANDARD.encode(":undefined")), Malformed::Undefined);
}

#[test]
fn a_key_is_not_judged_by_its_looks() {
    let bearer_like = "bearer_of_news_".repeat(4);
    for key in [
        "x",
        "hf_abcdefgh",
        "gsk_1234",
        "eyJhbGciOiJSUzI1NiJ9.e30.c2ln",
        "ek_1234",
        "kw_abc",
        "sk-admin-1",
        &bearer_like,
    ] {
        check_key(&[("authorization", format!("Bearer {key}").as_bytes())], key, Place::Bearer);
    }
    check_key(&[("authorization", "Bearer clé-d'un-autre".as_bytes())], "clé-d'un-autre", Place::Bearer);
}

#[test]
fn debug_shows_no_key() {
    let lines = head(&[("api-key", b"sk-canary")]);
    assert!(!format!("{:?}", read(&lines)).contains("canary"));
}

proptest! {
    #[test]
    fn any_bytes_are_read(value in proptest::collection::vec(prop_oneof![Just(b' '), 0x20_u8..=0xff], 0..80)) {
        prop_assume!(!value.contains(&0x7f));
        for name in ["authorization", "api-key", "sec-websocket-protocol"] {
            let _ = read(&head(&[(name, &value)]));
        }
    }

    #[test]
    fn a_long_key_of_visible_characters_is_a_key(key in "[a-zA-Z0-9_.~+/=-]{49,200}") {
        prop_assume!(!key.starts_with('_') && !key.starts_with('=') && !key.to_ascii_lowercase().starts_with("http"));
        let value = format!("Bearer {key}");
        check_key(&[("authorization", value.as_bytes())], &key, Place::Bearer);
    }
}

#[test]
fn two_credentials_in_one_header_are_two() {
    let basic = BASE64_STANDARD.encode("user:password");
    for joined in [
        format!("Bearer {KEY}, Bearer {KEY}"),
        format!("Bearer {KEY},Bearer sk-other"),
        format!("bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln , Bearer {KEY}"),
        format!("Bearer {KEY}, Basic {basic}"),
        format!("Basic {basic}, Bearer {KEY}"),
    ] {
        check_value(&joined, Malformed::Duplicate);
    }
    let ends_so = "kk,rk,,BEARER";
    check_key(&[("authorization", format!("BEARER\t{ends_so}").as_bytes())], ends_so, Place::Bearer);
    let comma = format!("{KEY},x");
    check_key(&[("authorization", format!("Bearer {comma}").as_bytes())], &comma, Place::Bearer);
}

#[test]
fn what_stands_in_a_key_s_place_by_mistake_is_named() {
    let whole = "sk-proj-0123456789abcdefABCDEF0123456789abcdefABCDEF0123456789abcd";
    for (text, expected) in [
        ("${OPENAI_API_KEY}", Malformed::Variable),
        ("$OPENAI_API_KEY", Malformed::Variable),
        ("%OPENAI_API_KEY%", Malformed::Variable),
        ("$env.OPENAI_API_KEY", Malformed::Variable),
        ("process.env.OPENAI_API_KEY", Malformed::Variable),
        ("None", Malformed::Placeholder),
        ("EMPTY", Malformed::Placeholder),
        ("not-needed", Malformed::Placeholder),
        ("My API Key", Malformed::Placeholder),
        ("[object Promise]", Malformed::Object),
        ("sk-proj-********AbCd", Malformed::Masked),
        ("sk-proj-abcd...AbCd", Malformed::Masked),
        (&format!("{}****", &whole[..50]), Malformed::Masked),
        ("org-0123456789", Malformed::Id),
        ("proj_0123456789", Malformed::Id),
        ("asst_0123456789", Malformed::Id),
        (&format!("OPENAI_API_KEY={whole}"), Malformed::Assignment),
        (&format!("export OPENAI_API_KEY=\"{whole}\""), Malformed::Assignment),
        (&BASE64_STANDARD.encode(whole), Malformed::Encoded),
        (&whole.repeat(2), Malformed::Repeated),
    ] {
        check_value(&format!("Bearer {text}"), expected);
    }
    for key in [whole, "sk-a.b.c", "100%", "$", "a=b", "original"] {
        check_key(&[("authorization", format!("Bearer {key}").as_bytes())], key, Place::Bearer);
    }
}

/// A value of each kind, as `Authorization` carries it. A new kind has to be read from something.
fn example(kind: Malformed) -> String {
    let text = match kind {
        Malformed::Empty => "Bearer ",
        Malformed::Scheme => "Token abc",
        Malformed::Undefined => "Bearer undefined",
        Malformed::Null => "Bearer null",
        Malformed::Object => "Bearer [object Object]",
        Malformed::Placeholder => "Bearer YOUR_API_KEY",
        Malformed::Quoted => "Bearer \"sk-a\"",
        Malformed::Doubled => "Bearer Bearer sk-a",
        Malformed::Whitespace => "Bearer sk-a sk-b",
        Malformed::Duplicate => "Bearer sk-a, Bearer sk-b",
        Malformed::Url => "Bearer https://api.openai.com/v1",
        Malformed::Variable => "Bearer ${OPENAI_API_KEY}",
        Malformed::Assignment => "Bearer OPENAI_API_KEY=sk-a",
        Malformed::Masked => "Bearer sk-proj-****AbCd",
        Malformed::Id => "Bearer org-0123456789",
        Malformed::Encoded => "Bearer c2stcHJvai0wMTIzNDU2Nzg5",
        Malformed::Repeated => concat!(
            "Bearer sk-proj-0123456789abcdefABCDEF0123456789abcdef",
            "sk-proj-0123456789abcdefABCDEF0123456789abcdef"
        ),
        Malformed::Oversized => return format!("Bearer {}", "a".repeat(LONGEST + 1)),
    };
    text.to_owned()
}

#[test]
fn every_kind_is_read_from_something() {
    for kind in Malformed::ALL {
        check_value(&example(kind), kind);
    }
}
