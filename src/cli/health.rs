//! `keyward health`: asks the admin listener of the keyward that runs beside it, as the health check of a container does.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use http::{Request, header};
use tokio::net::TcpStream;

use super::client::reachable;
use super::output::print;
use super::setup::ConfigArgument;
use crate::config::{Config, Environment, Overrides};
use crate::net::one_shot;

/// What `keyward health` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Ask a running keyward whether it lives and takes requests", after_help = AFTER_HELP)]
pub(super) struct HealthArguments {
    #[command(flatten)]
    config: ConfigArgument,
}

impl HealthArguments {
    /// An error says what is not well.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<()> {
        let config = Config::load(self.config.config.as_deref(), environment, Overrides::default())?;
        let listen = config.admin.listen;
        let listen = listen.context("there is no listener to ask, because admin.listen is off: give it an address")?;
        ensure!(
            listen.port() != 0,
            "the port of admin.listen is 0, so the system chose one: set it, to be able to ask"
        );
        let admin = reachable(listen);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        for path in ["/healthz", "/readyz"] {
            let answer = runtime.block_on(ask(admin, path)).with_context(|| {
                format!(
                    "no answer from http://{admin}{path} (admin.listen): does keyward run, and with these settings?"
                )
            })?;
            answer.check(&format!("http://{admin}{path}"))?;
        }
        print("keyward lives and takes requests");
        Ok(())
    }
}

/// What the admin listener said.
struct Answer {
    status: u16,
    text: String,
}

impl Answer {
    fn check(&self, url: &str) -> anyhow::Result<()> {
        match self.status {
            200 => Ok(()),
            503 => bail!("keyward takes no requests, says {url}: {}", self.text),
            status => bail!("{url} answers with {status}: is that keyward's admin listener (admin.listen)?"),
        }
    }
}

async fn ask(admin: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let stream = in_time(TcpStream::connect(admin)).await??;
    let request = Request::builder().uri(path).header(header::HOST, admin.to_string());
    let request = request.header(header::CONNECTION, "close").body(String::new())?;
    let mut answer = in_time(one_shot::send(stream, request)).await?.context("what came is no answer")?;
    let mut text = Vec::new();
    let reading = async {
        while text.len() < LONGEST
            && let Ok(Some(piece)) = answer.next_piece().await
        {
            text.extend_from_slice(&piece);
        }
    };
    // Another program than keyward may keep the connection open: what it said by then counts.
    let _ = in_time(reading).await;
    text.truncate(LONGEST);
    let text = String::from_utf8_lossy(&text).trim().escape_debug().to_string();
    Ok(Answer { status: answer.head.status.as_u16(), text })
}

async fn in_time<T>(coming: impl Future<Output = T>) -> io::Result<T> {
    Ok(tokio::time::timeout(LIMIT, coming).await?)
}

/// How long the admin listener may take to be reached, and again to say a word.
const LIMIT: Duration = Duration::from_secs(2);

/// More bytes than the admin listener answers with.
const LONGEST: usize = 4096;

const AFTER_HELP: &str = "\
Ends with 0 if the admin listener (admin.listen) answers on /healthz and /readyz, and with 1 if it
does not or says that keyward is stopping. It asks by the settings, so it needs the ones that
keyward runs with.

Example: keyward health --config /etc/keyward/keyward.toml";
