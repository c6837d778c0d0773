//! What `keyward n8n segment` does: each group gets its key set, a token, a credential record of n8n's that leads to keyward, and
//! its nodes use that record. Each step is noted before n8n is asked for it, and what is done is not done again.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::Value;

use super::client::Client;
use super::connect::entrance;
use super::connecting::{until_known, why_lost};
use super::output::{print, print_wrapped, remark};
use super::reconnect::{begin, fault, refuse_beside_unfinished};
use super::reconnected::{self, Told as ToldNodes, counted};
use super::records::{Records, Side, ask};
use super::reload;
use super::setup::{ConfigArgument, Setup};
use super::source::Source;
use super::telling::{Test, Told};
use super::token;
use crate::answers::reload::{Reload, ReloadResult};
use crate::check::fault_of_key;
use crate::clock::Timestamp;
use crate::config::{self, Environment};
use crate::keys::access::Token;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::rules::Policy;
use crate::keys::set::Names;
use crate::keys::state::StateFolder;
use crate::keys::{self, source};
use crate::n8n::client::ClientError;
use crate::n8n::connect::{self, CREDENTIAL_TYPE, Entrance, Marks, OPENAI};
use crate::n8n::connections::{self, Connection, Written};
use crate::n8n::documents::CredentialRecord;
use crate::n8n::journal;
use crate::n8n::reconnect::{Choice, Plan, Target};
use crate::n8n::segment::{By, Group};
use crate::n8n::segment_journal::{self, Begun};

/// How groups are made, as arguments. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
pub(super) struct Making {
    #[arg(
        long,
        value_name = "FOLDER",
        help = "The folder of the groups' OpenAI keys [default: that of the first key that is configured]"
    )]
    keys_in: Option<PathBuf>,
    #[arg(
        long,
        value_name = "FILE",
        help = "Write the tables for the configuration into this new file [default: print them]"
    )]
    tables: Option<PathBuf>,
    #[arg(long, conflicts_with = "tables", help = "Add the tables to the configuration file, and go on")]
    write_config: bool,
    #[arg(long, value_name = "URL", help = "Where n8n reaches keyward [default: n8n.<name>.keyward]")]
    url: Option<String>,
    #[arg(long, help = "Also workflows whose draft is not what is published: both are changed, each as itself")]
    drafts: bool,
    #[arg(long, help = "Do not ask before anything is changed")]
    yes: bool,
}

/// Groups that are made.
pub(super) struct Segmenting<'a> {
    arguments: &'a Making,
    setup: Setup,
    side: Side,
    folder: StateFolder,
    /// The running keyward.
    keyward: Client,
    told: Told,
    entrance: Entrance,
    /// Only nodes with one of these records, by their ids.
    from: Option<BTreeSet<String>>,
    groups: Vec<(Group, Begun)>,
}

// === impl Segmenting ===

impl<'a> Segmenting<'a> {
    /// Whatever is lacking for any group is told before anything is changed.
    pub(super) fn new(
        arguments: &'a Making,
        setup: Setup,
        side: Side,
        folder: StateFolder,
        from: Option<BTreeSet<String>>,
    ) -> anyhow::Result<Self> {
        let told = Told::new(&setup);
        if let Some(why) = told.why_not() {
            bail!("nothing was changed: the keyward that runs has to see n8n's test of each credential, and {why}");
        }
        ensure!(
            side.has_header()?,
            "nothing was changed: this n8n's API cannot test credentials (1.x), so this is to be done by hand: `keyward n8n connect` \
             says what to put into a credential"
        );
        let entrance = entrance(&setup, &side, arguments.url.as_deref())?;
        refuse_beside_unfinished(&folder)?;
        let keyward = Client::new(&setup)?;
        Ok(Self { arguments, setup, side, folder, keyward, told, entrance, from, groups: Vec::new() })
    }

    /// Notes which set each group has: from here on it keeps that.
    pub(super) fn begin(&mut self, groups: &[Group], by: By, begun: &[Begun]) -> anyhow::Result<()> {
        for group in groups {
            let fresh = || Begun {
                n8n: self.side.address(),
                by: by.code().to_owned(),
                group: group.name.clone(),
                id: Some(group.id.clone()),
                set: group.set.clone(),
                token: None,
                credential: None,
            };
            let known = begun.iter().find(|begun| begun.set == group.set).cloned();
            // It may have been renamed.
            let own = Begun { group: group.name.clone(), id: Some(group.id.clone()), ..known.unwrap_or_else(fresh) };
            segment_journal::keep(&self.folder, &own)?;
            self.groups.push((group.clone(), own));
        }
        Ok(())
    }

    /// Says whether every group has what it should have.
    pub(super) fn carry_out(
        &mut self,
        config: &ConfigArgument,
        environment: &Environment,
        workflows: &[Value],
    ) -> anyhow::Result<bool> {
        let missing: Vec<_> = self
            .groups
            .iter()
            .map(|(group, _)| group)
            .filter(|group| self.setup.policy(&group.set).is_none())
            .collect();
        let tables = if missing.is_empty() { None } else { Some(self.tables(&missing)?) };
        if let Some(tables) = tables.as_ref().filter(|_| !self.arguments.write_config) {
            self.give(tables)?;
            return Ok(false);
        }
        self.refuse_observing()?;
        self.announce(workflows, tables.is_some())?;
        if !self.arguments.yes {
            ask("Do that?")?;
        }
        if let Some(tables) = tables {
            self.write_config(&tables, config, environment)?;
        }
        self.reload()?;
        let mut is_whole = true;
        let mut made = Vec::new();
        for (group, begun) in self.groups.clone() {
            // What fails for one group would fail for the next ones as well, more often than not.
            match self.record(&group, begun) {
                Ok(target) => made.push((group, target)),
                Err(error) => {
                    is_whole = false;
                    remark(format_args!("{}: {error:#}", group.name));
                    break;
                }
            }
        }
        Ok(self.reconnect(&made)? && is_whole)
    }

    // === Key sets ===

    /// The tables for the configuration. With `--write-config` each key has to be there already.
    fn tables(&self, missing: &[&Group]) -> anyhow::Result<String> {
        let folder = self.keys_in()?;
        if self.arguments.write_config {
            let faults: Vec<_> = missing.iter().filter_map(|group| fault_of(&group.key_file(&folder))).collect();
            ensure!(
                faults.is_empty(),
                "nothing was changed: put an OpenAI key into each file first: {}",
                faults.join("; ")
            );
        }
        Ok(missing.iter().map(|group| group.table(&folder)).collect::<Vec<_>>().join("\n"))
    }

    /// The folder for key files: by default the one of the first key that has a file.
    fn keys_in(&self) -> anyhow::Result<PathBuf> {
        if let Some(folder) = &self.arguments.keys_in {
            return Ok(folder.clone());
        }
        let current = self.setup.config().keys.sets.iter().filter_map(|set| set.current.as_ref());
        let mut folders = current.filter_map(|place| match place {
            source::Source::File(path) => path.parent().map(Path::to_owned),
            source::Source::Env(_) | source::Source::Command(_) => None,
        });
        folders
            .next()
            .context("nothing was changed: no key stands in a file yet, so --keys-in has to say where keys are")
    }

    /// Gives the tables to the person who has to put them into the configuration.
    fn give(&self, tables: &str) -> anyhow::Result<()> {
        let place = match &self.arguments.tables {
            None => {
                print(format_args!("\n{}", tables.trim_end()));
                "The tables above are".to_owned()
            }
            Some(path) => {
                let write = || OpenOptions::new().write(true).create_new(true).open(path)?.write_all(tables.as_bytes());
                write().with_context(|| format!("nothing was changed: {} cannot be written", path.display()))?;
                format!("The tables in {} are", path.display())
            }
        };
        remark(format_args!(
            "Nothing was changed. {place} to be put into the configuration. Put an OpenAI key into each `current` file, and run the \
             same command again: it goes on with reload, tokens, credentials and nodes. --write-config adds the tables itself."
        ));
        Ok(())
    }

    /// Adds the tables to the configuration file, if it can be read with them.
    fn write_config(&mut self, tables: &str, config: &ConfigArgument, environment: &Environment) -> anyhow::Result<()> {
        let path = config::file(config.config.as_deref(), environment).context(
            "nothing was changed: no configuration file is named (--config), so there is none to add tables to",
        )?;
        let named = || format!("{} cannot be written", path.display());
        let mut file = OpenOptions::new().append(true).open(&path).with_context(named)?;
        let before = file.metadata().with_context(named)?.len();
        let written = file.write_all(format!("\n{tables}").as_bytes()).and_then(|()| file.sync_all());
        let opened = written.with_context(named).and_then(|()| Setup::open(config, environment));
        match opened {
            Ok(setup) => self.setup = setup,
            Err(error) => {
                file.set_len(before).with_context(|| format!("{} holds half of the tables", path.display()))?;
                return Err(error.context(format!("nothing was changed: {} is as it was", path.display())));
            }
        }
        remark(format_args!("The tables stand in {}.", path.display()));
        Ok(())
    }

    /// A token of a set that only observes would go upstream as it is.
    fn refuse_observing(&self) -> anyhow::Result<()> {
        let observes = |set: &&str| self.setup.policy(set) == Some(Policy::Observe);
        let sets: Vec<_> = self.groups.iter().map(|(group, _)| &*group.set).filter(observes).collect();
        ensure!(
            sets.is_empty(),
            "nothing was changed: a token goes upstream as it is where a set only observes. Set policy = \"inject\" or \"enforce\" \
             for: {}",
            sets.join(", ")
        );
        Ok(())
    }

    /// Has the running keyward take the sets.
    fn reload(&self) -> anyhow::Result<()> {
        let answer = reload::asked(&self.keyward, false)?;
        let reload: Reload = self.keyward.read(&answer)?;
        if reload.result != ReloadResult::Unchanged {
            print_wrapped(&reload::lines(&reload));
        }
        ensure!(
            reload.result != ReloadResult::Refused,
            "nothing was changed in n8n, since keyward did not take the configuration"
        );
        let sets = Source::running(&self.setup).map(Source::Running)?.sets()?;
        let lacks: Vec<_> = self.groups.iter().map(|(group, _)| &*group.set).filter(|set| !has(&sets, set)).collect();
        ensure!(
            lacks.is_empty(),
            "nothing was changed in n8n: the keyward that runs does not have {}. Does it run with this configuration?",
            lacks.join(", ")
        );
        Ok(())
    }

    // === Credential records ===

    /// The record of a group, which leads to keyward with a token of the group's set.
    fn record(&self, group: &Group, mut begun: Begun) -> anyhow::Result<Target> {
        let records = self.side.records()?;
        let own = records.listed().iter().find(|record| begun.credential.as_ref() == Some(&record.id));
        let is_named = |record: &&CredentialRecord| record.kind == CREDENTIAL_TYPE && record.name == group.record;
        let named: Vec<_> = records.listed().iter().filter(is_named).collect();
        // One of that name is taken where the test below shows that it is the group's: n8n's answer may have been lost.
        let record = match (own, &named[..]) {
            (Some(one), _) | (None, &[one]) => one.clone(),
            (None, []) => {
                self.refuse_unlisted(group, &begun)?;
                self.make(group, &mut begun)?
            }
            (None, _) => bail!("n8n has several credentials of the name {}: rename all but one", group.record),
        };
        let test = until_known(|| self.test(&record))?;
        if let Some(why) = self.why_not(&test, group)? {
            bail!(
                "credential {} ({}) does not lead to keyward with a token of set {}, so no node was moved to it: {why}. Mend it, or \
                 delete or rename it to have one made, and run the same command again",
                record.name,
                record.id,
                group.set
            );
        }
        begun.credential = Some(record.id.clone());
        self.keep(group, &begun, &record, test.key())?;
        print(format_args!("{}: credential {} ({}) leads to keyward", group.name, record.name, record.id));
        Ok(Target { id: record.id, name: record.name })
    }

    /// The nodes of a group that is done hold its token: making another one would end it under them.
    fn refuse_unlisted(&self, group: &Group, begun: &Begun) -> anyhow::Result<()> {
        let Some(credential) = &begun.credential else { return Ok(()) };
        let tokens = self.folder.access()?.tokens;
        let is_own = |token: &&Token| begun.token.as_ref() == Some(&token.fingerprint.to_hex()) && token.is_current();
        ensure!(
            !tokens.iter().any(|token| is_own(&token)),
            "n8n does not list credential {} ({credential}), which was made for the group: this API key may not see it, or it was \
             deleted. If it was deleted, `keyward token revoke {}` and the same command again make another one",
            group.record,
            group.token
        );
        Ok(())
    }

    fn test(&self, record: &CredentialRecord) -> Result<Test, ClientError> {
        self.side.test_and_tell(&record.id, &self.told)
    }

    /// Why a record is not known to lead here with a token of the group's set.
    fn why_not(&self, test: &Test, group: &Group) -> anyhow::Result<Option<String>> {
        if test.said.is_none() {
            return Ok(Some("this n8n's API cannot test it".to_owned()));
        }
        if let Some(why) = why_lost(test, &self.entrance) {
            return Ok(Some(why));
        }
        let tokens = self.folder.access()?.tokens;
        let is_own =
            |token: &Token| Some(token.fingerprint) == test.key() && *token.set == *group.set && token.is_current();
        Ok((!tokens.iter().any(is_own)).then(|| "it holds another key".to_owned()))
    }

    /// Has n8n make the record. The token is noted before it is one and before n8n gets it: where this is stopped in between, or n8n's
    /// answer is lost, the token and the record are known by it.
    fn make(&self, group: &Group, begun: &mut Begun) -> anyhow::Result<CredentialRecord> {
        if let Some(before) = begun.token.take() {
            token::end(&self.setup, before.parse().context("segments.json is damaged: a token has no fingerprint")?)?;
        }
        let secret = keys::token::make()?;
        let names = self.folder.names(&secret)?;
        (begun.token, begun.credential) = (Some(names.fingerprint.to_hex()), None);
        segment_journal::keep(&self.folder, begun)?;
        token::admit(&self.setup, &secret, &group.set, Some(&group.token))?;
        let data = connect::with_key(connect::connected(&self.entrance, &self.marks(group)), &secret)?;
        let made = self.side.make(&group.record, data, group.project());
        if made.as_ref().is_err_and(ClientError::is_refusal) {
            token::end(&self.setup, names.fingerprint)?;
            begun.token = None;
            segment_journal::keep(&self.folder, begun)?;
        }
        let made = made.with_context(|| format!("n8n did not make credential {}", group.record))?;
        begun.credential = Some(made.id.clone());
        segment_journal::keep(&self.folder, begun)?;
        Ok(made)
    }

    /// What the requests of a group's nodes say of themselves.
    fn marks(&self, group: &Group) -> Marks {
        let several = self.setup.config().n8n.instances.len() > 1;
        Marks { set: Some(group.set.as_str().into()), instance: several.then(|| self.side.instance.name.clone()) }
    }

    /// Keeps what `disconnect` puts back, and that keyward put the key there.
    fn keep(
        &self,
        group: &Group,
        begun: &Begun,
        record: &CredentialRecord,
        token: Option<Fingerprint>,
    ) -> anyhow::Result<()> {
        segment_journal::keep(&self.folder, begun)?;
        let n8n = self.side.address();
        if connections::find(&self.folder, &n8n, &record.id)?.is_some() {
            return Ok(());
        }
        let changed = record.updated_at.map(Timestamp::as_millis);
        let connection = Connection {
            n8n: n8n.clone(),
            credential: record.id.clone(),
            name: record.name.clone(),
            url: self.entrance.base_url(),
            was: OPENAI.to_owned(),
            at: self.setup.now().as_millis(),
            changed,
            token: token.map(Fingerprint::to_hex),
            tag: Some(self.marks(group).tag()),
            set: Some(group.set.clone()),
        };
        connections::keep(&self.folder, connection)?;
        // A key that a person put there may come from n8n's environment, which is not the same in each of its processes.
        let is_ours = token.is_some_and(|token| begun.token.as_deref() == Some(&*token.to_hex()));
        if let Some(changed) = changed.filter(|_| is_ours) {
            connections::note_written(&self.folder, Written { n8n, credential: record.id.clone(), changed })?;
        }
        Ok(())
    }

    // === Nodes ===

    /// Tells what will be done, and refuses what n8n would not let be done.
    fn announce(&self, workflows: &[Value], writes_config: bool) -> anyhow::Result<()> {
        let mut whole = Plan::default();
        for (group, begun) in &self.groups {
            let id = begun.credential.clone().unwrap_or_default();
            let plan = self.plan(group, &Target { id, name: group.record.clone() }, workflows, &[])?;
            whole.tasks.extend(plan.tasks);
            whole.left.extend(plan.left);
        }
        if let Some(fault) = fault(&self.side, &whole)? {
            bail!("nothing was changed: {fault}");
        }
        print_wrapped(&reconnected::left_in_words(&whole.left));
        let made = self.groups.iter().filter(|(_, begun)| begun.credential.is_none()).count();
        remark(format_args!(
            "\n{}{} in n8n will be made, each with a token that leads to {}, and {} changed to use them. The credentials that they \
             use now stay.",
            if writes_config { "The tables of the key sets will be added to the configuration file. " } else { "" },
            counted(made, "credential"),
            self.entrance,
            match whole.tasks.len() {
                1 => "1 workflow will be".to_owned(),
                several => format!("{several} workflows will be"),
            }
        ));
        Ok(())
    }

    fn plan(
        &self,
        group: &Group,
        to: &Target,
        workflows: &[Value],
        records: &[CredentialRecord],
    ) -> anyhow::Result<Plan> {
        let members: BTreeSet<_> = group.members.iter().map(|member| member.id.clone()).collect();
        let key = self.folder.fingerprint_key()?;
        let names_of = |value: &[u8]| Names::of(&key, value);
        let choice = Choice {
            to,
            from: self.from.as_ref(),
            workflows: Some(&members),
            seen: None,
            typed_keys: false,
            drafts: self.arguments.drafts,
            records,
        };
        Ok(choice.plan(workflows, &names_of))
    }

    /// Has the nodes of each group use its record. Says whether all of them do.
    fn reconnect(&self, made: &[(Group, Target)]) -> anyhow::Result<bool> {
        let mut workflows = Vec::new();
        let records: Records = self.side.records_and(|workflow| workflows.push(workflow))?;
        let _held = journal::hold(&self.folder)?;
        let mut is_whole = true;
        for (group, to) in made {
            let plan = self.plan(group, to, &workflows, records.listed())?;
            is_whole &= !plan.left.iter().any(|left| left.reason.is_open());
            if plan.tasks.is_empty() {
                print_wrapped(&reconnected::plan_in_words(&plan, to));
                continue;
            }
            let told = ToldNodes { to, instance: &self.side.instance.name, json: false };
            is_whole &= begin(&self.side, &self.folder, &told, self.setup.now(), plan.tasks)?;
        }
        Ok(is_whole)
    }
}

fn has(sets: &[String], set: &str) -> bool {
    sets.iter().any(|known| known == set)
}

/// Why no key can be read from a file.
fn fault_of(path: &Path) -> Option<String> {
    let source = source::Source::File(path.to_owned());
    source
        .read_key(fault_of_key)
        .err()
        .map(|error| format!("{source}: {}", crate::telemetry::event::with_causes(&error)))
}
