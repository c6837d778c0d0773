//! Telling the running keyward of a test of a credential record that a command has n8n make, so that it is no use of the key;
//! and hearing from it whether the test came there.

use std::time::Duration;

use super::client::{Client, Said};
use super::setup::Setup;
use crate::answers;
use crate::answers::link::{PressBegun, PressEnded};
use crate::keys::fingerprint::Fingerprint;
use crate::n8n::client::{ClientError, encoded};
use crate::n8n::documents::Tested;

/// The keyward that is told, if one runs.
pub(super) struct Told(Result<Client, String>);

/// A test of a record: what n8n says of it, and what the running keyward does.
#[derive(Clone, Debug)]
pub(super) struct Test {
    /// Nothing where this n8n's API cannot test.
    pub(super) said: Option<Tested>,
    pub(super) came: Came,
}

/// What the running keyward says of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// It cannot be asked, for that reason.
    Untold(String),
    /// No request of the test came there.
    Nothing,
    /// One did.
    Request {
        /// The key of the test; nothing where it cannot be told which one it was.
        key: Option<Fingerprint>,
        /// What keyward judged of it, by its code.
        verdict: String,
    },
}

// === impl Told ===

impl Told {
    /// The one with that configuration.
    pub(super) fn new(setup: &Setup) -> Self {
        let client = Client::new(setup).map_err(|error| format!("{error:#}"));
        Self(client.and_then(|client| {
            if client.is_answered() { Ok(client) } else { Err(format!("no keyward runs at {}", client.address())) }
        }))
    }

    /// Why none can be told, where that is so.
    pub(super) fn why_not(&self) -> Option<&str> {
        self.0.as_ref().err().map(String::as_str)
    }

    /// Has n8n test a record, with keyward told before and after. A keyward that cannot be told takes the test for the editor's,
    /// as it is. Where n8n says that it went well, but keyward cannot tell which request was the test's or has none yet, it is
    /// made again.
    pub(super) async fn of_test(
        &self,
        n8n: &str,
        record: &str,
        test: impl AsyncFn() -> Result<Option<Tested>, ClientError>,
    ) -> Result<Test, ClientError> {
        let path = format!("/api/v1/n8n/{}/credentials/{}/press", encoded(n8n), encoded(record));
        let mut tested = self.once(&path, UNTIL_TAKEN_DOWN[0], &test).await?;
        for pause in &UNTIL_TAKEN_DOWN[1..] {
            if !tested.is_open() {
                break;
            }
            tested = self.once(&path, *pause, &test).await?;
        }
        Ok(tested)
    }

    async fn once(
        &self,
        path: &str,
        pause: Duration,
        test: &impl AsyncFn() -> Result<Option<Tested>, ClientError>,
    ) -> Result<Test, ClientError> {
        let begun = self.begin(path).await;
        let said = test().await;
        let came = match begun {
            Ok(keyward) => {
                // The test's exchange ends there a moment after n8n knows of its end.
                tokio::time::sleep(pause).await;
                let is_good = matches!(&said, Ok(Some(tested)) if tested.is_good());
                end(keyward, path, is_good).await
            }
            Err(why) => Came::Untold(why),
        };
        Ok(Test { said: said?, came })
    }

    /// While keyward presses a test itself, it takes a moment until another one can be.
    async fn begin(&self, path: &str) -> Result<&Client, String> {
        let keyward = self.0.as_ref().map_err(String::clone)?;
        for _ in 0..TRIES {
            let answer = match keyward.asking("POST", path).await {
                Ok(Said::Answer(answer)) => answer,
                Ok(Said::NotRunning) => return Err(format!("no keyward runs at {}", keyward.address())),
                Err(error) => return Err(format!("{error:#}")),
            };
            match answers::read(&answer) {
                Ok(PressBegun { begun: true }) => return Ok(keyward),
                Ok(PressBegun { begun: false }) => tokio::time::sleep(BETWEEN).await,
                Err(_unreadable) => return Err(OF_ANOTHER_VERSION.to_owned()),
            }
        }
        Err("the keyward that runs is busy with tests of other credentials: try again".to_owned())
    }
}

async fn end(keyward: &Client, path: &str, is_good: bool) -> Came {
    let said = if is_good { "ok" } else { "error" };
    match keyward.asking("POST", &format!("{path}?said={said}")).await {
        Ok(Said::Answer(answer)) => match answers::read(&answer) {
            Ok(PressEnded { verdict: None, .. }) => Came::Nothing,
            Ok(PressEnded { key, verdict: Some(verdict) }) => Came::Request { key, verdict },
            Err(_unreadable) => Came::Untold(OF_ANOTHER_VERSION.to_owned()),
        },
        Ok(Said::NotRunning) => Came::Untold(format!("no keyward runs at {} any more", keyward.address())),
        Err(error) => Came::Untold(format!("{error:#}")),
    }
}

// === impl Test ===

impl Test {
    /// Whether n8n says that the service took the key; nothing where its API cannot test.
    pub(super) fn is_good(&self) -> Option<bool> {
        self.said.as_ref().map(Tested::is_good)
    }

    /// Whether a request that can be the test's came to the running keyward.
    pub(super) fn came_here(&self) -> bool {
        matches!(self.came, Came::Request { .. })
    }

    /// Whether keyward saw the test, and n8n says that it went well.
    pub(super) fn leads_here(&self) -> bool {
        self.is_good() == Some(true) && self.key().is_some()
    }

    /// The key that keyward saw in it.
    pub(super) fn key(&self) -> Option<Fingerprint> {
        if let Came::Request { key, .. } = &self.came { *key } else { None }
    }

    /// Whether another test may tell more.
    fn is_open(&self) -> bool {
        let is_told = !matches!(self.came, Came::Untold(_));
        is_told && self.is_good() == Some(true) && self.key().is_none()
    }
}

const OF_ANOTHER_VERSION: &str = "the keyward that runs gives another answer than this command reads: restart it if it was \
                                  upgraded";

/// How long after n8n's answer the test's exchange may still be on its way to where it is taken down, at each try.
const UNTIL_TAKEN_DOWN: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(300), Duration::from_secs(1)];

const BETWEEN: Duration = Duration::from_millis(50);

/// For as long as keyward waits for the end of a test that another command told of and left ([`crate::n8n::lent::PATIENCE`]), and a little longer.
const TRIES: usize = 640;
