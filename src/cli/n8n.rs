//! `keyward n8n`: what is done with n8n's own API.

use clap::{Args, Subcommand};

use super::audit::AuditArguments;
use super::blame::BlameArguments;
use super::connect::ConnectArguments;
use super::disconnect::DisconnectArguments;
use super::exit::CannotTell;
use super::reconnect::ReconnectArguments;
use super::segment::SegmentArguments;
use super::undo::UndoArguments;
use crate::config::Environment;

/// What `keyward n8n` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Ask n8n what is configured, and lead its credentials to keyward")]
#[command(arg_required_else_help = true, after_help = "Example: keyward n8n audit")]
pub(super) struct N8nArguments {
    #[command(subcommand)]
    command: N8nCommand,
}

#[derive(Debug, Subcommand)]
enum N8nCommand {
    Audit(AuditArguments),
    Connect(ConnectArguments),
    Disconnect(DisconnectArguments),
    Reconnect(ReconnectArguments),
    Undo(UndoArguments),
    Segment(SegmentArguments),
    Blame(BlameArguments),
}

impl N8nArguments {
    /// Says whether all is well.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        match self.command {
            N8nCommand::Audit(arguments) => arguments.run(environment).map_err(CannotTell::from_error),
            N8nCommand::Connect(arguments) => arguments.run(environment),
            N8nCommand::Disconnect(arguments) => arguments.run(environment),
            N8nCommand::Reconnect(arguments) => arguments.run(environment),
            N8nCommand::Undo(arguments) => arguments.run(environment),
            N8nCommand::Segment(arguments) => arguments.run(environment),
            N8nCommand::Blame(arguments) => arguments.run(environment).map_err(CannotTell::from_error),
        }
    }
}
