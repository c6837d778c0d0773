//! Pure. The evidence as rows of its store: each has a kind, an id and a JSON text, and replaces what stood under that name.

use super::senders::RowName;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::binding::Binding;
use super::identity::BindingId;
use super::senders::{self, Address, Client, Record, RecordName, Run, SenderUse, Senders, Waiting};
use super::sent::{Execution, Sent};
use crate::clock::Timestamp;

/// A row as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What it is about.
    pub kind: Box<str>,
    pub id: Box<str>,
    /// Its value; nothing where it is to be removed.
    pub value: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct WaitingRow {
    binding: BindingId,
    sent: StoredSent,
}

/// As [`Sent`], which has a part of the API by a name that lives for ever.
#[derive(Serialize, Deserialize)]
struct StoredSent {
    key: crate::keys::fingerprint::Fingerprint,
    peer: std::net::IpAddr,
    execution: Option<Execution>,
    first: Timestamp,
    last: Timestamp,
    accepted: bool,
    is_previous: bool,
    #[serde(default)]
    outdated: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Timestamp>,
}

impl Senders {
    /// The rows that changed since they were last asked for, at most so many. What is given counts as stored.
    pub fn take_changed(&mut self, most: usize) -> Vec<Stored> {
        let names: Vec<_> = self.changed.iter().take(most).cloned().collect();
        let rows = names.iter().map(|name| self.row(name)).collect();
        for name in &names {
            self.changed.remove(name);
        }
        rows
    }

    /// Whether a row is to be stored.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Has all rows stored anew.
    pub fn untell(&mut self) {
        let mut all = BTreeSet::new();
        all.extend((0..self.addresses.len()).map(|place| RowName::Address(senders::small(place))));
        all.extend(self.uses.keys().copied().map(RowName::Uses));
        all.extend(self.runs.keys().map(|(record, address)| RowName::Run(record.clone(), *address)));
        all.extend(self.records.keys().cloned().map(RowName::Record));
        all.extend(self.clients.keys().cloned().map(RowName::Client));
        all.extend(self.n8ns.keys().cloned().map(RowName::N8n));
        all.extend(self.waiting.keys().copied().map(RowName::Waiting));
        all.extend(self.cramped.map(|_| RowName::Cramped));
        all.extend(self.accepted.keys().copied().map(RowName::Accepted));
        self.changed = all;
    }

    /// Takes in what was stored. A row that cannot be read is told by its name: what it said is not known.
    pub fn absorb(&mut self, rows: Vec<Stored>, bindings: &HashMap<BindingId, Arc<Binding>>) -> Vec<Box<str>> {
        let mut unread = Vec::new();
        let mut addresses = Vec::new();
        for row in rows {
            let Some(value) = &row.value else { continue };
            if self.absorb_row(&row, value, bindings, &mut addresses).is_none() {
                unread.push(format!("{} {}", row.kind, row.id).into());
            }
        }
        addresses.sort_by_key(|(place, _)| *place);
        // A place that is missing would move all behind it.
        let is_whole = addresses.iter().enumerate().all(|(place, (known, _))| usize::from(*known) == place);
        if is_whole {
            self.addresses = addresses.into_iter().map(|(_, address)| address).collect();
        } else {
            unread.push("addresses".into());
            self.uses.clear();
        }
        unread
    }

    fn absorb_row(
        &mut self,
        row: &Stored,
        value: &str,
        bindings: &HashMap<BindingId, Arc<Binding>>,
        addresses: &mut Vec<(u16, Address)>,
    ) -> Option<()> {
        match &*row.kind {
            "address" => addresses.push((row.id.parse().ok()?, parse(value)?)),
            "uses" => drop(self.uses.insert(binding_id(&row.id)?, parse::<Vec<SenderUse>>(value)?.into())),
            "run" => {
                let (address, record) = row.id.split_once(' ')?;
                self.runs.insert((record_name(record)?, address.parse().ok()?), parse::<Run>(value)?);
            }
            "record" => drop(self.records.insert(record_name(&row.id)?, parse::<Record>(value)?)),
            "client" => drop(self.clients.insert(row.id.clone(), parse::<Client>(value)?)),
            "n8n" => drop(self.n8ns.insert(row.id.clone(), parse(value)?)),
            "waiting" => {
                let (number, stored) = (row.id.parse().ok()?, parse::<WaitingRow>(value)?);
                let binding = Arc::clone(bindings.get(&stored.binding)?);
                self.next = self.next.max(number);
                let before = stored.sent.before;
                self.waiting.insert(number, Waiting { binding, sent: stored.sent.into(), before, round: 0 });
            }
            "cramped" => self.cramped = Some(parse(value)?),
            "accepted" => drop(self.accepted.insert(row.id.parse().ok()?, parse(value)?)),
            _unknown => return None,
        }
        Some(())
    }

    fn row(&self, name: &RowName) -> Stored {
        let stored = |kind: &str, id: String, value: Option<String>| Stored { kind: kind.into(), id: id.into(), value };
        match name {
            RowName::Address(place) => {
                stored("address", place.to_string(), self.addresses.get(usize::from(*place)).map(text))
            }
            RowName::Uses(binding) => stored("uses", binding.to_hex(), self.uses.get(binding).map(text)),
            RowName::Run(record, address) => {
                let value = self.runs.get(&(record.clone(), *address)).map(text);
                stored("run", format!("{address} {} {}", record.n8n, record.id), value)
            }
            RowName::Record(record) => {
                stored("record", format!("{} {}", record.n8n, record.id), self.records.get(record).map(text))
            }
            RowName::Client(client) => stored("client", client.to_string(), self.clients.get(client).map(text)),
            RowName::N8n(n8n) => stored("n8n", n8n.to_string(), self.n8ns.get(n8n).map(text)),
            RowName::Waiting(number) => {
                let row = self
                    .waiting
                    .get(number)
                    .map(|waiting| WaitingRow { binding: waiting.binding.id(), sent: StoredSent::of(waiting) });
                stored("waiting", number.to_string(), row.as_ref().map(text))
            }
            RowName::Accepted(number) => stored("accepted", number.to_string(), self.accepted.get(number).map(text)),
            RowName::Cramped => stored("cramped", String::new(), self.cramped.as_ref().map(text)),
        }
    }
}

impl StoredSent {
    fn of(waiting: &Waiting) -> Self {
        let Sent { key, peer, execution, first, last, accepted, is_previous, outdated, endpoint: _ } = waiting.sent;
        Self { key, peer, execution, first, last, accepted, is_previous, outdated, before: waiting.before }
    }
}

impl From<StoredSent> for Sent {
    fn from(stored: StoredSent) -> Self {
        let StoredSent { key, peer, execution, first, last, accepted, is_previous, outdated, before: _ } = stored;
        Self { key, peer, execution, first, last, accepted, is_previous, outdated, endpoint: "other" }
    }
}

fn text<T: Serialize + ?Sized>(value: &T) -> String {
    // Plain values of our own: nothing in them can fail to be written.
    serde_json::to_string(value).unwrap_or_default()
}

fn parse<T: DeserializeOwned>(value: &str) -> Option<T> {
    serde_json::from_str(value).ok()
}

fn binding_id(digits: &str) -> Option<BindingId> {
    u64::from_str_radix(digits, 16).ok().map(BindingId)
}

/// An n8n's name has no space in it, as the configuration allows none.
fn record_name(text: &str) -> Option<RecordName> {
    let (n8n, id) = text.split_once(' ')?;
    Some(RecordName { n8n: n8n.into(), id: id.into() })
}
