//! `keyward health`: asks the admin listener of the keyward that runs beside it, as the health check of a container does.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;

use super::output::print;
use super::setup::ConfigArgument;
use crate::config::{Config, Environment, Overrides};

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
        let admin = reach(listen);
        for path in ["/healthz", "/readyz"] {
            let answer = ask(admin, path).with_context(|| {
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

fn ask(admin: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&admin, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    // Another server may keep the connection open: what it said by then counts.
    let read = stream.take(LONGEST).read_to_end(&mut answer);
    match (read_answer(&String::from_utf8_lossy(&answer)), read) {
        (Some(answer), _) => Ok(answer),
        (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => Err(io::Error::other("what came is no answer")),
    }
}

/// As far as it can be read: `HTTP/1.1 200 OK`, headers, an empty line, a word.
fn read_answer(answer: &str) -> Option<Answer> {
    let (head, text) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer { status, text: text.trim().escape_debug().to_string() })
}

/// Who listens on every address is asked on this machine's own.
fn reach(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// How long the admin listener may take to be reached, and again to say a word.
const LIMIT: Duration = Duration::from_secs(2);

/// More bytes than the admin listener answers with.
const LONGEST: u64 = 4096;

const AFTER_HELP: &str = "\
Ends with 0 if the admin listener (admin.listen) answers on /healthz and /readyz, and with 1 if it
does not or says that keyward is stopping. It asks by the settings, so it needs the ones that
keyward runs with.

Example: keyward health --config /etc/keyward/keyward.toml";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_asked_on_this_machine() {
        #[track_caller]
        fn check(listen: &str, expected: &str) {
            let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
            assert_eq!(reach(address(listen)), address(expected));
        }
        check("0.0.0.0:8081", "127.0.0.1:8081");
        check("[::]:8081", "[::1]:8081");
        check("127.0.0.1:8081", "127.0.0.1:8081");
        check("10.1.2.3:8081", "10.1.2.3:8081");
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let answer = read_answer("HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\ndraining\n").expect("an answer");
        assert_eq!((answer.status, answer.text.as_str()), (503, "draining"));
        for odd in ["", "HTTP/1.1", "HTTP/1.1 200", "HTTP/1.1 2é\r\n\r\n", "SSH-2.0-OpenSSH\r\n\r\n", "\r\n\r\n"] {
            assert!(read_answer(odd).is_none(), "{odd}");
        }
    }
}
