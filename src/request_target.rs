//! Pure. The target of a request (RFC 9112, 3.2).

use bytes::Bytes;
use http::uri::{Authority, InvalidUri, PathAndQuery, Uri};

/// The target of a request.
///
/// One in origin form, as nearly all are, stays in the bytes that came. `http` reads the rest.
#[derive(Clone, Debug)]
pub enum RequestTarget {
    /// A path and perhaps a query, in ASCII (RFC 9112, 3.2.1).
    Origin {
        text: Bytes,
        /// How long the path is, in bytes.
        path: usize,
    },
    /// Any other form; in HTTP/2, and where a byte stands in it that is in few targets, that form as well.
    Other(Box<Uri>),
}

impl RequestTarget {
    /// Reads a target. A fragment, which no target has, is dropped.
    pub fn read(text: Bytes) -> Result<Self, InvalidUri> {
        // Each byte is looked at, which takes the processor less than to stop at the first odd one.
        if text.first() == Some(&b'/') && text.iter().fold(true, |all, byte| all & is_plain(*byte)) {
            let path = memchr::memchr(b'?', &text).unwrap_or(text.len());
            return Ok(Self::Origin { text, path });
        }
        Uri::from_maybe_shared(text).map(Self::from)
    }

    /// The path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Origin { text, path } => ascii(text.get(..*path).unwrap_or_default()),
            Self::Other(uri) => uri.path(),
        }
    }

    /// Path and query.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        match self {
            Self::Origin { text, .. } => ascii(text),
            Self::Other(uri) => uri.path_and_query().map_or("/", PathAndQuery::as_str),
        }
    }

    /// Whether it asks for `/`, with a query or without.
    #[must_use]
    pub fn is_root(&self) -> bool {
        match self {
            Self::Origin { path, .. } => *path == 1,
            Self::Other(uri) => uri.path() == "/",
        }
    }

    /// Path and query, as they are written in a head.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Origin { text, .. } => text,
            Self::Other(_) => self.path_and_query().as_bytes(),
        }
    }

    /// Host and port, where the target names them.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        match self {
            Self::Origin { .. } => None,
            Self::Other(uri) => uri.authority().map(Authority::as_str),
        }
    }

    /// Without what stands in front of `end`, which is the end of its path and query, and begins with `/`.
    #[must_use]
    pub fn cut_to(&self, end: &str) -> Self {
        if let Self::Origin { text, path } = self
            && let Some(cut) = text.len().checked_sub(end.len())
        {
            return Self::Origin { text: text.slice(cut..), path: path.saturating_sub(cut) };
        }
        Self::read_part(Bytes::copy_from_slice(end.as_bytes()))
    }

    /// Reads what was put together of parts of a target, so that it is one.
    #[must_use]
    pub fn read_part(text: Bytes) -> Self {
        Self::read(text).unwrap_or_else(|_invalid| Uri::default().into())
    }

    /// Path and query, as `http` has them.
    #[must_use]
    pub fn to_path_and_query(&self) -> PathAndQuery {
        let read = match self {
            Self::Origin { text, .. } => PathAndQuery::from_maybe_shared(Bytes::clone(text)).ok(),
            Self::Other(uri) => uri.path_and_query().cloned(),
        };
        read.unwrap_or(PathAndQuery::from_static("/"))
    }

    /// As `http` has it.
    #[must_use]
    pub fn into_uri(self) -> Uri {
        match self {
            Self::Origin { text, .. } => Uri::from_maybe_shared(text).unwrap_or_default(),
            Self::Other(uri) => *uri,
        }
    }
}

impl From<Uri> for RequestTarget {
    fn from(uri: Uri) -> Self {
        Self::Other(Box::new(uri))
    }
}

/// Whether the byte stands in a path or a query (RFC 3986, 3.3 and 3.4), or is one of the few that `http` takes as well and
/// that mean nothing in particular.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?'..=b'_' | b'a'..=b'z' | b'|' | b'~')
}

fn ascii(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> RequestTarget {
        RequestTarget::read(Bytes::copy_from_slice(text.as_bytes())).expect("a target")
    }

    #[test]
    fn a_target_in_origin_form_stays_as_it_came() {
        #[track_caller]
        fn check(text: &str, path: &str) {
            let target = read(text);
            assert!(matches!(target, RequestTarget::Origin { .. }), "{text}");
            assert_eq!((target.path(), target.path_and_query(), target.authority()), (path, text, None));
        }
        check("/", "/");
        check("/v1/models?a=%C3%A9&b=?/", "/v1/models");
        check("/?", "/");
        check("//elsewhere.example/v1", "//elsewhere.example/v1");
    }

    #[test]
    fn other_forms_have_an_authority_or_no_path() {
        let absolute = read("http://elsewhere.example:8080/v1/models?a=1");
        assert_eq!(absolute.authority(), Some("elsewhere.example:8080"));
        assert_eq!((absolute.path(), absolute.path_and_query()), ("/v1/models", "/v1/models?a=1"));
        assert_eq!((read("*").path(), read("k:443").path(), read("k:443").authority()), ("*", "", Some("k:443")));
        assert!(RequestTarget::read(Bytes::new()).is_err());
    }

    #[test]
    fn a_target_is_cut_to_its_end() {
        for text in
            ["/n8n/w/v1/models?a=/v1", "http://elsewhere.example/n8n/w/v1/models?a=/v1", "/n8n/w/v1/models?a=/v1#b"]
        {
            let target = read(text);
            let cut = target.cut_to(&target.path_and_query()["/n8n/w".len()..]);
            assert_eq!((cut.path(), cut.path_and_query(), cut.authority()), ("/v1/models", "/v1/models?a=/v1", None));
        }
    }

    #[test]
    fn every_byte_is_read_as_http_reads_it() {
        for byte in 0..=u8::MAX {
            for text in [[b"/a", &[byte][..], b"b?c"].concat(), [b"/a?b", &[byte][..], b"c"].concat()] {
                same_as_http(&text);
            }
        }
    }

    #[track_caller]
    fn same_as_http(text: &[u8]) {
        let ours = RequestTarget::read(Bytes::copy_from_slice(text));
        match (ours, Uri::try_from(text)) {
            (Ok(ours), Ok(uri)) => {
                assert_eq!(ours.path(), uri.path());
                assert_eq!(ours.path_and_query(), uri.path_and_query().map_or("/", PathAndQuery::as_str));
                assert_eq!(ours.authority(), uri.authority().map(Authority::as_str));
                assert_eq!(ours.into_uri(), uri);
            }
            (ours, uri) => assert_eq!(ours.is_ok(), uri.is_ok(), "{:?}", String::from_utf8_lossy(text)),
        }
    }

    proptest! {
        #[test]
        fn any_target_is_read_as_http_reads_it(text in "/?[ -~\u{e9}]{0,24}") {
            same_as_http(text.as_bytes());
        }
    }
}
