//! What stands where a key should, and is none: one list for requests, key files and `keyward check`.

use std::fmt::Write as _;

use crate::process::client::ask_with;
use crate::process::{Home, events};
use crate::support::{CURRENT, FakeUpstream, TestProxy, eventually};

/// The value, what it is called, and the diagnosis of a request that brings it.
const NON_KEYS: [(&str, &str, &str); 43] = [
    ("None", "a placeholder", "malformed_placeholder"),
    ("EMPTY", "a placeholder", "malformed_placeholder"),
    ("not-needed", "a placeholder", "malformed_placeholder"),
    ("My API Key", "a placeholder", "malformed_placeholder"),
    ("sk-...", "a placeholder", "malformed_placeholder"),
    ("********", "a placeholder", "malformed_placeholder"),
    ("{{ $env.OPENAI_API_KEY }}", "a placeholder", "malformed_placeholder"),
    ("undefined", "the word `undefined`", "malformed_undefined"),
    ("null", "the word `null`", "malformed_null"),
    ("[object Object]", "the name of an object", "malformed_object"),
    ("[object Promise]", "the name of an object", "malformed_object"),
    ("${OPENAI_API_KEY}", "the name of a variable", "malformed_variable"),
    ("$OPENAI_API_KEY", "the name of a variable", "malformed_variable"),
    ("%OPENAI_API_KEY%", "the name of a variable", "malformed_variable"),
    ("$env.OPENAI_API_KEY", "the name of a variable", "malformed_variable"),
    ("process.env.OPENAI_API_KEY", "the name of a variable", "malformed_variable"),
    ("process.env.THE_API_KEY_OF_THE_DEPARTMENT_OF_MARKETING", "the name of a variable", "malformed_variable"),
    ("sk-proj-********AbCd", "a masked key", "malformed_masked"),
    ("sk-abc...wxyz", "a masked key", "malformed_masked"),
    ("sk-proj-…AbCd", "a masked key", "malformed_masked"),
    ("sk-proj-••••••AbCd", "a masked key", "malformed_masked"),
    ("org-0123456789abcdefghijklmn", "an id of OpenAI's", "malformed_id"),
    ("proj_0123456789abcdefghijklmn", "an id of OpenAI's", "malformed_id"),
    ("asst_0123456789abcdefghijklmn", "an id of OpenAI's", "malformed_id"),
    ("OPENAI_API_KEY=sk-proj-0123456789abcdef", "a line of an environment file", "malformed_assignment"),
    ("export OPENAI_API_KEY=sk-proj-0123456789abcdef", "a line of an environment file", "malformed_assignment"),
    ("c2stcHJvai0wMTIzNDU2Nzg5YWJjZGVm", "a key in base64", "malformed_encoded"),
    (
        "sk-proj-0123456789abcdefABCDEFsk-proj-0123456789abcdefABCDEF",
        "the same key twice in a row",
        "malformed_repeated",
    ),
    ("Bearer sk-proj-0123456789abcdef", "`Bearer` twice", "malformed_doubled"),
    ("\"sk-proj-0123456789abcdef\"", "its key in quotation marks", "malformed_quoted"),
    ("sk-proj-0123456789 abcdef", "a key with white space", "malformed_whitespace"),
    ("https://api.openai.com/v1", "an address", "malformed_url"),
    ("sk-ant-api03-0123456789abcdefAbCd", "a key of Anthropic's", "unlisted_key"),
    ("AIzaSy0123456789abcdefghijklmnopqrstuv", "a key of Google's", "unlisted_key"),
    ("gsk_0123456789abcdefghijAbCd", "a key of Groq's", "unlisted_key"),
    ("xai-0123456789abcdefghijAbCd", "a key of xAI's", "unlisted_key"),
    ("pplx-0123456789abcdefghijAbCd", "a key of Perplexity's", "unlisted_key"),
    ("hf_0123456789abcdefghijAbCd", "a token of Hugging Face's", "unlisted_key"),
    ("sk-or-v1-0123456789abcdefghijAbCd", "a key of OpenRouter's", "unlisted_key"),
    ("r8_0123456789abcdefghijAbCd", "a token of Replicate's", "unlisted_key"),
    ("nvapi-0123456789abcdefghijAbCd", "a key of NVIDIA's", "unlisted_key"),
    ("ghp_0123456789abcdefghijAbCd", "a token of GitHub's", "unlisted_key"),
    ("AKIA0123456789ABCDEF", "an access key id of Amazon's", "unlisted_key"),
];

#[test]
fn a_request_that_brings_one_is_told_what_it_brings() {
    let home = Home::new();
    home.write("key", "sk-proj-first-0123456789");
    let upstream = FakeUpstream::accepting();
    let config = "[keys.default]\npolicy = \"enforce\"\ncurrent = { file = \"key\" }\n";
    let keyward = home.serve_for(&upstream).config(config).start();
    for (value, what, code) in NON_KEYS {
        let answer = ask_with(keyward.listen, value);
        let told = String::from_utf8(answer.body.clone()).unwrap();
        assert_eq!(answer.status, 401, "{value}");
        assert!(told.contains(&format!("\"code\":\"{code}\"")), "{value}: {told}");
        // In JSON a quotation mark stands behind a backslash; none of these has one.
        assert!(told.contains(what), "{value}: {told}");
    }
}

#[test]
fn a_key_file_that_holds_one_takes_no_good_keys_place() {
    let home = Home::new();
    home.write("key", "sk-proj-first-0123456789");
    let upstream = FakeUpstream::accepting();
    let config = "[keys.default]\npolicy = \"enforce\"\ncurrent = { file = \"key\" }\n";
    let keyward = home.serve_for(&upstream).config(config).start();
    for (value, what, _) in NON_KEYS {
        home.write("key", format!("{value}\n"));
        keyward.signal(rustix::process::Signal::HUP);
        let complaint = format!("it holds {what}");
        eventually(&format!("the complaint about {value}"), || {
            events(&keyward.log(), "keys")
                .into_iter()
                .find(|event| event["level"] == "error" && event["message"].as_str().unwrap().contains(&complaint))
        });
        assert_eq!(ask_with(keyward.listen, "sk-proj-first-0123456789").status, 200, "{value}");
        home.write("key", "sk-proj-first-0123456789");
    }
}

/// Gateways have keys of that form as well.
#[test]
fn what_looks_like_a_key_of_azure_is_named_and_refused_nowhere_for_it() {
    let key = "0123456789abcdef0123456789abcdef";
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    home.write("key", "sk-proj-first-0123456789");
    let config = "[keys.default]\npolicy = \"enforce\"\ncurrent = { file = \"key\" }\n";
    let keyward = home.serve_for(&upstream).config(config).start();
    let told = String::from_utf8(ask_with(keyward.listen, key).body).unwrap();
    assert!(told.contains("sends what looks like a key of Azure OpenAI that no set has"), "{told}");
    assert!(told.contains("what it holds is another vendor's"), "{told}");
    keyward.stop();
    home.write("key", key);
    let checked = home.keyward(&["check"]).config(config).run();
    let warned = "warning  keys.default.current: file key holds what looks like a key of Azure OpenAI";
    assert_eq!(checked.code(), Some(0), "{}", checked.stdout);
    assert!(checked.stdout.contains(warned), "{}", checked.stdout);
    let keyward = home.serve_for(&upstream).config(config).start();
    assert_eq!(ask_with(keyward.listen, key).status, 200);
}

#[test]
fn the_check_finds_each_in_its_file() {
    let home = Home::new();
    let mut config = String::new();
    for (number, (value, _, _)) in NON_KEYS.into_iter().enumerate() {
        home.write(&format!("key-{number}"), value);
        writeln!(config, "[keys.s{number}]\ncurrent = {{ file = \"key-{number}\" }}").unwrap();
    }
    let finished = home.keyward(&["check"]).config(&config).run();
    assert_eq!(finished.code(), Some(1), "{}", finished.stderr);
    for (number, (value, what, _)) in NON_KEYS.into_iter().enumerate() {
        let told = format!("problem  keys.s{number}.current: file key-{number} holds {what}");
        assert!(finished.stdout.contains(&told), "{value}: {}", finished.stdout);
        assert!(!finished.stdout.contains(value) || value.len() < 20, "{value} is shown");
    }
}

/// An upstream of another vendor's takes that vendor's keys.
#[test]
fn where_upstream_is_another_vendors_its_keys_are_keys() {
    let home = Home::new();
    home.write("key", "gsk_0123456789abcdefghijAbCd");
    for (upstream, is_taken) in [
        ("upstream = \"https://api.groq.com\"", true),
        ("base_path = \"/openai/v1\"", true),
        ("", false),
        ("upstream = \"https://eu.api.openai.com\"", false),
        ("upstream = \"http://127.0.0.1:9\"", false),
    ] {
        let config = format!("[proxy]\n{upstream}\n[keys.default]\ncurrent = {{ file = \"key\" }}\n");
        let finished = home.keyward(&["check"]).config(&config).run();
        assert_eq!(finished.code(), Some(i32::from(!is_taken)), "{upstream}: {}", finished.stdout);
    }
}

/// Nothing that stands for a key, or is of another kind, becomes one of a set's own, even where upstream takes it.
#[test]
fn a_learning_set_learns_no_key_of_another_kind() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).start();
    for (key, diagnosis) in [
        ("sk-admin-0123456789abcdefAbCd", "unlisted_key"),
        ("sk-ant-0123456789abcdefAbCd", "unlisted_key"),
        ("gsk_0123456789abcdefAbCd", "unlisted_key"),
        ("ek_0123456789abcdefAbCd", "ok"),
        ("sess-0123456789abcdefAbCd", "ok"),
        ("eyJ0123456789abcdefAbCd", "ok"),
    ] {
        for _ in 0..2 {
            let line = proxy.get("/v1/models").key(key).logged();
            assert_eq!((&line["verdict"], &line["diagnosis"]), (&"unknown".into(), &diagnosis.into()), "{line}");
        }
    }
    assert_eq!(proxy.get("/v1/models").key(CURRENT).logged()["verdict"], "unknown");
    assert_eq!(proxy.get("/v1/models").key(CURRENT).logged()["verdict"], "current");
}
