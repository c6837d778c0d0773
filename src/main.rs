//! The `keyward` binary: prepares the process, then hands over to the command line.

use std::process::ExitCode;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn main() -> ExitCode {
    grow_descriptor_table();
    keyward::cli::run(|config, reread| keyward::app::serve(&config, &reread))
}

/// Grows the table of file descriptors before there are threads: once there are, each time it grows the kernel waits
/// for all of them, which costs the requests of that moment some ten milliseconds.
fn grow_descriptor_table() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // A process that may not raise the limit keeps the one there is.
    let _ = setrlimit(Resource::Nofile, wanted);
    let most = getrlimit(Resource::Nofile).current.unwrap_or(TABLE).min(TABLE);
    let highest = i32::try_from(most.saturating_sub(1)).unwrap_or(i32::MAX);
    // Opening and closing the highest descriptor makes the table as large as it will be.
    drop(fcntl_dupfd_cloexec(std::io::stderr(), highest));
}

/// No more descriptors than these are prepared for: half a megabyte of the kernel's.
const TABLE: u64 = 65_536;
