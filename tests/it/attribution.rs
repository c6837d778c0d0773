//! Whose request it is: every source of it, how they rank, and that nothing of ours goes upstream.

use serde_json::{Value, json};

use crate::support::{CURRENT, FakeUpstream, OUTDATED, TestProxy};

const NODE: &str = "36e21fd8-c571-420c-bcca-1134b8428099";

#[test]
fn the_tag_header_names_workflow_execution_node_instance_and_name() {
    let (_upstream, proxy) = running();
    let tag = format!("wf=w1;ex=716;node={NODE};inst=prod;name=Weekly%20r%C3%A9port");
    let line = proxy.get("/v1/models").header("X-N8N-Tag", tag).logged();
    check(&line, "tag", [Some("w1"), Some("716"), Some(NODE)]);
    assert_eq!((&line["instance"], &line["workflow_name"]), (&"prod".into(), &"Weekly réport".into()));
}

#[test]
fn the_four_single_headers_name_the_same() {
    let (_upstream, proxy) = running();
    let line = proxy
        .get("/v1/models")
        .header("X-N8N-Workflow-Id", "w1")
        .header("X-N8N-Execution-Id", "716")
        .header("X-N8N-Node-Id", NODE)
        .header("X-N8N-Workflow-Name", "Weekly report")
        .logged();
    check(&line, "header", [Some("w1"), Some("716"), Some(NODE)]);
    assert_eq!(line["workflow_name"], "Weekly report");
}

#[test]
fn the_path_names_what_stands_in_it_and_upstream_sees_nothing_of_it() {
    let (upstream, proxy) = running();
    for (prefix, ids) in [
        ("/n8n/w1/716/n1", [Some("w1"), Some("716"), Some("n1")]),
        ("/n8n/w1/716", [Some("w1"), Some("716"), None]),
        ("/n8n/w1", [Some("w1"), None, None]),
        ("/set/default/n8n/w1/716/n1", [Some("w1"), Some("716"), Some("n1")]),
        ("/set/default/n8n/w1", [Some("w1"), None, None]),
        ("/n8n/w1/716/none", [Some("w1"), Some("716"), None]),
    ] {
        let line = proxy.get(&format!("{prefix}/v1/chat/completions?a=1&b=%2F..")).logged();
        check(&line, "path", ids);
        assert_eq!(line["path"], "/v1/chat/completions", "after the prefix and without the query");
        assert_eq!(last_target(&upstream), "/v1/chat/completions?a=1&b=%2F..", "the query goes on as it came");
    }
}

#[test]
fn a_click_in_the_editor_is_no_run_of_a_workflow() {
    let (upstream, proxy) = running();
    for ids in [
        "editor/__UNKNOWN__/none",
        "none/none/none",
        "undefined/undefined/undefined",
        "__UNKNOWN__/__UNKNOWN__/",
        "editor",
        "",
    ] {
        let line = proxy.get(&format!("/n8n/{ids}/v1/models")).logged();
        check(&line, "path", [None, None, None]);
        assert!(line["message"].as_str().unwrap().starts_with("n8n's editor sent no key"), "{line}");
        assert_eq!(last_target(&upstream), "/v1/models");
    }
    let organization = proxy.get("/v1/models").header("OpenAI-Organization", "n8n-editor-__UNKNOWN__").logged();
    check(&organization, "organization", [None, None, None]);
}

#[test]
fn the_organization_names_workflow_and_execution() {
    let (upstream, proxy) = running();
    let line = proxy.get("/v1/models").header("OpenAI-Organization", "n8n-w1-716").logged();
    check(&line, "organization", [Some("w1"), Some("716"), None]);
    assert_eq!(upstream.only_received().head.header("openai-organization"), None);
}

#[test]
fn a_users_own_organization_is_no_tag_and_passes_untouched() {
    let (upstream, proxy) = running();
    for own in ["org-AbC123", "n8n-team", "n8n-w1-july", "N8N-w1-716", "n8n-", "öre"] {
        let line = proxy.get("/v1/models").header("OpenAI-Organization", own).logged();
        check(&line, "none", [None, None, None]);
        assert_eq!(upstream.received().pop().unwrap().head.header("openai-organization"), Some(own));
    }
}

#[test]
fn without_any_source_the_client_family_and_the_address_stand_in() {
    let (_upstream, proxy) = running();
    for (agent, accept, family, version) in [
        ("n8n", "application/json, text/plain, */*", "legacy", None),
        ("axios/1.8.3", "application/json", "vendor", Some("1.8.3")),
        ("OpenAI/JS 4.104.0", "application/json", "sdk", Some("4.104.0")),
        ("n8n", "application/json,text/html,application/xhtml+xml", "http-request", None),
        ("ai-sdk-openai/4.0.118 ai-sdk-provider-utils/5.0.81 node.js/24", "*/*", "agent", Some("4.0.118")),
        ("curl/8.5.0", "*/*", "other", Some("8.5.0")),
    ] {
        let line = proxy.get("/v1/models").header("User-Agent", agent).header("Accept", accept).logged();
        check(&line, "none", [None, None, None]);
        assert_eq!((&line["client"], &line["peer"]), (&family.into(), &"127.0.0.1".into()), "{agent}");
        assert_eq!(line["client_version"], version.map_or(Value::Null, Value::from), "{agent}");
    }
}

#[test]
fn the_strongest_source_wins_and_a_disagreement_is_noted() {
    let (_upstream, proxy) = running();
    let tag = ("X-N8N-Tag", "wf=by-tag");
    let header = ("X-N8N-Workflow-Id", "by-header");
    let organization = ("OpenAI-Organization", "n8n-by-organization-716");
    for (target, headers, attribution, workflow) in [
        ("/n8n/by-path/v1/models", vec![tag, header, organization], "tag", "by-tag"),
        ("/n8n/by-path/v1/models", vec![header, organization], "header", "by-header"),
        ("/n8n/by-path/v1/models", vec![organization], "path", "by-path"),
    ] {
        let request = headers.into_iter().fold(proxy.get(target), |request, (name, value)| request.header(name, value));
        let line = request.logged();
        check(&line, attribution, [Some(workflow), None, None]);
        assert_eq!(line["sources_disagree"], true);
    }
    let line = proxy.get("/n8n/w1/716/n1/v1/models").header("X-N8N-Tag", "wf=w1").logged();
    check(&line, "tag", [Some("w1"), Some("716"), Some("n1")]);
    assert_eq!(line["sources_disagree"], Value::Null, "a weaker source may complete a stronger one");
}

#[test]
fn a_tag_with_any_fault_is_invalid_as_a_whole() {
    let (upstream, proxy) = running();
    let too_long = format!("wf=w1;name={}", "a".repeat(2000));
    for tag in ["wf=w1;wf=w2", "wf=w1;colour=red", "wf=w1;", "w1", "wf=w<1>", "wf=w 1", "wf=wörk", "WF=w1", &too_long]
    {
        let line = proxy.get("/v1/models").header("X-N8N-Tag", tag).logged();
        check(&line, "none", [None, None, None]);
        assert_eq!(line["invalid_tag"], true, "{tag}");
        assert_eq!(upstream.received().pop().unwrap().head.header("x-n8n-tag"), None, "it ends here all the same");
    }
    let twice = proxy.get("/v1/models").header("X-N8N-Tag", "wf=w1").header("X-N8N-Tag", "wf=w1").logged();
    check(&twice, "none", [None, None, None]);
    assert_eq!(twice["invalid_tag"], true);
}

#[test]
fn nothing_of_ours_reaches_upstream_and_everything_else_does() {
    let (upstream, proxy) = running();
    proxy
        .post("/set/default/n8n/w1/716/n1/v1/responses?x=1")
        .header("X-N8N-Tag", "wf=w1;ex=716;node=n1")
        .header("x-n8n-workflow-id", "w1")
        .header("X-N8N-Execution-Id", "716")
        .header("X-N8N-NODE-ID", "n1")
        .header("X-N8N-Workflow-Name", "W\u{f6}rk")
        .key(CURRENT)
        .header("OpenAI-Organization", "org-mine")
        .header("OpenAI-Project", "proj_mine")
        .header("X-Custom", b"\xe9t\xe9")
        .header("X-Custom", "second")
        .body("{}")
        .send();
    let expected = format!(
        "POST /v1/responses?x=1 HTTP/1.1\r\nhost: {}\r\nAuthorization: Bearer {CURRENT}\r\nOpenAI-Organization: \
         org-mine\r\nOpenAI-Project: proj_mine\r\nX-Custom: été\r\nX-Custom: second\r\nContent-Length: 2\r\n\r\n",
        upstream.authority()
    );
    let expected = expected.replace("été", "\u{1}t\u{1}").into_bytes().into_iter();
    let expected: Vec<u8> = expected.map(|byte| if byte == 1 { 0xe9 } else { byte }).collect();
    assert_eq!(sorted_lines(&upstream.only_received().head.raw), sorted_lines(&expected));
}

#[test]
fn an_upstream_that_is_not_at_v1_gets_its_own_path_and_its_key_counts() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).base_path("/openai/v1").start();
    for (target, sent) in [
        ("/v1/chat/completions?a=1", "/openai/v1/chat/completions?a=1"),
        ("/n8n/w1/716/n1/v1/chat/completions", "/openai/v1/chat/completions"),
        ("/n8n/w2/716/n1/openai/v1/chat/completions", "/openai/v1/chat/completions"),
        ("/n8n/w3/openai/v1/chat/completions", "/openai/v1/chat/completions"),
    ] {
        let line = proxy.post(target).key(CURRENT).body("{}").logged();
        assert_eq!((last_target(&upstream), &line["path"]), (sent.to_owned(), &"/v1/chat/completions".into()));
    }
    let bindings = proxy.admin("/api/v1/bindings").json();
    let states: Vec<_> = bindings["bindings"].as_array().unwrap().iter().map(|one| one["state"].as_str()).collect();
    assert_eq!(states, [Some("confirmed"); 4], "{bindings}");
}

#[test]
fn spellings_of_the_base_url_that_would_fail_are_repaired_and_it_is_said() {
    let (upstream, proxy) = running();
    for (target, sent, note) in [
        ("/v1/v1/models", "/v1/models", "path: /v1/v1 read as /v1"),
        ("/v1//models?limit=1", "/v1/models?limit=1", "path: /v1// read as /v1/"),
        ("/n8n/w1/716/n1/models", "/v1/models", "path: missing /v1 put in front"),
        ("/n8n/w1/716/n1/v1/v1/models", "/v1/models", "path: /v1/v1 read as /v1"),
        ("/set/default/n8n/w1/716/n1/v1//models", "/v1/models", "path: /v1// read as /v1/"),
    ] {
        let answer = proxy.get(target).key(CURRENT).send();
        assert_eq!(answer.header("x-keyward-note"), Some(note), "{target}");
        assert_eq!(last_target(&upstream), sent);
        let line = proxy.line(&answer);
        assert_eq!((&line["note"], &line["path"]), (&note.into(), &sent.split('?').next().into()));
    }
    let answer = proxy.get("/v2/models//a").key(CURRENT).send();
    assert_eq!((answer.header("x-keyward-note"), last_target(&upstream)), (None, "/v2/models//a".to_owned()));
}

#[test]
fn a_hostile_prefix_declares_nothing_and_goes_on_as_it_came() {
    let (upstream, proxy) = running();
    let long = format!("/n8n/{}/v1/models", "a".repeat(10_000));
    for target in [
        "/n8n/w1/../v1/models",
        "/n8n/w1/716/n1/v1/../admin",
        "/n8n/w1/%2e%2e/n1/v1/models",
        "/n8n/w1/716/n1/v1/%2E./models",
        "/set//n8n/w1/v1/models",
        "/set/../n8n/w1/v1/models",
        "//n8n/w1/v1/models",
        "/n8n/w1;x/716/n1/v1/models",
        "/N8N/w1/716/n1/v1/models",
        "/n8n/v1/models/a/b",
        &long,
    ] {
        let line = proxy.get(target).key(CURRENT).logged();
        check(&line, "none", [None, None, None]);
        assert_eq!(last_target(&upstream), target);
        let path = line["path"].as_str().unwrap();
        assert!(path.len() <= 512 && target.starts_with(path), "{path}");
    }
}

#[test]
fn an_encoded_slash_is_a_part_of_its_segment() {
    let (upstream, proxy) = running();
    let line = proxy.get("/n8n/w%2F1/716/n1/v1/files/a%2Fb").key(CURRENT).logged();
    check(&line, "path", [Some("w%2F1"), Some("716"), Some("n1")]);
    assert_eq!((&line["path"], last_target(&upstream)), (&"/v1/files/a%2Fb".into(), "/v1/files/a%2Fb".to_owned()));
}

#[test]
fn text_of_a_caller_is_escaped_and_capped_in_the_log() {
    let (_upstream, proxy) = running();
    let name = format!("%22%0A%7B%22event%22:%22exchange%22%7D%1b[31m%e2%80%ae{}", "x".repeat(200));
    let line = proxy.get("/v1/%22models%22").header("X-N8N-Tag", format!("wf=w1;name={name}")).logged();
    let said = line["workflow_name"].as_str().unwrap();
    assert!(
        said.starts_with("\"\u{fffd}{\"event\":\"exchange\"}\u{fffd}[31m\u{fffd}xxx") && said.len() <= 256,
        "{said:?}"
    );
    let version = format!("OpenAI/JS 4.104.0\"{}", "9".repeat(500));
    let line = proxy.get("/v1/models").header("User-Agent", version).logged();
    assert_eq!(line["client_version"], Value::Null, "what does not look like a version is none");
    assert!(proxy.log_text().bytes().all(|byte| byte == b'\n' || byte >= b' '), "no control character is in the log");
    assert_eq!(proxy.lines().len(), 2);
}

#[test]
fn control_characters_in_a_head_are_refused_and_odd_bytes_are_shown_harmlessly() {
    let (upstream, proxy) = running();
    for target in [&b"/v1/mod\x01els"[..], b"/v1/mod\x7fels", b"/n8n/w\t1/v1/models", b"/v1/m\xc3\xb6dels"] {
        let mut client = proxy.connect();
        client.send([b"GET ", target, b" HTTP/1.1\r\nHost: keyward\r\n\r\n"].concat());
        assert_eq!(client.answer().status, 400);
    }
    assert_eq!(upstream.received().len(), 0);
    let mut client = proxy.connect();
    client.send(b"GET /v1/m%C3%B6dels HTTP/1.1\r\nHost: keyward\r\nX-N8N-Workflow-Name: W\xf6rk\r\n\r\n");
    let line = proxy.line(&client.answer());
    assert_eq!((&line["path"], &line["workflow_name"]), (&"/v1/m%C3%B6dels".into(), &"W\u{fffd}rk".into()));
}

/// An upstream that takes everything, and a proxy with one key.
/// What n8n runs beside its workflows: one binding for all agents of an n8n, which a restart does not take for another.
#[test]
fn agents_are_one_binding_with_a_remedy_of_their_own() {
    let agent = "ai-sdk-openai/4.0.118 ai-sdk-provider-utils/5.0.81 node.js/24";
    let upstream = FakeUpstream::accepting();
    let store = tempfile::tempdir().unwrap();
    let start = || {
        let builder = TestProxy::with(&upstream).current_key(CURRENT).previous_key(OUTDATED);
        builder.fingerprint_key([7; 32]).store(&store.path().join("ledger.db")).start()
    };
    let holders = |proxy: &TestProxy| -> Vec<(String, String)> {
        let listed: Value = serde_json::from_str(&proxy.admin("/api/v1/bindings").text()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let bindings = listed["bindings"].as_array().unwrap().iter();
        let mut found: Vec<_> = bindings.map(|row| (text(&row["holder"]), text(&row["who"]))).collect();
        found.sort();
        found
    };
    let proxy = start();
    let path = "/n8n/editor/__UNKNOWN__/none/v1/responses";
    let stale = proxy.post(path).key(OUTDATED).header("User-Agent", agent).body("{}").logged();
    assert_eq!((&stale["client"], &stale["diagnosis"]), (&"agent".into(), &"stale_binding".into()));
    let (message, remedy) = (stale["message"].as_str().unwrap(), stale["remedy"].as_str().unwrap());
    assert!(message.starts_with("One of n8n's Agents (from 127.0.0.1) still sends key "), "{message}");
    assert!(remedy.contains("Save or publish the agent"), "{remedy}");
    let raw = "=wf={{ $workflow.id }};ex={{ $execution.id }};node={{ $nodeId }}";
    let instance = proxy.post("/v1/responses").key(OUTDATED).header("User-Agent", agent).header("X-N8N-Tag", raw);
    let line = instance.body("{}").logged();
    assert!(line["message"].as_str().unwrap().starts_with("n8n's Instance AI "), "{line}");
    assert!(line["remedy"].as_str().unwrap().contains("static tag"), "{line}");
    assert_eq!((&line["attribution"], &line["invalid_tag"]), (&"tag".into(), &true.into()));
    // The editor's model list is none of theirs, and a workflow's node with its own tag is itself.
    proxy.get("/n8n/editor/__UNKNOWN__/none/v1/models").key(CURRENT).header("User-Agent", "undici").logged();
    proxy.get("/v1/models").key(CURRENT).header("User-Agent", agent).header("X-N8N-Tag", "wf=w;ex=1;node=n").logged();
    let expected = [
        ("agent", "n8n's Agents"),
        ("agent", "n8n's Instance AI"),
        ("caller", "workflow w, node n"),
        ("editor", "n8n's editor"),
    ];
    let expected = expected.map(|(holder, who)| (holder.to_owned(), who.to_owned()));
    assert_eq!(holders(&proxy), expected);
    proxy.end();
    let proxy = start();
    proxy.post(path).key(CURRENT).header("User-Agent", agent).body("{}").logged();
    assert_eq!(holders(&proxy), expected, "known from before");
    assert_eq!(upstream.received().iter().filter(|received| received.head.header("x-n8n-tag").is_some()).count(), 0);
}

fn running() -> (FakeUpstream, TestProxy) {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    (upstream, proxy)
}

/// Holds a line against the attribution, and workflow, execution and node.
#[track_caller]
fn check(line: &Value, attribution: &str, ids: [Option<&str>; 3]) {
    assert_eq!(line["attribution"], attribution, "{line}");
    assert_eq!(json!([line["workflow_id"], line["execution_id"], line["node_id"]]), json!(ids), "{line}");
}

/// The target of upstream's last request.
fn last_target(upstream: &FakeUpstream) -> String {
    upstream.received().pop().unwrap().head.line.split(' ').nth(1).unwrap().to_owned()
}

/// The lines of a head: upstream may get its headers in any order.
fn sorted_lines(head: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<_> = head.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    lines[1..].sort();
    lines
}
