//! Messages at their largest, and names that would do something in a receiver.

use super::*;
use crate::answers::key::KeyNames;
use crate::notices::Topic;
use crate::notices::subject::Subject;
use crate::verdict::explain::DiagnosisKind;
use crate::verdict::meaning::remedy;

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

fn subject(kind: SubjectKind, name: &str, members: u64) -> Subject {
    let member = |number| Member {
        number,
        who: name.into(),
        code: "stale_binding".into(),
        since: Some(now()),
        link: Some("https://n8n.example/workflow/a|b<c>&d/n1".into()),
    };
    Subject {
        id: "incident/default/1".into(),
        topic: Topic::Incident,
        kind,
        code: "stale_binding".into(),
        set: Some("default".into()),
        about: Box::default(),
        key: Some(KeyNames {
            fingerprint: "07".repeat(16).parse().expect("a fingerprint"),
            hint: Some("sk-proj-…OLD1".into()),
        }),
        severity: Severity::Error,
        since: now(),
        headline: "The old key is still sent".into(),
        detail: String::new(),
        remedy: String::new(),
        command: "keyward incidents".into(),
        members: (0..members).map(member).collect(),
        reasons: Vec::new(),
        unnamed: 0,
        left: 0,
        total: 0,
    }
}

fn body(subject: &Subject, event: Event, kind: ReceiverKind) -> String {
    let thread = Thread::new("6937f06d29afb6c1".into(), subject, now());
    Message { event, thread: &thread, at: now(), page: Some("http://127.0.0.1:8081/") }.body(kind)
}

/// Names as long as n8n allows, of characters that take more room than they look.
const NAMES: [&str; 6] = ["\"", "\\", "<", "&", "名", "a"];

#[test]
fn a_webhook_gets_less_than_20_kb_and_the_number_of_those_that_have_no_room() {
    for character in NAMES {
        let mut subject = subject(SubjectKind::Incident, &character.repeat(400), 1_000);
        subject.headline = character.repeat(3_000);
        (subject.detail, subject.remedy) = (character.repeat(10_000), character.repeat(10_000));
        subject.reasons = vec![character.repeat(1_000); 20];
        let body = body(&subject, Event::Opened, ReceiverKind::Webhook);
        assert!(body.len() < 20_000, "{character}: {}", body.len());
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let data = &body["data"];
        let named = data["callers"].as_array().map_or(0, Vec::len);
        assert!((5..=50).contains(&named), "{character}: {named}");
        assert_eq!((&data["total"], &data["more"]), (&json!(1_000), &json!(1_000 - named)), "{character}");
        let text = data["text"].as_str().expect("a text");
        assert!(text.contains(&format!("\nand {} more\n", 1_000 - named)), "{character}");
        assert_eq!(data["reasons"].as_array().and_then(|reasons| reasons.last()), Some(&json!("and 14 more")));
    }
}

#[test]
fn slack_gets_sections_that_it_takes_and_the_number_of_those_that_have_no_room() {
    for character in NAMES {
        let mut subject = subject(SubjectKind::Incident, &character.repeat(400), 1_000);
        subject.headline = character.repeat(3_000);
        (subject.detail, subject.remedy) = (character.repeat(10_000), character.repeat(10_000));
        subject.reasons = vec![character.repeat(1_000); 20];
        let body: Value = serde_json::from_str(&body(&subject, Event::Opened, ReceiverKind::Slack)).expect("JSON");
        let sections = body["blocks"].as_array().expect("blocks");
        assert!(sections.len() <= 50, "{character}");
        let texts: Vec<_> = sections.iter().filter_map(|section| section["text"]["text"].as_str()).collect();
        assert!(texts.iter().all(|text| text.chars().count() <= 3_000), "{character}");
        let list = texts.iter().find(|text| text.contains("• <https://n8n.example/")).expect("the callers");
        let lines: Vec<_> = list.lines().collect();
        let (more, named) = lines.split_last().expect("lines");
        assert_eq!(*more, format!("and {} more", 1_000 - named.len()), "{character}");
        for line in named {
            let link = line.strip_prefix("• <https://n8n.example/workflow/a%7Cb&lt;c&gt;&amp;d/n1|");
            let name = link.and_then(|rest| rest.strip_suffix('>')).expect(line);
            assert!(!name.contains(['<', '>', '|']), "{line}");
        }
    }
}

#[test]
fn what_is_told_of_each_diagnosis_fits_whole() {
    for kind in DiagnosisKind::ALL {
        let steps = remedy(kind, &"s".repeat(32));
        let room: usize = steps.iter().map(|step| room_of(step) + "1. \\n".len()).sum();
        assert!(room <= ROOM_OF_REMEDY, "{kind:?}: {room}");
    }
}

#[test]
fn a_text_that_is_cut_ends_with_an_ellipsis_and_takes_no_more_room() {
    assert_eq!(fitting("abc", 3), "abc");
    assert_eq!(fitting("abcdef", 5), "ab…");
    assert_eq!(fitting("\"\"\"", 5), "\"…");
    assert_eq!(fitting("名名名", 8), "名…");
}

#[test]
fn names_steer_no_terminal_and_show_no_key() {
    let name = "Report \u{1b}[2J \u{202e} sk-proj-0123456789abcdefghijklmnopqrst";
    let body = body(&subject(SubjectKind::Incident, name, 1), Event::Opened, ReceiverKind::Webhook);
    assert!(!body.contains("0123456789abcdef") && !body.contains("\\u001b") && !body.contains('\u{202e}'), "{body}");
}

#[test]
fn each_type_has_its_word() {
    #[track_caller]
    fn check(kind: SubjectKind, code: &str, event: Event, expected: &str, state: &str) {
        let subject = Subject { code: code.into(), ..subject(kind, "n", 1) };
        let body: Value = serde_json::from_str(&body(&subject, event, ReceiverKind::Webhook)).expect("JSON");
        assert_eq!((&body["type"], &body["data"]["state"]), (&json!(expected), &json!(state)));
    }
    check(SubjectKind::Incident, "", Event::Opened, "incident.opened", "open");
    check(SubjectKind::Problem, "", Event::Closed, "problem.closed", "closed");
    check(SubjectKind::UnknownKey, "", Event::Changed, "unknown_key.changed", "open");
    check(SubjectKind::Rotation, "cannot_go", Event::Opened, "rotation.began", "open");
    check(SubjectKind::Rotation, "can_finish", Event::Changed, "rotation.can_finish", "open");
    check(SubjectKind::Rotation, "cannot_go", Event::Changed, "rotation.cannot_finish_after_all", "open");
    check(SubjectKind::Rotation, "cannot_go", Event::Closed, "rotation.ended", "closed");
}
