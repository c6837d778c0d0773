//! Named threads with a runtime of their own: the only place where keyward starts one for its concerns.

use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};

/// Runs `concern` to its end on a thread of that name. The thread's runtime is its own: nothing moves between threads.
pub fn run<F, U>(name: String, concern: F) -> io::Result<JoinHandle<()>>
where
    F: FnOnce() -> U + Send + 'static,
    U: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    thread::Builder::new().name(name).spawn(move || runtime.block_on(async { concern().await }))
}
