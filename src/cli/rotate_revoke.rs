//! The last step: the old key is deleted at OpenAI, and seen to be dead.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::output::remark;
use super::prompt::{can_ask, says_yes};
use super::rotate::{Done, Rotation, read_key};
use crate::clock::Timestamp;
use crate::openai::probe::Standing;
use crate::rotate::admin_api::Deletion;
use crate::rotate::key_file;
use crate::telemetry::event::with_causes;

impl Rotation {
    pub(super) fn revoke(&mut self) -> anyhow::Result<Done> {
        match self.run.old.id.clone() {
            Some(id) if self.account.is_some() => {
                if let Some(not_yet) = self.delete(&id)? {
                    return Ok(not_yet);
                }
            }
            Some(_) | None => {
                self.look_again()?;
                if !self.is_dead()? && !self.wait_for_person()? {
                    return Ok(Done::NotYet(self.by_hand()));
                }
            }
        }
        self.wait_until_dead()?;
        self.clear_leftovers()?;
        key_file::remove(&self.kept())?;
        Ok(Done::Yes(format!("key {} is dead: OpenAI refuses it", self.run.old)))
    }

    /// Whether the old key is there still, to be deleted. An error where something sends it, through keyward or past it.
    fn is_left(&mut self, id: &str) -> anyhow::Result<bool> {
        let last_use = self.look_again()?;
        let Some(key) = self.ask(async |api, _| api.key(id).await) else { return Ok(false) };
        // Deleted before, by this command or by you.
        let Some(key) = key.context("whether the old key is used past keyward is not known")? else { return Ok(false) };
        let own = self.run.probed_old.map(Timestamp::from_millis);
        let seen = last_use.max(own).or(own);
        if let Some(used) = key.last_used()
            && seen.is_none_or(|seen| used > seen.after(LAG))
        {
            let seen = seen.map_or_else(|| "never".to_owned(), |seen| seen.to_string());
            bail!(
                "OpenAI saw the old key used {used}, and keyward saw it last {seen}: something sends it past keyward. Find it \
                 before the key goes; the project's usage page in OpenAI's dashboard shows what was asked for"
            );
        }
        Ok(true)
    }

    /// Deletes the old key. Gives what is told where it is not deleted.
    fn delete(&mut self, id: &str) -> anyhow::Result<Option<Done>> {
        if !self.is_left(id)? {
            return Ok(None);
        }
        if !self.agrees(&format!("Delete key {} ({id}) at OpenAI for good?", self.run.old))? {
            return Ok(Some(Done::NotYet(format!(
                "key {} ({id}) can go. keyward rotate {} --resume asks again; with --yes it deletes the key",
                self.run.old, self.run.set
            ))));
        }
        // What was true when you were asked may not be when you answer.
        if !self.is_left(id)? {
            return Ok(None);
        }
        match self.ask(async |api, _| api.delete(id).await) {
            None | Some(Ok(Deletion::Done | Deletion::NotThere)) => Ok(None),
            Some(Err(error)) if error.is_ambiguous() => {
                remark(format_args!("{}: it is looked for by its id.", with_causes(&error)));
                match self.ask(async |api, _| api.key(id).await) {
                    Some(Ok(None)) | None => Ok(None),
                    Some(Ok(Some(_))) => bail!("key {id} is not deleted: --resume tries again"),
                    Some(Err(error)) => {
                        Err(error).context("whether the old key is deleted is not known: --resume looks again")
                    }
                }
            }
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// What a person does where there is no admin key.
    fn by_hand(&self) -> String {
        let id = self.run.old.id.as_ref().map_or_else(String::new, |id| format!(" ({id})"));
        format!(
            "delete key {}{id} at OpenAI: platform.openai.com, Settings, Organization, API keys; the key whose value ends as this \
             one does; Revoke key. Then: keyward rotate {} --resume",
            self.run.old, self.run.set
        )
    }

    fn wait_for_person(&self) -> anyhow::Result<bool> {
        if !can_ask() {
            return Ok(false);
        }
        remark(self.by_hand());
        says_yes("Is it deleted?")
    }

    fn is_dead(&self) -> anyhow::Result<bool> {
        let kept = self.kept();
        if !kept.exists() {
            return Ok(true);
        }
        let old = read_key(&kept)?;
        let rights = self.rights(&old, self.folder.names(&old)?);
        Ok(rights.is_ok_and(|rights| rights.standing == Standing::Dead))
    }

    fn wait_until_dead(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.is_dead()? {
            if begun.elapsed() > UNTIL_DEAD {
                bail!(
                    "the old key is deleted, and OpenAI still takes it after {} minutes: --resume looks again",
                    UNTIL_DEAD.as_secs() / 60
                );
            }
            std::thread::sleep(BETWEEN_PROBES);
        }
        Ok(())
    }

    /// Keys that were made for this rotation and are not the new one: orders whose answer never came, and that OpenAI did not
    /// list when they were looked for.
    fn clear_leftovers(&mut self) -> anyhow::Result<()> {
        let Some(keys) = self.ask(async |api, _| api.keys().await) else { return Ok(()) };
        let begin = format!("keyward-{}-{}-", self.run.set, self.run.id);
        let new = self.run.new.as_ref().and_then(|new| new.id.clone());
        for key in keys.context("whether keys were left behind is not known")? {
            let is_ours = key.name.as_deref().is_some_and(|name| name.starts_with(&begin));
            if !is_ours || new.as_deref() == Some(&*key.id) || new.is_none() {
                continue;
            }
            if key.last_used_at.is_some() {
                bail!(
                    "key {} was made for this rotation and is used, though no file holds it: look at it in OpenAI's dashboard",
                    key.id
                );
            }
            self.ask(async |api, _| api.delete(&key.id).await)
                .transpose()
                .context("a key was left behind at OpenAI")?;
            self.note(
                crate::rotate::journal::Step::Revoke,
                &format!("deleted key {}, whose value never arrived", key.id),
            );
        }
        Ok(())
    }
}

/// How much later than keyward OpenAI may note a use of its own clock.
const LAG: Duration = Duration::from_mins(10);

/// How long OpenAI may take until it refuses a deleted key.
const UNTIL_DEAD: Duration = Duration::from_mins(15);

const BETWEEN_PROBES: Duration = Duration::from_secs(3);
