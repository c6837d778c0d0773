//! Which incidents are one subject.

use super::*;
use crate::answers::incident::Incident;
use crate::answers::key::PerhapsKey;
use crate::answers::who::Who;
use crate::ledger::identity::Holder;

fn fingerprint(byte: u8) -> Fingerprint {
    format!("{byte:02x}").repeat(16).parse().expect("32 digits")
}

fn incident(node: u64, set: &str, key: Option<u8>, diagnosis: &str) -> ListedIncident {
    let names = key.map(fingerprint);
    let hint = key.map(|key| format!("sk-proj-…000{key}"));
    ListedIncident {
        who: Who {
            binding: format!("{node:016x}"),
            set: set.into(),
            who: format!("node {node}"),
            holder: Holder::Caller,
            instance: None,
            workflow_id: None,
            workflow_name: None,
            node_id: None,
            node_name: None,
            credential: None,
            link: None,
            client: "sdk".into(),
            peer: "127.0.0.1".into(),
        },
        incident: Incident {
            incident: format!("{node:016x}"),
            key: PerhapsKey { fingerprint: names, hint },
            diagnosis: diagnosis.into(),
            severity: Severity::Error,
            opened: Timestamp::from_millis(1_000 - i64::try_from(node).unwrap_or_default()),
            last: Timestamp::from_millis(2_000),
            sightings: 1,
            execution_id: None,
            path: None,
            closed: None,
        },
        senders: Vec::new(),
    }
}

/// Each subject: its id, its headline and its callers.
fn told(incidents: &[ListedIncident]) -> Vec<(String, String, Vec<u64>)> {
    let known = [1, 2].map(fingerprint).into();
    let told = |subject: Subject| {
        let numbers = subject.members.iter().map(|member| member.number).collect();
        (subject.id.into(), subject.headline, numbers)
    };
    of_incidents(incidents, &known).into_iter().map(told).collect()
}

#[test]
fn incidents_are_one_by_set_and_known_key() {
    let told = told(&[
        incident(1, "default", Some(1), "stale_binding"),
        incident(2, "default", Some(1), "mixed"),
        incident(3, "staging", Some(1), "stale_binding"),
        incident(4, "default", Some(2), "quota"),
        incident(5, "default", None, "missing_header"),
        incident(6, "default", Some(7), "malformed_undefined"),
        incident(7, "default", None, "missing_header"),
    ]);
    let expected = [
        (
            "incident/default/01010101",
            "The old key sk-proj-…0001 (01010101) of set `default` is still sent",
            vec![2, 1],
        ),
        (
            "incident/default/02020202",
            "Requests to set `default` with sk-proj-…0002 (02020202) fail (the right key; its account is out of credit or limit)",
            vec![4],
        ),
        ("incident/default/none", "Requests to set `default` fail (no key came)", vec![7, 6, 5]),
        ("incident/staging/01010101", "The old key sk-proj-…0001 (01010101) of set `staging` is still sent", vec![3]),
    ];
    assert_eq!(told, expected.map(|(id, headline, callers)| (id.to_owned(), headline.to_owned(), callers)));
}

#[test]
fn unknown_keys_of_a_set_are_one_however_many_there_are() {
    let many: Vec<_> = (10..60).map(|key| incident(key.into(), "default", Some(key), "unlisted_key")).collect();
    let (id, headline, callers) = told(&many).remove(0);
    assert_eq!((id.as_str(), callers.len(), told(&many).len()), ("unknown_key/default/none", 50, 1));
    assert_eq!(headline, "Set `default` gets keys that it does not know");
    let (_, headline, _) = told(&many[..1]).remove(0);
    assert!(headline.starts_with("Set `default` gets a key that it does not know, sk-proj-…00010 ("), "{headline}");
}

#[test]
fn those_that_began_first_come_first() {
    let subjects =
        of_incidents(&[1, 2, 3].map(|node| incident(node, "default", Some(1), "stale_binding")), &HashSet::new());
    assert_eq!(subjects[0].members.iter().map(|member| member.number).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(subjects[0].since, Timestamp::from_millis(997));
}
