//! However far a run came, its lines say so; a line that was cut off never was.

use super::*;
use crate::keys::state::Settings;
use crate::n8n::reconnect::Shape;
use crate::n8n::rewrite::VersionMarks;

fn folder() -> (tempfile::TempDir, StateFolder) {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = StateFolder::open(&Settings { dir: parent.path().join("state") }).expect("a state folder");
    (parent, folder)
}

fn marks(name: &str) -> Marks {
    let draft = VersionMarks { nodes: [("n".to_owned(), name.to_owned())].into(), connections: String::new() };
    Marks { name: name.to_owned(), settings: String::new(), draft, live: None }
}

fn snapshot() -> Snapshot {
    Snapshot { at: At::default(), active: true, triggers: 1, marks: marks("before") }
}

fn task(workflow: &str) -> Task {
    let (draft, live) = (Vec::new(), Vec::new());
    Task {
        workflow: workflow.to_owned(),
        name: workflow.to_owned(),
        shape: Shape::Published,
        at: At::default(),
        draft,
        live,
    }
}

fn begin(folder: &StateFolder) -> Journal<'_> {
    let to = Target { id: "c".into(), name: "C".into() };
    let at = Timestamp::from_millis(1_796_066_533_000);
    Journal::begin(folder, ("http://n8n".into(), to), at, vec![task("a"), task("b")]).expect("a run").0
}

fn states(folder: &StateFolder) -> Vec<State> {
    runs(folder).expect("runs").pop().expect("a run").states
}

#[test]
fn a_run_is_known_by_its_lines_however_far_it_came() {
    let (_parent, folder) = folder();
    let journal = begin(&folder);
    let run = runs(&folder).expect("runs").pop().expect("a run");
    assert_eq!((&*run.beginning.run, run.is_ended, run.may_be_taken_back()), ("20261130T192213", false, false));
    assert_eq!(run.states, [State::Waits, State::Waits]);

    journal.note_begin("a", false, &snapshot(), &marks("then")).expect("a line");
    journal.note_saved("a", "v7").expect("a line");
    journal.note_lost("a", false, "it broke off").expect("a line");
    let [State::Begun(begun), State::Waits] = &states(&folder)[..] else { panic!("it is begun") };
    assert_eq!((begun.back, begun.saved.as_deref(), begun.lost.as_deref()), (false, Some("v7"), Some("it broke off")));

    journal.note_done("a", false, &marks("then")).expect("a line");
    journal.note_left("b", false, "changed since").expect("a line");
    journal.note_end().expect("a line");
    assert_eq!(states(&folder), [State::Done(Box::new(marks("then"))), State::AsBefore(Some("changed since".into()))]);

    journal.note_begin("a", true, &Snapshot { marks: marks("then"), ..snapshot() }, &marks("before")).expect("a line");
    journal.note_left("a", true, "n8n refused it").expect("a line");
    assert_eq!(states(&folder)[0], State::Done(Box::new(marks("then"))), "it stands as it stood");
    journal.note_begin("a", true, &snapshot(), &marks("before")).expect("a line");
    journal.note_done("a", true, &marks("before")).expect("a line");
    let run = runs(&folder).expect("runs").pop().expect("a run");
    assert_eq!((&run.states[0], run.may_be_taken_back(), run.is_ended), (&State::AsBefore(None), false, true));
}

#[test]
fn a_line_that_was_cut_off_never_was() {
    let (parent, folder) = folder();
    let journal = begin(&folder);
    journal.note_begin("a", false, &snapshot(), &marks("then")).expect("a line");
    let path = std::fs::read_dir(parent.path().join("state")).expect("files");
    let path =
        path.map(|entry| entry.expect("a file").path()).find(|path| path.extension().is_some_and(|end| end == "jsonl"));
    let path = path.expect("the journal");
    let whole = std::fs::read(&path).expect("lines");
    let first = whole.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    for end in first..whole.len() {
        std::fs::write(&path, &whole[..end]).expect("written");
        assert_eq!(states(&folder), [State::Waits, State::Waits], "{end}");
    }
    journal.note_left("b", false, "w").expect("a line");
    assert_eq!(states(&folder), [State::Waits, State::AsBefore(Some("w".into()))], "the half line is gone");
    std::fs::write(&path, &whole[..first / 2]).expect("written");
    assert_eq!(runs(&folder).expect("runs"), []);
    std::fs::write(&path, b"{}\n").expect("written");
    assert!(runs(&folder).is_err());
}

#[test]
fn runs_of_one_second_have_two_names_and_their_own_modes() {
    use std::os::unix::fs::PermissionsExt;
    let (parent, folder) = folder();
    drop((begin(&folder), begin(&folder)));
    let names: Vec<_> = runs(&folder).expect("runs").into_iter().map(|run| run.beginning.run).collect();
    assert_eq!(names, ["20261130T192213", "20261130T192213-2"]);
    let file = parent.path().join("state/reconnect-20261130T192213.jsonl");
    assert_eq!(std::fs::metadata(file).expect("a file").permissions().mode() & 0o777, 0o600);
}

#[test]
fn runs_of_long_ago_are_removed_but_for_the_last_ones_and_those_that_were_broken_off() {
    const DAY: i64 = 86_400_000;
    let (_parent, folder) = folder();
    let begin_at = |day: i64| {
        let to = Target { id: "c".into(), name: "C".into() };
        Journal::begin(&folder, ("http://n8n".into(), to), Timestamp::from_millis(day * DAY), vec![task("a")])
            .expect("a run")
            .0
    };
    let days = || -> Vec<i64> { runs(&folder).expect("runs").iter().map(|run| run.beginning.at / DAY).collect() };
    let _broken_off = begin_at(0);
    for day in 1..=24 {
        begin_at(day).note_end().expect("a line");
    }
    begin_at(92).note_end().expect("a line");
    // 26 are there. On day 96, those of the first five days are older than 90 days, and those of the first six not among the last 20.
    begin_at(96).note_end().expect("a line");
    assert_eq!(days(), [&[0][..], &(6..=24).collect::<Vec<_>>(), &[92, 96]].concat());
}
