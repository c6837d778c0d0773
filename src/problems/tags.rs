//! Pure. Clients whose tags cannot be read, told from how exchanges begin: most of all a tag that was pasted into n8n's
//! credential without the field being switched to *Expression*, so that `{{ … }}` arrives as it is written.
//!
//! A client is a set, an address and a client family: its tag is all that would tell more. One is in trouble from its first
//! tag that cannot be read until one that can comes from there, or none at all comes for an hour. Where both come by turns,
//! several credentials are behind it, so that a good tag no longer shows that the other one was mended: then the hour decides.
//!
//! n8n's Instance AI resolves no expression, so what its requests say there is as it should be.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::caller::Family;
use crate::clock::Timestamp;
use crate::keys::set::SetIndex;
use crate::ledger::identity::BindingId;

/// What the tag of an exchange shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// It was read.
    Good,
    /// n8n's expression stands in it as it was written.
    Unresolved,
    /// Something else is wrong with it.
    Unreadable,
}

/// Where a tag came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub set: SetIndex,
    pub peer: IpAddr,
    pub family: Family,
}

/// The clients whose tags cannot be read.
#[derive(Debug, Default)]
pub struct Tags(Vec<Entry>);

/// What there is to tell of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfSet {
    pub set: SetIndex,
    /// When the first of those tags came.
    pub since: Timestamp,
    /// When the last one did.
    pub last: Timestamp,
    /// How many did.
    pub requests: u64,
    /// On how many bindings; at [`MOST_BINDINGS`] of a client there may be more.
    pub bindings: usize,
    /// From where, and how many from there: most come first.
    pub clients: Vec<(Client, u64)>,
    /// Whether one of them is an expression as it was written.
    pub is_unresolved: bool,
}

#[derive(Debug)]
struct Entry {
    client: Client,
    since: Timestamp,
    last: Timestamp,
    requests: u64,
    bindings: HashSet<BindingId>,
    is_unresolved: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No good tag came from there.
    Open,
    /// A good one did.
    Mended,
    /// Both came by turns.
    Mixed,
}

impl Tags {
    /// Whether no good tag would change anything.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.0.iter().all(|entry| entry.state != State::Open)
    }

    /// Takes in the tag of an exchange that began then.
    pub fn note(&mut self, tag: Tag, client: Client, binding: BindingId, at: Timestamp) {
        let known = self.0.iter_mut().find(|entry| entry.client == client);
        match (known, tag) {
            (Some(entry), Tag::Good) => entry.mend(at),
            (None, Tag::Good) => {}
            (Some(entry), _) => entry.add(tag, binding, at),
            (None, _) => self.begin(tag, client, binding, at),
        }
    }

    /// Forgets those from whom nothing bad came for an hour.
    pub fn forget(&mut self, now: Timestamp) {
        self.0.retain(|entry| now.since(entry.last) < LASTS);
    }

    /// What there is to tell now, set by set.
    #[must_use]
    pub fn open(&self, sets: impl Iterator<Item = SetIndex>) -> Vec<OfSet> {
        sets.filter_map(|set| self.of_set(set)).collect()
    }

    fn of_set(&self, set: SetIndex) -> Option<OfSet> {
        let own = || self.0.iter().filter(|entry| entry.client.set == set && entry.state != State::Mended);
        let mut clients: Vec<_> = own().map(|entry| (entry.client, entry.requests)).collect();
        clients.sort_by_key(|(client, requests)| (std::cmp::Reverse(*requests), client.peer));
        let bindings: HashSet<_> = own().flat_map(|entry| &entry.bindings).collect();
        Some(OfSet {
            set,
            since: own().map(|entry| entry.since).min()?,
            last: own().map(|entry| entry.last).max()?,
            requests: own().map(|entry| entry.requests).sum(),
            bindings: bindings.len(),
            clients,
            is_unresolved: own().any(|entry| entry.is_unresolved),
        })
    }

    /// Where there is no room, the client that was in trouble longest ago makes some.
    fn begin(&mut self, tag: Tag, client: Client, binding: BindingId, at: Timestamp) {
        if self.0.len() >= MOST_CLIENTS
            && let Some(oldest) = (0..self.0.len()).min_by_key(|place| self.0[*place].last)
        {
            self.0.swap_remove(oldest);
        }
        let mut entry = Entry {
            client,
            since: at,
            last: at,
            requests: 0,
            bindings: HashSet::new(),
            is_unresolved: false,
            state: State::Open,
        };
        entry.add(tag, binding, at);
        self.0.push(entry);
    }
}

impl Entry {
    fn add(&mut self, tag: Tag, binding: BindingId, at: Timestamp) {
        self.since = self.since.min(at);
        self.last = self.last.max(at);
        self.requests += 1;
        if self.bindings.len() < MOST_BINDINGS {
            self.bindings.insert(binding);
        }
        self.is_unresolved |= tag == Tag::Unresolved;
        if self.state == State::Mended {
            self.state = State::Mixed;
        }
    }

    /// A good one that began before the last bad one shows nothing.
    fn mend(&mut self, at: Timestamp) {
        if self.state == State::Open && at > self.last {
            self.state = State::Mended;
        }
    }
}

/// How long a client is told of from whom nothing more comes.
const LASTS: Duration = Duration::from_hours(1);

/// How many clients are told apart.
pub const MOST_CLIENTS: usize = 64;

/// How many bindings of a client are told apart.
pub const MOST_BINDINGS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000)
    }

    fn client(last: u8) -> Client {
        Client { set: SetIndex::DEFAULT, peer: [10, 0, 0, last].into(), family: Family::Sdk }
    }

    fn open(tags: &Tags) -> Option<OfSet> {
        tags.open([SetIndex::DEFAULT].into_iter()).pop()
    }

    #[test]
    fn a_tag_that_cannot_be_read_is_told_until_a_good_one_comes_from_there() {
        let mut tags = Tags::default();
        let (here, there, binding) = (client(1), client(2), BindingId(1));
        tags.note(Tag::Good, here, binding, minute(0));
        assert_eq!(open(&tags), None);
        tags.note(Tag::Unresolved, here, binding, minute(1));
        tags.note(Tag::Unresolved, here, BindingId(2), minute(2));
        let found = open(&tags).unwrap();
        assert_eq!((found.since, found.last, found.requests, found.bindings), (minute(1), minute(2), 2, 2));
        assert!(found.is_unresolved && !tags.is_calm());
        tags.note(Tag::Good, there, binding, minute(3));
        tags.note(Tag::Good, here, binding, minute(2));
        assert_eq!(open(&tags).unwrap().requests, 2, "another client's, and one that began before");
        tags.note(Tag::Good, here, binding, minute(3));
        assert_eq!(open(&tags), None);
        assert!(tags.is_calm());
    }

    #[test]
    fn where_good_and_bad_ones_come_by_turns_only_an_hour_without_a_bad_one_ends_it() {
        let mut tags = Tags::default();
        let binding = BindingId(1);
        for at in 0..4 {
            tags.note(Tag::Unreadable, client(1), binding, minute(10 * at));
            tags.note(Tag::Good, client(1), binding, minute(10 * at + 5));
        }
        let found = open(&tags).unwrap();
        assert_eq!((found.since, found.requests, found.is_unresolved), (minute(0), 4, false));
        tags.forget(minute(89));
        assert!(open(&tags).is_some());
        tags.forget(minute(90));
        assert_eq!(open(&tags), None);
    }

    #[test]
    fn there_is_room_for_so_many_clients() {
        let mut tags = Tags::default();
        for number in 0..=u8::try_from(MOST_CLIENTS).unwrap() {
            tags.note(Tag::Unresolved, client(number), BindingId(number.into()), minute(number.into()));
        }
        let found = open(&tags).unwrap();
        assert_eq!(found.clients.len(), MOST_CLIENTS);
        assert!(!found.clients.contains(&(client(0), 1)), "the oldest one made room");
        tags.note(Tag::Unresolved, client(9), BindingId(9), minute(100));
        assert_eq!(open(&tags).unwrap().clients[0], (client(9), 2), "most come first");
    }
}
