//! What `keyward n8n connect` does to one credential record, and how it is put back where keyward does not see n8n's test of it.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::connected::{End, Key};
use super::records::{Side, in_words};
use super::setup::Setup;
use super::telling::{Came, Test, Told};
use super::token;
use crate::clock::Timestamp;
use crate::keys::SetSettings;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::secret::Secret;
use crate::keys::set::Names;
use crate::keys::state::StateFolder;
use crate::n8n::client::ClientError;
use crate::n8n::connect::{self, Entrance, Marks, OPENAI};
use crate::n8n::connections::{self, Connection, Left, Written};
use crate::n8n::documents::{CredentialRecord, Tested};

/// What all of them need.
pub(super) struct Plan<'a> {
    pub(super) setup: &'a Setup,
    pub(super) side: Side,
    /// The running keyward, which sees each test.
    pub(super) told: Told,
    pub(super) folder: StateFolder,
    pub(super) entrance: Entrance,
    pub(super) marks: Marks,
    /// Whose current key or token is meant.
    pub(super) set: String,
    pub(super) key: NewKey,
    /// The Base URL that is to be put back, where that was said.
    pub(super) was: Option<String>,
}

/// What becomes of a record's key.
pub(super) enum NewKey {
    /// It stays as it is.
    Kept,
    /// A token of the set takes its place.
    Token,
    /// This one does.
    Given(Secret),
}

/// A record, and what is known of it before it is changed.
pub(super) struct Planned<'r> {
    pub(super) record: &'r CredentialRecord,
    /// What is kept of its connection, if it was connected and not disconnected.
    known: Option<Connection>,
    /// What keyward put there when it was disconnected last.
    left: Option<Left>,
    /// Its test as it stands now.
    before: Test,
    /// The Base URL that `disconnect` will put there.
    was: Was,
}

/// How a Base URL is known that n8n does not tell.
enum Was {
    /// You said it now.
    Said(String),
    /// It is kept of the connection.
    Kept(String),
    /// keyward put it there, and the record was not changed since.
    Left(String),
    /// It is not known, for that reason: `OpenAI`'s own is taken for it.
    Guess(String),
}

/// What stands in a record before it is changed, as far as it can be put back.
struct Stood {
    base_url: String,
    /// What puts it back.
    data: Value,
    /// Whether it leads to keyward.
    leads_here: bool,
}

/// Whether another key took the place of the one that stood in a record.
#[derive(Clone, Copy)]
enum Replaced {
    Nothing,
    /// Perhaps that one, as far as it is known.
    Key(Option<Fingerprint>),
}

// === impl Was ===

impl Was {
    fn url(&self) -> &str {
        match self {
            Self::Said(url) | Self::Kept(url) | Self::Left(url) => url,
            Self::Guess(_) => OPENAI,
        }
    }
}

// === impl Planned ===

impl Planned<'_> {
    /// Why what stands there is not known, where that is so.
    pub(super) fn unknown(&self) -> Option<&str> {
        if let Was::Guess(why) = &self.was { Some(why) } else { None }
    }

    /// Since when it leads to keyward, if `connect` did that and it still does.
    fn since(&self) -> Option<Timestamp> {
        self.known.as_ref().filter(|_| self.before.came_here()).map(Connection::since)
    }
}

// === impl Plan ===

impl Plan<'_> {
    /// What is known of a record: n8n tests it, and nothing is changed.
    pub(super) fn look_at<'r>(&self, record: &'r CredentialRecord) -> anyhow::Result<Planned<'r>> {
        let known = connections::find(&self.folder, &self.side.address(), &record.id)?;
        let left = connections::left(&self.folder)?;
        let n8n = self.side.address();
        let left = left.into_iter().find(|left| left.n8n == n8n && left.credential == record.id);
        let before = self.test(record)?;
        let was = self.was(record, known.as_ref(), left.as_ref(), &before);
        Ok(Planned { record, known, left, before, was })
    }

    fn was(&self, record: &CredentialRecord, known: Option<&Connection>, left: Option<&Left>, before: &Test) -> Was {
        let name = in_words(record);
        let leads_elsewhere = before.is_good() == Some(true) && before.came == Came::Nothing;
        match (&self.was, known, left) {
            (Some(said), ..) => Was::Said(said.clone()),
            (None, Some(known), _) if leads_elsewhere => Was::Guess(format!(
                "{name} was connected {} and leads elsewhere now, so that its Base URL was changed in n8n since",
                known.since()
            )),
            (None, Some(known), _) => Was::Kept(known.was.clone()),
            (None, None, Some(left)) if left.stands(record.updated_at) => Was::Left(left.url.clone()),
            (None, None, Some(left)) => Was::Guess(format!(
                "keyward put the Base URL {} into {name}, but the credential was changed in n8n since",
                left.url
            )),
            (None, None, None) if before.came_here() => {
                Was::Guess(format!("{name} leads to keyward already, and keyward has not put that there"))
            }
            (None, None, None) => Was::Guess(format!("n8n does not tell what Base URL stands in {name} now")),
        }
    }

    pub(super) fn announce(&self, planned: &Planned<'_>) -> String {
        let back = planned.was.url();
        let was = match &planned.was {
            Was::Said(_) => format!("`disconnect` will put back {back}."),
            Was::Kept(_) => match planned.since() {
                Some(since) => {
                    format!("It leads to keyward already, since {since}. `disconnect` will put back {back}.")
                }
                None => format!("`disconnect` will put back {back}, as before."),
            },
            Was::Left(_) => format!("keyward put {back} there when it was disconnected, and `disconnect` will again."),
            Was::Guess(why) => format!(
                "{why}. Where that is not {back}, say no, and --was with the right one: it is put back if n8n's test fails, \
                 and by `disconnect`."
            ),
        };
        let key = match self.key {
            NewKey::Kept => "Its key, organization and domains stay.",
            NewKey::Token => {
                "A token takes the place of its key, which keyward does not keep: `disconnect --key-from current` puts the \
                 set's own there. Organization and domains stay."
            }
            NewKey::Given(_) => {
                "The given key takes the place of its own, which keyward does not keep; organization and domains stay."
            }
        };
        format!(
            "{}: its Base URL becomes {}, and its custom header the tag. {was} {key}",
            in_words(planned.record),
            self.entrance
        )
    }

    pub(super) fn by_hand(&self, has_header: bool) -> End {
        End::ByHand(connect::by_hand(&self.entrance, &self.marks, has_header))
    }

    /// Has a record lead here.
    pub(super) fn connect(&self, planned: &Planned<'_>) -> End {
        self.try_connect(planned).unwrap_or_else(|error| End::Failed(format!("{error:#}")))
    }

    /// First where it leads, and its key once keyward has seen n8n's test: what was there before can be put back until then.
    fn try_connect(&self, planned: &Planned<'_>) -> anyhow::Result<End> {
        let record = planned.record;
        let mut connection = self.connection(planned);
        // Kept first: whatever happens from here on, it is known what to put back.
        connections::keep(&self.folder, connection.clone())?;
        let changed = self.side.change(&record.id, &connect::connected(&self.entrance, &self.marks));
        if !matches!(changed, Ok(Some(_))) {
            self.keep_as_before(planned)?;
        }
        let Some(mut changed) = changed? else { return Ok(self.by_hand(true)) };
        let mut tested = match self.test(record) {
            Ok(tested) => tested,
            Err(error) => return self.put_back(planned, &error.to_string(), Replaced::Nothing),
        };
        // A key that is about to be replaced may be refused.
        let may_be_refused = !matches!(self.key, NewKey::Kept);
        if let Some(why) = self.why_lost(&tested).filter(|_| !(may_be_refused && tested.came_here())) {
            return self.put_back(planned, &why, Replaced::Nothing);
        }
        let stood = tested.key().or_else(|| planned.before.key());
        let (key, was_put) = match self.change_key(record, &mut changed, &mut connection) {
            Ok(done) => done,
            Err(error) => return self.put_back(planned, &format!("{error:#}"), Replaced::Key(stood)),
        };
        if may_be_refused {
            tested = until_known(|| self.test(record))?;
            if let Some(why) = self.why_lost(&tested) {
                self.end_token(&connection, planned)?;
                let replaced = if was_put { Replaced::Key(stood) } else { Replaced::Nothing };
                return self.put_back(planned, &why, replaced);
            }
        }
        connection.changed = changed.updated_at.map(Timestamp::as_millis);
        connections::keep(&self.folder, connection.clone())?;
        self.note_written(record, &changed, was_put)?;
        let tag = format!("{} (an expression)", self.marks.tag());
        Ok(End::Connected {
            url: self.entrance.base_url(),
            tag,
            was: connection.was,
            key,
            since: planned.since(),
            needs_key: connection.token.is_some(),
            test: tested,
        })
    }

    /// Remembers that keyward put the key into the record, as long as the record is not changed by anything else: a running keyward
    /// then knows that the key is no expression.
    fn note_written(&self, record: &CredentialRecord, changed: &CredentialRecord, was_put: bool) -> anyhow::Result<()> {
        let millis = |at: Option<Timestamp>| at.map(Timestamp::as_millis);
        let (n8n, credential) = (self.side.address(), record.id.clone());
        let was_written = || -> anyhow::Result<bool> {
            let is_it = |one: &Written| {
                one.n8n == n8n && one.credential == credential && Some(one.changed) == millis(record.updated_at)
            };
            Ok(connections::written(&self.folder)?.iter().any(is_it))
        };
        if let Some(changed) = millis(changed.updated_at)
            && (was_put || was_written()?)
        {
            connections::note_written(&self.folder, Written { n8n, credential, changed })?;
        }
        Ok(())
    }

    /// What n8n's test of a record says, and what keyward saw of it.
    fn test(&self, record: &CredentialRecord) -> Result<Test, ClientError> {
        self.side.test_and_tell(&record.id, &self.told)
    }

    /// What became of the key, in words, and whether another one was put in.
    fn change_key(
        &self,
        record: &CredentialRecord,
        changed: &mut CredentialRecord,
        connection: &mut Connection,
    ) -> anyhow::Result<(String, bool)> {
        match &self.key {
            NewKey::Kept => return Ok(("stays as it was".to_owned(), false)),
            NewKey::Given(secret) => {
                *changed = self.put_key(record, secret)?;
                return Ok(("is the given one".to_owned(), true));
            }
            NewKey::Token => {}
        }
        if let Some(standing) = self.standing_token(connection)? {
            return Ok((format!("is token {standing} already"), false));
        }
        let (made, names) = self.put_token(record, connection)?;
        *changed = made;
        Ok((format!("is token {names} now"), true))
    }

    /// What is kept of it: what stood there before the first time, unless something else is said now.
    fn connection(&self, planned: &Planned<'_>) -> Connection {
        let known = planned.known.as_ref();
        Connection {
            n8n: self.side.address(),
            credential: planned.record.id.clone(),
            name: planned.record.name.clone(),
            url: self.entrance.base_url(),
            was: planned.was.url().to_owned(),
            at: known.map_or_else(|| self.setup.now().as_millis(), |known| known.at),
            changed: None,
            token: known.and_then(|known| known.token.clone()),
            tag: Some(self.marks.tag()),
            set: Some(self.set.clone()),
        }
    }

    /// Why a record does not lead to keyward by its test, if it does not. Where n8n's API cannot test, nothing says so.
    fn why_lost(&self, test: &Test) -> Option<String> {
        why_lost(test, &self.entrance)
    }

    /// What stands there now. Where it leads to keyward, or is known to have been put there, that is no guess.
    fn stood(&self, planned: &Planned<'_>) -> Stood {
        let known =
            planned.known.as_ref().filter(|_| !matches!(planned.was, Was::Said(_)) || planned.before.came_here());
        let own = || self.side.instance.keyward.as_ref().filter(|_| planned.before.came_here()).map(Entrance::base_url);
        let base_url = known.map(|known| known.url.clone()).or_else(own);
        let Some(base_url) = base_url else {
            let base_url = planned.was.url().to_owned();
            return Stood { data: connect::disconnected(&base_url), base_url, leads_here: false };
        };
        let mut data = json!({ "url": base_url });
        if let Some(tag) = known.and_then(|known| known.tag.as_deref()) {
            data["headerValue"] = format!("={tag}").into();
        }
        Stood { base_url, data, leads_here: true }
    }

    /// Puts back what stood there. `replaced` is the key that another one took the place of, as far as it is known: it is put
    /// back where the configuration has it.
    fn put_back(&self, planned: &Planned<'_>, why: &str, replaced: Replaced) -> anyhow::Result<End> {
        let record = planned.record;
        let Stood { base_url, mut data, leads_here } = self.stood(planned);
        let (mut key, mut secret) = (Key::Stayed, None);
        if let Replaced::Key(fingerprint) = replaced {
            secret = fingerprint.map(|fingerprint| self.key_of(fingerprint)).transpose()?.flatten();
            key = if secret.is_some() { Key::PutBack } else { Key::Lost };
        }
        if let Some(secret) = &secret {
            data = connect::with_key(data, secret)?;
        }
        let failed = || format!("{why}; and it cannot be put back");
        let changed = self.side.change(&record.id, &data).with_context(failed)?;
        let changed = changed.and_then(|changed| changed.updated_at).map(Timestamp::as_millis);
        match &planned.known {
            Some(known) if leads_here => {
                let token = known.token.clone().filter(|_| matches!(replaced, Replaced::Nothing));
                connections::keep(&self.folder, Connection { changed, token, ..known.clone() })?;
            }
            None if leads_here => self.keep_as_before(planned)?,
            Some(_) | None => connections::leave(
                &self.folder,
                Left {
                    n8n: self.side.address(),
                    credential: record.id.clone(),
                    url: base_url.clone(),
                    at: self.setup.now().as_millis(),
                    changed,
                },
            )?,
        }
        let now = self.test(record)?;
        Ok(End::PutBack { url: self.entrance.base_url(), base_url, why: why.to_owned(), key, now })
    }

    /// Keeps of a record what was kept of it before.
    fn keep_as_before(&self, planned: &Planned<'_>) -> anyhow::Result<()> {
        match (&planned.known, &planned.left) {
            (Some(known), _) => connections::keep(&self.folder, known.clone())?,
            (None, Some(left)) => connections::leave(&self.folder, left.clone())?,
            (None, None) => connections::forget(&self.folder, &self.side.address(), &planned.record.id)?,
        }
        Ok(())
    }

    /// The key of that fingerprint, where a set has it.
    fn key_of(&self, fingerprint: Fingerprint) -> anyhow::Result<Option<Secret>> {
        let sources = self.setup.config().keys.sets.iter().flat_map(SetSettings::sources);
        for secret in sources.filter_map(|source| source.read().ok()) {
            if self.folder.names(&secret)?.fingerprint == fingerprint {
                return Ok(Some(secret));
            }
        }
        Ok(None)
    }

    fn put_key(&self, record: &CredentialRecord, secret: &Secret) -> anyhow::Result<CredentialRecord> {
        let data = connect::key(secret)?;
        self.side.change(&record.id, &data)?.context("n8n took the address, and would not take the key")
    }

    /// A token that was put into the record before, and is good still.
    fn standing_token(&self, connection: &Connection) -> anyhow::Result<Option<Names>> {
        let Some(fingerprint) = connection.token.as_deref().and_then(|token| token.parse::<Fingerprint>().ok()) else {
            return Ok(None);
        };
        let tokens = self.folder.access()?.tokens;
        let standing = tokens.iter().find(|token| token.fingerprint == fingerprint && token.is_current());
        Ok(standing.map(|token| Names { fingerprint, hint: token.hint }))
    }

    /// The token is kept before it is put in: n8n may take it and its answer get lost, and then a key has to take its place.
    fn put_token(
        &self,
        record: &CredentialRecord,
        connection: &mut Connection,
    ) -> anyhow::Result<(CredentialRecord, Names)> {
        let name = token::sound_name(&format!("n8n {} {}", self.side.instance.name, record.id)).ok();
        let (secret, names, _) = token::issue(self.setup, &self.set, name.as_deref())?;
        connection.token = Some(names.fingerprint.to_hex());
        connections::keep(&self.folder, connection.clone())?;
        let put = self.put_key(record, &secret);
        if put.is_err() {
            token::end(self.setup, names.fingerprint)?;
        }
        Ok((put?, names))
    }

    /// Ends the token that was made now.
    fn end_token(&self, connection: &Connection, planned: &Planned<'_>) -> anyhow::Result<()> {
        let before = planned.known.as_ref().and_then(|known| known.token.as_ref());
        let made = connection.token.as_ref().filter(|token| Some(*token) != before);
        match made.and_then(|token| token.parse().ok()) {
            Some(fingerprint) => token::end(self.setup, fingerprint),
            None => Ok(()),
        }
    }

    /// Whether a set that does not only observe would refuse the given key: known before anything is changed.
    pub(super) fn refuse_given(&self, is_observed: bool) -> anyhow::Result<()> {
        let NewKey::Given(given) = &self.key else { return Ok(()) };
        let sets = &self.setup.config().keys.sets;
        let Some(set) = sets.iter().find(|set| *set.name == *self.set) else { return Ok(()) };
        let own: Vec<_> = set.sources().filter_map(|source| source.read().ok()).collect();
        if is_observed || own.is_empty() {
            return Ok(());
        }
        let given = self.folder.names(given)?.fingerprint;
        for secret in &own {
            if self.folder.names(secret)?.fingerprint == given {
                return Ok(());
            }
        }
        bail!(
            "nothing was changed: keyward would refuse the given key, since set `{}` takes its tokens and its own keys alone \
             (keys.{}.current, next and previous)",
            self.set,
            self.set
        )
    }
}

/// Why a record does not lead to keyward by its test, if it does not. Where n8n's API cannot test, nothing says so.
pub(super) fn why_lost(test: &Test, entrance: &Entrance) -> Option<String> {
    let said = test.said.as_ref()?;
    let is_seen = test.leads_here();
    (!is_seen).then(|| match &test.came {
        Came::Untold(why) => format!("whether it leads to keyward cannot be told: {why}"),
        Came::Nothing if said.is_good() => format!(
            "n8n's test at {entrance} passes, but no request of it came to the keyward that runs here: another server answers \
             there"
        ),
        Came::Nothing => format!(
            "n8n's test at {} said: {}. n8n does not reach keyward there: the address has to be right where n8n runs, \
             which may be in a container",
            entrance,
            said.shown()
        ),
        Came::Request { .. } if said.is_good() => {
            "other tests came to keyward at the same time, so that it cannot be told \
                                                   which one was this credential's: try again"
                .to_owned()
        }
        Came::Request { verdict, .. } => format!(
            "n8n's test came to keyward with a key that is `{verdict}`, and n8n says: {}. `keyward explain {verdict}` \
             says what that means; --token or --key-from puts another key in",
            said.shown()
        ),
    })
}

/// A running keyward hears of a token within seconds.
pub(super) fn until_known(test: impl Fn() -> Result<Test, ClientError>) -> Result<Test, ClientError> {
    let deadline = Instant::now() + UNTIL_KNOWN;
    loop {
        let tested = test()?;
        let is_refused = tested.said.as_ref().is_some_and(Tested::is_refusal);
        if Instant::now() > deadline || !is_refused {
            return Ok(tested);
        }
        std::thread::sleep(BETWEEN_TESTS);
    }
}

/// Twice as long as a running keyward takes where the system cannot watch files.
const UNTIL_KNOWN: Duration = Duration::from_secs(10);

const BETWEEN_TESTS: Duration = Duration::from_millis(250);
