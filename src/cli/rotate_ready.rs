//! The first step: what stands against a rotation is told before anything is changed, and with `--plan` all that would be done.

use super::output::{Line, print, print_wrapped};
use super::prompt::KeyFrom;
use super::rotate::{Done, Obstacle, Rotation, read_key};
use crate::answers::audit::Instance;
use crate::answers::status::OpenProblem;
use crate::check::fault_of_key;
use crate::keys::rules::Policy;
use crate::rotate::admin_api::ProjectKey;
use crate::rotate::journal::Step;
use crate::rotate::key_file::try_folder;
use crate::rotate::redacted;
use crate::telemetry::event::with_causes;
use crate::verdict::explain::Severity;

impl Rotation {
    /// Only looks: prints what would be done. Says whether nothing stands against it.
    pub(super) fn plan(&mut self) -> anyhow::Result<bool> {
        self.print_plan();
        let obstacles = self.obstacles()?;
        if obstacles.is_empty() {
            print("Nothing stands against it.");
        } else {
            print_wrapped(&obstacles.iter().flat_map(Obstacle::lines).collect::<Vec<_>>());
        }
        Ok(obstacles.is_empty())
    }

    pub(super) fn ready(&mut self) -> anyhow::Result<Done> {
        let obstacles = self.obstacles()?;
        self.overcome(&obstacles)?;
        let records = self.records_with_old()?.len();
        let what = if records == 1 {
            "1 credential of n8n's holds".to_owned()
        } else {
            format!("{records} credentials of n8n's hold")
        };
        Ok(Done::Yes(format!("{what} key {}, and nothing stands against replacing it", self.run.old)))
    }

    /// What would be done, a line for each step from the one that it is at.
    pub(super) fn print_plan(&self) {
        print(format_args!("Replace key {} of set `{}`:", self.run.old, self.run.set));
        let from = self.run.step;
        let lines: Vec<_> = Step::ALL
            .into_iter()
            .filter(|step| *step >= from)
            .map(|step| {
                let head = format!("{} {:<8} ", step.position() + 1, step.code());
                let hang = head.len();
                Line::from(head + &self.intent(step)).hanging(hang)
            })
            .collect();
        print_wrapped(&lines);
        if let Some(text) = self.meant_by_rules() {
            print_wrapped(&[text]);
        }
    }

    /// What the set's rules mean for those that still send the old key after the switch.
    fn meant_by_rules(&self) -> Option<String> {
        let sets = &self.setup.config().keys.sets;
        let has_no_grace = sets.iter().any(|set| *set.name == *self.run.set && set.grace.is_zero());
        let is_enforced = self.setup.policy(&self.run.set).is_some_and(|policy| policy != Policy::Observe);
        (has_no_grace && is_enforced).then(|| {
            format!(
                "From step 6 on a request with the old key is refused: keys.{}.grace is 0s. With a grace it is told of and served.",
                self.run.set
            )
        })
    }

    fn intent(&self, step: Step) -> String {
        match step {
            Step::Ready => "look whether anything stands against it".to_owned(),
            Step::NewKey if self.next.exists() => format!("take the key that stands in {}", self.next.display()),
            Step::NewKey => match (&self.arguments.new_key, &self.account) {
                (Some(_), _) => format!("put the key that you give into {}", self.next.display()),
                (None, Some((_, account))) => format!(
                    "have OpenAI make a key on {} of {}, {}, {}, and put it into {}",
                    account.service_account.as_deref().unwrap_or("(no service account is named)"),
                    account.project,
                    account.scopes.as_ref().map_or_else(
                        || "with all scopes".to_owned(),
                        |scopes| format!("with the scopes {}", scopes.join(", "))
                    ),
                    account.expires.map_or_else(
                        || "without an end".to_owned(),
                        |span| format!("for {} days", span.as_secs() / 86_400)
                    ),
                    self.next.display()
                ),
                (None, None) => {
                    format!("take the key that you put into {}, or give with --new-key", self.next.display())
                }
            },
            Step::Probe => {
                "ask OpenAI until it takes the new key, and whether it may do what the old one may".to_owned()
            }
            Step::Next => "see that keyward takes the new key as well".to_owned(),
            Step::N8n if !self.asks_n8n() => BY_HAND.to_owned(),
            Step::N8n => "put the new key into the credentials of n8n's that hold the old one".to_owned(),
            Step::Current => format!(
                "put the new key into {}; the old one stays in {} until the end",
                self.current.display(),
                self.kept().display()
            ),
            Step::Watch => "wait until keyward knows that the old key can go".to_owned(),
            Step::Revoke => match &self.account {
                Some(_) => "delete the old key at OpenAI, if you say so, and see that it is dead".to_owned(),
                None => "tell you which key to delete at OpenAI, and see that it is dead".to_owned(),
            },
        }
    }

    /// Everything that stands against beginning. What OpenAI says of the old key is noted.
    pub(super) fn obstacles(&mut self) -> anyhow::Result<Vec<Obstacle>> {
        let mut found: Vec<_> = self.problems()?.iter().map(Obstacle::of_problem).collect();
        for instance in self.audits()? {
            found.extend(instance.audit.faults.iter().map(|fault| Obstacle {
                code: fault.code.clone(),
                text: fault.text.clone(),
                remedy: fault.step.clone(),
            }));
        }
        for path in [&self.next, &self.current] {
            if let Err(error) = try_folder(path) {
                found.push(Obstacle {
                    code: "not_writable".to_owned(),
                    text: format!("{}.", with_causes(&error)),
                    remedy: "Let the user that runs this command write to that folder.".to_owned(),
                });
            }
        }
        found.extend(self.lacks_for_new_key());
        found.extend(self.lacks_at_openai());
        found.extend(self.lacks_at_n8n());
        Ok(found)
    }

    /// What is wrong with keyward, upstream or this set; other sets are no matter of this one.
    fn problems(&self) -> anyhow::Result<Vec<OpenProblem>> {
        let status = self.status()?;
        let others: Vec<_> = status.sets.iter().map(|set| &set.set).filter(|set| **set != self.run.set).collect();
        let is_of_other = |problem: &OpenProblem| problem.about.as_ref().is_some_and(|about| others.contains(&about));
        Ok(status
            .problems
            .into_iter()
            .filter(|problem| problem.severity == Severity::Error && !is_of_other(problem))
            .collect())
    }

    /// How each n8n was when it was looked through last.
    pub(super) fn audits(&self) -> anyhow::Result<Vec<Instance>> {
        Ok(self.keyward.n8n()?.instances)
    }

    fn lacks_for_new_key(&self) -> Option<Obstacle> {
        if let Some(KeyFrom::Place(place)) = &self.arguments.new_key
            && let Err(error) = place.read_key(fault_of_key)
        {
            return Some(Obstacle {
                code: "unreadable_new_key".to_owned(),
                text: format!("No key can be read from {place}: {}.", with_causes(&error)),
                remedy: "Put the new key there, alone and in one line.".to_owned(),
            });
        }
        if self.arguments.new_key.is_some() || self.next.exists() {
            return None;
        }
        let Some((_, account)) = &self.account else {
            return Some(Obstacle {
                code: "no_new_key".to_owned(),
                text: format!(
                    "There is no new key: {} is not there, and no account at OpenAI is configured.",
                    self.next.display()
                ),
                remedy: format!(
                    "Make a key in OpenAI's dashboard and give it with --new-key (prompt, stdin or file:<path>), or let keyward \
                     have one made: keys.{}.admin.",
                    self.run.set
                ),
            });
        };
        if account.service_account.is_none() {
            return Some(Obstacle {
                code: "no_service_account".to_owned(),
                text: "A person owns this set's keys, and OpenAI's API makes no key for a person.".to_owned(),
                remedy: format!(
                    "Make it in OpenAI's dashboard, in project {}, and give it with --new-key; or name a service account of that \
                     project (keys.{}.admin, service_account).",
                    account.project, self.run.set
                ),
            });
        }
        (account.scopes.is_none() && !self.arguments.all_scopes).then(|| Obstacle {
            code: "no_scopes".to_owned(),
            text: "It is not said what the new key may do, and OpenAI does not tell what the old one may.".to_owned(),
            remedy: format!(
                "Name the scopes (keys.{}.admin, scopes = [\"api.responses.write\", …]), or say --all-scopes.",
                self.run.set
            ),
        })
    }

    /// Whether the admin key can be used, and the old key be found there. Its id is noted, so that it is deleted by that and nothing
    /// else.
    fn lacks_at_openai(&mut self) -> Option<Obstacle> {
        if self.has_listed {
            return None;
        }
        let keys = match self.ask(async |api, _| api.keys().await)? {
            Ok(keys) => keys,
            Err(error) => {
                return Some(Obstacle {
                    code: "admin_api".to_owned(),
                    text: format!("{}.", with_causes(&error)),
                    remedy: format!(
                        "It needs an admin key with Organization Administration: Write (keys.{}.admin). Without it, you make and \
                         delete the keys.",
                        self.run.set
                    ),
                });
            }
        };
        self.has_listed = true;
        let found = self.match_old(&keys).map(|key| key.id.to_string());
        self.run.old.id = found.as_ref().ok().cloned();
        found.err().map(|text| Obstacle {
            code: "old_key_id".to_owned(),
            text,
            remedy: "Say which one it is: --old-key-id key_… (its page in OpenAI's dashboard shows it).".to_owned(),
        })
    }

    /// The one key that has the old one's beginning and end, or the id that you named.
    fn match_old<'k>(&self, keys: &'k [ProjectKey]) -> Result<&'k ProjectKey, String> {
        if let Some(id) = &self.arguments.old_key_id {
            return keys.iter().find(|key| *key.id == **id).ok_or_else(|| format!("The project has no key {id}."));
        }
        if let Some(id) = &self.run.old.id
            && let Some(key) = keys.iter().find(|key| *key.id == **id)
        {
            return Ok(key);
        }
        let old = read_key(&self.old_place()).map_err(|error| format!("{error:#}."))?;
        let owner = self.account.as_ref().and_then(|(_, account)| account.service_account.as_deref());
        let matches: Vec<_> = keys.iter().filter(|key| redacted::may_be(&key.redacted_value, &old)).collect();
        let of_account: Vec<_> =
            matches.iter().copied().filter(|key| owner.is_some() && key.owner() == owner).collect();
        match (&matches[..], &of_account[..]) {
            ([only], _) | (_, [only]) => Ok(only),
            ([], _) => Err(format!(
                "No key of the project looks like {}: it is another project's, or deleted already.",
                self.run.old
            )),
            (several, _) => Err(format!(
                "Several keys of the project look like {}: {}.",
                self.run.old,
                several.iter().map(|key| &*key.id).collect::<Vec<_>>().join(", ")
            )),
        }
    }

    /// Whether there is an n8n whose credentials can be changed.
    pub(super) fn asks_n8n(&self) -> bool {
        !self.setup.config().n8n.instances.is_empty()
    }

    /// Where the old key's value stands now.
    pub(super) fn old_place(&self) -> std::path::PathBuf {
        let kept = self.kept();
        if kept.exists() { kept } else { self.current.clone() }
    }
}

/// What there is to do where no n8n is configured.
pub(super) const BY_HAND: &str = "no n8n is configured, so that you put the new key into its credentials yourself";

impl Obstacle {
    fn of_problem(problem: &OpenProblem) -> Self {
        Self { code: problem.code.code().to_owned(), text: problem.text.clone(), remedy: problem.remedy.clone() }
    }
}
