//! Pure. What n8n calls its workflows and nodes: names that any user of n8n may have given, made harmless before they are shown.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::telemetry::masked::mask_keys;
use crate::telemetry::rows::is_harmful;

/// All that is known of the workflows of every configured n8n. A snapshot: what changes makes another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    instances: Vec<Arc<Known>>,
}

/// One n8n, and what it calls its workflows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub name: Box<str>,
    /// Where its editor is, without a slash at the end.
    pub url: Box<str>,
    /// Its workflows, by id.
    pub workflows: HashMap<Box<str>, Arc<Workflow>>,
}

/// What n8n calls a workflow and its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    /// Its name, harmless.
    pub name: Box<str>,
    /// Its nodes, in the order of their ids.
    nodes: Box<[Node]>,
}

/// What n8n says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: Box<str>,
    /// Its name, harmless.
    pub name: Box<str>,
    /// Its type, harmless: `n8n-nodes-base.openAi`.
    pub kind: Box<str>,
    /// The name of the credential record that it uses for `OpenAI`, harmless.
    pub credential: Option<Box<str>>,
}

/// A workflow, and perhaps a node of it, that was looked up.
#[derive(Clone, Copy, Debug)]
pub struct Named<'d> {
    known: &'d Known,
    id: &'d str,
    pub workflow: &'d Workflow,
    /// The node, where one was asked for and is there.
    pub node: Option<&'d Node>,
}

// === impl Directory ===

impl Directory {
    /// Of those instances, whose order is that of the settings.
    #[must_use]
    pub fn new(instances: Vec<Arc<Known>>) -> Self {
        Self { instances }
    }

    /// Every n8n, in the order of the settings, known or not.
    #[must_use]
    pub fn instances(&self) -> &[Arc<Known>] {
        &self.instances
    }

    /// Looks up who sent something. A caller that names no instance belongs to the only one there is; where there are several, to
    /// the only one that has such a workflow, and to none if two have.
    #[must_use]
    pub fn find(&self, instance: Option<&str>, workflow: &str, node: Option<&str>) -> Option<Named<'_>> {
        let fits = |known: &&Arc<Known>| instance.is_none_or(|name| *known.name == *name);
        let mut found = self.instances.iter().filter(fits).filter_map(|known| known.find(workflow, node));
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }
}

// === impl Known ===

impl Known {
    /// An n8n that nothing is known of yet.
    #[must_use]
    pub fn nothing(name: &str, url: &str) -> Self {
        Self { name: name.into(), url: url.into(), workflows: HashMap::new() }
    }

    fn find(&self, workflow: &str, node: Option<&str>) -> Option<Named<'_>> {
        let (id, found) = self.workflows.get_key_value(workflow)?;
        Some(Named { known: self, id, workflow: found, node: node.and_then(|node| found.node(node)) })
    }
}

// === impl Workflow ===

impl Workflow {
    /// Of that name, as n8n gives it, with those nodes. Of two with one id, the first counts.
    #[must_use]
    pub fn new(name: &str, mut nodes: Vec<Node>) -> Self {
        nodes.sort_by(|one, other| one.id.cmp(&other.id));
        nodes.dedup_by(|one, other| one.id == other.id);
        Self { name: harmless(name, LONGEST_NAME), nodes: nodes.into() }
    }

    /// The nodes that n8n lists in it, in the order of their ids.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    fn node(&self, id: &str) -> Option<&Node> {
        let at = self.nodes.binary_search_by(|node| (*node.id).cmp(id)).ok()?;
        self.nodes.get(at)
    }
}

// === impl Node ===

impl Node {
    /// Of those texts, as n8n gives them.
    #[must_use]
    pub fn new(id: &str, name: &str, kind: &str, credential: Option<&str>) -> Self {
        let harmless = |text| harmless(text, LONGEST_NAME);
        Self { id: id.into(), name: harmless(name), kind: harmless(kind), credential: credential.map(harmless) }
    }
}

// === impl Named ===

impl<'d> Named<'d> {
    /// The name of the n8n in the configuration.
    #[must_use]
    pub fn instance(&self) -> &'d str {
        &self.known.name
    }

    /// Where it is in n8n's editor: the execution, else the node, else the workflow.
    #[must_use]
    pub fn link(self, execution: Option<&'d str>) -> Link<'d> {
        Link { named: self, execution }
    }
}

/// A link into n8n's editor. Its addresses are the same in n8n 1.x and 2.x, but that an execution's node has none in 1.x.
#[derive(Clone, Copy, Debug)]
pub struct Link<'d> {
    named: Named<'d>,
    execution: Option<&'d str>,
}

impl fmt::Display for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = |id| utf8_percent_encode(id, SEGMENT);
        write!(f, "{}/workflow/{}", self.named.known.url, encoded(self.named.id))?;
        match (self.execution, self.named.node) {
            (Some(execution), _) => write!(f, "/executions/{}", encoded(execution)),
            (None, Some(node)) => write!(f, "/{}", encoded(&node.id)),
            (None, None) => Ok(()),
        }
    }
}

/// A text that a user of n8n wrote, fit to be shown: no longer than that many characters, on one line, without a key, and without what
/// steers a terminal or turns the direction of the text around it.
#[must_use]
pub fn harmless(text: &str, longest: usize) -> Box<str> {
    // A key that begins just before the end has to be seen as one.
    let end = text.char_indices().nth(longest + LONGEST_KEY).map_or(text.len(), |(end, _)| end);
    let masked = mask_keys(&text[..end]);
    let harmless = |character| if is_harmful(character) { '\u{fffd}' } else { character };
    let mut shown: String = masked.chars().map(harmless).take(longest).collect();
    if masked.chars().nth(longest).is_some() {
        shown.pop();
        shown.push('…');
    }
    shown.into()
}

/// No name is kept beyond this, in characters: it is what n8n itself allows a workflow.
const LONGEST_NAME: usize = 128;

/// Longer than the part of a key that tells it from a word.
const LONGEST_KEY: usize = 64;

/// What stands in ids as n8n makes them stays as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str, workflows: &[&str]) -> Arc<Known> {
        let node = |id: &str, name: &str| Node::new(id, name, "n8n-nodes-base.openAi", Some("Main key"));
        let workflow = |id: &&str| {
            let nodes = vec![node("n2", "Second"), node("n1", "First"), node("n1", "Draft of the first")];
            (Box::from(*id), Arc::new(Workflow::new(&format!("Workflow {id} of {name}"), nodes)))
        };
        let workflows = workflows.iter().map(workflow).collect();
        Arc::new(Known { workflows, ..Known::nothing(name, &format!("https://{name}.example")) })
    }

    #[test]
    fn a_workflow_that_is_found_in_one_n8n_alone_has_a_name() {
        #[track_caller]
        fn check(directory: &Directory, instance: Option<&str>, workflow: &str, expected: Option<&str>) {
            let found = directory.find(instance, workflow, None);
            assert_eq!(found.map(|named| &*named.workflow.name), expected, "{instance:?} {workflow}");
        }
        let directory = Directory::new(vec![known("one", &["a", "both"]), known("two", &["b", "both"])]);
        check(&directory, None, "a", Some("Workflow a of one"));
        check(&directory, None, "b", Some("Workflow b of two"));
        check(&directory, None, "both", None);
        check(&directory, Some("two"), "both", Some("Workflow both of two"));
        check(&directory, Some("two"), "a", None);
        check(&directory, Some("three"), "a", None);
        check(&directory, None, "c", None);
        check(&Directory::default(), None, "a", None);
    }

    #[test]
    fn a_node_is_found_in_its_workflow_with_its_place_in_the_editor() {
        let directory = Directory::new(vec![known("one", &["a/b"])]);
        let named = |node| directory.find(None, "a/b", Some(node)).expect("the workflow");
        let first = named("n1").node.expect("the node");
        assert_eq!((&*first.name, first.credential.as_deref()), ("First", Some("Main key")));
        assert!(named("n3").node.is_none());
        assert_eq!(named("n1").link(None).to_string(), "https://one.example/workflow/a%2Fb/n1");
        assert_eq!(named("n3").link(None).to_string(), "https://one.example/workflow/a%2Fb");
        assert_eq!(named("n1").link(Some("7")).to_string(), "https://one.example/workflow/a%2Fb/executions/7");
    }

    #[test]
    fn no_name_does_harm() {
        let text = |text: &str| harmless(text, 20).into_string();
        assert_eq!(text("Bericht ☕ (wöchentl)"), "Bericht ☕ (wöchentl)");
        assert_eq!(
            text("a\x1b[2J\u{9b}31m\r\nb\u{202e}c\u{2066}"),
            "a\u{fffd}[2J\u{fffd}31m\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}"
        );
        assert_eq!(text(&"é".repeat(100_000)), format!("{}…", "é".repeat(19)));
        assert_eq!(harmless("key sk-proj-0123456789abcdef0123", 40).into_string(), "key sk-…[redacted]");
        assert!(!text("0123456789012345 sk-proj-0123456789abcdef0123").contains("proj"));
    }
}
