//! The last refusal of a connection, in words that are made once: a client that is refused often sends the same again.

use std::sync::Arc;

use bytes::Bytes;

use super::error_body::refusal_body;
use crate::caller::Family;
use crate::caller::declared::Origin;
use crate::confined::Confined;
use crate::ledger::sighting::Exchange;
use crate::policy::Refusal;
use crate::verdict::Judgement;
use crate::verdict::explain::{Diagnosis, Explanation};

/// The last refusal of the connection, if there was one.
#[derive(Default)]
pub struct LastRefusal(Confined<Option<(Cause, RefusalText)>>);

/// A refusal in words, made once for requests that are refused alike one after the other.
#[derive(Clone)]
pub struct RefusalText {
    /// What is wrong and what to do, for the log as well.
    pub explanation: Arc<Explanation>,
    /// The body of the answer, with what is wrong and what to do in it.
    pub body: Bytes,
}

impl LastRefusal {
    /// The words for an exchange that is refused: the last ones again, if nothing in them would be different.
    pub fn tell(
        &self,
        diagnosis: Diagnosis,
        exchange: &Exchange,
        generations: [u64; 2],
        explain: impl FnOnce() -> Explanation,
    ) -> RefusalText {
        let mut last = self.0.get();
        if let Some((_, text)) = last.as_ref().filter(|(cause, _)| cause.is_of(diagnosis, exchange, generations)) {
            return text.clone();
        }
        let explanation = explain();
        let body = refusal_body(diagnosis, &explanation);
        let text = RefusalText { explanation: Arc::new(explanation), body };
        *last = Some((Cause::of(diagnosis, exchange, generations), text.clone()));
        text
    }
}

/// All that the words depend on, but for the peer, which is the connection's.
struct Cause {
    diagnosis: Diagnosis,
    judgement: Judgement,
    refusal: Option<Refusal>,
    /// Of the ring, which knows the names of sets and whether their keys are known, and of n8n's names.
    generations: [u64; 2],
    family: Family,
    origin: Origin,
    sender: [Option<Box<str>>; 3],
}

impl Cause {
    fn of(diagnosis: Diagnosis, exchange: &Exchange, generations: [u64; 2]) -> Self {
        Self {
            diagnosis,
            judgement: exchange.judgement,
            refusal: exchange.refusal,
            generations,
            family: exchange.family,
            origin: exchange.origin,
            sender: sender(exchange).map(|text| text.map(Box::from)),
        }
    }

    fn is_of(&self, diagnosis: Diagnosis, exchange: &Exchange, generations: [u64; 2]) -> bool {
        (self.diagnosis, self.refusal, self.generations) == (diagnosis, exchange.refusal, generations)
            && (self.family, self.origin) == (exchange.family, exchange.origin)
            && self.judgement == exchange.judgement
            && self.sender.each_ref().map(Option::as_deref) == sender(exchange)
    }
}

fn sender(exchange: &Exchange) -> [Option<&str>; 3] {
    [exchange.workflow(), exchange.workflow_name(), exchange.node()]
}
