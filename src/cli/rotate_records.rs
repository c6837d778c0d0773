//! The fifth step: n8n's credential records that hold the old key get the new one, before it is the current key, so that no
//! node is told of as stale. Taking a rotation back is the same with both keys changed round.

use std::collections::BTreeSet;

use anyhow::{Context, bail};

use super::output::remark;
use super::prompt::{can_ask, says_yes};
use super::records::Side;
use super::rotate::{Done, Obstacle, Rotation, read_key};
use super::rotate_ready::BY_HAND;
use super::telling::Told;
use crate::answers::audit::Instance;
use crate::clock::Timestamp;
use crate::keys::secret::Secret;
use crate::n8n::client::scope;
use crate::n8n::connect;
use crate::n8n::connections::{self, Written};
use crate::rotate::journal::RecordChange;
use crate::telemetry::event::with_causes;

impl Rotation {
    pub(super) fn n8n(&mut self) -> anyhow::Result<Done> {
        for found in self.records_with_old()? {
            if !self.run.records.iter().any(|known| (&known.n8n, &known.id) == (&found.n8n, &found.id)) {
                self.run.records.push(found);
            }
        }
        // What will be changed is known before it is.
        self.keep()?;
        let (new, old) = (self.announced_new()?, read_key(&self.current)?);
        let mut by_hand = Vec::new();
        for at in 0..self.run.records.len() {
            if self.run.records[at].changed.is_some() {
                continue;
            }
            let record = self.run.records[at].clone();
            let now = Some(self.setup.now().as_millis());
            if self.put(&record, &new, Some(&old))? {
                self.run.records[at].changed = now;
            } else {
                self.run.records[at].told = now;
                by_hand.push(format!("{} ({}) of n8n {}", record.name, record.id, record.n8n));
            }
            self.keep()?;
        }
        if !by_hand.is_empty() {
            return Ok(Done::NotYet(format!(
                "this n8n's API cannot change credentials. Put the new key, which stands in {}, into {}. Then: keyward rotate {} \
                 --resume, with --yes to say that it is there",
                self.next.display(),
                by_hand.join(", "),
                self.run.set
            )));
        }
        Ok(Done::Yes(match &self.run.records[..] {
            [] if !self.asks_n8n() => {
                format!("{BY_HAND}, now: it stands in {}, and both keys are good", self.next.display())
            }
            [] => "no credential of n8n's is known to hold the old key".to_owned(),
            records => {
                let names: Vec<_> = records.iter().map(|record| &*record.name).collect();
                format!("the new key stands in {}, and n8n's own test passes with it", names.join(", "))
            }
        }))
    }

    /// The records that hold the old key: keyward pressed their test and saw it, or a node that names them sent it last.
    pub(super) fn records_with_old(&self) -> anyhow::Result<Vec<RecordChange>> {
        let audits = self.audits()?;
        Ok(audits.iter().flat_map(|instance| self.records_of(instance)).collect())
    }

    fn records_of(&self, instance: &Instance) -> Vec<RecordChange> {
        let is_old =
            |fingerprint: &crate::keys::fingerprint::Fingerprint| fingerprint.to_hex() == self.run.old.fingerprint;
        let by_press = instance.credentials.iter().filter(|record| {
            let pressed = record.pressed.as_ref().and_then(|pressed| pressed.key.names());
            pressed.is_some_and(|key| is_old(&key.fingerprint))
        });
        let pressed: BTreeSet<_> =
            instance.credentials.iter().filter(|record| record.pressed.is_some()).map(|record| &*record.id).collect();
        let by_node = instance.audit.nodes.iter().filter_map(|node| {
            let record = node.record.as_ref()?;
            let key = node.key.as_ref().filter(|key| is_old(&key.fingerprint))?;
            // What a press showed later outweighs what a node sent before. A typed key stands in no record.
            (!pressed.contains(&*record.id) && node.binding.is_some()).then_some((record, key))
        });
        let change = |id: &str, name: &str| RecordChange {
            n8n: instance.audit.instance.clone(),
            id: id.to_owned(),
            name: name.to_owned(),
            changed: None,
            told: None,
        };
        let mut records: Vec<_> = by_press
            .map(|record| change(&record.id, &record.name))
            .chain(by_node.map(|(record, _)| change(&record.id, &record.name)))
            .collect();
        records.sort_by(|one, other| one.id.cmp(&other.id));
        records.dedup();
        records
    }

    /// What n8n's API key may not do, where it is needed.
    pub(super) fn lacks_at_n8n(&self) -> Vec<Obstacle> {
        let records = self.records_with_old().unwrap_or_default();
        let names: BTreeSet<_> = records.iter().map(|record| &*record.n8n).collect();
        let lacks = |n8n: &str| {
            let side = Side::open(&self.setup, Some(n8n)).ok()?;
            let error = side.try_change().err()?;
            Some(Obstacle {
                code: "n8n_scope".to_owned(),
                text: format!("n8n {n8n}: {}.", with_causes(&error)),
                remedy: format!(
                    "Give its API key (n8n.{n8n}.api_key) the scope {}, or change the credentials by hand.",
                    scope::CREDENTIAL_UPDATE
                ),
            })
        };
        names.into_iter().filter_map(lacks).collect()
    }

    /// Puts a key into a record and has n8n test it. Where that fails, `before` is put back. Says whether it is there: not
    /// where n8n's API cannot change records and you have not done it either.
    pub(super) fn put(&self, record: &RecordChange, key: &Secret, before: Option<&Secret>) -> anyhow::Result<bool> {
        let side = Side::open(&self.setup, Some(&record.n8n))?;
        let what = || format!("credential {} ({}) of n8n {}", record.name, record.id, record.n8n);
        let Some(changed) = side.change(&record.id, &connect::key(key)?).with_context(what)? else {
            return self.put_by_hand(record);
        };
        let address = side.address();
        if let Some(at) = changed.updated_at.map(Timestamp::as_millis) {
            connections::note_written(
                &self.folder,
                Written { n8n: address, credential: record.id.clone(), changed: at },
            )?;
        }
        match side.test_and_tell(&record.id, &Told::new(&self.setup)).with_context(what)?.said {
            Some(tested) if !tested.is_good() => {
                if let Some(before) = before {
                    side.change(&record.id, &connect::key(before)?).with_context(what)?;
                }
                bail!(
                    "{}: n8n's test fails with the new key, so that the old one was put back: {}",
                    what(),
                    tested.shown()
                );
            }
            Some(_) | None => Ok(true),
        }
    }

    /// n8n 1.x: a person puts it there.
    fn put_by_hand(&self, record: &RecordChange) -> anyhow::Result<bool> {
        if self.arguments.yes && record.told.is_some() {
            return Ok(true);
        }
        if !can_ask() {
            return Ok(false);
        }
        remark(format_args!(
            "This n8n's API cannot change credentials. Open credential {} ({}) of n8n {}, and put the new key there: it stands \
             in {}.",
            record.name,
            record.id,
            record.n8n,
            self.next.display()
        ));
        says_yes("Is it there, and saved?")
    }
}
