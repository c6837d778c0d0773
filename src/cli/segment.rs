//! `keyward n8n segment`: into which groups the nodes could be parted, each with a credential record of its own.

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use super::output::{Line, print_json, print_wrapped};
use super::reconnected::counted;
use super::records::Side;
use super::setup::{ConfigArgument, Setup};
use crate::config::Environment;
use crate::n8n::segment::{By, Group, Member, Segments};

/// What `keyward n8n segment` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Propose groups of nodes, each with a credential of its own", after_help = AFTER_HELP)]
pub(super) struct SegmentArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(
        long,
        value_name = "WHAT",
        help = "By what workflows are grouped",
        value_parser = PossibleValuesParser::new(By::CODES)
    )]
    by: String,
    #[arg(long, required = true, help = "Only say what would be made: this release makes nothing of it")]
    dry_run: bool,
    #[arg(long, value_name = "NAME", help = "Of this n8n [default: the only one that is configured]")]
    n8n: Option<String>,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

impl SegmentArguments {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<()> {
        let setup = Setup::open(&self.config, environment)?;
        let side = Side::open(&setup, self.n8n.as_deref())?;
        let mut workflows = Vec::new();
        side.block_on(side.client.workflows(|workflow: Value| workflows.push(workflow)))?;
        // The parser takes no other value.
        let by = By::from_code(&self.by).unwrap_or(By::Workflow);
        let segments = Segments::new(&workflows, by);
        if self.json {
            print_json(&in_json(&segments, &side.instance.name));
        } else {
            print_wrapped(&in_words(&segments));
        }
        Ok(())
    }
}

fn in_words(segments: &Segments) -> Vec<Line> {
    let mut lines = Vec::new();
    for ((id, name), nodes) in &segments.records {
        lines.push(Line::from(format!("Now a rotation of {name} ({id}) concerns {}.", counted(*nodes, "node"))));
    }
    for group in &segments.groups {
        let nodes = group.members.iter().map(|member| member.nodes.len()).sum();
        lines.push(Line::default());
        lines.push(Line::from(format!(
            "{}: {} of {}",
            group.name,
            counted(nodes, "node"),
            counted(group.members.len(), "workflow")
        )));
        let own = format!("key set {}, token {}, credential {}", group.set, group.token, group.record);
        lines.push(Line::from(own).within(2).hanging(2));
        lines.extend(group.members.iter().map(|member| Line::from(member_in_words(member)).within(2).hanging(2)));
    }
    if segments.groups.is_empty() {
        lines.push(Line::from(
            "There is no group: no workflow has a node with an OpenAI credential, or none can be grouped so.",
        ));
    }
    if !segments.left.is_empty() {
        lines.extend([Line::default(), Line::from(format!("In no group ({}):", segments.left.len()))]);
        let left =
            |(member, why): &(Member, &str)| Line::from(format!("{}: {why}", name_of(member))).within(2).hanging(2);
        lines.extend(segments.left.iter().map(left));
    }
    lines
}

fn member_in_words(member: &Member) -> String {
    let nodes: Vec<_> = member.nodes.iter().map(|(_, name)| &**name).collect();
    format!("{}: {}", name_of(member), nodes.join(", "))
}

fn name_of(member: &Member) -> String {
    format!("{} ({})", member.name, member.id)
}

fn in_json(segments: &Segments, instance: &str) -> Value {
    let node = |(id, name): &(String, String)| json!({ "id": id, "name": name });
    let member = |member: &Member| json!({ "id": member.id, "name": member.name, "nodes": member.nodes.iter().map(node).collect::<Vec<_>>() });
    let group = |group: &Group| {
        json!({
            "name": group.name,
            "set": group.set,
            "token": group.token,
            "credential": group.record,
            "workflows": group.members.iter().map(member).collect::<Vec<_>>(),
        })
    };
    let left = |(own, why): &(Member, &str)| json!({ "workflow": member(own), "why": why });
    let record = |((id, name), nodes): (&(String, String), &usize)| json!({ "id": id, "name": name, "nodes": nodes });
    json!({
        "n8n": instance,
        "credentials": segments.records.iter().map(record).collect::<Vec<_>>(),
        "groups": segments.groups.iter().map(group).collect::<Vec<_>>(),
        "left": segments.left.iter().map(left).collect::<Vec<_>>(),
    })
}

const AFTER_HELP: &str = "\
Says how many nodes a rotation of each credential concerns now, and which groups there could be instead:
for each a key set, a token and a credential, named alike, and the nodes that would be reconnected to
it. A workflow with no tag, or with several, is in no group. n8n's API does not tell folders. This release
makes none of it: make sets and credentials by hand, and have their nodes use them with `keyward n8n
reconnect --workflow`.

Example: keyward n8n segment --by tag --dry-run";
