//! `keyward open`: a link to the running keyward, for a browser.

use anyhow::bail;
use clap::Args;
use serde_json::json;

use super::client::{Client, Said};
use super::output::{print, print_json, remark};
use super::setup::{ConfigArgument, Setup};
use crate::answers::link::Link;
use crate::config::Environment;

/// What `keyward open` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Print a link that shows the running keyward in a browser, once", after_help = AFTER_HELP)]
pub(super) struct OpenArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

impl OpenArguments {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<()> {
        let client = Client::new(&Setup::open(&self.config, environment)?)?;
        let Said::Answer(answer) = client.post("/api/v1/links")? else {
            bail!("no keyward runs at {} (admin.listen)", client.address());
        };
        let Link { path, until } = client.read(&answer)?;
        let url = format!("http://{}{path}", client.address());
        if self.json {
            print_json(&json!({ "url": url, "until": until.to_string() }));
        } else {
            print(&url);
            remark("It works once, within a minute. The browser that opens it is let in for twelve hours, to look.");
        }
        Ok(())
    }
}

const AFTER_HELP: &str = "\
The browser needs no token then. Where keyward runs on another machine, make a tunnel first:
ssh -L 8081:127.0.0.1:8081 that-machine

Example: keyward open";
