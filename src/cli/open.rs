//! `keyward open`: a link to the running keyward, opened in the browser where there is one.

use std::env::{self, consts::OS};
use std::io::{self, IsTerminal};
use std::process::{Command, Stdio};

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
#[command(about = "Show the running keyward in a browser, and print the link", after_help = AFTER_HELP)]
pub(super) struct OpenArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(long, help = "Print the link alone, and open no browser")]
    print: bool,
    #[arg(long, help = "Print JSON, and open no browser")]
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
            let opened = !self.print && open_browser(&url);
            remark(if opened { OPENED } else { LINK });
        }
        Ok(())
    }
}

/// Has this machine's browser open a link; says whether there is one. Over SSH it would open on the other machine's screen.
fn open_browser(url: &str) -> bool {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_remote = ["SSH_CONNECTION", "SSH_TTY"].into_iter().any(is_set);
    let has_screen = OS == "macos" || ["DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(is_set);
    if is_remote || !has_screen || !io::stdout().is_terminal() {
        return false;
    }
    let opener = if OS == "macos" { "open" } else { "xdg-open" };
    let mut command = Command::new(opener);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // It may go on for as long as the browser does, so it is not waited for.
    command.spawn().is_ok()
}

const OPENED: &str =
    "Opened in your browser, which is let in for twelve hours, to look. The link works once, within a minute.";

const LINK: &str = "It works once, within a minute. The browser that opens it is let in for twelve hours, to look.";

const AFTER_HELP: &str = "\
The browser needs no token then. It is opened where the command is typed at a terminal of a machine
with a screen, and not over SSH. Where keyward runs on another machine, make a tunnel first:
ssh -L 8081:127.0.0.1:8081 that-machine

Example: keyward open";
