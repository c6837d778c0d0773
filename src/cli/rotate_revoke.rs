//! The last step: the old key is deleted at OpenAI, and seen to be dead.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::output::{Line, print_wrapped, remark};
use super::prompt::{can_ask, choose, says_yes};
use super::rotate::{Done, Rotation, read_key};
use crate::answers::old_key::CanGo;
use crate::clock::Timestamp;
use crate::ledger::answer::{AnswerKind, BY_TRAFFIC, ONE_PROCESS};
use crate::ledger::progress::Progress;
use crate::openai::probe::Standing;
use crate::rotate::admin_api::Deletion;
use crate::rotate::journal::{Agreed, Step};
use crate::rotate::key_file;
use crate::telemetry::event::with_causes;

/// What keyward knows of the old key now.
struct Proof {
    last_use: Option<Timestamp>,
    /// What the *yes* rests on that you did not know at the beginning, in words.
    exceptions: Vec<String>,
}

impl Rotation {
    /// The id of the key whose deletion can be agreed to at the beginning: where this command goes as far as that, and nothing was
    /// accepted that stood against it.
    pub(super) fn deletion_to_ask_for(&self) -> Option<String> {
        let goes_so_far = self.arguments.until.is_none_or(|until| until == Step::Revoke);
        let is_plain = self.run.accepted.is_empty() && self.arguments.despite.is_empty();
        self.run.old.id.clone().filter(|_| self.account.is_some() && goes_so_far && is_plain)
    }

    /// Asks for the replacement and the deletion at once. Says whether the key may be replaced.
    pub(super) fn asks_for_both(&mut self, replace: &str, id: String) -> anyhow::Result<bool> {
        let granted = TAKEN_FOR_GRANTED.join("; ");
        let answers = [
            format!(
                "yes   replace it, and delete it ({id}) for good once keyward has proved that nothing sends it, which takes for \
                 granted: {granted}"
            ),
            "keep  replace it, and ask again before it is deleted".to_owned(),
            "no    change nothing".to_owned(),
        ];
        print_wrapped(&answers.map(|answer| Line::from(answer).hanging(6)));
        let question = format!("{replace}, and delete it at OpenAI once nothing sends it?");
        let chosen = choose(&question, &[YES, KEEP, "no"])?;
        if chosen == Some(YES) {
            self.note(
                Step::Ready,
                &format!("you agreed to the deletion of {id}, once it is proven that nothing sends it"),
            );
            self.run.deletion = Some(Agreed { id, at: self.setup.now().as_millis() });
        }
        Ok(matches!(chosen, Some(YES | KEEP)))
    }

    pub(super) fn revoke(&mut self) -> anyhow::Result<Done> {
        match self.run.old.id.clone() {
            Some(id) if self.account.is_some() => {
                if let Some(not_yet) = self.delete(&id)? {
                    return Ok(not_yet);
                }
            }
            Some(_) | None => {
                self.prove()?;
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

    /// Asks keyward whether the old key can go: the answer of an earlier run says nothing of what was sent since. An error where it
    /// cannot.
    fn prove(&mut self) -> anyhow::Result<Proof> {
        let view = self.look()?;
        let old = self.old_of(&view.answer).context("keyward no longer knows the old key")?;
        if old.can_go.answer != AnswerKind::Yes {
            bail!("the old key cannot go any more: {}", old.can_go.text);
        }
        let exceptions = self.exceptions(&old.can_go, &view.answer.progress);
        let proof = Proof { last_use: old.last_use, exceptions };
        // The report says how it stands at the end.
        self.remember(&self.keyward.with_all_reasons(view)?.answer);
        Ok(proof)
    }

    /// What a *yes* rests on that was not said when you were asked at the beginning.
    fn exceptions(&self, can_go: &CanGo, progress: &Progress) -> Vec<String> {
        let of_run = self.run.accepted.iter().map(|one| format!("you accepted {}", one.what));
        let of_answer = can_go.all_reasons().map(|reason| format!("you accepted {}", reason.code));
        let of_command = self.arguments.despite.iter().map(|code| format!("you accepted {code}"));
        let unsaid = can_go.assumes().iter().filter(|what| !TAKEN_FOR_GRANTED.contains(&what.as_str()));
        let unsaid = unsaid.map(|what| format!("it takes for granted: {what}"));
        let acknowledged = can_go.basis.as_ref().map(|basis| basis.acknowledged);
        let acknowledged = (acknowledged != Some(0) || progress.acknowledged > 0)
            .then(|| "you acknowledged callers as dead or dealt with".to_owned());
        let all = of_run.chain(of_answer).chain(of_command).chain(unsaid).chain(acknowledged);
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Deletes the old key, unless OpenAI knows of a use that keyward does not. Gives what is told where it is not deleted.
    fn delete(&mut self, id: &str) -> anyhow::Result<Option<Done>> {
        let proof = self.prove()?;
        if !self.is_there(id, &proof)? {
            return Ok(None);
        }
        if !self.may_be_deleted(id, &proof)? {
            return Ok(Some(Done::NotYet(format!(
                "key {} ({id}) can go. keyward rotate {} --resume asks again; with --yes it deletes the key",
                self.run.old, self.run.set
            ))));
        }
        // You may have thought about it for long.
        let proof = self.prove()?;
        if !self.is_there(id, &proof)? {
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

    /// Whether you agree to the deletion: at the beginning, where nothing has come to it that you did not know then, or now.
    fn may_be_deleted(&self, id: &str, proof: &Proof) -> anyhow::Result<bool> {
        if self.run.deletion.as_ref().is_some_and(|agreed| agreed.id == id) {
            if proof.exceptions.is_empty() {
                return Ok(true);
            }
            let exceptions = proof.exceptions.join("; ");
            remark(format_args!("You agreed to the deletion before you knew what its proof rests on: {exceptions}."));
        }
        self.agrees(&format!("Delete key {} ({id}) at OpenAI for good?", self.run.old))
    }

    /// Whether the key is still there: it was perhaps deleted before, by this command or by you. An error where OpenAI knows of a
    /// use that keyward does not.
    fn is_there(&self, id: &str, proof: &Proof) -> anyhow::Result<bool> {
        let Some(key) = self.ask(async |api, _| api.key(id).await) else { return Ok(false) };
        let Some(key) = key.context("whether the old key is used past keyward is not known")? else { return Ok(false) };
        let own = self.run.probed_old.map(Timestamp::from_millis);
        let seen = proof.last_use.max(own);
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
            self.note(Step::Revoke, &format!("deleted key {}, whose value never arrived", key.id));
        }
        Ok(())
    }
}

/// The answers to the first question.
const YES: &str = "yes";
const KEEP: &str = "keep";

/// What a *yes* takes for granted and the first question says. Where it is more than that, you are asked again.
const TAKEN_FOR_GRANTED: [&str; 2] = [ONE_PROCESS, BY_TRAFFIC];

/// How much later than keyward OpenAI may note a use of its own clock.
const LAG: Duration = Duration::from_mins(10);

/// How long OpenAI may take until it refuses a deleted key.
const UNTIL_DEAD: Duration = Duration::from_mins(15);

const BETWEEN_PROBES: Duration = Duration::from_secs(3);
