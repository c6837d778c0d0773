//! What the tests are written with: a keyward in this process, an upstream that follows a script, and a client that
//! sees every byte.

mod certificate;
mod client;
mod corpus;
pub mod http2;
mod n8n;
mod proxy;
mod recording;
mod request;
mod stream;
mod strict;
mod trial;
mod upstream;
pub mod upstream2;
mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

pub use self::certificate::Certificate;
pub use self::client::{Answer, Client};
pub use self::corpus::{Case, corpus};
pub use self::n8n::{API_KEY, FakeN8n, NODE, WORKFLOW};
pub use self::proxy::{Builder, CURRENT, NEXT, OUTDATED, TOKEN, TestProxy, UNLISTED, head_of};
pub use self::recording::{Recording, recording, recordings, recordings_beyond_nodes};
pub use self::request::Request;
pub use self::strict::StrictUpstream;
pub use self::trial::{Pieces, Trial};
pub use self::upstream::{Answering, FakeUpstream, Received, Visit};
pub use self::wire::{Framing, Head};

/// How long anything may take before a test fails: long, for the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives something.
#[track_caller]
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends those who ask until this is set, also where the test has failed meanwhile.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets one side of a test go on when the other says so: each `open` lets one `pass` through.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<usize>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_all();
    }

    #[track_caller]
    pub fn pass(&self) {
        let opened = self.0.0.lock().unwrap();
        let (mut opened, waited) = self.0.1.wait_timeout_while(opened, DEADLINE, |opened| *opened == 0).unwrap();
        assert!(!waited.timed_out(), "the gate stayed closed");
        *opened -= 1;
    }
}
