//! Pure. The kinds of problems, how much each matters, and what to do about it.

use crate::codes::codes;
use crate::verdict::explain::{DiagnosisKind, Severity};
use crate::verdict::meaning::remedy;

codes! {
    /// What can be wrong beside single callers: with upstream, a key, n8n, or keyward itself.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum ProblemKind {
        /// Upstream calls a set's current key invalid.
        CurrentKeyRefused => "current_key_refused",
        /// The account of a set's current key is out of credit, or at its limit.
        QuotaUsedUp => "quota_used_up",
        /// No connection to upstream can be made.
        UpstreamUnreachable => "upstream_unreachable",
        /// Upstream answers with 5xx, does not answer, or breaks off.
        UpstreamFailing => "upstream_failing",
        /// A set's key cannot be had from where it should be.
        KeyUnreadable => "key_unreadable",
        /// Tokens and revoked keys cannot be read.
        TokensUnreadable => "tokens_unreadable",
        /// The fingerprint key is lost, or another one stands in its place.
        FingerprintKeyLost => "fingerprint_key_lost",
        /// The state folder, or a file in it, cannot be used.
        StateUnusable => "state_unusable",
        /// The store cannot be read or written.
        StoreFailing => "store_failing",
        /// An n8n does not answer, or not as n8n does.
        N8nUnreachable => "n8n_unreachable",
        /// The API key of an n8n cannot be read, or that n8n refuses it.
        N8nKeyUnusable => "n8n_key_unusable",
        /// The certificate that clients are shown cannot be read.
        CertificateUnreadable => "certificate_unreadable",
        /// The certificate that clients are shown is near its end, or past it.
        CertificateEnds => "certificate_ends",
        /// A file with tokens of the admin listener cannot be read.
        AdminTokenUnreadable => "admin_token_unreadable",
        /// A set's current key expires within a month, or has.
        KeyExpires => "key_expires",
        /// Log lines are dropped.
        LogFailing => "log_failing",
        /// Notices do not reach one of their receivers.
        NoticesFailing => "notices_failing",
        /// There is no room for another binding.
        BindingsFull => "bindings_full",
        /// Requests carry a tag that cannot be read, most likely an expression as it is written.
        TagUnreadable => "tag_unreadable",
    }
}

impl ProblemKind {
    /// How much a problem of that kind matters.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::CurrentKeyRefused
            | Self::QuotaUsedUp
            | Self::UpstreamUnreachable
            | Self::UpstreamFailing
            | Self::KeyUnreadable
            | Self::TokensUnreadable
            | Self::FingerprintKeyLost
            | Self::StateUnusable
            | Self::StoreFailing => Severity::Error,
            Self::N8nUnreachable
            | Self::N8nKeyUnusable
            | Self::CertificateUnreadable
            | Self::CertificateEnds
            | Self::AdminTokenUnreadable
            | Self::KeyExpires
            | Self::LogFailing
            | Self::NoticesFailing
            | Self::BindingsFull
            | Self::TagUnreadable => Severity::Warning,
        }
    }

    /// What is wrong, in few words.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::CurrentKeyRefused => "upstream refuses the current key",
            Self::QuotaUsedUp => "the account of the current key is out of credit, or at its limit",
            Self::UpstreamUnreachable => "upstream cannot be reached",
            Self::UpstreamFailing => "upstream fails",
            Self::KeyUnreadable => "a key cannot be read",
            Self::TokensUnreadable => "tokens and revoked keys cannot be read",
            Self::FingerprintKeyLost => "the fingerprint key is lost",
            Self::StateUnusable => "the state folder cannot be used",
            Self::StoreFailing => "the store cannot be used",
            Self::N8nUnreachable => "n8n does not answer",
            Self::N8nKeyUnusable => "n8n's API key cannot be read, or n8n refuses it",
            Self::CertificateUnreadable => "the certificate cannot be read",
            Self::CertificateEnds => "the certificate is near its end",
            Self::AdminTokenUnreadable => "the admin tokens cannot be read",
            Self::KeyExpires => "the current key is near its end",
            Self::LogFailing => "log lines are dropped",
            Self::NoticesFailing => "notices do not arrive",
            Self::BindingsFull => "there is no room for more bindings",
            Self::TagUnreadable => "tags cannot be read",
        }
    }

    /// What to do, in sentences: what a single exchange says that met it, if one does, and what there is to be said beside that.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a table of texts")]
    pub fn remedy(self, set: &str) -> String {
        let alone = |text| (None, text);
        let (as_in_exchange, beside) = match self {
            Self::CurrentKeyRefused => (Some(DiagnosisKind::CurrentKeyRejected), ""),
            Self::QuotaUsedUp => (Some(DiagnosisKind::Quota), "Leave the keys as they are."),
            Self::UpstreamUnreachable => {
                (Some(DiagnosisKind::UpstreamFailed), "`keyward check --online` tries to reach it.")
            }
            Self::UpstreamFailing => (Some(DiagnosisKind::UpstreamError), ""),
            Self::KeyUnreadable => alone(
                "Put the key there, alone and in one line. Until then keyward goes on with the keys that it read before: one \
                 that you have replaced still counts as current.",
            ),
            Self::TokensUnreadable => alone(
                "Mend or restore that file. Until then the tokens and revocations that were read before stay in use, and after \
                 a restart none is known.",
            ),
            Self::FingerprintKeyLost => alone(
                "Put the fingerprint key back from a backup, and restart keyward. Without it no key is known that was replaced \
                 or revoked.",
            ),
            Self::StateUnusable => alone(
                "Let keyward's user write to the state folder (`state.dir`), and see that its disk has room. Until then \
                 rotations are forgotten when keyward stops.",
            ),
            Self::StoreFailing => alone(
                "See that the store's disk has room and that keyward's user may write to it. keyward keeps all in memory \
                 meanwhile, tries again by itself, and loses nothing unless it is stopped first.",
            ),
            Self::N8nUnreachable => alone(
                "See whether this n8n is up, and `keyward check --online`. Until it answers, keyward knows of its workflows \
                 what it read last, and no old key can be said to go.",
            ),
            Self::N8nKeyUnusable => alone(
                "Make a new API key in n8n (Settings, n8n API) and put it where keyward reads it; no restart is needed.",
            ),
            Self::CertificateUnreadable => alone(
                "Put a certificate and its private key in PEM where `tls.cert` and `tls.key` point. The one from before is \
                 shown until then.",
            ),
            Self::CertificateEnds => alone(
                "Renew it and replace the files that `tls.cert` and `tls.key` point to: keyward takes them without a restart.",
            ),
            Self::AdminTokenUnreadable => alone(
                "Put a token into the file that `admin.token_file` points to. No token from it is accepted until then.",
            ),
            Self::KeyExpires => alone(
                "Replace it before its end: `keyward rotate` does, with --plan it shows how. From its end on OpenAI refuses \
                 it. `keyward keys expiring` asks OpenAI again.",
            ),
            Self::LogFailing => alone(
                "See that the log's disk has room, or that the program that reads keyward's standard output keeps up.",
            ),
            Self::NoticesFailing => alone(
                "See whether the receiver is up, whether its URL is right, and what it says to `keyward notices test`. What \
                 waits is sent when it takes notices again, for a day.",
            ),
            Self::BindingsFull => alone(
                "Raise `store.max_bindings` or `store.max_bindings_per_peer`. Callers without a place of their own are counted \
                 together under `other`, and no old key can be said to go.",
            ),
            Self::TagUnreadable => alone(
                "Open n8n's OpenAI credential and switch each field that holds `{{ … }}` to Expression: the value of \
                 X-N8N-Tag, or the Base URL. The first lines of keyward's log show what belongs there.",
            ),
        };
        let mut sentences = as_in_exchange.map_or_else(Vec::new, |kind| remedy(kind, set));
        sentences.extend((!beside.is_empty()).then(|| beside.to_owned()));
        sentences.join(" ")
    }
}
