//! A request that was let in, as its route takes it.

use http::request::Parts;

use super::access::Pass;
use super::parameters::Parameters;

/// A request that was let in.
#[derive(Clone)]
pub struct Call {
    pub head: Parts,
    /// The texts that stand for the parts in braces.
    pub texts: Vec<String>,
    /// What stands in its query.
    pub parameters: Parameters,
    /// Who asks; nothing where nothing is needed.
    pub pass: Option<Pass>,
}

impl Call {
    /// The text that stands for the first part in braces.
    #[must_use]
    pub fn text(&self) -> &str {
        self.texts.first().map_or("", String::as_str)
    }
}
