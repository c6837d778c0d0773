//! Whether *can the old key go?* is ever answered wrongly, and whether *yes* comes where it is deserved: histories of rotations,
//! thrown by chance, whose truth is known.
//!
//! `cargo bench --bench histories -- --histories 2000` plays that many; `--only NAME` one scenario alone (`--only all`: each in
//! turn, unmixed), `--outside` those that break an assumption, `--subject` another subject than the rule's sketch. The same seed throws the same histories.
//! It fails where inside the assumptions one *yes* is wrong, where fewer than 95 % of the deserving histories get their *yes*,
//! or where the mixture of histories is not what it should be. A wrong *yes* is printed with what plays it again: `--history N --trace`.
//!
//! | part | |
//! |---|---|
//! | [`scenarios`], [`mixed`] | how a company's n8n stands, how its key is rotated, what goes wrong |
//! | [`world`], [`schedule`] | plays it out: who sends what, when and from where |
//! | [`history`] | puts one together, a quarter of them clean, and says on which side of the assumptions it is |
//! | [`truth`] | what is so: later uses, freedom, and from when on *yes* is deserved |
//! | [`looks`], [`drive`] | what keyward sees of it, and the questions |
//! | [`observed`] | what a subject gets, and what it answers: the door for anything to be tried |
//! | [`naive`], [`sketch`] | subjects: two that are wrong, which shows that this can fail, and an oracle with known rates |
//!
//! A run by hand in the editor sends what the *draft* of a workflow names, by the ids of the node that runs. Where a look names the
//! record of the running version for such a node, that run seems to prove a record that it never used: so looks at n8n 2.x name no
//! record for a node as long as its draft names another. n8n 1.x shows no draft; there a run by hand proves nothing.
//!
//! # Assumptions
//!
//! A history is inside when all of these hold; with `--outside` at least one does not.
//!
//! - Each living sender was seen once before the rotation began, or belongs to an n8n whose API is configured. (An Agent, Chat
//!   Hub or the editor is known by its traffic alone; its credential record is listed.)
//! - An address of a configured n8n that sends the old key later has not paused for more than 8 days and for longer than ever before.
//! - An untagged client runs at least every 8 days.
//! - Where several processes of one n8n share an address, it is declared (`shared_address`, `workers`). A clone may share one unsaid.
//! - Behind a declared address each process shows itself within ten times as many executions of a record as there are processes.
//! - On n8n 1.x, which lists no waiting execution, none of these comes back with a record that its node names no longer.
//! - What the owner says is so: `env_keys`, `workers`, and what is acknowledged.
//! - A use that comes once the owner has made the old key the current one again is theirs to bear.
//! - A process that stops takes the executions that it runs with it.
//! - The clock of n8n is right; keyward's may jump. n8n's answers have a `Date`.
//! - On n8n 1.x that saves no execution, a person does not try by hand what is not saved.

#![expect(clippy::print_stdout, reason = "this is how it tells")]

mod dice;
mod drive;
mod history;
mod keyward;
mod looks;
mod mixed;
mod naive;
mod observed;
mod report;
mod scenarios;
mod schedule;
mod sketch;
mod truth;
mod world;

use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use clap::{Parser, ValueEnum};

use drive::{Course, drive};
use history::{Choice, History};
use observed::{Statements, Subject};
use report::{Report, Told};

#[derive(Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Arguments {
    /// How many histories.
    #[arg(long, default_value_t = 2_000)]
    histories: u64,
    /// Only these scenarios, in turn and unmixed; `all` for each of them.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// What the histories are thrown from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only the history of that number.
    #[arg(long)]
    history: Option<u64>,
    /// Those outside the assumptions.
    #[arg(long)]
    outside: bool,
    /// The owner says all that can be said.
    #[arg(long)]
    said: bool,
    /// Prints all that is seen, and each answer.
    #[arg(long)]
    trace: bool,
    #[arg(long, value_enum, default_value = "keyward")]
    subject: Chosen,
    /// How many wrong and denied ones are printed.
    #[arg(long, default_value_t = 20)]
    show: usize,
    /// What `cargo bench` says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be asked.
#[derive(Clone, Copy, ValueEnum)]
enum Chosen {
    /// Always says yes.
    Always,
    /// Says yes after an hour of silence.
    Quiet,
    /// The rule in a few lines.
    Sketch,
    Keyward,
}

impl Chosen {
    fn subject(self, statements: &Statements) -> Box<dyn Subject> {
        match self {
            Self::Always => Box::new(naive::AlwaysYes),
            Self::Quiet => Box::new(naive::Quiet::new(statements.asked)),
            Self::Sketch => Box::new(sketch::Sketch::new(statements)),
            Self::Keyward => Box::new(keyward::Keyward::new(statements)),
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.only.iter().any(|name| name == "all") {
        arguments.only = history::scenarios().map(str::to_owned).collect();
    }
    if let Some(unknown) =
        arguments.only.iter().find(|name| *name != "clean" && history::scenarios().all(|known| known != *name))
    {
        println!("there is no scenario {unknown}; there are: {}", history::scenarios().collect::<Vec<_>>().join(", "));
        return ExitCode::FAILURE;
    }
    let (only, outside) = (arguments.only.clone(), arguments.outside);
    let choice = Choice { seed: arguments.seed, only, outside, said: arguments.said };
    let numbers: Vec<u64> = arguments.history.map_or_else(|| (0..arguments.histories).collect(), |number| vec![number]);
    let began = Instant::now();
    let report = Report::new(play_all(&numbers, &choice, &arguments));
    println!(
        "{}\n{}{}",
        report.write(),
        report.wrong(choice.seed, arguments.show),
        report.denied(choice.seed, arguments.show)
    );
    println!("{} histories from seed {} in {:.1} s", numbers.len(), choice.seed, began.elapsed().as_secs_f64());
    println!("{}", report.count());
    let is_mixture = choice.only.is_empty() && !choice.outside && numbers.len() >= 2_000;
    if is_mixture && !report.is_balanced() {
        println!("the mixture is not what it should be: a fault in under 3 %, or under a quarter clean");
        return ExitCode::FAILURE;
    }
    if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// In two threads.
fn play_all(numbers: &[u64], choice: &Choice, arguments: &Arguments) -> Vec<Told> {
    thread::scope(|scope| {
        let (even, odd): (Vec<u64>, Vec<u64>) = numbers.iter().copied().partition(|number| number / 64 % 2 == 0);
        let threads = [even, odd].map(|numbers| scope.spawn(move || play(&numbers, choice, arguments)));
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn play(numbers: &[u64], choice: &Choice, arguments: &Arguments) -> Vec<Told> {
    let mut all = Vec::with_capacity(numbers.len());
    for number in numbers {
        let history = History::new(*number, choice);
        let course = ask(&history, arguments);
        all.push(Told::new(&history, course));
    }
    all
}

fn ask(history: &History, arguments: &Arguments) -> Course {
    let mut subject = arguments.subject.subject(&history.world.statements);
    let mut tell = |line: std::fmt::Arguments<'_>| {
        if arguments.trace {
            println!("{line}");
        }
    };
    if arguments.trace {
        println!("{:?}\nfaults {:?}", history.world.statements, history.world.faults);
        println!("free {}", drive::Spelled(history.truth.free));
        println!("deserved {:?}", history.truth.deserved.map(|at| drive::Spelled(at).to_string()));
    }
    drive(&history.world, &history.plan, &history.truth, subject.as_mut(), &mut tell)
}
