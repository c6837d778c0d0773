//! Asking the person at the terminal: for a key, which is not shown while it is pasted, and for a yes.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::str::FromStr;

use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::output::remark;
use crate::check::fault_of_key;
use crate::keys::secret::Secret;
use crate::keys::source::Source;

/// Where a command takes a key from, as its arguments say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyFrom {
    /// A person pastes it.
    Prompt,
    /// Standard input holds it and nothing else.
    Stdin,
    /// It is the set's own current key.
    Current,
    /// A file or a variable holds it.
    Place(Source),
}

impl FromStr for KeyFrom {
    type Err = &'static str;

    /// The sentence of a refusal never quotes the text, which may be a key.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "prompt" => Ok(Self::Prompt),
            "stdin" => Ok(Self::Stdin),
            "current" => Ok(Self::Current),
            _ => match text.split_once(':') {
                Some(("file", path)) if !path.is_empty() => Ok(Self::Place(Source::File(path.into()))),
                Some(("env", name)) if !name.is_empty() => Ok(Self::Place(Source::Env(name.into()))),
                _ => {
                    Err("a key comes from: prompt, stdin, file:<path>, env:<name> or current; it is never an argument")
                }
            },
        }
    }
}

impl KeyFrom {
    /// The key. `current` is where the set's own stands, if it is declared.
    pub(super) fn read(&self, current: Option<&Source>) -> anyhow::Result<Secret> {
        let secret = match self {
            Self::Prompt => ask_for_key()?,
            Self::Stdin => read_all()?.parse().context("standard input holds no key")?,
            Self::Current => read_place(current.context("the set has no declared current key (keys.<set>.current)")?)?,
            Self::Place(source) => read_place(source)?,
        };
        match fault_of_key(secret.expose()) {
            Some(what) => bail!("what was given is {what}, and no key"),
            None => Ok(secret),
        }
    }
}

/// Whether a person can be asked.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal()
}

/// Whether the person says yes. Everything else is a no, and so is an end of the input.
pub(super) fn says_yes(question: &str) -> anyhow::Result<bool> {
    Ok(matches!(&*answer_to(&format!("{question} [y/N] "))?, "y" | "Y" | "yes"))
}

/// The one of these words that the person chooses, written out in full; nothing for no answer, or none of them three times.
pub(super) fn choose<'w>(question: &str, words: &[&'w str]) -> anyhow::Result<Option<&'w str>> {
    for _ in 0..3 {
        let answer = answer_to(&format!("{question} [{}] ", words.join(" / ")))?;
        let chosen = words.iter().copied().find(|word| *word == answer);
        if chosen.is_some() || answer.is_empty() {
            return Ok(chosen);
        }
        remark(format_args!("Answer with one whole word: {}.", words.join(", ")));
    }
    Ok(None)
}

fn answer_to(question: &str) -> anyhow::Result<String> {
    let _ = write!(io::stderr(), "{question}");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("the answer cannot be read")?;
    Ok(answer.trim().to_owned())
}

fn read_place(source: &Source) -> anyhow::Result<Secret> {
    source.read().with_context(|| format!("no key can be read from {source}"))
}

fn read_all() -> anyhow::Result<Zeroizing<String>> {
    // As large at once as it may become, so that no copy of it is left behind where it grew.
    let mut text = Zeroizing::new(String::with_capacity(LONGEST));
    io::stdin().lock().take(LONGEST as u64).read_to_string(&mut text).context("standard input cannot be read")?;
    Ok(text)
}

fn ask_for_key() -> anyhow::Result<Secret> {
    if !can_ask() {
        bail!("the key cannot be asked for, since standard input is no terminal: --key-from names another place");
    }
    let _ = write!(io::stderr(), "Paste the key (it is not shown) and press Enter: ");
    let pasted = Hidden::begin().and_then(|_hidden| read_line());
    remark("");
    pasted.context("the key cannot be read")?.parse().context("that is no key")
}

/// Byte by byte, for the terminal does not edit lines now.
fn read_line() -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
    for byte in io::stdin().lock().bytes() {
        match byte? {
            b'\r' | b'\n' | END_OF_INPUT => break,
            INTERRUPT => return Err(io::ErrorKind::Interrupted.into()),
            BACKSPACE | DELETE => drop(line.pop()),
            byte if line.len() < LONGEST => line.push(byte),
            _ => break,
        }
    }
    let text = std::str::from_utf8(&line).map_err(|_no_text| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// A terminal that shows nothing of what is typed, until this is dropped. Ctrl-C is a character meanwhile, so that nothing
/// ends keyward before the terminal is as it was.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&stdin, OptionalActions::Drain, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing any more.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// No key is longer.
const LONGEST: usize = 16 * 1024;

const INTERRUPT: u8 = 3;
const END_OF_INPUT: u8 = 4;
const BACKSPACE: u8 = 8;
const DELETE: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_from_a_place_and_never_as_an_argument() {
        assert_eq!("prompt".parse(), Ok(KeyFrom::Prompt));
        assert_eq!("env:OPENAI_API_KEY".parse(), Ok(KeyFrom::Place(Source::Env("OPENAI_API_KEY".into()))));
        assert_eq!("file:/run/key".parse(), Ok(KeyFrom::Place(Source::File("/run/key".into()))));
        for text in ["sk-proj-canary", "file:", "env:", "", "Prompt"] {
            let error = text.parse::<KeyFrom>().expect_err(text);
            assert!(!error.contains("canary"));
        }
    }
}
