//! `keyward completions` and `keyward man`: what a shell and `man` are told of the command line, made from itself.

use clap::error::ErrorKind;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::output::print;

/// What `keyward completions` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Print what a shell needs to complete keyward's command lines", after_help = COMPLETIONS_HELP)]
pub(super) struct CompletionsArguments {
    #[arg(value_name = "SHELL", help = "For which shell")]
    shell: Shell,
}

impl CompletionsArguments {
    pub(super) fn run(self, mut command: Command) {
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        print(String::from_utf8_lossy(&script).trim_end());
    }
}

/// What `keyward man` takes.
#[derive(Args, Debug)]
#[command(about = "Print a manual page", after_help = MAN_HELP)]
pub(super) struct ManArguments {
    #[arg(value_name = "COMMAND", help = "The command that it is about; without one, keyward itself")]
    command: Vec<String>,
}

impl ManArguments {
    /// An error is clap's, about a command that there is not.
    pub(super) fn run(self, mut command: Command) -> Result<(), clap::Error> {
        command.build();
        let page = Man::new(find(&command, &self.command)?.clone());
        let mut text = Vec::new();
        page.render(&mut text)?;
        print(String::from_utf8_lossy(&text).trim_end());
        Ok(())
    }
}

/// `token new` in `keyward`.
fn find<'a>(command: &'a Command, names: &[String]) -> Result<&'a Command, clap::Error> {
    names.iter().try_fold(command, |command, name| {
        command.find_subcommand(name).ok_or_else(|| {
            let text = format!("there is no page about `{name}`: `keyward help` lists the commands\n");
            clap::Error::raw(ErrorKind::InvalidSubcommand, text)
        })
    })
}

const COMPLETIONS_HELP: &str = "\
Where they go:
  bash  ~/.local/share/bash-completion/completions/keyward
  fish  ~/.config/fish/completions/keyward.fish
  zsh   a file _keyward in a folder of $fpath

Example: keyward completions bash > ~/.local/share/bash-completion/completions/keyward";

const MAN_HELP: &str = "\
Each command has a page of its own, such as `keyward man token new`.

Example: keyward man > ~/.local/share/man/man1/keyward.1";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::ValueEnum;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_is_completed_in_every_shell() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "keyward", &mut script);
            let script = String::from_utf8_lossy(&script);
            for word in ["serve", "check", "token", "revoke", "fingerprint", "health", "online"] {
                assert!(script.contains(word), "{word} is not completed in {shell}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page_and_nothing_else_has() {
        let mut command = Cli::command();
        command.build();
        for (names, title) in [("", "keyward"), ("token", "keyward\\-token"), ("token new", "keyward\\-token\\-new")] {
            let names: Vec<_> = names.split_whitespace().map(str::to_owned).collect();
            let mut page = Vec::new();
            Man::new(find(&command, &names).expect("a command").clone()).render(&mut page).expect("a page");
            let page = String::from_utf8_lossy(&page);
            assert!(page.contains(&format!(".SH NAME\n{title} ")) && page.contains("Example: keyward "), "{page}");
        }
        for names in [&["dance"][..], &["token", "dance"], &["token", "new", "default"]] {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let error = find(&command, &names).expect_err("no command").to_string();
            assert!(error.contains("`keyward help` lists the commands"), "{error}");
        }
    }
}
