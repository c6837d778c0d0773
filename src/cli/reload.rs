//! `keyward reload`: has the running keyward take its configuration anew, whole or not at all.

use anyhow::anyhow;
use clap::Args;
use serde_json::Value;

use super::client::{Client, Said};
use super::output::{Line, Tone, print_json, print_wrapped};
use super::setup::{ConfigArgument, Setup};
use crate::answers::reload::{Reload, ReloadResult};
use crate::config::Environment;

/// What `keyward reload` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Have the running keyward take a changed configuration", after_help = HELP)]
pub(super) struct ReloadArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(long, help = "Only say what would be done")]
    dry_run: bool,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

impl ReloadArguments {
    /// Says whether nothing spoke against it.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let client = Client::new(&Setup::open(&self.config, environment)?)?;
        let answer = asked(&client, self.dry_run)?;
        let reload: Reload = client.read(&answer)?;
        if self.json {
            print_json(&answer);
        } else {
            print_wrapped(&lines(&reload));
        }
        Ok(reload.result != ReloadResult::Refused)
    }
}

/// Has the keyward that runs take its configuration, or only say what would come of it.
pub(super) fn asked(client: &Client, dry_run: bool) -> anyhow::Result<Value> {
    let path = if dry_run { "/api/v1/reload?dry_run=true" } else { "/api/v1/reload" };
    let Said::Answer(answer) = client.post(path)? else {
        let address = client.address();
        return Err(anyhow!(
            "no keyward runs at {address} (admin.listen). One that listens elsewhere takes another address when it is \
             restarted"
        ));
    };
    Ok(answer)
}

pub(super) fn lines(reload: &Reload) -> Vec<Line> {
    let (tone, said) = match (reload.result, reload.dry_run) {
        (ReloadResult::Taken, false) => (Tone::Good, "The configuration was taken. Changed:"),
        (ReloadResult::Taken, true) => (Tone::Good, "The configuration would be taken. It would change:"),
        (ReloadResult::Unchanged, false) => {
            (Tone::Good, "The configuration is as it was. Keys, tokens and the certificate were read again.")
        }
        (ReloadResult::Unchanged, true) => (Tone::Good, "The configuration is as it was."),
        (ReloadResult::Refused, false) => (Tone::Bad, "The configuration was refused: nothing has changed."),
        (ReloadResult::Refused, true) => (Tone::Bad, "The configuration would be refused."),
    };
    let mut lines = vec![Line::from(String::new()).and_toned(tone, said)];
    let is_refused = reload.result == ReloadResult::Refused;
    if !is_refused {
        lines.extend(reload.changed.iter().map(|setting| item(setting)));
    }
    lines.extend(
        reload
            .needs_restart
            .iter()
            .map(|setting| item(&format!("{setting} takes a restart: keyward keeps what it started with"))),
    );
    for problem in &reload.problems {
        lines.extend(problem.lines().enumerate().map(|(at, line)| if at == 0 { item(line) } else { below(line) }));
    }
    if is_refused && !reload.needs_restart.is_empty() {
        let text = "Nothing of the file holds, not even what needs no restart: put back what takes one and reload again, or restart keyward.";
        lines.push(Line::from(text));
    }
    lines
}

fn item(text: &str) -> Line {
    Line::from(format!("  {text}")).hanging(4)
}

fn below(text: &str) -> Line {
    Line::from(format!("    {text}")).hanging(4)
}

const HELP: &str = "\
The keyward that runs reads its own configuration file anew, checks it as a start would, and takes all of it or nothing. Sets,
policies, n8n, notices and [rotation] change while it runs, and no request fails. If another setting has changed, such as
[log] or a limit in [proxy], it is named, and nothing is taken: all stays as it was until you put it back or restart keyward.
Ends with 0 if the configuration was taken or is as it was, and with 1 if it was refused.

Example: keyward reload --dry-run";
