//! Pure. The kinds of what bars an old key from going: what each means, and what ends it.

use crate::codes::codes;

codes! {
    /// Why an old key cannot go, or why it is not proven that it can.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum BarKind {
        /// A sender still sends the key.
        StillSent => "still_sent",
        /// Another set has the same key.
        InUse => "in_use",
        /// The key stands in a node itself.
        Typed => "typed",
        /// n8n's test of a credential record sent the key.
        RecordHoldsIt => "record_holds_it",
        /// No current key is known.
        NoCurrentKey => "no_current_key",
        /// Upstream refuses the current key.
        CurrentKeyRefused => "current_key_refused",
        /// n8n was not looked through since the key was used last.
        NotAudited => "not_audited",
        /// An audit does not vouch for every node.
        Audit => "audit",
        /// A sender sent the key before it was replaced, and no good one since.
        Silent => "silent",
        /// A person tried a credential with the key out in the editor.
        Edited => "edited",
        /// It is not known which sender sent the key.
        Unattributed => "unattributed",
        /// The last use was too short a while ago.
        Quiet => "quiet",
        /// A use is not decided on before the next look through n8n.
        Unsettled => "unsettled",
        /// An execution waits with what it began with.
        Waiting => "waiting",
        /// An execution runs with what it began with.
        Running => "running",
        /// A record was not seen with a good key since it was changed.
        Record => "record",
        /// n8n does not tell who uses a record.
        RecordWithoutNode => "record_without_node",
        /// An exchange that carries the key upstream is open.
        InFlight => "in_flight",
        /// Upstream was not seen to accept a new key yet.
        NoGoodUse => "no_good_use",
        /// There were more senders than are told apart.
        Room => "room",
        /// What is remembered lies ahead of the clock.
        Clock => "clock",
        /// The set learns its keys, so that which one is old is a guess.
        Learning => "learning",
    }
}

impl BarKind {
    /// What a bar of that kind says, in a clause without a full stop.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::StillSent => "a sender has sent the old key after it was replaced, and is not done with it",
            Self::RecordHoldsIt => "a credential of n8n holds the old key: n8n's test of it sent that",
            Self::Typed => "the old key is typed into a node, where a change of the credential does not reach it",
            Self::InUse => "another key set of keyward's uses the same key",
            Self::NoCurrentKey => {
                "keyward does not know the current key, so that no sender can be seen to change to it"
            }
            Self::CurrentKeyRefused => "upstream refuses the current key: the old one may be needed again",
            Self::Silent => "a sender sent the old key before it was replaced, and no good key of it is proven since",
            Self::Unsettled => {
                "a use of the old key was seen, and is not decided on yet: n8n is looked through first, to tell which n8n sent it"
            }
            Self::Edited => "a person tried the old key out in n8n's editor: a credential holds it",
            Self::Unattributed => "the old key was sent by a client for which keyward had no room",
            Self::Quiet => "the old key was used a short time ago, so that an execution may go on with it",
            Self::Record => "a credential of n8n was not seen with a good key since it was changed last",
            Self::RecordWithoutNode => {
                "no node uses a credential of n8n, but its Agents, Instance AI or Chat Hub may, which n8n shows nowhere"
            }
            Self::Waiting => "an execution waits in n8n with what it began with",
            Self::Running => "an execution runs in n8n with what it began with",
            Self::Audit => "the audit of n8n cannot vouch for every node: keyward n8n audit shows each finding",
            Self::NotAudited => "keyward cannot see nodes that do not pass here: n8n was not looked through since",
            Self::InFlight => "an exchange that carries the old key upstream is still open",
            Self::NoGoodUse => "upstream was not seen to accept the current key, the next one or a token yet",
            Self::Room => "there were more senders than are told apart, so that one of them may be overlooked",
            Self::Clock => "what is remembered lies ahead of the clock: the clock was put back",
            Self::Learning => "the set learns its keys from traffic, so that which one is old is a guess",
        }
    }

    /// Whether it ends by the current key, put into n8n or sent once more.
    #[must_use]
    pub fn ends_by_current_key(self) -> bool {
        match self {
            Self::StillSent
            | Self::RecordHoldsIt
            | Self::Silent
            | Self::Edited
            | Self::Record
            | Self::RecordWithoutNode => true,
            Self::Typed
            | Self::InUse
            | Self::NoCurrentKey
            | Self::CurrentKeyRefused
            | Self::NotAudited
            | Self::Audit
            | Self::Unattributed
            | Self::Quiet
            | Self::Unsettled
            | Self::Waiting
            | Self::Running
            | Self::InFlight
            | Self::NoGoodUse
            | Self::Room
            | Self::Clock
            | Self::Learning => false,
        }
    }

    /// What ends it, where that depends on nothing else.
    #[must_use]
    pub fn end(self) -> &'static str {
        match self {
            Self::StillSent => "put the current key into its credential, and run it once",
            Self::RecordHoldsIt => {
                "put the current key into that credential, or a token of keyward's; if it takes its key from n8n's environment \
             ($env), put it there, and restart n8n and each of its workers"
            }
            Self::Typed => "take the key out, and choose an OpenAI credential",
            Self::InUse => "give that set a key of its own",
            Self::NoCurrentKey => "put the current key where the set's `current` says",
            Self::CurrentKeyRefused => "put a key that OpenAI takes into the set",
            Self::Silent => "run it once with the current key",
            Self::Unsettled => "wait for the next look through n8n (n8n.<name>.refresh)",
            Self::Edited => "put the current key into that credential, and test it once",
            Self::Unattributed => "make room (store.max_bindings), then accept it",
            Self::Quiet => "wait until the time that it names (rotation.quiet)",
            Self::Record => "run one of its nodes, or let keyward press its test (n8n.<name>.press)",
            Self::RecordWithoutNode => {
                "open it and put the current key in, so that its test shows it; or delete it; or accept: you opened it and it holds \
             the new key"
            }
            Self::Waiting | Self::Running => "let it end, or stop it in n8n",
            Self::Audit => "do what the finding says",
            Self::NotAudited => "configure n8n's API ([n8n.<name>]), or wait for the next look",
            Self::InFlight => "wait for it to end, or restart keyward",
            Self::NoGoodUse => "run one node with the current key",
            Self::Room => "look for strangers in `keyward bindings`, then accept it",
            Self::Clock => "set the clock right, or wait until then",
            Self::Learning => "declare the current key (keys.<set>.current)",
        }
    }
}
