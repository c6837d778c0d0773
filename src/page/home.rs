//! Pure. The rotation of each set, and above it what is wrong: the answer in one sentence, how far it is, who stands how, and
//! what to do next.

use maud::{Markup, html};

use super::parts::{self, Count, Sign, ago, badge, class, counts, icon, perhaps_ago};
use super::reasons;
use super::timeline::{Mark, Timeline};
use super::view::{Piece, Section, Tab, View};
use crate::answers::headline::{
    Holds, NOT_SEEN, WELL, because, most_pressing, next_step, problems_in_short, to_rotate, word,
};
use crate::answers::old_key::{OldKey, OldKeySummary, Traffic};
use crate::answers::rotation::{RotatingBinding, Rotation};
use crate::answers::status::OpenProblem;
use crate::answers::words::{capitalised, counted, note, rhythm, sent_from, span};
use crate::clock::Timestamp;
use crate::ledger::answer::AnswerKind;
use crate::ledger::progress::Progress;
use crate::ledger::standing::StandingKind;
use crate::request_path::is_id;
use crate::telemetry::local_clock::{day, in_local_time};
use crate::telemetry::palette::Tone;
use crate::verdict::explain::Severity;

/// What the page is drawn from.
#[derive(Debug)]
pub struct Home<'h> {
    /// What is wrong beside single callers.
    pub problems: &'h [OpenProblem],
    /// The rotation of each set.
    pub sets: &'h [OfSet],
    pub start: Start<'h>,
    pub now: Timestamp,
}

/// The rotation of a set, with what is drawn of its course.
#[derive(Debug)]
pub struct OfSet {
    /// Its bindings are those that are shown.
    pub rotation: Rotation,
    /// What n8n's credentials of the set hold.
    pub holds: Holds,
    /// Exchanges with the keys that are good now, hour by hour.
    pub new_traffic: Vec<Traffic>,
    /// When the first request with one of those started.
    pub first_confirmed: Option<Timestamp>,
    /// When the first of those is due that are due later.
    pub due: Option<Timestamp>,
    /// How many incidents are open.
    pub incidents: usize,
}

/// What those need who begin.
#[derive(Clone, Copy, Debug)]
pub struct Start<'s> {
    /// The Base URL of n8n's OpenAI credential.
    pub base_url: &'s str,
    /// Whether an n8n is configured, whose credentials keyward can change.
    pub asks_n8n: bool,
}

/// The page Rotation: what is wrong, and how far the rotation of each set is.
#[must_use]
pub fn home(home: &Home<'_>) -> View {
    let mut sections = vec![Section::whole("problems", problems(home.problems, home.now))];
    let shown: Vec<_> = home.sets.iter().filter(|set| !set.is_empty()).collect();
    let shown = if shown.is_empty() { home.sets.iter().take(1).collect() } else { shown };
    let mut title = String::new();
    for (number, set) in shown.iter().copied().enumerate() {
        if shown.len() > 1 {
            let id = format!("set-{number}");
            let heading = html! { h2.set id=(id) { "Key set " (set.rotation.set) } };
            sections.push(Section::whole(id, heading));
        }
        let verdict = Verdict::of(set, home);
        if number == 0 {
            title = verdict.title();
        }
        sections.extend(of_set(home, set, &verdict, number));
    }
    View { title, tab: Tab::Rotation, sections }
}

fn of_set(home: &Home<'_>, set: &OfSet, verdict: &Verdict, number: usize) -> [Section; 4] {
    let ids = ["answer", "course", "reasons", "nodes"].map(|part| format!("{part}-{number}"));
    let [answer, course, reasons, nodes] = ids;
    let rows = pieces(&set.rotation, home.now, number);
    [
        Section::whole(answer.clone(), self::answer(home, set, verdict, &answer)),
        Section::whole(course.clone(), self::course(set, &course)),
        Section::whole(reasons.clone(), reasons::section(&set.rotation, &reasons, home.now)),
        Section::around(nodes.clone(), rows, |rows| self::nodes(set, &nodes, &rows)),
    ]
}

impl OfSet {
    /// Whether there is nothing to tell: no key is known, and nothing was sent.
    fn is_empty(&self) -> bool {
        self.rotation.total == 0 && self.rotation.current.is_empty() && self.rotation.old_keys.is_empty()
    }
}

// === What is wrong ===

fn problems(problems: &[OpenProblem], now: Timestamp) -> Markup {
    html! {
        section #problems.problems hidden[problems.is_empty()] aria-label="Problems" {
            @for problem in problems { (of_problem(problem, now)) }
        }
    }
}

/// What is wrong, since when, whom it hit, and what to do.
fn of_problem(problem: &OpenProblem, now: Timestamp) -> Markup {
    let (tone, sign) = parts::of_severity(problem.severity);
    html! {
        article.problem.(class(tone)) {
            h2 { (icon(sign)) (in_local_time(&problem.text, now)) }
            p.facts {
                "Began " (ago(problem.since, now))
                @if let Some(requests) = problem.requests {
                    ": " (counted(usize::try_from(requests).unwrap_or(usize::MAX), "request"))
                    @if let Some(callers) = problem.bindings { " of " (counted(callers, "caller")) }
                }
                @if let Some(last) = problem.last { ", the last " (ago(last, now)) }
                ". " code { (problem.code.code()) }
            }
            p.todo { (problem.remedy) }
        }
    }
}

// === The answer ===

/// What is asked of a set, and the answer to it.
struct Verdict {
    tone: Tone,
    sign: Sign,
    question: Markup,
    word: String,
    because: String,
}

impl Verdict {
    fn of(set: &OfSet, home: &Home<'_>) -> Self {
        match pressing(&set.rotation) {
            Some(old) => Self::of_old_key(old, set, home.now),
            None => Self::without_old_key(set, home),
        }
    }

    /// *Can the old key go?*
    fn of_old_key(old: &OldKeySummary, set: &OfSet, now: Timestamp) -> Self {
        let (tone, word) = word(old.can_go.answer);
        let sign = match old.can_go.answer {
            AnswerKind::No => Sign::Cross,
            AnswerKind::NotProven => Sign::Question,
            AnswerKind::Yes => Sign::Tick,
        };
        Self {
            tone,
            sign,
            question: html! { "Can the old key " (parts::key_names(&old.key)) " go?" },
            word: capitalised(word),
            because: format!("{}{}", because(old, now), not_due(set, now)),
        }
    }

    /// Where there is no rotation, whether all is well.
    fn without_old_key(set: &OfSet, home: &Home<'_>) -> Self {
        let failing = set.rotation.progress.failing;
        let bad = |because: String| (Tone::Bad, Sign::Cross, "No", because);
        let (tone, sign, word, because) = match (problems_in_short(home.problems), set.rotation.total) {
            (Some(short), _) => bad(short),
            (None, _) if failing > 0 => bad(format!("{} {}", counted(failing, "node"), fail(failing))),
            (None, _) if set.incidents > 0 => bad(format!("{} open", incidents_are(set.incidents))),
            (None, 0) => (Tone::Doubtful, Sign::Question, "Not known", NOT_SEEN.to_owned()),
            (None, _) => (Tone::Good, Sign::Tick, "Yes", WELL.to_owned()),
        };
        let because = format!(": {because}");
        Self { tone, sign, question: html! { "Is all well?" }, word: word.to_owned(), because }
    }

    fn title(&self) -> String {
        format!("{}{}", self.word, self.because)
    }
}

fn incidents_are(count: usize) -> String {
    format!("{} {}", counted(count, "incident"), if count == 1 { "is" } else { "are" })
}

fn fail(count: usize) -> &'static str {
    if count == 1 { "fails" } else { "fail" }
}

/// Those that were silent and are due later: before when none of them is.
fn not_due(set: &OfSet, now: Timestamp) -> String {
    let (count, Some(due)) = (set.rotation.progress.due_later, set.due) else { return String::new() };
    if count == 0 || pressing(&set.rotation).is_none_or(|old| old.can_go.answer == AnswerKind::Yes) {
        return String::new();
    }
    let are = if count == 1 { "is" } else { "are" };
    match day(due, now).as_str() {
        "today" => format!(", {count} {are} due later today"),
        day => format!(", {count} {are} not due before {day}"),
    }
}

fn old_keys(rotation: &Rotation) -> impl Iterator<Item = &OldKeySummary> {
    rotation.old_keys.iter().map(|old| &old.summary)
}

fn pressing(rotation: &Rotation) -> Option<&OldKeySummary> {
    most_pressing(old_keys(rotation))
}

fn answer(home: &Home<'_>, set: &OfSet, verdict: &Verdict, id: &str) -> Markup {
    let (rotation, now) = (&set.rotation, home.now);
    let others = old_keys(rotation).filter(|old| pressing(rotation).is_none_or(|pressing| pressing.key != old.key));
    html! {
        section.card.answer.(class(verdict.tone)) id=(id) aria-labelledby=(format!("{id}-asked")) {
            div.verdict {
                span.big { (icon(verdict.sign)) }
                div {
                    h1 id=(format!("{id}-asked")) { (verdict.question) }
                    p.said { b { (verdict.word) } (verdict.because) }
                }
            }
            (progress(set))
            div.two {
                (next(home, set))
                div.facts {
                    h2 { "Keys" }
                    (keys(rotation, now))
                    ul { @for old in others { li { (of_other(old, now)) } } }
                }
            }
        }
    }
}

/// The answer about an old key that is not the most pressing one.
fn of_other(old: &OldKeySummary, now: Timestamp) -> Markup {
    let (tone, word) = word(old.can_go.answer);
    html! {
        "Can " (parts::key_names(&old.key)) " go? " b.(class(tone)) { (capitalised(word)) } (because(old, now))
    }
}

/// The keys of a set: which are to be sent, and which are not.
fn keys(rotation: &Rotation, now: Timestamp) -> Markup {
    let learned = if rotation.learned { ", learned from what upstream accepts" } else { "" };
    html! {
        ul.keys {
            @for key in &rotation.current {
                li {
                    (badge(Tone::Good, Sign::Tick, "current")) " " (parts::key_names(&key.key))
                    @if let Some(since) = key.since { " for " (span(since, now)) }
                    (learned)
                    @if key.refused_by_upstream { ", " b.bad { "refused by upstream" } }
                }
            }
            @if rotation.current.is_empty() { li { "No current key is known" (learned) "." } }
            @if let Some(next) = &rotation.next_key {
                li { (badge(Tone::Aside, Sign::Clock, "next")) " " (parts::key_names(next)) }
            }
            @for old in old_keys(rotation) {
                li {
                    (badge(Tone::Doubtful, Sign::Dash, "old")) " " (parts::key_names(&old.key))
                    ", replaced " (ago(old.retired_by, now)) ", last seen " (perhaps_ago(old.last_use, now))
                }
            }
        }
    }
}

/// How far the rotation is: a bar, and how many stand how, with a link to those.
fn progress(set: &OfSet) -> Markup {
    let rotation = &set.rotation;
    let Progress { confirmed, mixed, stale, failing, due_later, overdue, acknowledged } = rotation.progress;
    let one = |what, count, state: &str, tone, sign| Count {
        what,
        count,
        path: format!("/nodes?set={}&state={state}", parts::encoded(&rotation.set)),
        tone,
        sign,
    };
    let all = [
        one("confirmed", confirmed, "confirmed", Tone::Good, Sign::Tick),
        one("acknowledged", acknowledged, "acknowledged", Tone::Aside, Sign::Dash),
        one("stale", stale, "stale", Tone::Bad, Sign::Alarm),
        one("mixed", mixed, "mixed", Tone::Bad, Sign::Half),
        one("failing", failing, "failing", Tone::Bad, Sign::Cross),
        one("overdue", overdue, "overdue", Tone::Doubtful, Sign::Clock),
        one("due later", due_later, "due_later", Tone::Aside, Sign::Clock),
    ];
    html! {
        @if rotation.total > 0 {
            (bar(&all, rotation.total, &rotation.progress.to_string()))
            div aria-live="polite" { (counts(&[&all[..], &[incidents(set)]].concat())) }
        }
    }
}

fn incidents(set: &OfSet) -> Count<'static> {
    let what = if set.incidents == 1 { "open incident" } else { "open incidents" };
    let path = format!("/incidents?state=open&set={}", parts::encoded(&set.rotation.set));
    Count { what, count: set.incidents, path, tone: Tone::Bad, sign: Sign::Alarm }
}

#[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
fn bar(counts: &[Count<'_>], total: usize, label: &str) -> Markup {
    let share = |count: usize| count as f64 * 100.0 / total as f64;
    let there: Vec<_> = counts.iter().filter(|one| one.count > 0).collect();
    let before = |place: usize| there.iter().take(place).map(|one| one.count).sum();
    html! {
        svg.bar width="100%" height="12" role="img" aria-label=(label) {
            @for (place, one) in there.iter().enumerate() {
                rect.(class(one.tone)) x=(format!("{:.2}%", share(before(place)))) width=(format!("{:.2}%", share(one.count)))
                    height="12" {}
            }
        }
    }
}

/// The next thing to do, with a command where one does it.
fn next(home: &Home<'_>, set: &OfSet) -> Markup {
    let (step, command) = step(home, set);
    html! {
        div.next {
            h2 { "Next" }
            p { (parts::sentence(step.trim_end_matches('.'))) "." }
            @if let Some(command) = command { (parts::command(&command)) }
        }
    }
}

/// What to do next, and the command for it. What is done about keys waits for what is wrong with them, or with upstream.
fn step(home: &Home<'_>, set: &OfSet) -> (String, Option<String>) {
    if home.problems.iter().any(|problem| problem.severity == Severity::Error) {
        return ("do what stands above; the status says when it is over".to_owned(), Some("keyward status".to_owned()));
    }
    if let Some(old) = pressing(&set.rotation) {
        return (next_step(old, set.holds, home.now), Some(command_for(old, &set.rotation, home.start)));
    }
    if set.incidents > 0 || set.rotation.progress.failing > 0 {
        return ("mend what fails: the incidents say how".to_owned(), Some("keyward incidents".to_owned()));
    }
    without_old_key(set, home.start)
}

/// Puts the current key into the credential that holds the old one, where keyward can do it; else says where you have to.
fn command_for(old: &OldKeySummary, rotation: &Rotation, start: Start<'_>) -> String {
    let is_no = old.can_go.answer == AnswerKind::No;
    // Another set's key would be put in where the record does not say which set it belongs to.
    let is_able = is_no && start.asks_n8n && rotation.set == "default";
    let record = old.can_go.by_credential.first().filter(|record| is_able && is_id(&record.credential_id));
    match (record, old.can_go.answer) {
        (Some(record), _) => format!("keyward n8n connect {} --key-from current --verify", record.credential_id),
        (None, AnswerKind::Yes) => format!("keyward rotation {} --can-go", rotation.set),
        // It names each credential and node that is not as it should be.
        (None, AnswerKind::No) if start.asks_n8n => "keyward n8n audit".to_owned(),
        (None, AnswerKind::No) => "keyward incidents".to_owned(),
        (None, AnswerKind::NotProven) => format!("keyward rotation {} --watch", rotation.set),
    }
}

fn without_old_key(set: &OfSet, start: Start<'_>) -> (String, Option<String>) {
    if set.rotation.total > 0 {
        let source = (!set.rotation.learned).then_some("the place where keyward reads it");
        return (to_rotate(source, set.holds), Some("keyward rotation --watch".to_owned()));
    }
    let step = format!("set the Base URL of n8n's OpenAI credential to {}, and run a workflow", start.base_url);
    let command = if start.asks_n8n { "keyward n8n connect --help" } else { start.base_url };
    (step, Some(command.to_owned()))
}

// === How it went ===

fn course(set: &OfSet, id: &str) -> Markup {
    let rotation = &set.rotation;
    let old =
        pressing(rotation).and_then(|pressing| rotation.old_keys.iter().find(|old| old.summary.key == pressing.key));
    let drawn = old.and_then(|old| timeline(set, old).draw());
    html! {
        section.card id=(id) hidden[drawn.is_none()] aria-labelledby=(format!("{id}-title")) {
            h2 id=(format!("{id}-title")) { "The rotation so far" }
            @if let Some(drawn) = drawn { (drawn) }
        }
    }
}

fn timeline<'t>(set: &'t OfSet, old: &'t OldKey) -> Timeline<'t> {
    let confirmed = set.first_confirmed.filter(|at| *at >= old.retired_after.unwrap_or(old.summary.retired_by));
    let mut marks = vec![Mark { at: old.summary.retired_by, what: "new key seen" }];
    marks.extend(confirmed.map(|at| Mark { at, what: "first confirmed" }));
    let last = old.summary.last_use.filter(|at| *at > old.summary.retired_by);
    marks.extend(last.map(|at| Mark { at, what: "last stale" }));
    marks.sort_by_key(|mark| mark.at);
    let replaced = old.summary.retired_by;
    Timeline { new: &set.new_traffic, old: &old.traffic, replaced, marks, now: set.rotation.at }
}

// === Who stands how ===

fn nodes(set: &OfSet, id: &str, rows: &Markup) -> Markup {
    let rotation = &set.rotation;
    let all = format!("/nodes?set={}", parts::encoded(&rotation.set));
    html! {
        section.card id=(id) aria-labelledby=(format!("{id}-title")) {
            div.head {
                h2 id=(format!("{id}-title")) { "Nodes by workflow" }
                a href=(all) { "All nodes" }
            }
            @if rotation.bindings.is_empty() { (parts::empty("No node was seen yet.")) } @else {
                table.nodes {
                    thead {
                        tr {
                            th scope="col" { "Node" } th scope="col" { "State" } th.wide scope="col" { "Key" }
                            th scope="col" { "Seen" } th.wide scope="col" { "Usually" } th scope="col" { span.unseen { "In n8n" } }
                        }
                    }
                    (rows)
                }
                (rest(rotation))
            }
        }
    }
}

/// Those for whom there was no room: what is done is only counted.
fn rest(rotation: &Rotation) -> Markup {
    let is_well = |binding: &&RotatingBinding| binding.row.standing.state == Some(StandingKind::Confirmed);
    let well =
        rotation.progress.confirmed - rotation.bindings.iter().filter(is_well).count().min(rotation.progress.confirmed);
    let open = (rotation.total - rotation.bindings.len().min(rotation.total)).saturating_sub(well);
    let set = parts::encoded(&rotation.set);
    html! {
        @if well > 0 {
            p { a href=(format!("/nodes?set={set}&state=confirmed")) { (parts::thousands(well)) " more" } " are confirmed." }
        }
        @if open > 0 {
            p { a href=(format!("/nodes?set={set}")) { (parts::thousands(open)) " more" } " are not, and were seen longer ago." }
        }
    }
}

/// The nodes of each workflow, in the order in which the first of each is listed.
fn pieces(rotation: &Rotation, now: Timestamp, set: usize) -> Vec<Piece> {
    let mut groups: Vec<Vec<&RotatingBinding>> = Vec::new();
    for binding in &rotation.bindings {
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| share_workflow(first, binding))) {
            Some(group) => group.push(binding),
            None => groups.push(vec![binding]),
        }
    }
    groups.iter().map(|group| piece(group, now, set)).collect()
}

fn share_workflow(one: &RotatingBinding, other: &RotatingBinding) -> bool {
    let (one, other) = (&one.row.who, &other.row.who);
    one.workflow_id == other.workflow_id && one.instance == other.instance
}

fn piece(group: &[&RotatingBinding], now: Timestamp, set: usize) -> Piece {
    let first = group.first().map(|first| &first.row.who);
    let workflow = first.and_then(|who| who.workflow_id.as_deref());
    let instance = first.and_then(|who| who.instance.as_deref()).unwrap_or_default();
    let id = format!("w{set}-{:016x}", super::view::print(&format!("{instance}/{}", workflow.unwrap_or("/"))));
    let html = html! {
        tbody id=(id) data-keep {
            tr.group { th scope="rowgroup" colspan="6" { (workflow_name(group)) } }
            @for binding in group { (row(binding, now)) }
        }
    };
    Piece { id, html: html.into_string() }
}

fn workflow_name(group: &[&RotatingBinding]) -> Markup {
    let Some(who) = group.first().map(|first| &first.row.who) else { return html! {} };
    let Some(id) = &who.workflow_id else { return html! { "Clients that name no workflow" } };
    html! {
        (parts::name(who.workflow_name.as_ref().unwrap_or(id)))
        @if let Some(credential) = &who.credential { span.aside { " credential " (parts::name(credential)) } }
    }
}

fn row(binding: &RotatingBinding, now: Timestamp) -> Markup {
    let row = &binding.row;
    let who = &row.who;
    let named = who.node_name.as_ref().or(who.node_id.as_ref());
    // A client without a workflow is known by its words.
    let shown = named.cloned().unwrap_or_else(|| who.who.clone());
    let (note, from) = (note(row, now), parts::where_they_differ(&row.senders, || sent_from(row)));
    html! {
        tr id=(format!("b-{}", who.binding)) data-state=(crate::answers::words::state(&row.standing)) {
            th scope="row" { a href=(parts::path_of(who)) { (parts::name(&shown)) } }
            td {
                (parts::state(&row.standing))
                @if !note.is_empty() { " " span.note { (parts::breakable(&note)) } }
                @if !from.is_empty() { " " span.note { "from " (from) } }
            }
            td.wide { (parts::key(&row.key)) }
            td { (ago(binding.last, now)) }
            td.wide { (rhythm(row.rhythm.as_ref())) }
            td.end { (parts::editor(who.link.as_deref(), &shown)) }
        }
    }
}
