//! Pure. What each kind of bar means, and what ends it: for those who have only its code, and where there is no more to say.

use super::answer::BarKind;

/// What is so.
#[must_use]
pub fn meaning(kind: BarKind) -> &'static str {
    match kind {
        BarKind::StillSent => "a sender has sent the old key after it was replaced, and is not done with it",
        BarKind::RecordHoldsIt => "a credential of n8n holds the old key: n8n's test of it sent that",
        BarKind::Typed => "the old key is typed into a node, where a change of the credential does not reach it",
        BarKind::InUse => "another key set of keyward's uses the same key",
        BarKind::NoCurrentKey => "keyward does not know the current key, so that no sender can be seen to change to it",
        BarKind::CurrentKeyRefused => "upstream refuses the current key: the old one may be needed again",
        BarKind::Silent => "a sender sent the old key before it was replaced, and no good key of it is proven since",
        BarKind::Unsettled => {
            "a use of the old key was seen, and is not decided on yet: n8n is looked through first, to tell which n8n sent it"
        }
        BarKind::Edited => "a person tried the old key out in n8n's editor: a credential holds it",
        BarKind::Unattributed => "the old key was sent by a client for which keyward had no room",
        BarKind::Quiet => "the old key was used a short time ago, so that an execution may go on with it",
        BarKind::Record => "a credential of n8n was not seen with a good key since it was changed last",
        BarKind::RecordWithoutNode => {
            "no node uses a credential of n8n, but its Agents, Instance AI or Chat Hub may, which n8n shows nowhere"
        }
        BarKind::Waiting => "an execution waits in n8n with what it began with",
        BarKind::Running => "an execution runs in n8n with what it began with",
        BarKind::Audit => "the audit of n8n cannot vouch for every node: keyward n8n audit shows each finding",
        BarKind::NotAudited => "keyward cannot see nodes that do not pass here: n8n was not looked through since",
        BarKind::InFlight => "an exchange that carries the old key upstream is still open",
        BarKind::NoGoodUse => "upstream was not seen to accept the current key, the next one or a token yet",
        BarKind::Room => "there were more senders than are told apart, so that one of them may be overlooked",
        BarKind::Clock => "what is remembered lies ahead of the clock: the clock was put back",
        BarKind::Learning => "the set learns its keys from traffic, so that which one is old is a guess",
    }
}

/// What ends it, where that depends on nothing else.
#[must_use]
pub fn end(kind: BarKind) -> &'static str {
    match kind {
        BarKind::StillSent => "put the current key into its credential, and run it once",
        BarKind::RecordHoldsIt => {
            "put the current key into that credential, or a token of keyward's; if it takes its key from n8n's environment \
         ($env), put it there, and restart n8n and each of its workers"
        }
        BarKind::Typed => "take the key out, and choose an OpenAI credential",
        BarKind::InUse => "give that set a key of its own",
        BarKind::NoCurrentKey => "put the current key where the set's `current` says",
        BarKind::CurrentKeyRefused => "put a key that OpenAI takes into the set",
        BarKind::Silent => "run it once with the current key",
        BarKind::Unsettled => "wait for the next look through n8n (n8n.<name>.refresh)",
        BarKind::Edited => "put the current key into that credential, and test it once",
        BarKind::Unattributed => "make room (store.max_bindings), then accept it",
        BarKind::Quiet => "wait until the time that it names (rotation.quiet)",
        BarKind::Record => "run one of its nodes, or let keyward press its test (n8n.<name>.press)",
        BarKind::RecordWithoutNode => {
            "open it and put the current key in, so that its test shows it; or delete it; or accept: you opened it and it holds \
         the new key"
        }
        BarKind::Waiting => "let it end, or stop it in n8n",
        BarKind::Running => "let it end, or stop it in n8n",
        BarKind::Audit => "do what the finding says",
        BarKind::NotAudited => "configure n8n's API ([n8n.<name>]), or wait for the next look",
        BarKind::InFlight => "wait for it to end, or restart keyward",
        BarKind::NoGoodUse => "run one node with the current key",
        BarKind::Room => "look for strangers in `keyward bindings`, then accept it",
        BarKind::Clock => "set the clock right, or wait until then",
        BarKind::Learning => "declare the current key (keys.<set>.current)",
    }
}
