//! Pure. The public names of a key: its fingerprint (keyed hash) and its hint (kind and last four characters).

use std::fmt;
use std::str::FromStr;

use ring::hmac;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The public name of a key: 128 bits of HMAC-SHA256 under this installation's [`FingerprintKey`].
///
/// Displays as its first eight hex digits; [`Fingerprint::to_hex`] is the whole of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// All 32 hex digits, as kept in the state folder.
    #[must_use]
    pub fn to_hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    /// Whether it begins with those hex digits.
    #[must_use]
    pub fn begins_with(self, digits: &str) -> bool {
        self.to_hex().starts_with(&digits.to_ascii_lowercase())
    }

    /// Sixty-four of its bits, as good as random.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0.last_chunk().map_or(0, |last| u64::from_be_bytes(*last))
    }

    /// Sixteen of its bits, as good as random: a place in a table.
    #[must_use]
    pub fn spread(self) -> u16 {
        u16::from_be_bytes([self.0[14], self.0[15]])
    }

    /// The eight hex digits that people see, as ASCII.
    #[must_use]
    pub fn short(self) -> [u8; 8] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 8];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        digits
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// As all its hex digits.
impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseFingerprintError);
        }
        let mut bytes = [0; 16];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| ParseFingerprintError)?;
        }
        Ok(Self(bytes))
    }
}

/// The text is not 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 32 hex digits")]
pub struct ParseFingerprintError;

/// What makes fingerprints of this installation useless elsewhere: made at first start, kept beside the state, mode 0600.
pub struct FingerprintKey(hmac::Key);

impl FingerprintKey {
    /// The length of the key in bytes.
    pub const LEN: usize = 32;

    /// From 32 random bytes, as the state folder keeps them.
    #[must_use]
    pub fn new(bytes: &[u8; Self::LEN]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The fingerprint of a key's value.
    #[must_use]
    pub fn fingerprint(&self, value: &[u8]) -> Fingerprint {
        let tag = hmac::sign(&self.0, value);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&tag.as_ref()[..16]);
        Fingerprint(bytes)
    }

    /// The public name of the fingerprint key itself, by which it is known again: its fingerprint of a text that is no key.
    #[must_use]
    pub fn name(&self) -> Fingerprint {
        self.fingerprint(b"the fingerprint key of keyward")
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey(…)")
    }
}

/// What sort of key a value looks like. Never a reason to refuse it: OpenAI has changed its formats four times in two
/// years, and compatible upstreams have their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// `sk-proj-…`
    Project,
    /// `sk-svcacct-…`
    ServiceAccount,
    /// `sk-admin-…`: the administration API's, which has no place on the data path.
    Admin,
    /// `sk-…`
    User,
    /// `sess-…`: a dashboard session.
    Session,
    /// `ek_…`: a short-lived Realtime client secret.
    Ephemeral,
    /// `eyJ…`: an OAuth or workload-identity access token.
    AccessToken,
    /// `kw_…`: a token of ours.
    Token,
    /// A key of another vendor's, which OpenAI does not take.
    OfVendor(Vendor),
    /// What has the form of a key of Azure OpenAI, which has no prefix of its own. It is named, but not taken for certain:
    /// gateways have such keys as well.
    LikeAzure,
    Other,
}

/// Another vendor whose keys are known by how they begin: what people mistake for OpenAI's, or paste from the line above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the name of a company")]
pub enum Vendor {
    Anthropic,
    Google,
    Groq,
    Xai,
    Perplexity,
    HuggingFace,
    OpenRouter,
    Replicate,
    Nvidia,
    GitHub,
    GitLab,
    Amazon,
}

impl KeyKind {
    /// A longer one before one that it begins with, and one for each kind.
    const PREFIXES: [(&'static str, Self); 20] = [
        ("sk-proj-", Self::Project),
        ("sk-svcacct-", Self::ServiceAccount),
        ("sk-admin-", Self::Admin),
        ("sk-ant-", Self::OfVendor(Vendor::Anthropic)),
        ("sk-or-", Self::OfVendor(Vendor::OpenRouter)),
        ("sk-", Self::User),
        ("sess-", Self::Session),
        ("ek_", Self::Ephemeral),
        ("eyJ", Self::AccessToken),
        ("kw_", Self::Token),
        ("AIza", Self::OfVendor(Vendor::Google)),
        ("gsk_", Self::OfVendor(Vendor::Groq)),
        ("xai-", Self::OfVendor(Vendor::Xai)),
        ("pplx-", Self::OfVendor(Vendor::Perplexity)),
        ("hf_", Self::OfVendor(Vendor::HuggingFace)),
        ("r8_", Self::OfVendor(Vendor::Replicate)),
        ("nvapi-", Self::OfVendor(Vendor::Nvidia)),
        ("ghp_", Self::OfVendor(Vendor::GitHub)),
        ("glpat-", Self::OfVendor(Vendor::GitLab)),
        ("AKIA", Self::OfVendor(Vendor::Amazon)),
    ];

    /// The kind of `value`, by its prefix, or else by its form.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        let kind = Self::by_prefix(value);
        if kind == Self::Other && is_like_azure(value) { Self::LikeAzure } else { kind }
    }

    fn by_prefix(value: &[u8]) -> Self {
        Self::PREFIXES
            .iter()
            .find(|(prefix, _)| value.starts_with(prefix.as_bytes()))
            .map_or(Self::Other, |(_, kind)| *kind)
    }

    /// The prefix that gives the kind away; empty where none does.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        Self::PREFIXES.iter().find(|(_, kind)| *kind == self).map_or("", |(prefix, _)| prefix)
    }

    /// Whether such keys come and go by themselves, so that a new one says nothing about a rotation.
    #[must_use]
    pub fn is_short_lived(self) -> bool {
        matches!(self, Self::Session | Self::Ephemeral | Self::AccessToken)
    }

    /// As a person would say it, with its article: `a project key`.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Project => "a project key",
            Self::ServiceAccount => "a service account's key",
            Self::Admin => "an admin key",
            Self::User => "a user key",
            Self::Session => "a dashboard session",
            Self::Ephemeral => "a short-lived client secret",
            Self::AccessToken => "an access token",
            Self::Token => "a keyward token",
            Self::OfVendor(vendor) => vendor.phrase(),
            Self::LikeAzure => "what looks like a key of Azure OpenAI",
            Self::Other => "a key",
        }
    }

    /// Whether such a key is another vendor's.
    #[must_use]
    pub fn is_of_vendor(self) -> bool {
        matches!(self, Self::OfVendor(_))
    }
}

/// Whether a value has one of the two forms of Azure's keys: 32 lower-case hex digits, or 84 letters and digits with the mark
/// behind the first 52 that Microsoft puts into its keys (SEC101/200 of github.com/microsoft/security-utilities).
fn is_like_azure(value: &[u8]) -> bool {
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    match value.len() {
        32 => value.iter().all(is_hex),
        84 => value[52..].starts_with(b"JQQJ9") && value.iter().all(u8::is_ascii_alphanumeric),
        _ => false,
    }
}

impl Vendor {
    fn phrase(self) -> &'static str {
        match self {
            Self::Anthropic => "a key of Anthropic's",
            Self::Google => "a key of Google's",
            Self::Groq => "a key of Groq's",
            Self::Xai => "a key of xAI's",
            Self::Perplexity => "a key of Perplexity's",
            Self::HuggingFace => "a token of Hugging Face's",
            Self::OpenRouter => "a key of OpenRouter's",
            Self::Replicate => "a token of Replicate's",
            Self::Nvidia => "a key of NVIDIA's",
            Self::GitHub => "a token of GitHub's",
            Self::GitLab => "a token of GitLab's",
            Self::Amazon => "an access key id of Amazon's",
        }
    }
}

/// What a person recognises a key by: its kind and its last four characters, `sk-proj-…AbCd`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    kind: KeyKind,
    last: [u8; 4],
}

impl Hint {
    /// The hint of `value`; nothing for a value under 20 characters: four of those would say too much.
    #[must_use]
    pub fn of(value: &[u8]) -> Option<Self> {
        let (_, last) = value.split_last_chunk::<4>()?;
        let tells_little = value.len() >= 20 && last.iter().all(u8::is_ascii_graphic);
        // A kind without a prefix says nothing in a hint, and is not stored.
        tells_little.then_some(Self { kind: KeyKind::by_prefix(value), last: *last })
    }

    /// From what was stored of it; nothing where that cannot be a hint.
    #[must_use]
    pub fn of_token(last: &str) -> Option<Self> {
        let last: [u8; 4] = last.as_bytes().try_into().ok()?;
        last.iter().all(u8::is_ascii_graphic).then_some(Self { kind: KeyKind::Token, last })
    }

    /// From what was stored of it: what the key begins with, as [`Hint::prefix`] gives it, and its last characters. Nothing
    /// where that cannot be a hint.
    #[must_use]
    pub fn from_parts(prefix: &str, last: &str) -> Option<Self> {
        let kind = KeyKind::by_prefix(prefix.as_bytes());
        let last: [u8; 4] = last.as_bytes().try_into().ok()?;
        (kind.prefix() == prefix && last.iter().all(u8::is_ascii_graphic)).then_some(Self { kind, last })
    }

    /// The four last characters, all visible ASCII.
    #[must_use]
    pub fn last(&self) -> &[u8; 4] {
        &self.last
    }

    /// What such keys begin with (`sk-proj-`); empty where no beginning tells the kind.
    #[must_use]
    pub fn prefix(&self) -> &'static str {
        self.kind.prefix()
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.prefix())?;
        f.write_str("…")?;
        self.last.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

impl fmt::Debug for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_the_installation_and_survives_the_state_file() {
        let (here, there) = (FingerprintKey::new(&[1; 32]), FingerprintKey::new(&[2; 32]));
        let fingerprint = here.fingerprint(b"sk-proj-a");
        assert_eq!(fingerprint, here.fingerprint(b"sk-proj-a"));
        assert_ne!(fingerprint, there.fingerprint(b"sk-proj-a"));
        assert_ne!(fingerprint, here.fingerprint(b"sk-proj-b"));
        assert_ne!(here.name(), there.name());
        assert_eq!(here.name().to_hex(), "2ef8e05e2c58f3e9b696b1814298f29e", "stored, so it may not change");
        assert_eq!(fingerprint.to_hex().parse(), Ok(fingerprint));
        assert_eq!(fingerprint.to_string(), fingerprint.to_hex()[..8]);
        assert_eq!(fingerprint.short(), fingerprint.to_string().as_bytes());
        assert_eq!("xyz".parse::<Fingerprint>(), Err(ParseFingerprintError));
    }

    #[test]
    fn a_hint_comes_back_from_its_parts_and_nothing_else_does() {
        for value in ["sk-proj-0123456789abcdAbCd", "kw_0123456789abcdefghi", "some-other-upstreams-key"] {
            let hint = Hint::of(value.as_bytes()).expect("a hint");
            let last = std::str::from_utf8(hint.last()).expect("text");
            assert_eq!(Hint::from_parts(hint.prefix(), last), Some(hint));
        }
        for (prefix, last) in [("sk-proj-x", "AbCd"), ("sk-", "AbCdE"), ("sk-", "A Cd"), ("what", "AbCd")] {
            assert_eq!(Hint::from_parts(prefix, last), None, "{prefix}");
        }
    }

    #[test]
    fn each_kind_is_known_by_its_prefix() {
        for (prefix, kind) in KeyKind::PREFIXES {
            let value = format!("{prefix}0123456789abcdefAbCd");
            assert_eq!((KeyKind::of(value.as_bytes()), kind.prefix()), (kind, prefix));
            assert_eq!(Hint::of(value.as_bytes()).map(|hint| hint.to_string()), Some(format!("{prefix}…AbCd")));
        }
        let phrase = |key: &str| KeyKind::of(key.as_bytes()).phrase();
        assert_eq!(
            ["sk-ant-api03-a", "sk-or-v1-a", "AIzaSyA"].map(phrase),
            ["a key of Anthropic's", "a key of OpenRouter's", "a key of Google's"]
        );
    }

    #[test]
    fn a_key_of_azure_is_known_by_its_form_alone() {
        let old = "0123456789abcdef0123456789abcdef";
        let new = format!("{}JQQJ99BDACYeBjFXJ3w3AAABACOGabcd", "aB3".repeat(18).split_at(52).0);
        for key in [old, &new] {
            assert_eq!(KeyKind::of(key.as_bytes()), KeyKind::LikeAzure, "{key}");
            let hint = Hint::of(key.as_bytes()).expect("a hint");
            let last = std::str::from_utf8(hint.last()).expect("text");
            assert_eq!(Hint::from_parts(hint.prefix(), last), Some(hint));
        }
        let others = [&old[1..], &old.to_uppercase(), &old.replace('a', "g"), &new[1..], &new.replace("JQQJ", "JQQK")];
        for key in others.into_iter().chain([&*format!("sk-{}", &old[3..]), &new.replace('B', "-")]) {
            assert_ne!(KeyKind::of(key.as_bytes()), KeyKind::LikeAzure, "{key}");
        }
    }

    #[test]
    fn hints() {
        #[track_caller]
        fn check(value: &str, expected: Option<&str>) {
            assert_eq!(Hint::of(value.as_bytes()).map(|hint| hint.to_string()).as_deref(), expected);
        }
        check("sk-proj-0123456789abcdAbCd", Some("sk-proj-…AbCd"));
        check("sk-svcacct-0123456789abcdAbCd", Some("sk-svcacct-…AbCd"));
        check("sk-0123456789abcdefAbCd", Some("sk-…AbCd"));
        check("some-other-upstreams-key", Some("…-key"));
        check("sk-proj-tooshort", None);
        check("", None);
        check("sk-proj-0123456789abcdAbé", None);
    }
}
