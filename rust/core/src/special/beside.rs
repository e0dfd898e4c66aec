//! The characters beside a match, which decide for `single_word`, `lstrip` and `rstrip`.
//!
//! Bytes that are not UTF-8 are no characters: neither white space nor part of a word.

/// The first character of a text, if its first bytes are one.
pub(super) fn first_character(text: &[u8]) -> Option<char> {
    let start = &text[..text.len().min(4)];
    let chunk = start.utf8_chunks().next()?;
    chunk.valid().chars().next()
}

/// The last character of a text, if its last bytes are one.
pub(super) fn last_character(text: &[u8]) -> Option<char> {
    let longest = text.len().min(4);
    let mut ends = (1..=longest).map(|length| &text[text.len() - length..]);
    let end = ends.find(|end| end[0] & 0xC0 != 0x80)?;
    let mut characters = std::str::from_utf8(end).ok()?.chars();
    characters.next_back()
}

/// Whether `\w` takes a character, as the regex crate understands it.
pub(super) fn is_word(character: char) -> bool {
    regex_syntax::try_is_word_character(character).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_of_every_length_and_none_of_broken_bytes() {
        for character in ['a', 'é', '好', '\u{1F642}'] {
            let text = format!("{character}{character}");
            assert_eq!(first_character(text.as_bytes()), Some(character));
            assert_eq!(last_character(text.as_bytes()), Some(character));
        }
        for broken in [&b""[..], b"\xFF", b"\x80\x80\x80\x80\x80", b"\xE5\xA5"] {
            assert_eq!(first_character(broken), None);
            assert_eq!(last_character(broken), None);
        }
        assert_eq!(first_character(b"a\xFF"), Some('a'));
        assert_eq!(last_character(b"\xFFa"), Some('a'));
        assert_eq!(last_character(b"a\xE5\xA5"), None);
    }

    #[test]
    fn words_are_those_of_the_regex_crate() {
        assert!("aé好_5\u{301}\u{200D}".chars().all(is_word));
        assert!(!" -²\u{1F642}".chars().any(is_word));
    }
}
