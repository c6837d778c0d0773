//! `keyward notices`: who is told by itself, what waits, and whether it arrives.

use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Client, Said};
use super::output::{Line, Tone, print_json, print_wrapped, remark};
use super::setup::{ConfigArgument, Setup};
use crate::answers::notice::{Message, Muted, Notices, Receiver, ReceiverState, Test, Tests};
use crate::answers::words::{ago, counted, span};
use crate::clock::Timestamp;
use crate::config::{self, Environment};
use crate::telemetry::local_clock::in_local_time;

/// What `keyward notices` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Show who is told by itself, try it, or mute it", after_help = HELP, args_conflicts_with_subcommands = true)]
pub(super) struct NoticesArguments {
    #[command(subcommand)]
    command: Option<NoticesCommand>,
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum NoticesCommand {
    #[command(about = "Send a test now, and say whether it arrived", after_help = TEST_HELP)]
    Test {
        #[command(flatten)]
        config: ConfigArgument,
        #[arg(value_name = "NAME", help = "The receiver; without a name, each of them")]
        name: Option<String>,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    #[command(about = "Tell nothing for a while", after_help = "Example: keyward notices mute 2h")]
    Mute {
        #[command(flatten)]
        config: ConfigArgument,
        #[arg(value_name = "SPAN", help = "For how long, such as 30m or 2h")]
        span: String,
    },
    #[command(about = "Tell again", after_help = "Example: keyward notices unmute")]
    Unmute {
        #[command(flatten)]
        config: ConfigArgument,
    },
}

impl NoticesArguments {
    /// Says whether all is well with them.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        match self.command {
            None => show(&Asked::open(&self.config, environment)?, self.json),
            Some(NoticesCommand::Test { config, name, json }) => {
                test(&Asked::open(&config, environment)?, name.as_deref(), json)
            }
            Some(NoticesCommand::Mute { config, span }) => {
                let length = config::span(&span).filter(|span| *span >= Duration::from_secs(1));
                let Some(length) = length else {
                    bail!("`{span}` is no span to mute for: allowed is one such as 30m or 2h")
                };
                mute(&Asked::open(&config, environment)?, length)
            }
            Some(NoticesCommand::Unmute { config }) => mute(&Asked::open(&config, environment)?, Duration::ZERO),
        }
    }
}

/// A running keyward, and what time it is.
struct Asked {
    client: Client,
    now: Timestamp,
}

impl Asked {
    fn open(config: &ConfigArgument, environment: &Environment) -> anyhow::Result<Self> {
        let setup = Setup::open(config, environment)?;
        Ok(Self { now: setup.now(), client: Client::new(&setup)? })
    }

    fn answer(&self, said: Said) -> anyhow::Result<Value> {
        match said {
            Said::Answer(answer) => Ok(answer),
            Said::NotRunning => Err(anyhow!("no keyward runs at {} (admin.listen)", self.client.address())),
        }
    }

    fn notices(&self) -> anyhow::Result<(Value, Notices)> {
        let answer = self.answer(self.client.get("/api/v1/notices")?)?;
        let notices = self.client.read(&answer)?;
        Ok((answer, notices))
    }
}

// === What it says ===

fn show(asked: &Asked, as_json: bool) -> anyhow::Result<bool> {
    let (answer, notices) = asked.notices()?;
    if as_json {
        print_json(&answer);
    } else {
        print_wrapped(&lines(&notices, asked.now));
    }
    Ok(is_well(&notices))
}

fn is_well(notices: &Notices) -> bool {
    notices.receivers.iter().all(is_receiver_well)
}

/// What was given up before another notice arrived is shown, and is no trouble of now.
fn is_receiver_well(receiver: &Receiver) -> bool {
    let is_of_now = |message: &Message| receiver.last.is_none_or(|last| message.made >= last);
    receiver.state == ReceiverState::Ok
        && !receiver.given_up.iter().any(is_of_now)
        && receiver.heartbeat.as_ref().is_none_or(|beat| beat.trouble.is_none())
}

fn lines(notices: &Notices, now: Timestamp) -> Vec<Line> {
    let mut lines = Vec::new();
    if notices.receivers.is_empty() {
        lines.push(Line::from("No receiver of notices is configured: there is no table [notices.<name>]."));
        lines.push(Line::from("config/reference.toml shows one."));
        return lines;
    }
    if let Some(until) = notices.muted_until {
        let text = format!("Muted until {until}: what is to be told waits.");
        lines.push(Line::from(String::new()).and_toned(Tone::Doubtful, in_local_time(&text, now)));
    }
    if let Some(why) = &notices.in_memory {
        let text = format!("What waits is in memory alone, and lost when keyward stops: {why}.");
        lines.push(Line::from(String::new()).and_toned(Tone::Doubtful, text));
    }
    if notices.dropped > 0 {
        let text = format!(
            "{} had no room and will not be sent.",
            counted(usize::try_from(notices.dropped).unwrap_or(usize::MAX), "notice")
        );
        lines.push(Line::from(String::new()).and_toned(Tone::Bad, text));
    }
    for receiver in &notices.receivers {
        lines.extend(of_receiver(receiver, now));
    }
    lines
}

fn of_receiver(receiver: &Receiver, now: Timestamp) -> Vec<Line> {
    let (tone, state) = match receiver.state {
        ReceiverState::Ok => (Tone::Good, "ok".to_owned()),
        ReceiverState::Retrying => (Tone::Bad, "does not take notices".to_owned()),
        ReceiverState::Stopped => (Tone::Bad, "stopped: it wants no more".to_owned()),
    };
    let arrived = receiver.last.map_or_else(
        || ", nothing sent since the start".to_owned(),
        |last| format!(", {} sent, the last {}", receiver.sent, ago(last, now)),
    );
    let name = format!("{} ({})  ", receiver.receiver, receiver.kind.code());
    let mut lines = vec![Line::from(name).hanging(2).and_toned(tone, state).and(arrived)];
    let mut push = |text: String| lines.push(Line::from(format!("  {text}")).hanging(4));
    if let Some(trouble) = &receiver.trouble {
        push(format!("last fault: {trouble}"));
    }
    if let Some(beat) = &receiver.heartbeat {
        push(match (&beat.trouble, beat.last) {
            (Some(trouble), _) => format!("heartbeat not taken: {trouble}"),
            (None, Some(last)) => format!("heartbeat taken {}", ago(last, now)),
            (None, None) => "heartbeat not sent yet".to_owned(),
        });
    }
    receiver.open.iter().for_each(|open| push(format!("told and not over: {open}")));
    receiver.waiting.iter().for_each(|message| push(format!("waits: {}", of_message(message, now))));
    if let Some(next) = receiver.next.filter(|next| *next > now) {
        push(format!("next attempt in {}", span(now, next)));
    }
    receiver.given_up.iter().for_each(|message| push(format!("given up: {}", of_message(message, now))));
    lines
}

fn of_message(message: &Message, now: Timestamp) -> String {
    let tried = match message.attempts {
        0 => String::new(),
        attempts => format!(", tried {}", counted(usize::try_from(attempts).unwrap_or(usize::MAX), "time")),
    };
    format!("{} ({}{tried})", message.title, ago(message.made, now))
}

// === Tests ===

fn test(asked: &Asked, name: Option<&str>, as_json: bool) -> anyhow::Result<bool> {
    let query = name.map_or_else(String::new, |name| format!("?receiver={}", encoded(name)));
    let answer = asked.answer(asked.client.post(&format!("/api/v1/notices/test{query}"))?)?;
    let tests: Tests = asked.client.read(&answer)?;
    let begun = Instant::now();
    loop {
        let (answer, notices) = asked.notices()?;
        let fates: Vec<_> = tests.tests.iter().map(|test| (test, fate(test, &notices))).collect();
        let is_over = fates.iter().all(|(_, fate)| !matches!(fate, Fate::Open)) || begun.elapsed() >= PATIENCE;
        if is_over {
            if as_json {
                print_json(&answer);
            } else {
                print_wrapped(&fates.iter().map(|(test, fate)| of_fate(test, fate)).collect::<Vec<_>>());
            }
            return Ok(fates.iter().all(|(_, fate)| matches!(fate, Fate::Arrived)));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What became of a test.
enum Fate {
    Open,
    Arrived,
    Failed(String),
}

fn fate(test: &Test, notices: &Notices) -> Fate {
    let Some(receiver) = notices.receivers.iter().find(|receiver| receiver.receiver == test.receiver) else {
        return Fate::Failed("it is configured no longer".to_owned());
    };
    if receiver.tested.contains(&test.id) {
        return Fate::Arrived;
    }
    let given_up = receiver.given_up.iter().find(|message| message.id == test.id);
    given_up.map_or(Fate::Open, |message| Fate::Failed(message.fault.clone().unwrap_or_default()))
}

fn of_fate(test: &Test, fate: &Fate) -> Line {
    let (tone, said) = match fate {
        Fate::Arrived => (Tone::Good, "arrived".to_owned()),
        Fate::Failed(fault) => (Tone::Bad, format!("did not arrive: {fault}")),
        Fate::Open => (Tone::Bad, format!("no answer within {} s", PATIENCE.as_secs())),
    };
    Line::from(format!("{}  ", test.receiver)).hanging(2).and_toned(tone, said)
}

// === Muting ===

fn mute(asked: &Asked, length: Duration) -> anyhow::Result<bool> {
    let answer = asked.answer(asked.client.post(&format!("/api/v1/notices/mute?seconds={}", length.as_secs()))?)?;
    let Muted { muted_until } = asked.client.read(&answer)?;
    let text = match muted_until {
        Some(until) => format!("Notices are muted until {until}."),
        None => "Notices are told again.".to_owned(),
    };
    print_wrapped(&[Line::from(in_local_time(&text, asked.now).into_owned())]);
    if muted_until.is_some() {
        remark("What is still so then is told then, once. Earlier: keyward notices unmute");
    }
    Ok(true)
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Longer than an attempt may take.
const PATIENCE: Duration = Duration::from_secs(25);

const HELP: &str = "\
Ends with 0 if all is well with every receiver, and with 1 otherwise.

Example: keyward notices";

const TEST_HELP: &str = "\
Ends with 0 if every test arrived, and with 1 otherwise. A receiver that had answered 410 (Gone) is sent notices again once a
test arrives.

Example: keyward notices test team";
