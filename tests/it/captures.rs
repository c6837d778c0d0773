//! Every request recorded from real n8n is told by its client family, and by its ids once n8n tags it in one of our ways.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use keyward::caller::declared::is_our_organization;
use keyward::caller::declared::{Attribution, Origin};
use keyward::caller::{Caller, Doubts, Family};
use keyward::field_lines::FieldLines;
use keyward::head::Head;
use keyward::request_path::{Repair, RequestPath, Target};

use crate::support::{Recording, recordings, recordings_beyond_nodes};

const WORKFLOW: &str = "Xk2vQ9wLmB7tRz4c";
const EXECUTION: &str = "716";
const NODE: &str = "36e21fd8-c571-420c-bcca-1134b8428099";

/// One recorded request.
#[derive(Clone)]
struct Capture {
    /// `<n8n version>/<file name>`.
    name: String,
    method: Method,
    target: String,
    lines: FieldLines,
}

impl Capture {
    fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut tagged = self.clone();
        let mut map = tagged.lines.into_map();
        map.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        tagged.lines = map.into();
        tagged
    }

    fn with_target(&self, target: String) -> Self {
        Self { target, ..self.clone() }
    }

    fn with_prefix(&self, prefix: &str) -> Self {
        self.with_target(format!("{prefix}{}", self.target))
    }

    /// The request as a person in the editor made it, rather than a run.
    fn is_from_the_editor(&self) -> bool {
        self.name.contains("/_")
    }

    #[track_caller]
    fn check(&self, expected: Expected<'_>) {
        let uri: Uri = self.target.parse().unwrap();
        let head = Head::new(&self.method, uri.path(), &self.lines);
        let caller = Caller::identify(&head, &RequestPath::read(head.path));
        let found = Expected {
            attribution: caller.attribution,
            origin: caller.origin,
            ids: [caller.workflow, caller.execution, caller.node],
        };
        assert_eq!(found, expected, "{}", self.name);
        assert_eq!(caller.client.family, family(&self.name), "the family of {}", self.name);
        assert_eq!(caller.doubts, Doubts::default(), "{}", self.name);
        assert_eq!((caller.set, caller.instance, caller.workflow_name), (None, None, None), "{}", self.name);
    }

    /// What goes upstream in place of the target, and why it had to be repaired.
    fn sent(&self) -> (String, Option<Repair>) {
        let uri: Uri = self.target.parse().unwrap();
        let read = RequestPath::read(uri.path());
        let sent = match read.target(&self.target) {
            Target::AsItCame => self.target.clone(),
            Target::Suffix(suffix) => suffix.to_owned(),
            Target::Repaired(repaired) => repaired,
        };
        (sent, read.repair)
    }

    fn has_our_organization(&self) -> bool {
        let uri = Uri::from_static("/");
        is_our_organization(Head::new(&self.method, uri.path(), &self.lines).fields.organization)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Expected<'r> {
    attribution: Attribution,
    origin: Origin,
    /// Workflow, execution, node.
    ids: [Option<&'r str>; 3],
}

const UNTAGGED: Expected<'_> =
    Expected { attribution: Attribution::None, origin: Origin::Undeclared, ids: [None, None, None] };

fn run(attribution: Attribution, ids: [Option<&str>; 3]) -> Expected<'_> {
    Expected { attribution, origin: Origin::Workflow, ids }
}

fn editor(attribution: Attribution) -> Expected<'static> {
    Expected { attribution, origin: Origin::Editor, ids: [None, None, None] }
}

/// What each kind of node, or of click in the editor, is told as. A kind that is not listed fails.
fn family(name: &str) -> Family {
    let (_, kind) = name.split_once('/').unwrap();
    match kind {
        "_credential_test_button" | "_credential_test_button_401" | "legacy_chat" | "legacy_image" | "legacy_text" => {
            Family::Legacy
        }
        "_model_dropdown_lc_openAi"
        | "lc_assistant_list"
        | "lc_audio_generate"
        | "lc_audio_transcribe"
        | "lc_audio_translate"
        | "lc_classify"
        | "lc_file_list"
        | "lc_file_upload"
        | "lc_image_analyze"
        | "lc_image_generate"
        | "lc_text_message" => Family::Vendor,
        "http_hardcoded" | "http_predefined" => Family::HttpRequest,
        // The vendor node's assistant calls the SDK, and its headers say no more than any other SDK's.
        "agent" | "agent_stream" | "chain_chat" | "embeddings" | "lm_openai_own_base_url" | "lc_assistant_message" => {
            Family::Sdk
        }
        // The same list is fetched by the SDK in 1.x and by a bare `fetch` in 2.x.
        "_model_dropdown_lmChatOpenAi" if name.starts_with("1.") => Family::Sdk,
        "_model_dropdown_lmChatOpenAi" => Family::Other,
        _ => panic!("{name} is of a kind that this table does not know"),
    }
}

#[test]
fn all_recordings_are_read() {
    assert_eq!(captures().len(), 41);
    assert_eq!(captures().iter().filter(|capture| capture.is_from_the_editor()).count(), 9);
}

#[test]
fn untagged_requests_are_known_by_their_family_alone() {
    for capture in captures() {
        capture.check(UNTAGGED);
        assert_eq!(capture.sent(), (capture.target.clone(), None));
        assert!(!capture.has_our_organization(), "{}", capture.name);
    }
}

#[test]
fn the_tag_header_gives_the_ids_back() {
    let tag = format!("wf={WORKFLOW};ex={EXECUTION};node={NODE}");
    for capture in captures() {
        let ids = [Some(WORKFLOW), Some(EXECUTION), Some(NODE)];
        capture.with_header("x-n8n-tag", &tag).check(run(Attribution::Tag, ids));
    }
}

#[test]
fn the_path_gives_the_ids_back_and_is_taken_off() {
    for (prefix, ids) in [
        (format!("/n8n/{WORKFLOW}/{EXECUTION}/{NODE}"), [Some(WORKFLOW), Some(EXECUTION), Some(NODE)]),
        (format!("/n8n/{WORKFLOW}/{EXECUTION}/none"), [Some(WORKFLOW), Some(EXECUTION), None]),
        (format!("/n8n/{WORKFLOW}/{EXECUTION}"), [Some(WORKFLOW), Some(EXECUTION), None]),
        (format!("/n8n/{WORKFLOW}"), [Some(WORKFLOW), None, None]),
    ] {
        for capture in captures() {
            let tagged = capture.with_prefix(&prefix);
            tagged.check(run(Attribution::Path, ids));
            assert_eq!(tagged.sent(), (capture.target, None));
        }
    }
}

#[test]
fn the_organization_gives_workflow_and_execution_back() {
    for capture in captures() {
        let tagged = capture.with_header("openai-organization", &format!("n8n-{WORKFLOW}-{EXECUTION}"));
        tagged.check(run(Attribution::Organization, [Some(WORKFLOW), Some(EXECUTION), None]));
        assert!(tagged.has_our_organization());
    }
}

/// The tag header does not come from the editor: n8n leaves it out where its expression fails.
#[test]
fn clicks_in_the_editor_are_no_run_of_a_workflow() {
    for capture in captures().into_iter().filter(Capture::is_from_the_editor) {
        for ids in [
            "editor/__UNKNOWN__/none",
            "editor/__UNKNOWN__/uuid-1234",
            "editor/__UNKNOWN__/",
            "none/__UNKNOWN__/none",
            "editor",
            "__UNKNOWN__/__UNKNOWN__/undefined",
            "",
        ] {
            let tagged = capture.with_prefix(&format!("/n8n/{ids}"));
            tagged.check(editor(Attribution::Path));
            assert_eq!(tagged.sent(), (capture.target.clone(), None));
        }
        for workflow in ["editor", "none"] {
            let tagged = capture.with_header("openai-organization", &format!("n8n-{workflow}-__UNKNOWN__"));
            tagged.check(editor(Attribution::Organization));
            assert!(tagged.has_our_organization());
        }
    }
}

#[test]
fn every_spelling_of_the_base_url_reaches_the_same_target() {
    let prefix = format!("/n8n/{WORKFLOW}/{EXECUTION}/{NODE}");
    for capture in captures() {
        let endpoint = capture.target.strip_prefix("/v1").unwrap();
        for (spelling, repair) in [
            (format!("/v1/v1{endpoint}"), Repair::DoubledVersion),
            (format!("/v1/{endpoint}"), Repair::DoubledSlash),
            (format!("{prefix}/v1/v1{endpoint}"), Repair::DoubledVersion),
            (format!("{prefix}/v1/{endpoint}"), Repair::DoubledSlash),
            (format!("{prefix}{endpoint}"), Repair::MissingVersion),
            (format!("{prefix}/{endpoint}"), Repair::MissingVersion),
        ] {
            let misspelt = capture.with_target(spelling);
            assert_eq!(misspelt.sent(), (capture.target.clone(), Some(repair)), "{}", misspelt.target);
        }
    }
}

/// As they came: agents resolve a path as the editor does and send no header, and Instance AI resolves nothing.
#[test]
fn what_n8n_runs_beside_its_workflows_is_told() {
    let beyond: Vec<Capture> = recordings_beyond_nodes().into_iter().map(Capture::from).collect();
    assert_eq!(beyond.len(), 23);
    for capture in beyond {
        let uri: Uri = capture.target.parse().unwrap();
        let head = Head::new(&capture.method, uri.path(), &capture.lines);
        let caller = Caller::identify(&head, &RequestPath::read(head.path));
        let found = (caller.client.family, caller.origin, caller.attribution, caller.doubts.invalid_tag);
        let expected = match &*capture.name {
            "agent_task_run_now_path" | "agent_testchat_hdrpath" | "message_an_agent_maa_inline_path" => {
                (Family::Agent, Origin::Agent, Attribution::Path, false)
            }
            "agent_task_run_now_hdr"
            | "agent_memory"
            | "agent_empty_key_env"
            | "message_an_agent_maa_inline"
            | "message_an_agent_maa_ref" => (Family::Agent, Origin::Undeclared, Attribution::None, false),
            "instanceai_header_expression" | "instanceai_verify_button" => {
                (Family::Agent, Origin::InstanceAi, Attribution::Tag, true)
            }
            "instanceai_header_static" => (Family::Agent, Origin::Workflow, Attribution::Tag, false),
            // Their model lists come from the editor.
            "agent_model_dropdown" => (Family::Other, Origin::Editor, Attribution::Path, false),
            "chathub_models" => (Family::Other, Origin::Editor, Attribution::Tag, false),
            // Without the workflow's name in its tag, a chat looks like any workflow.
            "chathub_header" | "evaluation_llm_judge" => (Family::Sdk, Origin::Workflow, Attribution::Tag, false),
            "chathub_path" => (Family::Sdk, Origin::Workflow, Attribution::Path, false),
            other => panic!("{other} is of a kind that this table does not know"),
        };
        assert_eq!(found, expected, "{}", capture.name);
    }
}

fn captures() -> Vec<Capture> {
    recordings().into_iter().map(Capture::from).collect()
}

impl From<Recording> for Capture {
    fn from(recording: Recording) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in &recording.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        Self {
            name: recording.name,
            method: recording.method.parse().unwrap(),
            target: recording.target,
            lines: headers.into(),
        }
    }
}
