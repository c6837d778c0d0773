//! `keyward serve`: its arguments, and the configuration that they lead to.

use std::path::PathBuf;

use clap::Args;

use crate::app::Reread;
use crate::config::{Config, Environment, Overrides, Problems};

/// What `keyward serve` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Stand between n8n and the OpenAI API until stopped", after_help = AFTER_HELP)]
pub(super) struct ServeArguments {
    #[arg(
        long,
        value_name = "FILE",
        help = "Read settings from this file (or from the one that KEYWARD_CONFIG names)"
    )]
    config: Option<PathBuf>,

    #[arg(long, value_name = "ADDRESS:PORT", help = "Listen here for n8n [default: 127.0.0.1:8080]")]
    listen: Option<String>,

    #[arg(
        long,
        value_name = "PORT",
        conflicts_with = "listen",
        help = "Listen at this port of this machine's own address"
    )]
    port: Option<u16>,

    #[arg(long, value_name = "URL", help = "Send requests there [default: https://api.openai.com]")]
    upstream: Option<String>,

    #[arg(long, value_name = "FORMAT", value_parser = ["human", "json"], help = LOG_HELP)]
    log: Option<String>,
}

impl ServeArguments {
    /// All settings, those of the command line over all others.
    pub(super) fn config(&self, environment: &Environment) -> Result<Config, Problems> {
        let listen = self.listen.clone().or(self.port.map(|port| port.to_string()));
        let overrides = Overrides { listen, upstream: self.upstream.clone(), log: self.log.clone() };
        Config::load(self.config.as_deref(), environment, overrides)
    }

    /// Reads all of them again.
    pub(super) fn reread(self, environment: &Environment) -> Reread {
        let environment = environment.clone();
        Box::new(move || self.config(&environment))
    }
}

pub(super) const LOG_HELP: &str =
    "Write the log for people or for programs [default: human on a terminal, otherwise json]";

const AFTER_HELP: &str = "\
Without any setting, keyward forwards every request as it came and learns which key is current.
If OPENAI_API_KEY is set, that key is the current one.

Every setting can also come from the environment: `listen` in the table [proxy] is
KEYWARD_PROXY_LISTEN. The command line overrides the environment, which overrides the file.

Example: keyward serve --config /etc/keyward/keyward.toml --log json";
