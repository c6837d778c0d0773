//! Paths with and without our prefix: what they declare, and what goes upstream.

use proptest::prelude::*;

use super::*;

const NODE: &str = "36e21fd8-c571-420c-bcca-1134b8428099";

/// What a path declares: set, workflow, execution, node; a workflow `EDITOR` is the editor.
type Declares = [Option<&'static str>; 4];

const EDITOR: Declares = [None, Some("EDITOR"), None, None];

fn declared(path: &str) -> [Option<String>; 4] {
    let read = RequestPath::read(path);
    let workflow = if read.editor { Some("EDITOR") } else { read.workflow };
    [read.set, workflow, read.execution, read.node].map(|part| part.map(str::to_owned))
}

fn sent(path_and_query: &str) -> String {
    let path = path_and_query.split('?').next().unwrap_or_default();
    match RequestPath::read(path).target(path_and_query) {
        Target::AsItCame => path_and_query.to_owned(),
        Target::Suffix(suffix) => suffix.to_owned(),
        Target::Repaired(repaired) => repaired,
    }
}

#[track_caller]
fn check(path: &str, expected: Declares, upstream: &str) {
    assert_eq!(declared(path), expected.map(|part| part.map(str::to_owned)), "what {path} declares");
    assert_eq!(sent(path), upstream, "what goes upstream for {path}");
}

#[track_caller]
fn check_as_it_came(path: &str) {
    assert_eq!(RequestPath::read(path), RequestPath::default(), "{path} declares something");
    assert_eq!(RequestPath::read(path).target(path), Target::AsItCame, "{path} is changed");
}

#[track_caller]
fn check_repair(path: &str, expected: Option<Repair>, upstream: &str) {
    assert_eq!(RequestPath::read(path).repair, expected, "the repair of {path}");
    assert_eq!(sent(path), upstream, "what goes upstream for {path}");
}

#[test]
fn an_expression_in_the_prefix_names_no_sender_and_is_taken_off() {
    for (path, set) in [
        ("/n8n/%7B%7B%20$workflow.id%20%7D%7D/v1/models", None),
        ("/n8n/w/%7b%7b$execution.id%7d%7d/n/v1/models", None),
        ("/set/s/n8n/w/7/{{$nodeId}}/v1/models", Some("s")),
    ] {
        check(path, [set, None, None, None], "/v1/models");
        assert!(RequestPath::read(path).unresolved, "{path}");
    }
    assert!(!RequestPath::read("/n8n/{w}/v1/models").unresolved && !RequestPath::read("/n8n/w/v1/{{x}}").unresolved);
}

#[test]
fn each_form_declares_what_stands_in_it() {
    let full: Declares = [None, Some("Xk2vQ9wLmB7tRz4c"), Some("101"), Some(NODE)];
    check(&format!("/n8n/Xk2vQ9wLmB7tRz4c/101/{NODE}/v1/chat/completions"), full, "/v1/chat/completions");
    check("/n8n/w/7/v1/models", [None, Some("w"), Some("7"), None], "/v1/models");
    check("/n8n/w/v1/models", [None, Some("w"), None, None], "/v1/models");
    check("/n8n/w/v1", [None, Some("w"), None, None], "/v1");
    check("/set/staging/v1/models", [Some("staging"), None, None, None], "/v1/models");
    check("/set/staging/v1", [Some("staging"), None, None, None], "/v1");
    check("/set/s/n8n/w/7/n/v1/models", [Some("s"), Some("w"), Some("7"), Some("n")], "/v1/models");
    check("/set/s/n8n/w/7/v1/models", [Some("s"), Some("w"), Some("7"), None], "/v1/models");
    check("/set/s/n8n/w/v1/models", [Some("s"), Some("w"), None, None], "/v1/models");
}

#[test]
fn ids_need_not_look_like_those_of_n8n() {
    check("/n8n/1/2/3/v1/x", [None, Some("1"), Some("2"), Some("3")], "/v1/x");
    check("/n8n/a.b:c@d%20e/2/~/v1/x", [None, Some("a.b:c@d%20e"), Some("2"), Some("~")], "/v1/x");
    check("/n8n/.hidden/3/..a/v1/x", [None, Some(".hidden"), Some("3"), Some("..a")], "/v1/x");
    check("/n8n/set/8/v2/v1/x", [None, Some("set"), Some("8"), Some("v2")], "/v1/x");
}

#[test]
fn a_workflow_without_an_id_is_the_editor() {
    for workflow in ["", "editor", "none", "undefined", "null", "__UNKNOWN__"] {
        check(&format!("/n8n/{workflow}/v1/models"), EDITOR, "/v1/models");
        check(&format!("/n8n/{workflow}/__UNKNOWN__/v1/models"), EDITOR, "/v1/models");
        check(&format!("/n8n/{workflow}/__UNKNOWN__/none/v1/models"), EDITOR, "/v1/models");
        check(&format!("/n8n/{workflow}/12/uuid-1234/v1/models"), EDITOR, "/v1/models");
    }
    check("/n8n////v1/models", EDITOR, "/v1/models");
    check("/n8n///v1/models", EDITOR, "/v1/models");
    check("/set/s/n8n/editor/v1/models", [Some("s"), Some("EDITOR"), None, None], "/v1/models");
    check("/n8n/Editor/v1/models", [None, Some("Editor"), None, None], "/v1/models");
}

#[test]
fn a_placeholder_behind_a_workflow_is_only_not_known() {
    for placeholder in ["", "editor", "none", "undefined", "null", "__UNKNOWN__"] {
        check(&format!("/n8n/w/{placeholder}/n/v1/x"), [None, Some("w"), None, Some("n")], "/v1/x");
        check(&format!("/n8n/w/7/{placeholder}/v1/x"), [None, Some("w"), Some("7"), None], "/v1/x");
        check(&format!("/n8n/w/{placeholder}/v1/x"), [None, Some("w"), None, None], "/v1/x");
    }
}

#[test]
fn the_first_v1_ends_the_prefix() {
    check("/n8n/w/v1/7/n/v1/x", [None, Some("w"), None, None], "/v1/7/n/v1/x");
    check("/n8n/w/7/v1/n/v1/x", [None, Some("w"), Some("7"), None], "/v1/n/v1/x");
    check("/n8n/w/7/n/v1/n8n/other/v1/x", [None, Some("w"), Some("7"), Some("n")], "/v1/n8n/other/v1/x");
    check("/n8n/w/V1/v10/v1/x", [None, Some("w"), None, None], "/V1/v10/v1/x");
}

#[test]
fn paths_without_a_prefix_go_on_as_they_came() {
    for path in [
        "",
        "*",
        "/",
        "//",
        "/v1",
        "/v1/",
        "/v1/models",
        "/v1/models/",
        "/v1/models//x",
        "/v1/models/v1/v1/x",
        "/v10/v1/x",
        "/V1/v1/x",
        "//v1/models",
        "//n8n/w/v1/models",
        "v1/v1/x",
        "n8n/w/v1/x",
        "/chat/completions",
        "/v2/v1/v1",
        "/v1/files/file-abc/content",
        "/v1/models/ft:gpt-4.1:é",
    ] {
        check_as_it_came(path);
    }
}

#[test]
fn what_only_resembles_a_prefix_is_none() {
    for path in [
        "/n8n",
        "/n8n/",
        "/n8n/w",
        "/n8n/w/",
        "/n8n/w/7",
        "/n8n/v1/models",
        "/n8n/v1/chat/completions",
        "/n8n/v1/v1/models",
        "/N8N/w/v1/x",
        "/n8nx/w/v1/x",
        "/set",
        "/set/",
        "/set/s",
        "/set/s/",
        "/set//v1/models",
        "/set//n8n/w/v1/models",
        "/set/a/set/b/v1/models",
        "/settings/s/v1/models",
        "/set/s/n8n/w",
        "/set/s/n8n/v1/x",
    ] {
        check_as_it_came(path);
    }
}

#[test]
fn an_id_outside_the_alphabet_spoils_the_whole_prefix() {
    let long = "a".repeat(129);
    for id in ["a\"b", "a'b", "a`b", "a\\b", "<b>", "a>b", "a;b", "a b", "a\tb", "a\nb", "\u{7f}", "é", "\0", &long] {
        check_as_it_came(&format!("/n8n/{id}/7/n/v1/v1/x"));
        check_as_it_came(&format!("/n8n/w/{id}/n/v1/x"));
        check_as_it_came(&format!("/n8n/w/7/{id}/v1/x"));
        check_as_it_came(&format!("/n8n/editor/7/{id}/v1/x"));
        check_as_it_came(&format!("/set/{id}/n8n/w/v1/x"));
        check_as_it_came(&format!("/set/{id}/v1/x"));
    }
    let longest = "a".repeat(128);
    assert_eq!(RequestPath::read(&format!("/n8n/{longest}/v1/x")).workflow, Some(longest.as_str()));
}

#[test]
fn dot_segments_spoil_the_whole_path() {
    for dots in [".", "..", "%2e", "%2E", "%2e%2e", "%2E%2e", ".%2e", "%2E."] {
        check_as_it_came(&format!("/n8n/{dots}/7/n/v1/x"));
        check_as_it_came(&format!("/n8n/w/{dots}/n/v1/x"));
        check_as_it_came(&format!("/n8n/w/7/{dots}/v1/x"));
        check_as_it_came(&format!("/n8n/w/7/n/{dots}/x"));
        check_as_it_came(&format!("/n8n/w/7/n/v1/{dots}/x"));
        check_as_it_came(&format!("/n8n/w/7/n/v1/{dots}"));
        check_as_it_came(&format!("/{dots}/n8n/w/v1/x"));
        check_as_it_came(&format!("/set/{dots}/v1/x"));
        check_as_it_came(&format!("/v1/v1/{dots}/x"));
        check_as_it_came(&format!("/v1//{dots}/x"));
        check_as_it_came(&format!("/v1/{dots}/v1/x"));
    }
}

#[test]
fn doubled_versions_and_slashes_are_repaired() {
    check_repair("/v1/v1/models", Some(Repair::DoubledVersion), "/v1/models");
    check_repair("/v1/v1", Some(Repair::DoubledVersion), "/v1");
    check_repair("/v1/v1/", Some(Repair::DoubledVersion), "/v1/");
    check_repair("/v1/v1/v1/models", Some(Repair::DoubledVersion), "/v1/models");
    check_repair("/v1//models", Some(Repair::DoubledSlash), "/v1/models");
    check_repair("/v1//", Some(Repair::DoubledSlash), "/v1/");
    check_repair("/v1///models", Some(Repair::DoubledSlash), "/v1/models");
    check_repair("/v1//v1/models", Some(Repair::DoubledVersion), "/v1/models");
    check_repair("/v1/v1//models", Some(Repair::DoubledVersion), "/v1/models");
    check_repair("/v1//v1", Some(Repair::DoubledVersion), "/v1");
    check_repair("/v1//models//x", Some(Repair::DoubledSlash), "/v1/models//x");
    check_repair("/v1/v10/x", None, "/v1/v10/x");
}

#[test]
fn repairs_work_behind_a_prefix() {
    check_repair("/n8n/w/7/n/v1/models", None, "/v1/models");
    check_repair("/n8n/w/7/n/v1/v1/models", Some(Repair::DoubledVersion), "/v1/models");
    check_repair("/n8n/w/7/n/v1//models", Some(Repair::DoubledSlash), "/v1/models");
    check_repair("/n8n/w/v1/v1/models", Some(Repair::DoubledVersion), "/v1/models");
    check_repair("/set/s/v1//models", Some(Repair::DoubledSlash), "/v1/models");
    check_repair("/n8n/w/7/n/models", Some(Repair::MissingVersion), "/v1/models");
    check_repair("/n8n/w/7/n/models/v1", Some(Repair::MissingVersion), "/v1/models/v1");
    check_repair("/n8n/w/7/n//models", Some(Repair::MissingVersion), "/v1/models");
    check_repair("/n8n/w/7/n//v1/models", Some(Repair::MissingVersion), "/v1/models");
    check_repair("/n8n/w/7/n/", Some(Repair::MissingVersion), "/v1/");
    check_repair("/n8n/w/7/n", Some(Repair::MissingVersion), "/v1");
    check_repair("/n8n/w/7/chat/completions", Some(Repair::MissingVersion), "/v1/chat/completions");
    check_repair("/set/s/chat/completions", Some(Repair::MissingVersion), "/v1/chat/completions");
    check_repair("/set/s/models", Some(Repair::MissingVersion), "/v1/models");
}

#[test]
fn nothing_is_inserted_or_lost_where_upstream_is_not_at_v1() {
    let node: Declares = [None, Some("w"), Some("7"), Some("n")];
    for root in [
        "/api/v1",
        "/openai/v1",
        "/v1beta/openai",
        "/compatible-mode/v1",
        "/v1/account/gateway/openai",
        "/openai/deployments/gpt4o",
        "/inference/v1",
        "/v4",
        "/v10",
    ] {
        let path = format!("{root}/chat/completions?api-version=preview");
        for (prefix, expected) in [
            ("/n8n/w/7/n", node),
            ("/n8n/w", [None, Some("w"), None, None]),
            ("/set/s", [Some("s"), None, None, None]),
            ("/set/s/n8n/w/7/n", [Some("s"), Some("w"), Some("7"), Some("n")]),
        ] {
            check(&format!("{prefix}{root}/chat/completions"), expected, &format!("{root}/chat/completions"));
            assert_eq!(sent(&format!("{prefix}{path}")), path);
        }
        check_as_it_came(&format!("{root}/chat/completions"));
    }
}

#[test]
fn an_endpoint_without_v1_behind_a_workflow_alone_is_no_execution() {
    check("/n8n/w/chat/completions", [None, Some("w"), None, None], "/v1/chat/completions");
}

#[test]
fn queries_stay_as_they_are() {
    for (sent_by_client, expected) in [
        ("/v1/models?limit=2&after=%2Fv1%2Fv1", "/v1/models?limit=2&after=%2Fv1%2Fv1"),
        ("/v1?tag=1/chat/completions", "/v1?tag=1/chat/completions"),
        ("/v1?tag=1%2Fchat%2Fcompletions", "/v1?tag=1%2Fchat%2Fcompletions"),
        ("/v1/models?a=/v1//v1/../x", "/v1/models?a=/v1//v1/../x"),
        ("/v1/v1/models?a=//v1", "/v1/models?a=//v1"),
        ("/v1//models?a=//v1", "/v1/models?a=//v1"),
        ("/v1/v1?x", "/v1?x"),
        ("/n8n/w/7/n/v1?tag=1/chat/completions", "/v1?tag=1/chat/completions"),
        ("/n8n/w/7/n/v1/files?purpose=a/../b", "/v1/files?purpose=a/../b"),
        ("/n8n/w/7/n?x=1", "/v1?x=1"),
        ("/n8n/w/7/n/files?x=1", "/v1/files?x=1"),
    ] {
        assert_eq!(sent(sent_by_client), expected, "{sent_by_client}");
    }
}

#[test]
fn only_what_has_no_such_end_is_written_anew() {
    let kind = |path: &'static str| RequestPath::read(path).target(path);
    assert_eq!(kind("/n8n/w/7/n/v1/models"), Target::Suffix("/v1/models"));
    assert_eq!(kind("/v1/v1/models"), Target::Suffix("/v1/models"));
    assert_eq!(kind("/v1//v1/models"), Target::Suffix("/v1/models"));
    assert_eq!(kind("/n8n/w/7/n//v1/models"), Target::Suffix("/v1/models"));
    assert_eq!(kind("/v1//models"), Target::Repaired("/v1/models".to_owned()));
    assert_eq!(kind("/n8n/w/7/n/models"), Target::Repaired("/v1/models".to_owned()));
}

#[test]
fn the_path_of_another_request_is_left_alone() {
    assert_eq!(RequestPath::read("/n8n/w/7/n/v1/models").target("/v1"), Target::AsItCame);
    assert_eq!(RequestPath::read("/n8n/w/7/n/v1/models").target("/ééééééééé"), Target::AsItCame);
    assert_eq!(RequestPath::read("/n8n/w/v1/models").target("/elsewhere/entirely"), Target::AsItCame);
}

#[test]
fn upstream_begins_behind_the_prefix() {
    assert_eq!(RequestPath::read("/v1/models").begins, 0);
    assert_eq!(RequestPath::read("/v1/v1/models").begins, 0);
    assert_eq!(RequestPath::read("/n8n/w/v1/v1/models").begins, "/n8n/w".len());
    assert_eq!(RequestPath::read("/set/s/n8n/w/7/n/models").begins, "/set/s/n8n/w/7/n".len());
}

#[test]
fn notes_are_fit_for_a_header() {
    for repair in [Repair::DoubledVersion, Repair::DoubledSlash, Repair::MissingVersion] {
        assert!(http::HeaderValue::from_static(repair.note()).to_str().is_ok_and(|note| note.starts_with("path: ")));
    }
}

/// Paths made of the parts that mean something here, so that chance finds the corners.
fn any_path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        Just("n8n".to_owned()),
        Just("set".to_owned()),
        Just("v1".to_owned()),
        Just(String::new()),
        Just("..".to_owned()),
        Just("%2e".to_owned()),
        Just("editor".to_owned()),
        "[a-zA-Z0-9]{1,4}",
        any::<String>(),
    ];
    prop::collection::vec(segment, 0..10).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn an_id() -> impl Strategy<Value = String> {
    "[!#-&(-.0-:=@-\\[\\]-_a-~]{1,128}".prop_filter("not a segment with a meaning", |id| {
        id != "v1" && !is_placeholder(id) && !has_dot_segment(id) && !is_expression(id)
    })
}

/// Paths that need no repair.
fn a_good_path() -> impl Strategy<Value = String> {
    "/v1(/[a-z_]{2,9}){1,3}(\\?[a-z/=&%.]{0,20})?"
}

proptest! {
    #[test]
    fn reading_never_panics(text in any::<String>()) {
        let _ = RequestPath::read(&text).target(&text);
    }

    #[test]
    fn a_target_always_begins_with_a_slash(path in any_path(), query in "(\\?[a-z/?]{0,5})?") {
        let path_and_query = format!("{path}{query}");
        let sent = match RequestPath::read(&path).target(&path_and_query) {
            Target::AsItCame => path_and_query.clone(),
            Target::Suffix(suffix) => suffix.to_owned(),
            Target::Repaired(repaired) => repaired,
        };
        prop_assert!(sent.starts_with('/'), "{sent}");
        prop_assert!(sent.ends_with(&query), "{sent}");
    }

    #[test]
    fn a_changed_path_needs_no_second_change(path in any_path()) {
        let read = RequestPath::read(&path);
        match read.target(&path) {
            Target::AsItCame => prop_assert_eq!(read, RequestPath::default()),
            Target::Suffix(suffix) => prop_assert_eq!(RequestPath::read(suffix), RequestPath::default()),
            Target::Repaired(repaired) => prop_assert_eq!(RequestPath::read(&repaired), RequestPath::default()),
        }
    }

    #[test]
    fn a_prefix_is_taken_off_again(
        set in prop::option::of(an_id()),
        workflow in an_id(),
        execution in prop::option::of("[0-9]{1,19}"),
        node in prop::option::of(an_id()),
        good in a_good_path(),
    ) {
        let node = node.filter(|_| execution.is_some());
        let parts = [Some(workflow.as_str()), execution.as_deref(), node.as_deref()];
        let ids = parts.into_iter().flatten().collect::<Vec<_>>().join("/");
        let set_prefix = set.as_ref().map(|set| format!("/set/{set}")).unwrap_or_default();
        let path_and_query = format!("{set_prefix}/n8n/{ids}{good}");
        let read = RequestPath::read(path_and_query.split('?').next().unwrap_or_default());
        prop_assert_eq!([read.set, read.workflow, read.execution, read.node], [
            set.as_deref(), Some(workflow.as_str()), execution.as_deref(), node.as_deref(),
        ]);
        prop_assert_eq!(read.target(&path_and_query), Target::Suffix(good.as_str()));
        prop_assert_eq!(read.repair, None);
    }

    #[test]
    fn no_id_is_unsafe_to_show(path in any_path()) {
        let read = RequestPath::read(&path);
        for id in [read.set, read.workflow, read.execution, read.node].into_iter().flatten() {
            prop_assert!(is_id(id) && !id.chars().any(char::is_control), "{id:?}");
        }
    }
}

#[test]
fn a_base_path_takes_the_place_of_v1_and_of_nothing_else() {
    let sent = |base: &str, came: &str| {
        let base = BasePath::new(base).expect("a base path");
        match base.put_in(RequestPath::read(came.split('?').next().unwrap_or_default()).target(came), came) {
            Target::AsItCame => came.to_owned(),
            Target::Suffix(suffix) => suffix.to_owned(),
            Target::Repaired(repaired) => repaired,
        }
    };
    for (came, expected) in [
        ("/v1/models?x=/v1", "/openai/v1/models?x=/v1"),
        ("/v1", "/openai/v1"),
        ("/v1?x", "/openai/v1?x"),
        ("/n8n/w/7/n/v1//models", "/openai/v1/models"),
        ("/n8n/w/7/n/models", "/openai/v1/models"),
        ("/openai/v1/models", "/openai/v1/models"),
        ("/n8n/w/7/n/openai/v1/models", "/openai/v1/models"),
        ("/v10/models", "/v10/models"),
        ("/other", "/other"),
    ] {
        assert_eq!(sent("/openai/v1", came), expected, "{came}");
    }
    assert_eq!(sent("/v1/account/gateway", "/v1/models"), "/v1/account/gateway/models");
    assert_eq!(sent("/v1/account/gateway", "/v1/account/gateway/models"), "/v1/account/gateway/models");
    for text in ["", "/", "v1", "/v1/", "//v1", "/a/../b", "/a?b", "/a b", "/a%2fb", "/.", "/a#b"] {
        assert_eq!(BasePath::new(text), None, "{text}");
    }
}
