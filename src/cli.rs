//! The command line: what may be said there.

mod accept;
mod answer;
mod audit;
mod bindings;
mod blame;
mod check;
mod client;
mod connect;
mod connected;
mod connecting;
mod demo;
mod disconnect;
mod events;
mod exit;
mod expiring;
mod explain;
mod faults;
mod format;
mod health;
mod keys;
mod n8n;
mod notices;
mod open;
mod output;
mod pages;
mod prompt;
mod reconnect;
mod reconnected;
mod records;
mod reload;
mod report;
mod rotate;
mod rotate_abort;
mod rotate_new_key;
mod rotate_ready;
mod rotate_records;
mod rotate_report;
mod rotate_revoke;
mod rotate_watch;
mod rotation;
mod rotation_view;
mod segment;
mod segmenting;
mod serve;
mod setup;
mod source;
mod start;
mod status;
mod telling;
mod token;
mod undo;
mod wait;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::accept::AcceptArguments;
use self::bindings::{AckArguments, BindingsArguments, IncidentsArguments};
use self::blame::BlameArguments;
use self::check::CheckArguments;
use self::demo::DemoArguments;
use self::events::EventsArguments;
use self::exit::{CannotTell, print_answer, tell_error, told_whole};
use self::explain::ExplainArguments;
use self::health::HealthArguments;
use self::keys::KeysArguments;
use self::n8n::N8nArguments;
use self::notices::NoticesArguments;
use self::open::OpenArguments;
use self::pages::{CompletionsArguments, ManArguments};
use self::reload::ReloadArguments;
use self::rotate::RotateArguments;
use self::rotation::RotationArguments;
use self::serve::ServeArguments;
use self::status::StatusArguments;
use self::token::TokenArguments;
use crate::app::Reread;
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
    Reload(ReloadArguments),
    Status(StatusArguments),
    Rotate(RotateArguments),
    Rotation(RotationArguments),
    Incidents(IncidentsArguments),
    Bindings(BindingsArguments),
    Ack(AckArguments),
    Accept(AcceptArguments),
    Blame(BlameArguments),
    Explain(ExplainArguments),
    Events(EventsArguments),
    Notices(NoticesArguments),
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
pub fn run(serve: impl FnOnce(Config, Reread) -> anyhow::Result<()>) -> ExitCode {
    run_with(std::env::args_os(), &Environment::of_process(), serve)
}

/// What may be said on the command line.
#[must_use]
pub fn command() -> clap::Command {
    with_whole_paragraphs(Cli::command().help_template(help_of_all(Help::Long)))
}

/// The same, with as little help as `-h` prints.
fn command_in_short() -> clap::Command {
    with_short_help(Cli::command().help_template(help_of_all(Help::Short)), "keyward")
}

/// How much a help says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Help {
    /// All: what `--help` prints.
    Long,
    /// Names and options: what `-h` prints.
    Short,
}

/// The help of all commands, in groups. What stands in braces is clap's to fill in.
fn help_of_all(help: Help) -> String {
    let command = Cli::command();
    let about = |name: &str| {
        let about = command.find_subcommand(name).and_then(clap::Command::get_about).map(ToString::to_string);
        format!("  {name:<12} {}\n", about.unwrap_or_else(|| "Print this, or the help of a command".to_owned()))
    };
    let mut groups = String::new();
    for (title, names) in GROUPS {
        match help {
            Help::Short => groups.extend([&*format!("  {title:<20} "), &names.join(", "), "\n"]),
            Help::Long => {
                groups.extend([title, ":\n"]);
                groups.extend(names.iter().map(|name| about(name)));
                groups.push('\n');
            }
        }
    }
    let groups = groups.trim_end();
    format!("{{about}}\n\n{{usage-heading}} {{usage}}\n\n{groups}\n\nOptions:\n{{options}}{{after-help}}")
}

/// Every command, by what you want of it.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Begin", &["demo", "serve", "check", "reload", "open"]),
    ("See what is wrong", &["status", "incidents", "blame", "explain", "events", "notices"]),
    ("Rotate a key", &["rotate", "rotation", "bindings", "ack", "accept"]),
    ("Keys, tokens and n8n", &["keys", "token", "n8n"]),
    ("For programs", &["health", "completions", "man", "help"]),
];

/// A help that says where more is, and gives the example.
fn with_short_help(command: clap::Command, name: &str) -> clap::Command {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let example = help.split("\n\n").find(|paragraph| paragraph.starts_with("Example: ")).unwrap_or_default();
    let name = name.to_owned();
    let command = command.after_help(format!("{example}\nMore: {name} --help"));
    command.mut_subcommands(move |command| {
        let name = format!("{name} {}", command.get_name());
        with_short_help(command, &name)
    })
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
    serve: impl FnOnce(Config, Reread) -> anyhow::Result<()>,
) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let is_short = arguments.iter().any(|argument| argument == "-h");
    let command = if is_short { command_in_short() } else { command() };
    let parsed =
        command.try_get_matches_from(arguments).map_err(with_tip).and_then(|matches| Cli::from_arg_matches(&matches));
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

/// clap has a tip for `keyward statsu`, and none for `keyward help statsu`.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(asked)) = error.get(ContextKind::InvalidSubcommand) else { return error };
    let is_told = error.get(ContextKind::SuggestedSubcommand).is_some();
    let commands = GROUPS.iter().flat_map(|(_, names)| names.iter().copied());
    let near =
        commands.map(|name| (strsim::damerau_levenshtein(asked, name), name)).filter(|(distance, _)| *distance <= 2);
    if let Some((_, name)) = near.min().filter(|_| !is_told) {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![name.to_owned()]));
    }
    error
}

impl Command {
    /// Says whether all is well.
    fn run(
        self,
        environment: &Environment,
        serve: impl FnOnce(Config, Reread) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        match self {
            Self::Demo(arguments) => arguments.run()?,
            Self::Serve(arguments) => serve(arguments.config(environment)?, arguments.reread(environment))?,
            Self::Check(arguments) => return arguments.run(environment),
            Self::Reload(arguments) => return arguments.run(environment),
            Self::N8n(arguments) => return arguments.run(environment),
            Self::Status(arguments) => return arguments.run(environment).map_err(CannotTell::from_error),
            Self::Rotate(arguments) => return arguments.run(environment),
            Self::Rotation(arguments) => return arguments.run(environment).map_err(CannotTell::from_error),
            Self::Incidents(arguments) => return arguments.run(environment).map_err(CannotTell::from_error),
            Self::Bindings(arguments) => return arguments.run(environment).map_err(CannotTell::from_error),
            Self::Ack(arguments) => arguments.run(environment)?,
            Self::Accept(arguments) => arguments.run(environment)?,
            Self::Blame(arguments) => return arguments.run(environment).map_err(CannotTell::from_error),
            Self::Explain(arguments) => arguments.run()?,
            Self::Events(arguments) => arguments.run(environment)?,
            Self::Notices(arguments) => return arguments.run(environment),
            Self::Open(arguments) => arguments.run(environment)?,
            Self::Token(arguments) => arguments.run(environment)?,
            Self::Keys(arguments) => return arguments.run(environment),
            Self::Health(arguments) => arguments.run(environment)?,
            Self::Completions(arguments) => arguments.run(command()),
            Self::Man(arguments) => arguments.run(command())?,
        }
        Ok(true)
    }
}

const ABOUT: &str = "Shows which n8n nodes still send your old OpenAI key, before you revoke it";

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
        Shows which n8n nodes still send your old OpenAI key, before you revoke it

        Usage: keyward <COMMAND>

        Begin:
          demo         Show a day with a rotation in it, with nothing of yours
          serve        Stand between n8n and the OpenAI API until stopped
          check        Tell what of the configuration would not work, or is unsafe
          reload       Have the running keyward take a changed configuration
          open         Show the running keyward in a browser, and print the link

        See what is wrong:
          status       Tell whether all is well, and whether the old key can go
          incidents    List what is wrong, since when, and what to do
          blame        Tell the story of one execution: keys, faults and what to do
          explain      Say what a code means and what to do about it
          events       Follow the exchanges of the running keyward as they end
          notices      Show who is told by itself, try it, or mute it

        Rotate a key:
          rotate       Replace a set's OpenAI key, until the old one is deleted
          rotation     Show who has changed to the new key, and if the old one can go
          bindings     List who sends what: workflows, nodes and other clients
          ack          Acknowledge a binding that is gone, or a fault that is dealt with
          accept       Accept what keyward cannot prove before an old key goes

        Keys, tokens and n8n:
          keys         See which keys keyward knows, when they expire, and revoke one
          token        Make, list, rotate and revoke tokens that n8n holds for a key
          n8n          Ask n8n what is configured, and lead its credentials to keyward

        For programs:
          health       Ask a running keyward whether it lives and takes requests
          completions  Print what a shell needs to complete keyward's command lines
          man          Print a manual page
          help         Print this, or the help of a command

        Options:
          -h, --help     Print help
          -V, --version  Print version

        Example: keyward serve --listen 0.0.0.0:8080
        ");
    }

    #[test]
    fn every_command_stands_in_one_group_and_in_one_row_of_80_columns() {
        let mut grouped: Vec<_> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let command = Cli::command();
        let mut all: Vec<_> = command.get_subcommands().map(clap::Command::get_name).chain(["help"]).collect();
        grouped.sort_unstable();
        all.sort_unstable();
        assert_eq!(grouped, all);
        let help = command_in_short().term_width(80).try_get_matches_from(["keyward", "-h"]).expect_err("an answer");
        for help in [answer(&["--help"]), help.to_string()] {
            assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
        }
    }

    #[test]
    fn a_short_help_has_no_paragraphs() {
        let command = command_in_short().term_width(80);
        let help = command.try_get_matches_from(["keyward", "token", "new", "-h"]).expect_err("an answer").to_string();
        let (_, after) = help.split_once("Print help\n\n").expect("what follows the options");
        assert_eq!(after, "Example: keyward token new default --name n8n\nMore: keyward token new --help\n");
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
        Show a day with a rotation in it, with nothing of yours

        Usage: keyward demo [OPTIONS]

        Options:
              --speed <N>     Let the day go by that many times faster than in life [default: 1200]
              --log <FORMAT>  Write the log for people or for programs [default: human on a terminal,
                              otherwise json] [possible values: human, json]
              --seed <N>      Choose the moments at which workflows run [default: 1]
              --keep          Stay at the end of the day, for the page in the browser, until Ctrl-C
          -h, --help          Print help

        A real keyward stands between a simulated n8n of twenty workflows and a stand-in for OpenAI. In the
        course of a day the key is rotated, and nodes that go on with the old one show up. Everything stays
        on this machine, the keys open nothing, and nothing is left behind. It takes a minute. The link that
        it prints shows the rotation in a browser, as it happens.

        Example: keyward demo --speed 600 --keep
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
            let code = run_with(arguments, &environment, |config, _| match config.proxy.listen.port() {
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
