//! Pure. What n8n calls its workflows and nodes: names that anybody may have given, made harmless before anybody sees them.

use crate::telemetry::masked::mask_keys;

/// A text of anybody's, fit to be shown: no longer than that many characters, on one line, without a key, and without what
/// steers a terminal or turns the direction of the text around it.
#[must_use]
pub fn harmless(text: &str, longest: usize) -> Box<str> {
    // A key that begins just before the end has to be seen as one.
    let end = text.char_indices().nth(longest + LONGEST_KEY).map_or(text.len(), |(end, _)| end);
    let masked = mask_keys(&text[..end]);
    let mut shown: String = masked
        .chars()
        .map(|character| if is_harmful(character) { '\u{fffd}' } else { character })
        .take(longest)
        .collect();
    if masked.chars().nth(longest).is_some() {
        shown.pop();
        shown.push('…');
    }
    shown.into()
}

/// Controls (ESC among them), and the marks that turn or hide what follows.
#[must_use]
pub fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Longer than the part of a key that tells it from a word.
const LONGEST_KEY: usize = 64;
