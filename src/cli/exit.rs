//! How the process ends where a command was not done: what is said of it, and with which code.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use super::output::{remark, trouble};
use crate::config::{Place, Problem, Problems};
use crate::telemetry::masked::mask_keys;

/// A disk that is full must not look like an answer. A reader that closed our output does not want to know.
pub(super) fn told_whole() -> anyhow::Result<()> {
    match trouble() {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CannotTell::from_error(anyhow::anyhow!("the answer could not be written: {error}")))
        }
        Some(_) | None => Ok(()),
    }
}

/// Says what kept a command from being done, and ends with what that stands for.
pub(super) fn tell_error(error: &anyhow::Error) -> ExitCode {
    if let Some(answer) = error.downcast_ref::<clap::Error>() {
        return print_answer(answer);
    }
    complain(format_args!("{error:#}"));
    if error.is::<CannotTell>() {
        ExitCode::from(CANNOT_TELL)
    } else if is_of_the_command_line(error) {
        ExitCode::from(USAGE)
    } else {
        ExitCode::FAILURE
    }
}

/// A question about the keys in use has no answer. It must not look like the answer that something is stale.
#[derive(Debug)]
pub(super) struct CannotTell(anyhow::Error);

impl CannotTell {
    pub(super) fn from_error(error: anyhow::Error) -> anyhow::Error {
        let names_no_file = error.downcast_ref::<Problems>().is_some_and(|problems| problems.iter().any(is_of_file));
        if is_of_the_command_line(&error) && !names_no_file { error } else { anyhow::Error::new(Self(error)) }
    }
}

impl fmt::Display for CannotTell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for CannotTell {}

/// Whether all that is wrong was said in the arguments.
fn is_of_the_command_line(error: &anyhow::Error) -> bool {
    let is_there = |problem: &Problem| matches!(problem.place, Place::CommandLine(_));
    error.downcast_ref::<Problems>().is_some_and(|problems| problems.iter().all(is_there))
}

/// A configuration file that cannot be read is as good as one that makes no sense, however it was named.
fn is_of_file(problem: &Problem) -> bool {
    problem.key == CONFIG_FILE
}

/// Help and version are answers as well: clap knows which of them is an error, and where it belongs.
pub(super) fn print_answer(answer: &clap::Error) -> ExitCode {
    let text = answer.to_string();
    // A reader that closed our output does not want to know.
    let _ = match mask_keys(&text) {
        // A mistake is quoted, and may have been a key in the wrong place.
        Cow::Owned(masked) => write!(io::stderr(), "{masked}"),
        Cow::Borrowed(_) => answer.print(),
    };
    u8::try_from(answer.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn complain(text: fmt::Arguments<'_>) {
    remark(format_args!("keyward: {}", mask_keys(&text.to_string())));
}

/// What a configuration is told of that cannot be read.
const CONFIG_FILE: &str = "config file";

/// As a command ends that was to tell whether something is stale and cannot.
const CANNOT_TELL: u8 = 3;

/// As clap ends where it cannot read the arguments.
const USAGE: u8 = 2;
