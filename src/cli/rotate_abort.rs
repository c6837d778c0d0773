//! Taking a rotation back, until its old key is deleted: what was done last is undone first, and no key is refused meanwhile.

use anyhow::{Context, bail};

use super::output::{Tone, remark};
use super::prompt::{can_ask, says_yes};
use super::rotate::{Rotation, read_key, tell};
use crate::keys::set::RoleKind;
use crate::openai::probe::Standing;
use crate::rotate::admin_api::Deletion;
use crate::rotate::journal::{End, Ended, Step};
use crate::rotate::key_file;

impl Rotation {
    /// Says whether all of it is as before.
    pub(super) fn abort(mut self) -> anyhow::Result<bool> {
        if !self.arguments.yes {
            if !can_ask() {
                bail!("nothing was taken back: standard input is no terminal, so --yes has to say that it may be");
            }
            if !says_yes(&format!("Put key {} of set `{}` back everywhere?", self.run.old, self.run.set))? {
                bail!("nothing was taken back");
            }
        }
        self.current_back()?;
        let is_whole = self.records_back()?;
        if !is_whole {
            return Ok(false);
        }
        key_file::remove(&self.next)?;
        self.drop_new()?;
        self.run.ended = Some(Ended { at: self.setup.now().as_millis(), how: End::Aborted });
        self.note(self.run.step, "taken back");
        self.keep()?;
        self.write_report()?;
        remark(format_args!("Key {} is the current one of set `{}`, as before.", self.run.old, self.run.set));
        Ok(true)
    }

    /// The old key is current again, and the new one stays good until n8n no longer sends it.
    fn current_back(&mut self) -> anyhow::Result<()> {
        let there = read_key(&self.current)?;
        let names = self.folder.names(&there)?;
        if names.fingerprint.to_hex() == self.run.old.fingerprint {
            return Ok(());
        }
        if names.fingerprint != self.new_names()?.fingerprint {
            bail!(
                "{} holds {names}, which this rotation does not know: it was changed meanwhile",
                self.current.display()
            );
        }
        let old = read_key(&self.kept())
            .context("the old key's value is not kept any more, so that it cannot be put back")?;
        let old_names = self.folder.names(&old)?;
        let rights = self.rights(&old, old_names).context("whether OpenAI still takes the old key is not known")?;
        if rights.standing == Standing::Dead {
            bail!("OpenAI no longer takes the old key, so that nothing can be put back: --resume ends the rotation");
        }
        key_file::write(&self.next, &there)?;
        self.wait_for_role(names, &[RoleKind::Next, RoleKind::Current])?;
        key_file::switch_back(&self.current)?;
        self.wait_for_role(old_names, &[RoleKind::Current])?;
        tell(Step::Current, Tone::Good, "back", &format!("{old_names} is the current key again"));
        Ok(())
    }

    fn records_back(&mut self) -> anyhow::Result<bool> {
        let old = read_key(&self.current)?;
        let mut is_whole = true;
        for at in 0..self.run.records.len() {
            let record = self.run.records[at].clone();
            if record.changed.is_none() && !self.may_hold_new(&record.id)? {
                continue;
            }
            if !self.put(&record, &old, None)? {
                tell(
                    Step::N8n,
                    Tone::Doubtful,
                    "not yet",
                    &format!(
                        "put the old key back into credential {} ({}) of n8n {}, then --abort again",
                        record.name, record.id, record.n8n
                    ),
                );
                is_whole = false;
                continue;
            }
            self.run.records[at].changed = None;
            self.keep()?;
            tell(Step::N8n, Tone::Good, "back", &format!("credential {} holds the old key again", record.name));
        }
        Ok(is_whole)
    }

    /// Whether a stop came between the change of a record and the word of it.
    fn may_hold_new(&self, record: &str) -> anyhow::Result<bool> {
        let Some(new) = self.run.new.as_ref() else { return Ok(false) };
        let audits = self.audits()?;
        let mut records = audits.iter().flat_map(|instance| &instance.credentials);
        let pressed = records.find(|known| known.id == record).and_then(|known| known.pressed.as_ref());
        let holds = pressed.and_then(|pressed| pressed.key.names());
        // Without a press it is not known, and the old key does no harm where it stands already.
        Ok(holds.is_none_or(|key| key.fingerprint.to_hex() == new.fingerprint))
    }

    /// The new key, where it was made for this rotation alone.
    fn drop_new(&mut self) -> anyhow::Result<()> {
        let Some(key) = self.run.new.clone() else { return Ok(()) };
        let Some(id) = key.id.clone().filter(|_| self.account.is_some()) else {
            remark(format_args!(
                "Key {key}, which was to be the new one, is left at OpenAI: delete it there if nothing needs it."
            ));
            return Ok(());
        };
        let name = format!("keyward-{}-{}-", self.run.set, self.run.id);
        let Some(found) = self.ask(async |api, _| api.key(&id).await) else { return Ok(()) };
        let Some(found) = found.context("whether the new key is left at OpenAI is not known")? else { return Ok(()) };
        if !found.name.as_deref().is_some_and(|own| own.starts_with(&name)) {
            remark(format_args!("Key {key} ({id}) is left at OpenAI: you made it."));
            return Ok(());
        }
        if !self.agrees(&format!("Delete key {key} ({id}), which was made for this rotation?"))? {
            remark(format_args!("Key {key} ({id}) is left at OpenAI."));
            return Ok(());
        }
        match self.ask(async |api, _| api.delete(&id).await) {
            None | Some(Ok(Deletion::Done | Deletion::NotThere)) => Ok(()),
            Some(Err(error)) => Err(error).context(format!("key {id} is perhaps left at OpenAI")),
        }
    }
}
