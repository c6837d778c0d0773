//! The second step: the new key, in its file before anything else is done with it.

use anyhow::{Context, bail};

use super::expiring::hand_over;
use super::output::remark;
use super::prompt::KeyFrom;
use super::rotate::{Done, Rotation, read_key};
use super::source::Source;
use crate::clock::Timestamp;
use crate::keys::secret::Secret;
use crate::keys::state::StateError;
use crate::ledger::expiry::Expiry;
use crate::rotate::admin_api::{Deletion, ProjectKey};
use crate::rotate::journal::{Order, PublicKey};
use crate::rotate::key_file;
use crate::rotate::redacted;

impl Rotation {
    pub(super) fn new_key(&mut self) -> anyhow::Result<Done> {
        let announced = self.announced()?;
        if let Some(key) = self.given()? {
            let names = self.folder.names(&key)?;
            if let Some(there) = &announced
                && self.folder.names(there)?.fingerprint != names.fingerprint
            {
                bail!("{} holds another key than the one that you give: remove that file", self.next.display());
            }
            key_file::write(&self.next, &key)?;
            return self.adopt(&key);
        }
        if let Some(key) = announced {
            return self.adopt(&key);
        }
        for _ in 0..TRIES {
            self.clear_orphan()?;
            if let Some(done) = self.mint()? {
                return Ok(done);
            }
        }
        bail!("OpenAI did not say {TRIES} times what became of a new key: try it later")
    }

    /// The key that you give on the command line.
    fn given(&self) -> anyhow::Result<Option<Secret>> {
        let Some(from) = &self.arguments.new_key else { return Ok(None) };
        let key = if *from == KeyFrom::Current { None } else { Some(from.read(None)?) };
        let is_old = |key: &Secret| {
            Ok::<_, StateError>(self.folder.names(key)?.fingerprint.to_hex() == self.run.old.fingerprint)
        };
        match key {
            Some(key) if !is_old(&key)? => Ok(Some(key)),
            Some(_) | None => bail!("what is given is the current key, which is to be replaced"),
        }
    }

    /// A key that stands in the file of the next one: put there by you, or by this command before it was stopped.
    fn announced(&self) -> anyhow::Result<Option<Secret>> {
        if !self.next.try_exists().with_context(|| format!("{} cannot be looked at", self.next.display()))? {
            return Ok(None);
        }
        let key = read_key(&self.next)?;
        if self.folder.names(&key)?.fingerprint.to_hex() == self.run.old.fingerprint {
            bail!("{} holds the current key, which is to be replaced: remove that file", self.next.display());
        }
        Ok(Some(key))
    }

    /// Takes in a key whose value stands in its file; where one was ordered, it is that one.
    pub(super) fn adopt(&mut self, key: &Secret) -> anyhow::Result<Done> {
        let mut new = PublicKey::from(self.folder.names(key)?);
        if let Some(keys) = self.ask(async |api, _| api.keys().await) {
            // An id that cannot be had is no reason to stop: this key is not deleted by this rotation.
            let keys = keys.unwrap_or_default();
            let ordered = self.run.order.as_ref().map(|order| &*order.name);
            let looks_like = |known: &&ProjectKey| redacted::may_be(&known.redacted_value, key);
            let is_ordered = |known: &&ProjectKey| ordered.is_some() && known.name.as_deref() == ordered;
            let mut matches: Vec<_> = keys.iter().filter(looks_like).collect();
            if matches.iter().any(is_ordered) {
                matches.retain(is_ordered);
            }
            if let [only] = matches[..] {
                new.id = Some(only.id.to_string());
                new.expires = only.expires().map(Timestamp::as_millis);
            }
        }
        self.tell_expiry(&new);
        self.run.order = None;
        let told = format!("{new} stands in {}", self.next.display());
        self.run.new = Some(new);
        Ok(Done::Yes(told))
    }

    /// So that the keyward that runs warns of the new key's end. Where it cannot be told, the rotation goes on: `keyward keys
    /// expiring` tells it again.
    fn tell_expiry(&self, new: &PublicKey) {
        let (Some(id), Ok(key), Source::Running(keyward)) = (&new.id, new.fingerprint.parse(), &self.keyward) else {
            return;
        };
        let (id, expires, read) = (id.as_str().into(), new.expires.map(Timestamp::from_millis), self.setup.now());
        if let Err(error) = hand_over(keyward, &[Expiry { key, id, expires, last_used: None, read }]) {
            remark(format_args!("When the new key expires is not known to keyward: {error:#}."));
        }
    }

    /// Has OpenAI make a key; nothing where it did not say what became of it.
    fn mint(&mut self) -> anyhow::Result<Option<Done>> {
        let Some((_, account)) = &self.account else {
            bail!("there is no new key: put it into {} or give it with --new-key", self.next.display());
        };
        let Some(service_account) = account.service_account.clone() else {
            bail!("OpenAI makes no key for a person: give it with --new-key, or name a service account");
        };
        if account.scopes.is_none() && !self.arguments.all_scopes {
            bail!("it is not said what the new key may do: name `scopes`, or say --all-scopes");
        }
        let at = self.setup.now();
        let name = format!("keyward-{}-{}-{}", self.run.set, self.run.id, at.as_millis());
        self.run.order = Some(Order { name: name.clone(), at: at.as_millis() });
        self.keep()?;
        let minted = match self.ask(async |api, _| api.mint(&service_account, &name).await) {
            None => bail!("there is no account at OpenAI (keys.{}.admin)", self.run.set),
            Some(Ok(minted)) => minted,
            Some(Err(error)) if error.is_ambiguous() => {
                remark(format_args!("{}: it is looked for by its name.", crate::telemetry::event::with_causes(&error)));
                return Ok(None);
            }
            Some(Err(error)) => {
                self.run.order = None;
                self.keep()?;
                return Err(error.into());
            }
        };
        // First of all its value, which is told this once; then its id.
        key_file::write(&self.next, &minted.value)?;
        read_key(&self.next).context("what OpenAI made is no key")?;
        let mut new = PublicKey::from(self.folder.names(&minted.value)?);
        new.id = Some(minted.id.into());
        new.expires = minted.expires_at.map(|at| at.saturating_mul(1000));
        self.tell_expiry(&new);
        self.run.order = None;
        let told = format!("OpenAI made {new}, called {name}; it stands in {}", self.next.display());
        self.run.new = Some(new);
        Ok(Some(Done::Yes(told)))
    }

    /// Deletes what an order left behind whose answer never came: a key of that name, which was never used and whose value is
    /// lost.
    fn clear_orphan(&mut self) -> anyhow::Result<()> {
        let Some(Order { name, .. }) = self.run.order.clone() else { return Ok(()) };
        let keys = match self.ask(async |api, _| api.keys().await) {
            None => return Ok(()),
            Some(keys) => keys.context("what became of the ordered key is not known")?,
        };
        let orphans: Vec<_> = keys.iter().filter(|key| key.name.as_deref() == Some(&*name)).collect();
        for orphan in orphans {
            if orphan.last_used_at.is_some() {
                bail!(
                    "key {} called {name} was made for this rotation and used since {}: nothing but this command knows it. Look \
                     who used it, and delete it in OpenAI's dashboard",
                    orphan.id,
                    orphan.created()
                );
            }
            remark(format_args!(
                "OpenAI made key {} called {name}, and its value never arrived. It was never used.",
                orphan.id
            ));
            if !self.agrees("Delete it, and have another one made?")? {
                bail!("key {} is left at OpenAI: --resume asks again, and with --yes deletes it", orphan.id);
            }
            let id = orphan.id.clone();
            match self.ask(async |api, _| api.delete(&id).await) {
                None | Some(Ok(Deletion::Done | Deletion::NotThere)) => {}
                Some(Err(error)) => return Err(error).context(format!("key {id} is perhaps left at OpenAI")),
            }
            self.note(crate::rotate::journal::Step::NewKey, &format!("deleted key {id}, whose value never arrived"));
        }
        self.run.order = None;
        self.keep()
    }
}

/// How often a key is ordered until an answer comes.
const TRIES: usize = 3;
