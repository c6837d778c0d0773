//! The command line: what may be said there.

mod accept;
mod audit;
mod bindings;
mod blame;
mod check;
mod client;
mod connect;
mod connected;
mod demo;
mod disconnect;
mod events;
mod exit;
mod format;
mod health;
mod keys;
mod n8n;
mod open;
mod output;
mod pages;
mod prompt;
mod records;
mod report;
mod rotation;
mod serve;
mod setup;
mod source;
mod telling;
mod token;
mod wait;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::accept::AcceptArguments;
use self::bindings::{AckArguments, BindingsArguments, IncidentsArguments};
use self::check::CheckArguments;
use self::demo::DemoArguments;
use self::events::EventsArguments;
use self::exit::{CannotTell, print_answer, tell_error, told_whole};
use self::health::HealthArguments;
use self::keys::KeysArguments;
use self::n8n::N8nArguments;
use self::open::OpenArguments;
use self::pages::{CompletionsArguments, ManArguments};
use self::rotation::{RotationArguments, StatusArguments};
use self::serve::ServeArguments;
use self::token::TokenArguments;
use crate::config::{Config, Environment};

/// The arguments of the process. The texts for users stand in attributes: they are no Markdown.
#[derive(Debug, Parser)]
#[command(version, about = ABOUT, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "Example: keyward serve --listen 0.0.0.0:8080")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(DemoArguments),
    Serve(ServeArguments),
    Check(CheckArguments),
    Status(StatusArguments),
    Rotation(RotationArguments),
    Incidents(IncidentsArguments),
    Bindings(BindingsArguments),
    Ack(AckArguments),
    Accept(AcceptArguments),
    Events(EventsArguments),
    Open(OpenArguments),
    Token(TokenArguments),
    Keys(KeysArguments),
    N8n(N8nArguments),
    Health(HealthArguments),
    Completions(CompletionsArguments),
    Man(ManArguments),
}

/// Does what the process's arguments ask for. `serve` is the service itself: it returns when keyward has stopped.
///
/// Ends with 0 if all went well, 1 where keyward could not do it and 2 where the command line makes no sense. A command that
/// tells whether something is stale ends with 1 if so, and with 3 where it cannot tell.
pub fn run(serve: impl FnOnce(Config) -> anyhow::Result<()>) -> ExitCode {
    run_with(std::env::args_os(), &Environment::of_process(), serve)
}

/// What may be said on the command line.
#[must_use]
pub fn command() -> clap::Command {
    with_whole_paragraphs(Cli::command())
}

/// The sources break the paragraphs of a help; a terminal breaks them where its own width ends.
fn with_whole_paragraphs(command: clap::Command) -> clap::Command {
    let help = command.get_after_help().map(|help| whole_paragraphs(&help.to_string()));
    let command = help.into_iter().fold(command, clap::Command::after_help);
    command.mut_subcommands(with_whole_paragraphs)
}

fn whole_paragraphs(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for line in text.lines() {
        let stands_alone = line.is_empty() || line.starts_with(' ') || line.starts_with("Ends with ");
        let goes_on = !stands_alone && !whole.is_empty() && !whole.ends_with(['\n', ':']);
        match (goes_on, whole.is_empty()) {
            (true, _) => whole.push(' '),
            (false, false) => whole.push('\n'),
            (false, true) => {}
        }
        whole.push_str(line);
    }
    whole
}

fn run_with(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
    serve: impl FnOnce(Config) -> anyhow::Result<()>,
) -> ExitCode {
    let parsed = command().try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let command = match parsed {
        Ok(Cli { command }) => command,
        Err(answer) => return print_answer(&answer),
    };
    match command.run(environment, serve).and_then(|is_well| told_whole().map(|()| is_well)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => tell_error(&error),
    }
}

impl Command {
    /// Says whether all is well.
    fn run(self, environment: &Environment, serve: impl FnOnce(Config) -> anyhow::Result<()>) -> anyhow::Result<bool> {
        match self {
            Self::Demo(arguments) => arguments.run()?,
            Self::Serve(arguments) => serve(arguments.into_config(environment)?)?,
            Self::Check(arguments) => return arguments.run(environment),
            Self::N8n(arguments) => return arguments.run(environment),
            Self::Status(arguments) => return arguments.run(environment).map_err(CannotTell::from_error),
            Self::Rotation(arguments) => return arguments.run(environment).map_err(CannotTell::from_error),
            Self::Incidents(arguments) => return arguments.run(environment).map_err(CannotTell::from_error),
            Self::Bindings(arguments) => return arguments.run(environment).map_err(CannotTell::from_error),
            Self::Ack(arguments) => arguments.run(environment)?,
            Self::Accept(arguments) => arguments.run(environment)?,
            Self::Events(arguments) => arguments.run(environment)?,
            Self::Open(arguments) => arguments.run(environment)?,
            Self::Token(arguments) => arguments.run(environment)?,
            Self::Keys(arguments) => arguments.run(environment)?,
            Self::Health(arguments) => arguments.run(environment)?,
            Self::Completions(arguments) => arguments.run(command()),
            Self::Man(arguments) => arguments.run(command())?,
        }
        Ok(true)
    }
}

const ABOUT: &str =
    "Judges the key of every request from n8n to the OpenAI API, and says which workflow and node sent it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_says_what_keyward_is() {
        insta::assert_snapshot!(answer(&["--help"]), @r"
        Judges the key of every request from n8n to the OpenAI API, and says which workflow and node sent it

        Usage: keyward <COMMAND>

        Commands:
          demo         Show a day with a rotation in it, with nothing installed and nothing of yours
          serve        Stand between n8n and the OpenAI API until stopped
          check        Tell what of the configuration would not work, or is unsafe
          status       Tell how keyward is, and whether anybody still sends an old key
          rotation     Show who has changed to the current key, and whether the old one can go
          incidents    List who is not well, and since when
          bindings     List who sends what: workflows, nodes and other clients
          ack          Say that a binding is dead, or that its incident is dealt with
          accept       Accept something that keyward cannot prove before an old key goes
          events       Follow the exchanges of the running keyward as they end
          open         Print a link that shows the running keyward in a browser, once
          token        Make, list and revoke tokens, which n8n holds in place of a key
          keys         See which keys keyward knows, and revoke one
          n8n          Ask n8n what is configured there, and have its credentials lead to keyward
          health       Ask a running keyward whether it lives and takes requests
          completions  Print what a shell needs to complete keyward's command lines
          man          Print a manual page
          help         Print this message or the help of the given subcommand(s)

        Options:
          -h, --help     Print help
          -V, --version  Print version

        Example: keyward serve --listen 0.0.0.0:8080
        ");
    }

    #[test]
    fn help_of_serve_says_what_can_be_set() {
        insta::assert_snapshot!(answer(&["serve", "--help"]), @r"
        Stand between n8n and the OpenAI API until stopped

        Usage: keyward serve [OPTIONS]

        Options:
              --config <FILE>          Read settings from this file (or from the one that KEYWARD_CONFIG
                                       names)
              --listen <ADDRESS:PORT>  Listen here for n8n [default: 127.0.0.1:8080]
              --port <PORT>            Listen at this port of this machine's own address
              --upstream <URL>         Send requests there [default: https://api.openai.com]
              --log <FORMAT>           Write the log for people or for programs [default: human on a
                                       terminal, otherwise json] [possible values: human, json]
          -h, --help                   Print help

        Without any setting, keyward forwards every request as it came and learns which key is current. If
        OPENAI_API_KEY is set, that key is the current one.

        Every setting can also come from the environment: `listen` in the table [proxy] is
        KEYWARD_PROXY_LISTEN. The command line overrides the environment, which overrides the file.

        Example: keyward serve --config /etc/keyward/keyward.toml --log json
        ");
    }

    #[test]
    fn a_help_is_broken_where_the_terminal_ends() {
        let command = command().term_width(80);
        let help = command.try_get_matches_from(["keyward", "rotation", "--help"]).expect_err("an answer").to_string();
        let (_, after) = help.split_once("Print help\n\n").expect("what follows the options");
        let (paragraphs, _) = after.split_once("\n\nExample").expect("an example");
        let lines: Vec<_> = paragraphs.lines().collect();
        assert!(lines.iter().all(|line| line.len() <= 80), "{paragraphs}");
        let is_short = |pair: &[&str]| {
            let next = pair[1].split(' ').next().unwrap_or_default();
            !pair[1].starts_with("Ends with") && pair[0].len() + 1 + next.len() <= 80
        };
        assert!(!lines.windows(2).any(is_short), "a line ends before the width does: {paragraphs}");
    }

    #[test]
    fn help_of_the_demo_says_that_it_touches_nothing() {
        insta::assert_snapshot!(answer(&["demo", "--help"]), @r"
        Show a day with a rotation in it, with nothing installed and nothing of yours

        Usage: keyward demo [OPTIONS]

        Options:
              --speed <N>     Let the day go by that many times faster than in life [default: 1200]
              --log <FORMAT>  Write the log for people or for programs [default: human on a terminal,
                              otherwise json] [possible values: human, json]
              --seed <N>      Choose the moments at which workflows run [default: 1]
          -h, --help          Print help

        A real keyward stands between a simulated n8n of twenty workflows and a stand-in for OpenAI. In the
        course of a day the key is rotated, and nodes that go on with the old one show up. Everything stays
        on this machine, the keys open nothing, and nothing is left behind. It takes a minute.

        Example: keyward demo --speed 600
        ");
    }

    #[test]
    fn the_help_of_every_command_has_an_example() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example: keyward "), "{}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn version_is_the_crates() {
        assert_eq!(answer(&["--version"]), format!("keyward {}\n", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn the_exit_code_says_whose_fault_it_was() {
        #[track_caller]
        fn check(arguments: &[&str], expected: u8) {
            let environment = Environment::default().with_state_folder("/state").with("KEYWARD_LOG_LEVEL", "error");
            let arguments = ["keyward"].iter().chain(arguments).map(OsString::from);
            let code = run_with(arguments, &environment, |config| match config.proxy.listen.port() {
                7 => Err(anyhow::anyhow!("the address is in use")),
                _ => Ok(()),
            });
            assert_eq!(code, ExitCode::from(expected));
        }
        check(&["serve"], 0);
        check(&["--version"], 0);
        check(&["serve", "--listen", "127.0.0.1:0", "--upstream", "http://127.0.0.1:1", "--log", "json"], 0);
        check(&["serve", "--listen", "127.0.0.1:7"], 1);
        check(&["serve", "--listen", "nowhere"], 2);
        check(&["serve", "--config", "/nowhere/keyward.toml"], 2);
        check(&["serve", "--log", "loud"], 2);
        check(&["serve", "--what"], 2);
        check(&["dance"], 2);
        check(&["man", "token", "new"], 0);
        check(&["man", "dance"], 2);
        check(&["completions", "fish"], 0);
        check(&["completions", "dance"], 2);
        check(&[], 2);
    }

    /// What clap prints instead of running a command, as on a terminal of 100 columns.
    fn answer(arguments: &[&str]) -> String {
        let arguments = ["keyward"].iter().chain(arguments);
        let command = command().term_width(100);
        command.try_get_matches_from(arguments).expect_err("an answer").to_string()
    }
}
