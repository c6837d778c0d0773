//! Pure. The story of the demo: a day of twenty workflows, a rotation in it, and what people do about it. All of it is
//! invented; how each mistake comes about was seen in real n8n.

use std::collections::HashMap;
use std::time::Duration;

use crate::splitmix::SplitMix64;

/// Something that happens in the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scene {
    /// When, since the midnight before the story.
    pub at: Duration,
    /// How long a watcher waits for it, in the time of the story.
    pub wait: Duration,
    pub event: Event,
}

/// What happens in a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The story goes on with this.
    Chapter(&'static Chapter),
    /// The key file beside keyward is replaced.
    KeyFileReplaced,
    /// A person presses the test button of the main credential, in the n8n of that release.
    Tested(Release),
    /// A node sends its request.
    Sent(Request),
    /// The client that sent the old key without a tag is said to be gone for good.
    Acknowledged,
    /// The rotation so far is shown.
    Shown,
}

/// The request of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub workflow: &'static Workflow,
    pub node: &'static Node,
    /// The number of the execution.
    pub execution: u32,
    /// How the node came by its key.
    pub means: Means,
    /// The key that arrives with it; none where the client lost it on the way.
    pub key: Key,
}

/// How a node comes by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// By a credential, which tags its requests as well.
    Credential,
    /// The key was typed into the node.
    Typed,
}

/// The keys of the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The one of before the rotation.
    Old,
    /// The one of after it.
    New,
    /// The new one, pasted without its end.
    CutOff,
    /// None: a redirect made the client drop it.
    Dropped,
}

/// A part of the day, with what happens in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Chapter {
    /// When it begins: the minute of the day.
    minute: u32,
    pub title: &'static str,
    /// What people do in it, and what is to be seen.
    pub text: &'static str,
    deeds: &'static [Deed],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    ReplaceKeyFile,
    Acknowledge,
    Show,
    Test(Record),
    Put(Record, Held),
    /// A node of that workflow, or all of them, uses another record from now on.
    Repoint(&'static str, Option<&'static str>, Record),
}

/// A workflow of the story: which record it uses, and when it runs.
#[derive(Debug, PartialEq, Eq)]
pub struct Workflow {
    pub id: &'static str,
    pub name: &'static str,
    record: Record,
    runs: Runs,
    /// Its nodes that speak to the API.
    pub nodes: [Node; 3],
}

/// A node that speaks to the API.
#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    pub id: &'static str,
    pub kind: Kind,
}

/// Kinds of nodes. Each sends requests of its own form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The `OpenAI` node of old, for a chat.
    LegacyChat,
    /// The `OpenAI` node of old, for a text.
    LegacyText,
    /// The `OpenAI` node of the vendor's: "Message a model".
    Message,
    /// The same node, for a picture.
    Image,
    /// The same node, for speech.
    Transcription,
    /// A chat model under an Agent.
    Agent,
    /// The same, streaming.
    AgentStream,
    /// A chat model under a Chain.
    Chain,
    Embeddings,
    HttpRequest,
}

/// Releases of n8n, which tag their requests in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// 1.x: by an expression in the Base URL.
    One,
    /// 2.x: by a custom header.
    Two,
}

/// What holds a key in n8n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Record {
    Main,
    /// The main credential of the n8n that is still a 1.x.
    Elder,
    /// The credential of one sub-workflow.
    OfTranslate,
    OfModerate,
    OfIndex,
    OfSummary,
    OfExtract,
    /// No credential at all: the node itself.
    Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Key(Key),
    /// The new key, and a Base URL that only redirects to keyward.
    BehindRedirect,
}

/// When a workflow runs, in minutes of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Runs {
    first: u32,
    every: u32,
    end: u32,
}

/// Every scene of the story, in order. The seed moves runs by some minutes.
#[must_use]
pub fn scenes(seed: u64) -> Vec<Scene> {
    let mut timeline = runs(SplitMix64::new(seed));
    let chapters = CHAPTERS.iter().map(|chapter| (chapter.minute * 60, Plan::Begin(chapter)));
    timeline.extend(chapters);
    timeline.sort_by_key(|(second, _)| *second);
    let mut telling = Telling { scenes: Vec::new(), n8n: N8n::new(), now: START * 60, pause: 0 };
    for (second, plan) in timeline {
        telling.go_on(second, plan);
    }
    telling.scenes
}

impl Workflow {
    /// The release of n8n that it runs on.
    #[must_use]
    pub fn release(&self) -> Release {
        self.record.release()
    }
}

impl Record {
    fn release(self) -> Release {
        if self == Self::Elder { Release::One } else { Release::Two }
    }
}

/// What is planned for a second of the story.
#[derive(Clone, Copy)]
enum Plan {
    Begin(&'static Chapter),
    Send(&'static Workflow, &'static Node, u32),
}

/// The requests of every run. Executions are numbered as they begin.
fn runs(mut numbers: SplitMix64) -> Vec<(u32, Plan)> {
    let mut starts: Vec<(u32, &Workflow)> = Vec::new();
    for workflow in &WORKFLOWS {
        let Runs { first, every, end } = workflow.runs;
        let minutes = (first..end).step_by(every as usize);
        let late = |minute| minute * 60 + u32::try_from(numbers.draw_below(MOST_LATE)).unwrap_or(0);
        starts.extend(minutes.map(late).map(|second| (second, workflow)));
    }
    starts.sort_by_key(|(second, _)| *second);
    let requests = |((second, workflow), execution): ((u32, &'static Workflow), u32)| {
        (0..).zip(&workflow.nodes).map(move |(place, node)| (second + place * 4, Plan::Send(workflow, node, execution)))
    };
    starts.into_iter().zip(FIRST_EXECUTION..).flat_map(requests).collect()
}

struct Telling {
    scenes: Vec<Scene>,
    n8n: N8n,
    now: u32,
    /// What is left to wait of the last chapter's time to be read.
    pause: u32,
}

impl Telling {
    fn go_on(&mut self, second: u32, plan: Plan) {
        self.pause += second - self.now;
        self.now = second;
        match plan {
            Plan::Send(workflow, node, execution) => self.send(workflow, node, execution),
            Plan::Begin(chapter) => {
                self.add(Event::Chapter(chapter));
                chapter.deeds.iter().for_each(|deed| self.act(*deed));
                self.pause += READING;
            }
        }
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::ReplaceKeyFile => self.add(Event::KeyFileReplaced),
            Deed::Acknowledge => self.add(Event::Acknowledged),
            Deed::Show => self.add(Event::Shown),
            Deed::Test(record) => self.add(Event::Tested(record.release())),
            Deed::Put(record, held) => self.n8n.put(record, held),
            Deed::Repoint(workflow, node, record) => self.n8n.repointed.push((workflow, node, record)),
        }
    }

    fn send(&mut self, workflow: &'static Workflow, node: &'static Node, execution: u32) {
        let record = self.n8n.record_of(workflow, node);
        let means = if record == Record::Node { Means::Typed } else { Means::Credential };
        let key = self.n8n.key_sent(record, node.kind);
        self.add(Event::Sent(Request { workflow, node, execution, means, key }));
    }

    fn add(&mut self, event: Event) {
        let seconds = |seconds| Duration::from_secs(u64::from(seconds));
        let wait = seconds(std::mem::take(&mut self.pause));
        self.scenes.push(Scene { at: seconds(self.now), wait, event });
    }
}

/// What n8n holds at a moment of the story.
struct N8n {
    held: HashMap<Record, Held>,
    /// Which nodes use another record than their workflow's; the last word counts.
    repointed: Vec<(&'static str, Option<&'static str>, Record)>,
}

impl N8n {
    fn new() -> Self {
        Self { held: HashMap::new(), repointed: vec![TYPED_INTO] }
    }

    fn put(&mut self, record: Record, held: Held) {
        self.held.insert(record, held);
    }

    fn record_of(&self, workflow: &Workflow, node: &Node) -> Record {
        let is_meant = |(of_workflow, of_node, _): &&(&str, Option<&str>, Record)| {
            *of_workflow == workflow.id && of_node.is_none_or(|id| id == node.id)
        };
        self.repointed.iter().rev().find(is_meant).map_or(workflow.record, |(_, _, record)| *record)
    }

    /// Behind a redirect to another host, clients of the SDK drop the key; n8n's own clients put it in again.
    fn key_sent(&self, record: Record, kind: Kind) -> Key {
        match self.held.get(&record).copied().unwrap_or(Held::Key(Key::Old)) {
            Held::Key(key) => key,
            Held::BehindRedirect if kind.is_of_sdk() => Key::Dropped,
            Held::BehindRedirect => Key::New,
        }
    }
}

impl Kind {
    fn is_of_sdk(self) -> bool {
        matches!(self, Self::Agent | Self::AgentStream | Self::Chain | Self::Embeddings)
    }
}

/// Twenty workflows: eleven that use the main credential, five sub-workflows with a credential of their own, and four on
/// an n8n that is still a 1.x.
pub static WORKFLOWS: [Workflow; 20] = [
    of_main(
        "demo-support-inbox",
        "Support inbox",
        every(5, 60),
        [node("classify", Kind::Message), node("remember", Kind::Embeddings), node("answer", Kind::Agent)],
    ),
    of_main(
        "demo-chat-widget",
        "Chat widget",
        every(38, 60),
        [node("guard", Kind::LegacyChat), node("look-up", Kind::Embeddings), node("reply", Kind::AgentStream)],
    ),
    of_main(
        "demo-lead-scoring",
        "Lead scoring",
        every(20, 60),
        [node("score", Kind::Chain), node("enrich", Kind::HttpRequest), node("explain", Kind::Message)],
    ),
    of_main(
        "demo-invoice-reader",
        "Invoice reader",
        every(31, 120),
        [node("read", Kind::HttpRequest), node("check", Kind::Chain), node("file", Kind::Embeddings)],
    ),
    of_main(
        "demo-review-replies",
        "Review replies",
        every(48, 120),
        [node("mood", Kind::LegacyText), node("draft", Kind::Message), node("polish", Kind::Chain)],
    ),
    of_main(
        "demo-sales-report",
        "Sales report",
        every(74, 180),
        [node("figures", Kind::HttpRequest), node("write", Kind::Message), node("headline", Kind::LegacyChat)],
    ),
    of_main(
        "demo-product-texts",
        "Product texts",
        every(92, 180),
        [node("write", Kind::Chain), node("picture", Kind::Image), node("keywords", Kind::LegacyText)],
    ),
    of_main(
        "demo-call-notes",
        "Call notes",
        every(111, 180),
        [node("transcribe", Kind::Transcription), node("summarise", Kind::Agent), node("index", Kind::Embeddings)],
    ),
    of_main(
        "demo-contract-search",
        "Contract search",
        every(132, 240),
        [node("embed", Kind::Embeddings), node("rank", Kind::HttpRequest), node("answer", Kind::AgentStream)],
    ),
    of_main(
        "demo-daily-digest",
        "Daily digest",
        once(17, 55),
        [node("collect", Kind::Message), node("digest", Kind::Chain), node("picture", Kind::Image)],
    ),
    of_main(
        "demo-monthly-close",
        "Monthly close",
        once(7, 9),
        [node("explain", Kind::Agent), node("tables", Kind::HttpRequest), node("letter", Kind::Message)],
    ),
    of_sub(
        "demo-sub-translate",
        "Sub: translate",
        Record::OfTranslate,
        every(14, 120),
        [node("detect", Kind::LegacyText), node("translate", Kind::Chain), node("review", Kind::Message)],
    ),
    of_sub(
        "demo-sub-moderate",
        "Sub: moderate",
        Record::OfModerate,
        every(58, 120),
        [node("flag", Kind::Message), node("reason", Kind::Agent), node("note", Kind::LegacyChat)],
    ),
    of_sub(
        "demo-sub-index",
        "Sub: index",
        Record::OfIndex,
        every(26, 120),
        [node("split", Kind::LegacyText), node("embed", Kind::Embeddings), node("title", Kind::Chain)],
    ),
    of_sub(
        "demo-sub-summary",
        "Sub: summary",
        Record::OfSummary,
        every(89, 120),
        [node("summarise", Kind::Chain), node("embed", Kind::Embeddings), node("title", Kind::LegacyChat)],
    ),
    of_sub(
        "demo-sub-extract",
        "Sub: extract",
        Record::OfExtract,
        every(101, 60),
        [node("fields", Kind::Agent), node("verify", Kind::Message), node("store", Kind::HttpRequest)],
    ),
    of_elder(
        "demo-newsletter",
        "Newsletter",
        every(42, 180),
        [node("write", Kind::Message), node("subject", Kind::LegacyChat), node("score", Kind::Chain)],
    ),
    of_elder(
        "demo-ticket-tags",
        "Ticket tags",
        every(53, 120),
        [node("tag", Kind::Agent), node("group", Kind::Embeddings), node("name", Kind::LegacyText)],
    ),
    of_elder(
        "demo-faq-search",
        "FAQ search",
        every(67, 180),
        [node("embed", Kind::Embeddings), node("answer", Kind::Chain), node("log", Kind::HttpRequest)],
    ),
    of_elder(
        "demo-price-watch",
        "Price watch",
        every(79, 180),
        [node("fetch", Kind::HttpRequest), node("compare", Kind::Agent), node("alert", Kind::LegacyChat)],
    ),
];

/// The old key was typed into this node, long ago.
const TYPED_INTO: (&str, Option<&str>, Record) = ("demo-invoice-reader", Some("read"), Record::Node);

static CHAPTERS: [Chapter; 13] = [
    Chapter {
        minute: clock(7, 0),
        title: "A morning like any other",
        text: "Twenty workflows run. Their nodes send the key that is current, and keyward says whose request each is.",
        deeds: &[],
    },
    Chapter {
        minute: clock(10, 0),
        title: "The key is rotated",
        text: "OpenAI has made a new key, and it is put into keyward's key file. n8n still holds the old one, which has a \
               grace of four hours.",
        deeds: &[Deed::ReplaceKeyFile],
    },
    Chapter {
        minute: clock(10, 10),
        title: "The main credential is edited in n8n",
        text: "All nodes that use it follow with their next run. So do those of one sub-workflow, whose own credential \
               is edited too.",
        deeds: &[Deed::Put(Record::Main, Held::Key(Key::New)), Deed::Put(Record::OfIndex, Held::Key(Key::New))],
    },
    Chapter {
        minute: clock(10, 25),
        title: "The other n8n, and two more credentials",
        text: "The n8n that is still a 1.x follows. Two sub-workflows get the new key as well: into one it is pasted without \
               its end, and the other's Base URL is changed to an address that only redirects here.",
        deeds: &[
            Deed::Put(Record::Elder, Held::Key(Key::New)),
            Deed::Test(Record::Elder),
            Deed::Put(Record::OfExtract, Held::Key(Key::CutOff)),
            Deed::Put(Record::OfSummary, Held::BehindRedirect),
        ],
    },
    Chapter {
        minute: clock(11, 50),
        title: "The pasted key is put right",
        text: "The log has named the node whose key no set has.",
        deeds: &[Deed::Put(Record::OfExtract, Held::Key(Key::New))],
    },
    Chapter {
        minute: clock(12, 15),
        title: "How far is it? The rotation at noon",
        text: "What is stale sends the old key, what is failing sends no good one, and what is silent has not run since.",
        deeds: &[Deed::Show],
    },
    Chapter {
        minute: clock(12, 35),
        title: "A forgotten credential is found",
        text: "Sub: translate had a record of its own, still with the old key.",
        deeds: &[Deed::Put(Record::OfTranslate, Held::Key(Key::New))],
    },
    Chapter {
        minute: clock(13, 10),
        title: "A fix that is none yet",
        text: "Sub: moderate now uses the main credential in the editor. But it is a draft, and is not published.",
        deeds: &[],
    },
    Chapter {
        minute: clock(14, 0),
        title: "The grace is over",
        text: "A node that still sends the old key is an error from now on.",
        deeds: &[],
    },
    Chapter {
        minute: clock(15, 10),
        title: "A typed-in key is found",
        text: "An HTTP Request node of the invoice reader had the old key in a header of its own. It uses the credential now, \
               and what it was without one is acknowledged.",
        deeds: &[Deed::Repoint("demo-invoice-reader", Some("read"), Record::Main), Deed::Acknowledge],
    },
    Chapter {
        minute: clock(16, 20),
        title: "The redirect is taken out of the way",
        text: "Sub: summary gets keyward's own address as its Base URL, and no node loses its key any more.",
        deeds: &[Deed::Put(Record::OfSummary, Held::Key(Key::New))],
    },
    Chapter {
        minute: clock(17, 5),
        title: "The draft is published",
        text: "Sub: moderate sends the new key in earnest. From here on, no node sends the old one.",
        deeds: &[Deed::Repoint("demo-sub-moderate", None, Record::Main)],
    },
    Chapter {
        minute: END,
        title: "The rotation at the end of the day",
        text: "No node sends the old key any more. One workflow runs once a month: what it will send is not known yet.",
        deeds: &[],
    },
];

const fn node(id: &'static str, kind: Kind) -> Node {
    Node { id, kind }
}

const fn of_main(id: &'static str, name: &'static str, runs: Runs, nodes: [Node; 3]) -> Workflow {
    Workflow { id, name, record: Record::Main, runs, nodes }
}

const fn of_elder(id: &'static str, name: &'static str, runs: Runs, nodes: [Node; 3]) -> Workflow {
    Workflow { id, name, record: Record::Elder, runs, nodes }
}

const fn of_sub(id: &'static str, name: &'static str, record: Record, runs: Runs, nodes: [Node; 3]) -> Workflow {
    Workflow { id, name, record, runs, nodes }
}

/// From that many minutes after the story's beginning to its end, each time so many minutes later.
const fn every(first: u32, every: u32) -> Runs {
    Runs { first: START + first, every, end: END - 5 }
}

const fn once(hour: u32, minute: u32) -> Runs {
    Runs { first: clock(hour, minute), every: 1, end: clock(hour, minute) + 1 }
}

const fn clock(hour: u32, minute: u32) -> u32 {
    hour * 60 + minute
}

/// When the story begins, since midnight.
pub const BEGINNING: Duration = Duration::from_secs(60 * START as u64);

/// The same in minutes.
const START: u32 = clock(7, 0);

const END: u32 = clock(20, 0);

/// No run begins later than planned by that many seconds.
const MOST_LATE: u64 = 120;

/// What a chapter takes to be read, in seconds of the story.
const READING: u32 = 1900;

const FIRST_EXECUTION: u32 = 411;
/// The key set, by whose name every line of the log tells that it is the demo's.
pub(super) const SET: &str = "demo";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn there_are_twenty_workflows_of_three_nodes_that_have_names_of_their_own() {
        let ids: HashSet<_> = WORKFLOWS.iter().map(|workflow| workflow.id).collect();
        assert_eq!(ids.len(), 20);
        for workflow in &WORKFLOWS {
            assert!(workflow.id.starts_with("demo-"));
            assert_eq!(workflow.nodes.iter().map(|node| node.id).collect::<HashSet<_>>().len(), 3, "{}", workflow.id);
        }
        let has_own = |workflow: &&Workflow| ![Record::Main, Record::Elder].contains(&workflow.record);
        assert_eq!(WORKFLOWS.iter().filter(has_own).count(), 5);
    }

    #[test]
    fn scenes_follow_one_another_and_watching_takes_as_long_as_the_day_and_the_reading() {
        for seed in 0..20 {
            let scenes = scenes(seed);
            assert!(scenes.is_sorted_by_key(|scene| scene.at));
            assert!(matches!(scenes.last().map(|scene| scene.event), Some(Event::Chapter(_))), "the end is the end");
            let chapters = u64::try_from(CHAPTERS.len() - 1).unwrap();
            let expected = u64::from(END - START) * 60 + chapters * u64::from(READING);
            let length: Duration = scenes.iter().map(|scene| scene.wait).sum();
            assert_eq!(length, Duration::from_secs(expected));
        }
    }

    #[test]
    fn every_chapters_deed_finds_whom_it_means() {
        for deed in CHAPTERS.iter().flat_map(|chapter| chapter.deeds) {
            let Deed::Repoint(id, _, _) = deed else { continue };
            assert!(WORKFLOWS.iter().any(|workflow| workflow.id == *id), "{id}");
        }
    }

    #[test]
    fn behind_a_redirect_only_the_sdk_loses_its_key() {
        let mut n8n = N8n::new();
        assert_eq!(n8n.key_sent(Record::Main, Kind::Chain), Key::Old);
        n8n.put(Record::Main, Held::BehindRedirect);
        assert_eq!(n8n.key_sent(Record::Main, Kind::Chain), Key::Dropped);
        assert_eq!(n8n.key_sent(Record::Main, Kind::LegacyChat), Key::New);
    }
}
