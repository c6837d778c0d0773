//! `keyward n8n segment`: into which groups the nodes could be parted, each with a credential record of its own.

use anyhow::bail;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use super::output::{Line, print_json, print_wrapped};
use super::reconnected::counted;
use super::records::Side;
use super::segmenting::{Making, Segmenting};
use super::setup::{ConfigArgument, Setup};
use crate::config::Environment;
use crate::keys::SetSettings;
use crate::keys::source::Source;
use crate::n8n::segment::{Asked, By, Group, Known, Member, Segments};
use crate::n8n::segment_journal::{self, Begun};

/// What `keyward n8n segment` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Give groups of nodes a key set and a credential of their own", after_help = AFTER_HELP)]
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
    #[arg(long, value_name = "GROUP", help = "Only this group, by its name; may be said several times [default: all]")]
    group: Vec<String>,
    #[arg(
        long,
        value_name = "CREDENTIAL",
        help = "Only nodes that use this one, by its id or its exact name; may be said several times \
        [default: any OpenAI credential]"
    )]
    from: Vec<String>,
    #[command(flatten)]
    making: Making,
    #[arg(
        long,
        conflicts_with_all = ["tables", "write_config", "yes"],
        help = "Only say which groups there are, and change nothing"
    )]
    dry_run: bool,
    #[arg(long, value_name = "NAME", help = "Of this n8n [default: the only one that is configured]")]
    n8n: Option<String>,
    #[arg(long, requires = "dry_run", help = "Print JSON")]
    json: bool,
}

impl SegmentArguments {
    /// Says whether every group has what it should have.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.config, environment)?;
        let side = Side::open(&setup, self.n8n.as_deref())?;
        let folder = setup.folder()?;
        // The parser takes no other value.
        let by = By::from_code(&self.by).unwrap_or(By::Workflow);
        let all = segment_journal::begun(&folder)?;
        let is_own = |begun: &&Begun| begun.n8n == side.address() && begun.by == by.code();
        let begun: Vec<_> = all.iter().filter(is_own).cloned().collect();
        let mut workflows = Vec::new();
        let from = if self.from.is_empty() && self.dry_run {
            side.block_on(side.client.workflows(|workflow: Value| workflows.push(workflow)))?;
            None
        } else {
            let records = side.records_and(|workflow| workflows.push(workflow))?;
            (!self.from.is_empty()).then(|| records.select_used(&self.from)).transpose()?
        };
        let asked = Asked { by, from: from.as_ref(), known: &known(&setup, &all, &begun) };
        let segments = self.chosen(Segments::new(&workflows, &asked))?;
        if self.json {
            print_json(&in_json(&segments, &side.instance.name));
        } else {
            print_wrapped(&in_words(&segments));
        }
        if self.dry_run || segments.groups.is_empty() {
            return Ok(true);
        }
        let mut doing = Segmenting::new(&self.making, setup, side, folder, from)?;
        doing.begin(&segments.groups, by, &begun)?;
        doing.carry_out(&self.config, environment, &workflows)
    }

    /// Without the groups that are not meant.
    fn chosen(&self, mut segments: Segments) -> anyhow::Result<Segments> {
        let names: Vec<_> = segments.groups.iter().map(|group| group.name.clone()).collect();
        if let Some(unknown) = self.group.iter().find(|name| !names.contains(name)) {
            bail!("nothing was changed: there is no group {unknown:?}; there are: {}", names.join(", "));
        }
        segments.groups.retain(|group| self.group.is_empty() || self.group.contains(&group.name));
        Ok(segments)
    }
}

/// What is there already: the sets of the groups that were begun, those of other groups, all others, and the files of their keys.
fn known(setup: &Setup, all: &[Begun], own: &[Begun]) -> Known {
    let mut known = Known::default();
    for begun in own {
        let (by, name) = match &begun.id {
            Some(id) => (&mut known.groups, id),
            None => (&mut known.groups_by_name, &begun.group),
        };
        by.insert(name.clone(), begun.set.clone());
    }
    let is_own = |set: &str| own.iter().any(|begun| begun.set == set);
    let others = setup.config().keys.sets.iter().filter(|set| !is_own(&set.name));
    known.taken.extend(others.clone().map(|set| set.name.to_string()));
    known.taken.extend(others.flat_map(SetSettings::sources).filter_map(file_name));
    known.taken.extend(all.iter().map(|begun| begun.set.clone()).filter(|set| !is_own(set)));
    known
}

/// What a group may not be called, or it would have that file for its keys.
fn file_name(source: &Source) -> Option<String> {
    let Source::File(path) = source else { return None };
    let name = path.file_name()?.to_str()?;
    Some(name.strip_suffix(".next").unwrap_or(name).to_owned())
}

fn in_words(segments: &Segments) -> Vec<Line> {
    let mut lines = Vec::new();
    for ((id, name), nodes) in &segments.records {
        lines.push(Line::from(format!("Now a rotation of {name} ({id}) concerns {}.", counted(*nodes, "node"))));
    }
    for group in &segments.groups {
        lines.push(Line::default());
        lines.push(Line::from(format!(
            "{}: {} of {}",
            group.name,
            counted(group.nodes(), "node"),
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
A rotation of a credential concerns all nodes that use it. This says how many they are now, and into
which groups their workflows can be parted. A workflow with no tag, or with several, is in no group;
n8n's API does not tell folders. --dry-run stops there.

First it prints the tables of the groups' key sets and stops. Add them to the configuration, put an
OpenAI key into each file that they name, and run the same command again. With --write-config it adds
them itself, once the keys are there.

Then it asks you, and has the running keyward take the configuration (`keyward reload`). Each group gets
a token, and a credential in n8n that holds it and leads to keyward; keyward has to see n8n's test of
it. Last, the group's nodes are reconnected to it, as `keyward n8n reconnect` does, and `keyward n8n
undo` takes that back, one group at a time. The credentials that they used before stay.

What was done is kept in the state folder: if it is stopped, the same command goes on, and makes nothing
twice. A credential that leads to another vendor is to be left out: name those that are meant with
--from. It needs n8n 2.x, and an API key with the scopes of `reconnect`, credential:read and
credential:create. Ends with 1 if a group is not done.

Example: keyward n8n segment --by tag --dry-run";
