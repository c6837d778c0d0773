//! Pure. The style sheet, the script and the icon of the page, under names that change with what is in them: a browser keeps
//! each for ever.

use std::fmt::Write as _;
use std::sync::LazyLock;

use ring::digest::{SHA256, digest};

/// A file of the page.
#[derive(Debug)]
pub struct Asset {
    /// Its name: `page.0123456789abcdef.css`.
    pub name: String,
    pub content_type: &'static str,
    pub text: &'static str,
}

/// `page.css`, compiled in.
pub static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("css", "text/css; charset=utf-8", include_str!("page.css")));

/// `page.js`, compiled in.
pub static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("js", "text/javascript; charset=utf-8", include_str!("page.js")));

/// `icon.svg`, compiled in.
pub static ICON: LazyLock<Asset> = LazyLock::new(|| Asset::new("svg", "image/svg+xml", include_str!("icon.svg")));

/// The file of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Asset> {
    [&*STYLE, &*SCRIPT, &*ICON].into_iter().find(|asset| asset.name == name)
}

impl Asset {
    fn new(ending: &str, content_type: &'static str, text: &'static str) -> Self {
        let mut name = "page.".to_owned();
        for byte in digest(&SHA256, text.as_bytes()).as_ref().iter().take(NAMED_BY) {
            let _ = write!(name, "{byte:02x}");
        }
        let _ = write!(name, ".{ending}");
        Self { name, content_type, text }
    }

    /// The path of its route: `/assets/page.0123456789abcdef.css`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

/// How many bytes of the hash stand in a name.
const NAMED_BY: usize = 8;
