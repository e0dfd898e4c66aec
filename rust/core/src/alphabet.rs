//! GPT-2's alphabet: bytes as printable characters.
//!
//! JSON and line-based merge files cannot hold arbitrary bytes or spaces, so every
//! byte is written as one character: printable Latin-1 as itself, the other 68
//! in order as U+0100 and on (a space is `Ġ`).

use std::sync::LazyLock;

const FIRST_OTHER: u32 = 0x100;

struct Alphabet {
    characters: [char; 256],
    /// The bytes of U+0000 to U+0143, where they have one.
    bytes: [Option<u8>; 0x144],
}

static ALPHABET: LazyLock<Alphabet> = LazyLock::new(|| {
    let mut alphabet = Alphabet {
        characters: ['\0'; 256],
        bytes: [None; 0x144],
    };
    let mut others = (FIRST_OTHER..).filter_map(char::from_u32);
    for byte in 0..=u8::MAX {
        let character = match byte {
            0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
            _ => others.next().unwrap_or('\0'),
        };
        alphabet.characters[byte as usize] = character;
        alphabet.bytes[character as usize] = Some(byte);
    }
    alphabet
});

/// The characters of some bytes.
pub(crate) fn to_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    push_text(&mut text, bytes);
    text
}

/// Appends the characters of some bytes.
pub(crate) fn push_text(text: &mut String, bytes: &[u8]) {
    let characters = &ALPHABET.characters;
    text.extend(bytes.iter().map(|&byte| characters[byte as usize]));
}

/// The bytes of some characters; none when one is outside the alphabet.
pub(crate) fn to_bytes(text: &str) -> Option<Vec<u8>> {
    let bytes = &ALPHABET.bytes;
    text.chars()
        .map(|character| bytes.get(character as usize).copied().flatten())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_character() {
        let all: Vec<u8> = (0..=255).collect();
        let text = to_text(&all);
        assert_eq!(to_bytes(&text), Some(all));
        assert_eq!(to_text(b" the\n"), "ĠtheĊ");
        assert_eq!(
            text.chars().max(),
            Some('Ń'),
            "68 of them, from U+0100 to U+0143"
        );
        for outside in [" ", "の", "\u{AD}", "\u{144}", "a\u{A0}"] {
            assert_eq!(to_bytes(outside), None, "{outside:?}");
        }
    }
}
