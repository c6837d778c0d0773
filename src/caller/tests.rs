//! Who sent a request, by its head: a table for each source, and what they make of each other.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use proptest::prelude::*;

use super::declared::{is_our_organization, read_headers, read_organization, read_tag};
use super::*;
use crate::field_lines::{FieldLines, Name};
use crate::head::{Field, Fields};
use crate::request_path::is_id;

const NODE: &str = "36e21fd8-c571-420c-bcca-1134b8428099";

/// A request's head with its owner: a head borrows.
struct Request {
    uri: Uri,
    lines: FieldLines,
}

impl Request {
    fn new(path: &str, headers: &[(&'static str, &str)]) -> Self {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Self { uri: path.parse().unwrap(), lines: map.into() }
    }

    fn caller(&self) -> Caller<'_> {
        let head = Head::new(&Method::POST, self.uri.path(), &self.lines);
        Caller::identify(&head, &RequestPath::read(head.path))
    }

    fn fields(&self) -> Fields<'_> {
        Head::new(&Method::POST, self.uri.path(), &self.lines).fields
    }
}

/// One line for each thing that was found out, as `name=value`; `?` and a name is a doubt.
fn describe(caller: &Caller<'_>) -> String {
    let editor = (caller.origin == Origin::Editor).then_some("yes");
    let agent = match caller.origin {
        Origin::Agent => Some("agent"),
        Origin::InstanceAi => Some("instance-ai"),
        Origin::Chat => Some("chat"),
        Origin::Workflow | Origin::Editor | Origin::Undeclared => None,
    };
    let invalid = caller.doubts.invalid_tag.then_some("yes");
    let disagree = (caller.doubts.agreement != Agreement::Full).then_some("yes");
    let parts = [
        ("by", Some(caller.attribution.code()).filter(|code| *code != "none")),
        ("inst", caller.instance),
        ("set", caller.set),
        ("editor", editor),
        ("of", agent),
        ("wf", caller.workflow),
        ("ex", caller.execution),
        ("node", caller.node),
        ("name", caller.workflow_name.as_deref()),
        ("?invalid", invalid),
        ("?disagree", disagree),
    ];
    let said: Vec<_> = parts.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?))).collect();
    said.join(" ")
}

#[track_caller]
fn check(path: &str, headers: &[(&'static str, &str)], expected: &str) {
    assert_eq!(describe(&Request::new(path, headers).caller()), expected, "{path} {headers:?}");
}

#[track_caller]
fn check_tag(tag: &str, expected: &str) {
    check("/v1/models", &[("x-n8n-tag", tag)], expected);
}

#[track_caller]
fn check_organization(organization: &str, expected: &str) {
    let request = Request::new("/v1/models", &[("openai-organization", organization)]);
    assert_eq!(describe(&request.caller()), expected, "{organization:?}");
    assert_eq!(is_our_organization(request.fields().organization), !expected.is_empty(), "{organization:?}");
}

#[track_caller]
fn check_client(agent: &str, accept: &str, family: Family, version: Option<&str>) {
    let request = Request::new("/v1/models", &[("user-agent", agent), ("accept", accept)]);
    assert_eq!(request.caller().client, Client { family, version }, "{agent:?} {accept:?}");
}

// === The tag ===

#[test]
fn a_tag_declares_its_fields() {
    check_tag(
        &format!("wf=Xk2vQ9wLmB7tRz4c;ex=101;node={NODE}"),
        &format!("by=tag wf=Xk2vQ9wLmB7tRz4c ex=101 node={NODE}"),
    );
    check_tag("wf=w", "by=tag wf=w");
    check_tag("node=n;wf=w;ex=7", "by=tag wf=w ex=7 node=n");
    check_tag("wf=w;set=staging;inst=n8n.example:5678", "by=tag inst=n8n.example:5678 set=staging wf=w");
    check_tag("wf=w;name=My%20W%C3%B6rkflow%20%E2%98%95", "by=tag wf=w name=My Wörkflow ☕");
    check_tag("wf=w;name=plain name", "by=tag wf=w name=plain name");
    check_tag("wf=w;name=100% a+b", "by=tag wf=w name=100% a+b");
    // `=` and `,` are ordinary characters of an id.
    check_tag("wf=a=b/c?d,ex=7", "by=tag wf=a=b/c?d,ex=7");
    check_tag("ex=7", "by=tag ex=7");
}

#[test]
fn white_space_around_the_parts_of_a_tag_is_tolerated() {
    check_tag("wf=w ; ex=7;\tnode=n", "by=tag wf=w ex=7 node=n");
    check_tag(" wf=w;  ex=7  ", "by=tag wf=w ex=7");
    check_tag("wf =w", "?invalid=yes");
    check_tag("wf= w", "?invalid=yes");
}

#[test]
fn a_blank_field_is_absent() {
    for blank in ["", "undefined", "null", "__UNKNOWN__"] {
        check_tag(&format!("wf=w;ex={blank};node=n"), "by=tag wf=w node=n");
        check_tag(&format!("wf=w;ex=7;node={blank};name={blank}"), "by=tag wf=w ex=7");
        check_tag(&format!("wf={blank};ex=7"), "by=tag ex=7");
        check_tag(&format!("wf=w;set={blank};inst={blank}"), "by=tag wf=w");
        check_tag(&format!("wf={blank};ex={blank};node={blank}"), "");
    }
    check_tag("wf=w;ex=none;node=none", "by=tag wf=w");
}

#[test]
fn sets_instances_and_names_may_be_called_like_a_placeholder() {
    check_tag("wf=w;set=none;inst=editor;name=none", "by=tag inst=editor set=none wf=w name=none");
}

#[test]
fn a_tag_may_name_the_editor() {
    check_tag("wf=editor;ex=__UNKNOWN__;node=none", "by=tag editor=yes");
    check_tag("wf=none;ex=7;node=n;set=s", "by=tag set=s editor=yes");
}

#[test]
fn a_tag_that_is_wrong_in_any_place_is_invalid_as_a_whole() {
    for tag in [
        "",
        " ",
        ";",
        "wf",
        "w",
        "wf=w;",
        ";wf=w",
        "wf=w;;ex=7",
        "wf=w;wf=w",
        "wf=;wf=w",
        "wf=w;ex=7;ex=8",
        "wf=w;name=a;name=a",
        "wf=w;other=1",
        "WF=w",
        "wf=w x",
        "wf=\"w\"",
        "wf='w'",
        "wf=<w>",
        "wf=w\\",
        "wf=w`",
        "wf=w;node=é",
        "wf=é",
        "wf=w;name=é",
        "wf=w;set=a b",
        "wf=w;inst=a b",
    ] {
        check_tag(tag, "?invalid=yes");
    }
}

#[test]
fn a_tag_has_limits() {
    let id = "a".repeat(128);
    let name = "n".repeat(256);
    check_tag(&format!("wf={id}"), &format!("by=tag wf={id}"));
    check_tag(&format!("wf={id}a"), "?invalid=yes");
    check_tag(&format!("wf=w;ex={id}a"), "?invalid=yes");
    check_tag(&format!("wf=w;set={id}a"), "?invalid=yes");
    check_tag(&format!("wf=w;name={name}"), &format!("by=tag wf=w name={name}"));
    check_tag(&format!("wf=w;name={name}n"), "?invalid=yes");
    check_tag(&format!("wf=w;name={}", "%C3%A9".repeat(128)), &format!("by=tag wf=w name={}", "é".repeat(128)));
    check_tag(&format!("wf=w;name={}", "%C3%A9".repeat(129)), "?invalid=yes");
    let whole = format!("wf=w;name={}", "%41".repeat(256));
    check_tag(&format!("{whole}{}", " ".repeat(1024 - whole.len())), &format!("by=tag wf=w name={}", "A".repeat(256)));
    check_tag(&format!("{whole}{}", " ".repeat(1025 - whole.len())), "?invalid=yes");
}

#[test]
fn what_cannot_be_shown_in_a_name_is_replaced() {
    check_tag("wf=w;name=a%0Ab%00c%1B[2J", "by=tag wf=w name=a\u{fffd}b\u{fffd}c\u{fffd}[2J");
    check_tag("wf=w;name=a%7F%C2%85", "by=tag wf=w name=a\u{fffd}\u{fffd}");
    check_tag("wf=w;name=a\tb", "by=tag wf=w name=a\u{fffd}b");
    check_tag("wf=w;name=%E2%80%AEtxt%E2%80%A8", "by=tag wf=w name=\u{fffd}txt\u{fffd}");
    check_tag("wf=w;name=W%F6rk", "by=tag wf=w name=W\u{fffd}rk");
    check_tag("wf=w;name=%F0%9F%91%A9%E2%80%8D%F0%9F%92%BB", "by=tag wf=w name=👩\u{200d}💻");
}

#[test]
fn a_tag_that_came_twice_is_invalid() {
    check("/v1/x", &[("x-n8n-tag", "wf=w"), ("x-n8n-tag", "wf=w")], "?invalid=yes");
}

#[test]
fn a_plain_name_is_not_copied() {
    let request = Request::new("/v1/x", &[("x-n8n-tag", "wf=w;name=plain")]);
    assert!(matches!(request.caller().workflow_name, Some(Cow::Borrowed("plain"))));
}

// === Single headers ===

#[test]
fn single_headers_declare_what_they_say() {
    let all = [
        ("x-n8n-workflow-id", "w"),
        ("x-n8n-execution-id", "7"),
        ("x-n8n-node-id", "n"),
        ("x-n8n-workflow-name", "My%20name"),
    ];
    check("/v1/x", &all, "by=header wf=w ex=7 node=n name=My name");
    check("/v1/x", &all[..1], "by=header wf=w");
    check("/v1/x", &all[1..2], "by=header ex=7");
    check("/v1/x", &all[3..], "name=My name");
    check("/v1/x", &[("x-n8n-workflow-id", "editor"), ("x-n8n-execution-id", "7")], "by=header editor=yes");
    check("/v1/x", &[("x-n8n-workflow-id", "w"), ("x-n8n-execution-id", "undefined")], "by=header wf=w");
    check("/v1/x", &[("x-n8n-workflow-id", ""), ("x-n8n-node-id", "null")], "");
}

#[test]
fn single_headers_that_cannot_be_read_say_nothing() {
    let long = "a".repeat(129);
    for bad in ["a b", "é", "a;b", "\"a\"", &long] {
        check("/v1/x", &[("x-n8n-workflow-id", bad), ("x-n8n-node-id", "n")], "?invalid=yes");
        check("/v1/x", &[("x-n8n-workflow-id", "w"), ("x-n8n-node-id", bad)], "?invalid=yes");
    }
    check("/v1/x", &[("x-n8n-workflow-id", "w"), ("x-n8n-workflow-id", "w")], "?invalid=yes");
}

#[test]
fn a_raw_name_in_a_header_costs_no_more_than_its_odd_letters() {
    let mut request = Request::new("/v1/x", &[("x-n8n-workflow-id", "w")]);
    request.lines.add(Name::N8nWorkflowName, HeaderValue::from_bytes(b"W\xf6rkflow").unwrap());
    assert_eq!(describe(&request.caller()), "by=header wf=w name=W\u{fffd}rkflow");
}

// === The organisation ===

#[test]
fn our_organization_declares_workflow_and_execution() {
    check_organization("n8n-Lc7BLVtwfQrQXQ3K-716", "by=organization wf=Lc7BLVtwfQrQXQ3K ex=716");
    check_organization("n8n-a-b-716", "by=organization wf=a-b ex=716");
    check_organization("n8n-1-2", "by=organization wf=1 ex=2");
}

#[test]
fn our_organization_may_name_the_editor() {
    for workflow in ["editor", "none", "undefined", "__UNKNOWN__", ""] {
        check_organization(&format!("n8n-{workflow}-__UNKNOWN__"), "by=organization editor=yes");
        check_organization(&format!("n8n-{workflow}-"), "by=organization editor=yes");
        check_organization(&format!("n8n-{workflow}-716"), "by=organization editor=yes");
    }
}

#[test]
fn any_other_organization_is_the_users() {
    let long = format!("n8n-{}-7", "a".repeat(129));
    let long_number = format!("n8n-w-{}", "7".repeat(129));
    for organization in [
        "",
        "org-qkm",
        "n8n",
        "n8n-",
        "n8n-w",
        "n8n-716",
        "n8n-w-",
        "n8n-w-x",
        "n8n-w-7x",
        "n8n-w-__UNKNOWN__",
        "n8n-editor-x",
        "N8N-w-7",
        " n8n-w-7",
        "xn8n-w-7",
        "n8n-w w-7",
        "n8n-w;x-7",
        "n8n-é-7",
        "n8n-w-٣",
        &long,
        &long_number,
    ] {
        check_organization(organization, "");
    }
    let repeated = [("openai-organization", "n8n-w-7"), ("openai-organization", "org-a")];
    assert!(!is_our_organization(Request::new("/v1/x", &repeated).fields().organization));
    assert!(!is_our_organization(Field::Absent));
}

// === All together ===

#[test]
fn the_strongest_source_wins() {
    let tag = ("x-n8n-tag", "wf=w;ex=7;node=n");
    let header = [("x-n8n-workflow-id", "w"), ("x-n8n-execution-id", "7")];
    let organization = ("openai-organization", "n8n-w-7");
    let path = "/n8n/w/7/n/v1/x";
    check(path, &[tag, header[0], header[1], organization], "by=tag wf=w ex=7 node=n");
    check(path, &[header[0], header[1], organization], "by=header wf=w ex=7 node=n");
    check(path, &[organization], "by=path wf=w ex=7 node=n");
    check("/v1/x", &[organization], "by=organization wf=w ex=7");
    check("/v1/x", &[], "");
}

#[test]
fn the_path_declares_in_every_form() {
    check("/set/s/n8n/w/7/n/v1/x", &[], "by=path set=s wf=w ex=7 node=n");
    check("/n8n/w/v1/x", &[], "by=path wf=w");
    check("/set/s/v1/x", &[], "set=s");
    check("/n8n/editor/__UNKNOWN__/none/v1/x", &[], "by=path editor=yes");
    check("/n8n/w/../n/v1/x", &[], "");
}

#[test]
fn weaker_sources_complete_only_the_same_workflow() {
    check("/n8n/w/7/n/v1/x", &[("x-n8n-tag", "wf=w")], "by=tag wf=w ex=7 node=n");
    check("/n8n/w/v1/x", &[("openai-organization", "n8n-w-7")], "by=path wf=w ex=7");
    check("/n8n/w/v1/x", &[("x-n8n-tag", "wf=w"), ("openai-organization", "n8n-w-7")], "by=tag wf=w ex=7");
    check("/n8n/other/7/n/v1/x", &[("x-n8n-tag", "wf=w")], "by=tag wf=w ?disagree=yes");
    check("/n8n/w/7/n/v1/x", &[("x-n8n-tag", "node=m")], "by=tag node=m ?disagree=yes");
    check("/n8n/w/7/v1/x", &[("x-n8n-tag", "node=m")], "by=tag node=m");
    check("/v1/x", &[("x-n8n-tag", "node=m"), ("x-n8n-execution-id", "7")], "by=tag node=m");
    check("/n8n/w/v1/x", &[("x-n8n-node-id", "n"), ("x-n8n-tag", "wf=w")], "by=tag wf=w");
}

#[test]
fn a_source_without_ids_does_not_win() {
    check("/n8n/w/7/n/v1/x", &[("x-n8n-tag", "wf=;ex=;node=")], "by=path wf=w ex=7 node=n");
    check("/n8n/w/7/n/v1/x", &[("x-n8n-tag", "set=s;inst=i;name=a")], "by=path inst=i set=s wf=w ex=7 node=n name=a");
    check("/v1/x", &[("x-n8n-tag", "set=s;inst=i")], "inst=i set=s");
    check("/n8n/w/v1/x", &[("x-n8n-tag", "broken")], "by=path wf=w ?invalid=yes");
    check("/n8n/w/v1/x", &[("x-n8n-workflow-id", "a b")], "by=path wf=w ?invalid=yes");
}

#[test]
fn differences_are_noted() {
    check("/n8n/w/8/n/v1/x", &[("x-n8n-tag", "wf=w;ex=7;node=n")], "by=tag wf=w ex=7 node=n ?disagree=yes");
    check("/n8n/w/7/m/v1/x", &[("x-n8n-tag", "wf=w;ex=7;node=n")], "by=tag wf=w ex=7 node=n ?disagree=yes");
    check("/n8n/editor/v1/x", &[("x-n8n-tag", "wf=w")], "by=tag wf=w ?disagree=yes");
    check("/n8n/w/7/n/v1/x", &[("x-n8n-tag", "wf=editor")], "by=tag editor=yes ?disagree=yes");
    check("/n8n/editor/v1/x", &[("openai-organization", "n8n-none-__UNKNOWN__")], "by=path editor=yes");
    check("/n8n/w/v1/x", &[("openai-organization", "n8n-v-7")], "by=path wf=w ?disagree=yes");
    check("/n8n/w/v1/x", &[("openai-organization", "org-user")], "by=path wf=w");
}

#[test]
fn the_strongest_set_is_kept() {
    check("/set/a/n8n/w/v1/x", &[("x-n8n-tag", "wf=w;set=b")], "by=tag set=b wf=w ?disagree=yes");
    check("/set/a/v1/x", &[("x-n8n-tag", "wf=w;set=a")], "by=tag set=a wf=w");
    check("/set/a/v1/x", &[("x-n8n-tag", "wf=w")], "by=tag set=a wf=w");
    check("/set/a/v1/x", &[("x-n8n-tag", "set=b")], "set=b ?disagree=yes");
    // The ids of the path do not count here, its set does: it can only narrow what the key may be.
    check("/set/a/n8n/v/v1/x", &[("x-n8n-tag", "wf=w")], "by=tag set=a wf=w ?disagree=yes");
}

#[test]
fn a_name_goes_with_its_workflow() {
    let name = ("x-n8n-workflow-name", "a");
    check("/v1/x", &[("x-n8n-tag", "wf=w"), ("x-n8n-workflow-id", "w"), name], "by=tag wf=w name=a");
    check("/v1/x", &[("x-n8n-tag", "wf=w"), ("x-n8n-workflow-id", "v"), name], "by=tag wf=w ?disagree=yes");
    check("/v1/x", &[("x-n8n-tag", "wf=w;name=b"), name], "by=tag wf=w name=b");
    check("/n8n/w/v1/x", &[name], "by=path wf=w name=a");
}

#[test]
fn the_origin_follows_the_declaration() {
    let origin = |path, headers: &[_]| Request::new(path, headers).caller().origin;
    assert_eq!(origin("/v1/x", &[]), Origin::Undeclared);
    assert_eq!(origin("/set/s/v1/x", &[]), Origin::Undeclared);
    assert_eq!(origin("/n8n/w/v1/x", &[]), Origin::Workflow);
    assert_eq!(origin("/n8n//v1/x", &[]), Origin::Editor);
    assert_eq!(origin("/v1/x", &[("x-n8n-tag", "ex=7")]), Origin::Workflow);
    assert_eq!(origin("/v1/x", &[("x-n8n-tag", "broken")]), Origin::Undeclared);
}

#[test]
fn the_editor_of_an_ai_sdk_is_an_agent() {
    let agent = ("user-agent", "ai-sdk-openai/4.0.118 ai-sdk-provider-utils/5.0.81 node.js/24");
    let core = ("user-agent", "ai/7.0.173 ai-sdk-provider-utils/5.0.81 node.js/24");
    let path = "/n8n/editor/__UNKNOWN__/none/v1/responses";
    check(path, &[agent], "by=path of=agent");
    check(path, &[core], "by=path of=agent");
    check(path, &[("user-agent", "undici")], "by=path editor=yes");
    check("/v1/responses", &[agent, ("x-n8n-tag", "wf=editor;inst=main;ex=__UNKNOWN__")], "by=tag inst=main of=agent");
    check("/v1/responses", &[agent], "");
    check("/n8n/w/7/n/v1/responses", &[agent], "by=path wf=w ex=7 node=n");
    // With the headers of an OpenAI SDK it is one, whatever it calls itself.
    check(path, &[agent, ("x-stainless-lang", "js")], "by=path editor=yes");
}

#[test]
fn an_expression_that_nothing_resolved_is_told_from_a_broken_tag() {
    let raw = "=wf={{ $execution.id == '__UNKNOWN__' ? 'editor' : $workflow.id }};ex={{ $execution.id }}";
    for tag in [raw, &raw[1..], "=w", "wf={{$workflow.id}};ex=7", "=wf=w;ex=7"] {
        check_tag(tag, "by=tag of=instance-ai ?invalid=yes");
        // What another source says is resolved, so it was no Instance AI.
        check("/n8n/w/7/n/v1/x", &[("x-n8n-tag", tag)], "by=path wf=w ex=7 node=n ?invalid=yes");
    }
    check("/v1/x", &[("x-n8n-workflow-id", "={{$workflow.id}}")], "by=header of=instance-ai ?invalid=yes");
    check(
        "/v1/x",
        &[("x-n8n-tag", "broken"), ("x-n8n-node-id", "{{$nodeId}}")],
        "by=header of=instance-ai ?invalid=yes",
    );
    check("/n8n/%7B%7B%20$workflow.id%20%7D%7D/v1/x", &[], "by=path of=instance-ai ?invalid=yes");
    check("/set/s/n8n/w/{{$execution.id}}/n/v1/x", &[], "by=path set=s of=instance-ai ?invalid=yes");
    check_tag("wf={w};ex=7", "by=tag wf={w} ex=7");
}

#[test]
fn a_chat_is_told_by_the_name_of_its_workflow() {
    let tag = |name: &str| format!("wf=21FYybvGctNHMY9c;ex=6;node=n;name={name}");
    let uuid = "4cc2d2d1-089b-4d80-b7e8-09fae1bc24a4";
    let chat = format!("by=tag of=chat wf=21FYybvGctNHMY9c ex=6 node=n name=Chat {uuid}");
    check_tag(&tag(&format!("Chat%20{uuid}")), &chat);
    let title = chat.replace(uuid, &format!("{uuid} (Title Generation)"));
    check_tag(&tag(&format!("Chat%20{uuid}%20(Title%20Generation)")), &title);
    for name in
        ["Chat", "Chat%20", "Chat%20about%20UUIDs", &format!("Chat%20{}x", &uuid[..35]), &format!("My%20Chat%20{uuid}")]
    {
        let said = percent_encoding::percent_decode_str(name).decode_utf8().unwrap();
        check_tag(&tag(name), &format!("by=tag wf=21FYybvGctNHMY9c ex=6 node=n name={said}"));
    }
}

// === The client ===

#[test]
fn families_are_told_by_agent_and_accept() {
    let long =
        "application/json,text/html,application/xhtml+xml,application/xml,text/*;q=0.9, image/*;q=0.8, */*;q=0.7";
    let legacy = "application/json, text/plain, */*";
    check_client("n8n", legacy, Family::Legacy, None);
    check_client("n8n", "application/json", Family::Vendor, None);
    check_client("n8n", "*/*", Family::Vendor, None);
    check_client("n8n", long, Family::HttpRequest, None);
    check_client("n8n", "text/html", Family::Other, None);
    check_client("n8n", "", Family::Other, None);
    check_client("axios/1.8.3", "application/json", Family::Vendor, Some("1.8.3"));
    check_client("axios/1.12.0", "*/*", Family::Vendor, Some("1.12.0"));
    check_client("axios/1.8.3", long, Family::HttpRequest, Some("1.8.3"));
    check_client("axios/1.8.3", legacy, Family::Other, Some("1.8.3"));
    check_client("OpenAI/JS 4.104.0", "application/json", Family::Sdk, Some("4.104.0"));
    check_client("OpenAI/Python 2.1.0", "application/json", Family::Sdk, Some("2.1.0"));
    check_client("langchainjs-openai/1.0.0 ((node/v24.21.0; linux; x64))", "*/*", Family::Sdk, Some("1.0.0"));
    check_client("undici", "*/*", Family::Other, None);
    check_client("node", "application/json", Family::Other, None);
    check_client("curl/8.5.0", "*/*", Family::Other, Some("8.5.0"));
    let agent = "ai-sdk-openai/4.0.118 ai-sdk-provider-utils/5.0.81 node.js/24";
    check_client(agent, "*/*", Family::Agent, Some("4.0.118"));
    check_client("ai/7.0.173 ai-sdk-provider-utils/5.0.81 node.js/24", "*/*", Family::Agent, Some("7.0.173"));
    check_client("ai/7.0.173", "*/*", Family::Other, Some("7.0.173"));
    check_client("my-ai-sdk-openai/1.0", "*/*", Family::Other, Some("1.0"));
    check_client("n8n-like", "application/json", Family::Other, None);
    check_client("myaxios/1.8.3", "application/json", Family::Other, Some("1.8.3"));
    check_client("", "", Family::Other, None);
    check_client("é/1.0", "*/*", Family::Other, None);
}

#[test]
fn stainless_headers_make_an_sdk_and_tell_its_version() {
    let client = |headers: &[_]| {
        let request = Request::new("/v1/x", headers);
        let client = request.caller().client;
        (client.family, client.version.map(str::to_owned))
    };
    let version = ("x-stainless-package-version", "6.49.0");
    let agent = ("user-agent", "langchainjs-openai/1.0.0 ((node/v24.21.0; linux; x64))");
    assert_eq!(client(&[("x-stainless-lang", "js"), version, agent]), (Family::Sdk, Some("6.49.0".to_owned())));
    assert_eq!(client(&[("x-stainless-lang", "python")]), (Family::Sdk, None));
    assert_eq!(client(&[("x-stainless-lang", "js"), ("user-agent", "n8n")]), (Family::Sdk, None));
    let odd = ("x-stainless-package-version", "6 <b>");
    assert_eq!(client(&[("x-stainless-lang", "js"), odd, agent]), (Family::Sdk, Some("1.0.0".to_owned())));
}

#[test]
fn a_version_is_that_of_the_familys_own_product() {
    let client = |agent: &str, others: &[(&'static str, &str)]| {
        let request = Request::new("/v1/x", &[&[("user-agent", agent)][..], others].concat());
        let client = request.caller().client;
        (client.family, client.version.map(str::to_owned))
    };
    let lang = ("x-stainless-lang", "js");
    for (agent, others, family, version) in [
        ("MyApp/2.0 OpenAI/JS 5.4.1", &[lang][..], Family::Sdk, Some("5.4.1")),
        ("langchainjs-openai/1.0.0 OpenAI/JS 5.4.1", &[lang], Family::Sdk, Some("5.4.1")),
        ("OpenAI/Python 1.99.1", &[lang], Family::Sdk, Some("1.99.1")),
        ("axios/1.8.3", &[lang], Family::Sdk, None),
        ("MyApp/2.0", &[lang], Family::Sdk, None),
        ("OpenAI/JS MyApp/2.0", &[lang], Family::Sdk, None),
        ("ai/7.0.173 ai-sdk-provider-utils/5.0.1", &[], Family::Agent, Some("7.0.173")),
        ("ai-sdk-openai/4.0.118 ai-sdk-provider-utils/5.0.1", &[], Family::Agent, Some("4.0.118")),
        ("axios/1.8.3", &[("x-stainless-package-version", "6.1.0"), ("accept", "*/*")], Family::Vendor, Some("1.8.3")),
    ] {
        assert_eq!(client(agent, others), (family, version.map(str::to_owned)), "{agent}");
    }
}

#[test]
fn versions_are_plain_and_short() {
    let long = format!("axios/1{}", "0".repeat(64));
    check_client(&long, "*/*", Family::Vendor, None);
    check_client("axios/<1>", "*/*", Family::Vendor, None);
    check_client("axios/1.8.3-beta+5", "*/*", Family::Vendor, Some("1.8.3-beta+5"));
    check_client("1.2.3", "*/*", Family::Other, None);
}

#[test]
fn codes_are_what_is_displayed() {
    let codes = ["legacy", "vendor", "sdk", "http-request", "agent", "other"];
    assert_eq!(Family::ALL.map(|family| family.to_string()), codes);
    let attributions =
        [Attribution::Tag, Attribution::Header, Attribution::Path, Attribution::Organization, Attribution::None];
    let codes = ["tag", "header", "path", "organization", "none"];
    assert_eq!(attributions.map(|attribution| attribution.to_string()), codes);
}

// === Whatever comes ===

/// Header values of any bytes that a header may hold, and such as come near to ours.
fn any_value() -> impl Strategy<Value = HeaderValue> {
    let near = "(wf|ex|node|set|inst|name|n8n-|[a-z0-9]{1,3}|[=;%-]|%[0-9A-F]{2}|editor|__UNKNOWN__){0,12}";
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200).prop_filter_map("no header", |b| HeaderValue::from_bytes(&b).ok()),
        near.prop_filter_map("no header", |text| HeaderValue::from_str(&text).ok()),
    ]
}

fn any_lines() -> impl Strategy<Value = FieldLines> {
    let names = prop::sample::select(vec![
        "x-n8n-tag",
        "x-n8n-workflow-id",
        "x-n8n-execution-id",
        "x-n8n-node-id",
        "x-n8n-workflow-name",
        "openai-organization",
        "user-agent",
        "accept",
        "x-stainless-lang",
        "x-stainless-package-version",
    ]);
    prop::collection::vec((names, any_value()), 0..8).prop_map(|headers| {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), value);
        }
        map.into()
    })
}

proptest! {
    #[test]
    fn identifying_is_total_and_its_text_safe(lines in any_lines(), path in "/[!-~é]{0,20}(/[a-z0-9]{0,3}){0,6}") {
        let uri = Uri::from_static("/");
        let mut head = Head::new(&Method::POST, uri.path(), &lines);
        head.path = &path;
        let caller = Caller::identify(&head, &RequestPath::read(&path));
        for id in [caller.set, caller.instance, caller.workflow, caller.execution, caller.node].into_iter().flatten() {
            prop_assert!(is_id(id), "{id:?}");
        }
        let name = caller.workflow_name.unwrap_or_default();
        prop_assert!(name.len() <= 256 && !name.chars().any(char::is_control), "{name:?}");
        prop_assert!(!caller.client.version.unwrap_or_default().chars().any(char::is_control));
        prop_assert_eq!(caller.attribution == Attribution::None, caller.origin == Origin::Undeclared);
    }

    #[test]
    fn reading_a_source_never_panics(value in any_value()) {
        let field = Field::One(value.as_bytes());
        let fields = Fields {
            workflow_id: field, execution_id: field, node_id: field, workflow_name: field, ..Fields::default()
        };
        let _ = (read_tag(field), read_headers(&fields), read_organization(field));
    }

    #[test]
    fn a_tag_says_what_was_put_into_it(workflow in "[A-Za-z0-9_-]{1,128}", execution in "[0-9]{1,9}", name in "[^\\pC\\p{Zl}\\p{Zp}]{1,20}") {
        prop_assume!(!crate::request_path::is_placeholder(&workflow) && !crate::request_path::is_blank(&name));
        let encoded = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
        let tag = HeaderValue::from_str(&format!("wf={workflow};ex={execution};name={encoded}")).unwrap();
        let declared = read_tag(Field::One(tag.as_bytes())).unwrap();
        prop_assert_eq!(declared.ids.sender.and_then(Sender::workflow), Some(workflow.as_str()));
        prop_assert_eq!(declared.ids.execution, Some(execution.as_str()));
        prop_assert_eq!(declared.name.as_deref(), Some(name.as_str()));
    }
}
