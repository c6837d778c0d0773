//! How a running keyward is asked to take its configuration anew: the thread that has it answers.

use tokio::sync::{mpsc, oneshot};

use super::problem::{Kind, Problem};
use crate::answers::reload::Reload;

/// A question for the thread that has the configuration.
pub struct Wish {
    /// Whether it is only to say what it would do.
    pub is_dry_run: bool,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Reload>,
}

/// Asks that thread. One question after the other is answered.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<Wish>);

impl Reloads {
    /// With what hears the questions.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Wish>) {
        let (wishes, heard) = mpsc::channel(WAITING);
        (Self(wishes), heard)
    }

    /// Takes the configuration anew, or says what that would do.
    pub async fn ask(&self, is_dry_run: bool) -> Result<Reload, Problem> {
        let (answer, answered) = oneshot::channel();
        let gone = || Problem::new(Kind::Unavailable, "This keyward takes no configuration while it runs.");
        let wish = Wish { is_dry_run, answer };
        self.0.try_send(wish).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Problem::new(Kind::Unavailable, "Too many wait for a reload already.")
            }
            mpsc::error::TrySendError::Closed(_) => gone(),
        })?;
        answered.await.map_err(|_closed| gone())
    }
}

/// How many may wait at a time.
const WAITING: usize = 16;
