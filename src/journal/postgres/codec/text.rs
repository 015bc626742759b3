//! Text as PostgreSQL stores it: everything but U+0000, which Chroma accepts in names and PostgreSQL does not.
//!
//! Lossless: U+0000 is stored as "␀0", and the escape character itself as "␀␀". All other text is stored unchanged.

use std::borrow::Cow;

const ESCAPE: char = '\u{2400}';

/// Returns the text as it is stored.
pub(in crate::journal::postgres) fn stored(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => stored.extend([ESCAPE, '0']),
            ESCAPE => stored.extend([ESCAPE, ESCAPE]),
            other => stored.push(other),
        }
    }
    Cow::Owned(stored)
}

/// Returns the original of a stored text. Anything that [`stored`] never produces is returned unchanged.
pub(in crate::journal::postgres) fn read(stored: String) -> String {
    if !stored.contains(ESCAPE) {
        return stored;
    }
    let mut text = String::with_capacity(stored.len());
    let mut characters = stored.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            (ESCAPE, Some('0')) => text.push('\0'),
            (ESCAPE, Some(&ESCAPE)) => text.push(ESCAPE),
            (other, _) => {
                text.push(other);
                continue;
            }
        }
        characters.next();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_and_none_holds_a_nul() {
        let texts = ["", "plain", "\0", "a\0b\0", "␀", "␀0", "␀␀0\0", "\0␀", "␀\0"];
        let mut seen = std::collections::HashSet::new();
        for text in texts {
            let stored = stored(text);
            assert!(!stored.contains('\0'));
            assert!(seen.insert(stored.to_string()), "two texts are stored as {stored:?}");
            assert_eq!(read(stored.into_owned()), text);
        }
        assert!(matches!(stored("as it is"), Cow::Borrowed(_)));
    }
}
