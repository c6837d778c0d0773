//! What lasts as long as a client's connection, and saves its next request a second look.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use zeroize::Zeroize;

use super::context::WorkerContext;
use super::last_refusal::LastRefusal;
use super::upgrade::Upgraded;
use crate::clock::Timestamp;
use crate::confined::Confined;
use crate::head::{Field, Fields};
use crate::keys::fingerprint::Fingerprint;
use crate::keys::secret::is_same;
use crate::keys::set::{KeyRing, SetIndex};
use crate::ledger::binding::Binding;
use crate::ledger::identity::Identity;
use crate::locks::lock;
use crate::net::protocol::Protocol;
use crate::verdict::credential::Credential;
use crate::verdict::{self, Judgement};

/// What lasts as long as a client's connection.
pub struct Session {
    /// What its requests need of their worker.
    pub worker: Arc<WorkerContext>,
    /// The client's address; behind a load balancer that says so, the one that it names.
    pub peer: IpAddr,
    /// What the client speaks.
    pub protocol: Protocol,
    /// What it was told when it was refused last.
    pub last_refusal: LastRefusal,
    last_binding: Confined<Option<Arc<Binding>>>,
    memo: Confined<Memo>,
    upgraded: Mutex<Option<Box<Upgraded>>>,
    has_stalled: AtomicBool,
    last_key: AtomicU64,
}

/// What the connection's last credential was judged to be.
#[derive(Default)]
struct Memo {
    authorization: Vec<u8>,
    declared: Option<SetIndex>,
    generation: u64,
    judgement: Option<Judgement>,
}

impl Drop for Memo {
    fn drop(&mut self) {
        self.authorization.zeroize();
    }
}

impl Session {
    /// Of a client connection that begins: no credential was judged yet, and no answer refused.
    #[must_use]
    pub fn new(worker: Arc<WorkerContext>, peer: IpAddr, protocol: Protocol) -> Self {
        Self {
            worker,
            peer,
            protocol,
            last_refusal: LastRefusal::default(),
            last_binding: Confined::default(),
            memo: Confined::default(),
            upgraded: Mutex::default(),
            has_stalled: AtomicBool::default(),
            last_key: AtomicU64::default(),
        }
    }

    /// Notes that the connection ends because the client takes nothing of what is written to it.
    pub fn give_up(&self) {
        self.has_stalled.store(true, Ordering::Relaxed);
    }

    /// Whether it ends for that reason.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.has_stalled.load(Ordering::Relaxed)
    }

    /// Whether upstream took another key over this connection before, or none. Keys that look alike to this are rare.
    #[must_use]
    pub fn is_other_key(&self, key: Fingerprint) -> bool {
        let number = key.number();
        let is_other = self.last_key.load(Ordering::Relaxed) != number;
        if is_other {
            self.last_key.store(number, Ordering::Relaxed);
        }
        is_other
    }

    /// Has the connection carry another protocol as soon as its last answer is out.
    pub fn upgrade_to(&self, upgraded: Upgraded) {
        *lock(&self.upgraded) = Some(Box::new(upgraded));
    }

    /// What the connection carries from now on, if it is no HTTP.
    #[must_use]
    pub fn take_upgraded(&self) -> Option<Box<Upgraded>> {
        lock(&self.upgraded).take()
    }

    /// The binding of `identity`: mostly that of the connection's last request, which is found without a look-up.
    #[must_use]
    pub fn binding(&self, identity: &Identity<'_>) -> Arc<Binding> {
        let mut last = self.last_binding.get();
        if let Some(binding) = last.as_ref().filter(|binding| binding.is(identity)) {
            return Arc::clone(binding);
        }
        let binding = self.worker.shared.ledger.binding(identity);
        *last = Some(Arc::clone(&binding));
        binding
    }

    /// Judges a request's credential: looks again only when its bytes, the declared set or the ring have changed.
    #[must_use]
    pub fn judge(&self, fields: &Fields<'_>, declared: Option<SetIndex>, ring: &KeyRing, now: Timestamp) -> Judgement {
        let judge = || verdict::judge(&Credential::read(fields), declared, ring, now);
        let only_place = !fields.api_key.is_present() && !fields.websocket_protocol.is_present();
        let Field::One(authorization) = fields.authorization else { return judge() };
        if !only_place {
            return judge();
        }
        let mut memo = self.memo.get();
        // A proxy in front may let several clients share a connection: no client may find out by timing what another one sent.
        if let Some(judgement) = memo.judgement
            && is_same(&memo.authorization, authorization)
            && (memo.declared, memo.generation) == (declared, ring.generation())
        {
            return judgement.at(now);
        }
        let judgement = judge();
        memo.remember(authorization, declared, ring.generation(), judgement);
        judgement
    }
}

impl Memo {
    fn remember(&mut self, bytes: &[u8], declared: Option<SetIndex>, generation: u64, judgement: Judgement) {
        self.authorization.zeroize();
        self.judgement = None;
        // What is longer than any key is judged quickly, and not worth keeping.
        if bytes.len() <= 1024 {
            self.authorization.extend_from_slice(bytes);
            (self.declared, self.generation, self.judgement) = (declared, generation, Some(judgement));
        }
    }
}
