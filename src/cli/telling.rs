//! Telling the running keyward of a test of a credential record that a command has n8n make, so that it is no use of the key.

use std::future::Future;
use std::time::Duration;

use super::client::{Client, Said};
use super::setup::Setup;
use crate::answers;
use crate::answers::link::PressBegun;
use crate::n8n::client::{ClientError, encoded};
use crate::n8n::documents::Tested;

/// The keyward that is told, if one runs.
pub(super) struct Told(Option<Client>);

impl Told {
    /// The one with that configuration.
    pub(super) fn new(setup: &Setup) -> Self {
        Self(Client::new(setup).ok().filter(Client::is_answered))
    }

    /// Waits for what n8n says of a record, with keyward told before and after. A keyward that cannot be told takes the test
    /// for the editor's, as it is.
    pub(super) async fn of_test(
        &self,
        n8n: &str,
        record: &str,
        test: impl Future<Output = Result<Option<Tested>, ClientError>>,
    ) -> Result<Option<Tested>, ClientError> {
        let path = format!("/api/v1/n8n/{}/credentials/{}/press", encoded(n8n), encoded(record));
        let is_told = self.begin(&path).await;
        let tested = test.await;
        if is_told && let Some(keyward) = &self.0 {
            // The test's exchange ends here a moment after n8n knows of its end.
            tokio::time::sleep(UNTIL_TAKEN_DOWN).await;
            let is_good = matches!(&tested, Ok(Some(tested)) if tested.is_good());
            let said = if is_good { "ok" } else { "error" };
            // What cannot be told now ends by itself.
            let _ = keyward.asking("POST", &format!("{path}?said={said}")).await;
        }
        tested
    }

    /// While keyward presses a test itself, it takes a moment until another one can be.
    async fn begin(&self, path: &str) -> bool {
        let Some(keyward) = &self.0 else { return false };
        for _ in 0..TRIES {
            let Ok(Said::Answer(answer)) = keyward.asking("POST", path).await else { return false };
            match answers::read(&answer) {
                Ok(PressBegun { begun: true }) => return true,
                Ok(PressBegun { begun: false }) => tokio::time::sleep(BETWEEN).await,
                Err(_unreadable) => return false,
            }
        }
        false
    }
}

const UNTIL_TAKEN_DOWN: Duration = Duration::from_millis(50);

const BETWEEN: Duration = Duration::from_millis(50);

const TRIES: usize = 100;
