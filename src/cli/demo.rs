//! `keyward demo`: its arguments.

use clap::Args;

use crate::demo::{self, Settings};

/// What `keyward demo` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Show a day with a rotation in it, with nothing of yours", after_help = AFTER_HELP)]
pub(super) struct DemoArguments {
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1200,
        value_parser = clap::value_parser!(u32).range(1..),
        help = "Let the day go by that many times faster than in life"
    )]
    speed: u32,

    #[arg(long, value_name = "FORMAT", value_parser = ["human", "json"], help = super::serve::LOG_HELP)]
    log: Option<String>,

    #[arg(long, value_name = "N", default_value_t = 1, help = "Choose the moments at which workflows run")]
    seed: u64,

    #[arg(long, help = "Stay at the end of the day, for the page in the browser, until Ctrl-C")]
    keep: bool,
}

impl DemoArguments {
    pub(super) fn run(self) -> anyhow::Result<()> {
        demo::run(&Settings { speed: self.speed, seed: self.seed, log: self.log, keep: self.keep })
    }
}

const AFTER_HELP: &str = "\
A real keyward stands between a simulated n8n of twenty workflows and a stand-in for OpenAI. In the
course of a day the key is rotated, and nodes that go on with the old one show up. Everything stays
on this machine, the keys open nothing, and nothing is left behind. It takes a minute. The link that
it prints shows the rotation in a browser, as it happens.

Example: keyward demo --speed 600 --keep";
