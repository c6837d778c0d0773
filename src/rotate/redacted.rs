//! Pure. Which key it is that OpenAI shows redacted: `sk-abc...def`.

use crate::keys::secret::Secret;

/// Whether that may be the key: it begins with what stands before the gap, and ends with what stands behind. Without at least
/// three characters behind it, no key is told from another.
#[must_use]
pub fn may_be(redacted: &str, key: &Secret) -> bool {
    let key = key.expose();
    let is_gap = |character: char| matches!(character, '.' | '*' | '…');
    let (Some(begin), Some(end)) = (redacted.find(is_gap), redacted.rfind(is_gap)) else { return false };
    let begins = &redacted.as_bytes()[..begin];
    let ends = redacted[end..].trim_start_matches(is_gap).as_bytes();
    ends.len() >= LEAST && begins.len() + ends.len() < key.len() && key.starts_with(begins) && key.ends_with(ends)
}

const LEAST: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redacted_value_names_a_key() {
        let key: &Secret = &"sk-proj-0123456789abcdefWXYZ".parse().expect("a key");
        for yes in ["sk-proj-...WXYZ", "sk-pr*******************WXYZ", "sk-proj-0…fWXYZ", "...WXYZ"] {
            assert!(may_be(yes, key), "{yes}");
        }
        for no in ["sk-proj-...WXYz", "sk-svc-...WXYZ", "sk-proj-...", "sk-proj-...YZ", "sk-proj-WXYZ", "", "..."] {
            assert!(!may_be(no, key), "{no}");
        }
        let short = "sk-abcde".parse().expect("a key");
        assert!(!may_be("sk-abc...cde", &short), "what overlaps is another key");
    }
}
