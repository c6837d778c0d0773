//! `keyward accept`: you vouch for what keyward cannot prove before an old key goes.

use anyhow::bail;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::output::{print_json, print_wrapped, remark};
use super::prompt::{can_ask, says_yes};
use super::setup::{ConfigArgument, Setup};
use super::source::{Received, Source};
use crate::config::Environment;
use crate::ledger::bar_kind::BarKind;

/// What `keyward accept` takes.
#[derive(Args, Debug)]
#[command(about = "Accept what keyward cannot prove before an old key goes", after_help = HELP)]
pub(super) struct AcceptArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(value_name = "DOUBT", help = "Its number, as keyward rotation shows it", value_parser = NonEmptyStringValueParser::new())]
    doubt: String,
    #[arg(long, value_name = "TEXT", help = "Why, in your words", required_unless_present = "withdraw")]
    reason: Option<String>,
    #[arg(long, help = "Take it back", conflicts_with = "reason")]
    withdraw: bool,
    #[arg(long, help = "Ask nothing")]
    yes: bool,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

impl AcceptArguments {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<()> {
        let source = Source::open(Setup::open(&self.config, environment)?)?;
        if !self.withdraw && !self.yes {
            ask_about(&source, &self.doubt)?;
        }
        let Received { json, answer } = source.accept(&self.doubt, self.reason.as_deref())?;
        if self.json {
            print_json(&json);
            return Ok(());
        }
        let did = if self.withdraw { "taken back" } else { "accepted" };
        print_wrapped(&[format!("{did}: {}", answer.text)]);
        if !self.withdraw {
            remark("That holds until what it rests on changes. --withdraw takes it back.");
        }
        Ok(())
    }
}

/// A credential that no node names has to have been looked into: accepted blindly, it holds the old key too often.
fn ask_about(source: &Source, doubt: &str) -> anyhow::Result<()> {
    let found = source.doubt(doubt)?;
    if found.code != BarKind::RecordWithoutNode.code() {
        return Ok(());
    }
    if !can_ask() {
        bail!("{}: say --yes if you opened it and it holds the new key", found.text);
    }
    remark(&found.text);
    if !says_yes("You opened it and it holds the new key?")? {
        bail!("nothing was accepted");
    }
    Ok(())
}

const HELP: &str = "\
It holds until what it rests on changes: another use of the old key, another change of the credential.
The answer then says how many things you accepted.

Example: keyward accept 1bf3ef9e --reason \"that container is gone for good\"";
