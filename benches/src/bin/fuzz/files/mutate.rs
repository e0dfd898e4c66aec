//! Small changes to bytes: what keeps most of a file's structure and breaks a part of it.

use gptbpe_benches::Random;

/// What readers and parsers treat apart.
const FRAGMENTS: &[&str] = &[
    "",
    "0",
    "-1",
    "255",
    "256",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "1e308",
    "-0.0",
    "NaN",
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "[[",
    "]]",
    "{\"",
    "\":",
    ",",
    ",,",
    "\\u0000",
    "\\ud800",
    "\\",
    "\u{0}",
    "\u{FEFF}",
    "\u{10FFFF}",
    "Ġ",
    "Ċ",
    "\n",
    "\r\n",
    " ",
    "=",
    "====",
    "IQ==",
    "(",
    ")",
    "(?",
    "(?i:",
    "(?!",
    "(?<=",
    "(?>",
    "\\p{",
    "\\p{L}",
    "\\P{^Lu}",
    "\\S",
    "\\s+",
    "\\b",
    "[^",
    "[[:alpha:]]",
    "[a-\\d]",
    "&&",
    "{0}",
    "{1000}",
    "{2,1}",
    "{1,4294967296}",
    "*+",
    "+?",
    "?+",
    "|",
    "||",
    "^",
    "$",
    "\\z",
    ".",
    "'s",
    "\\x{110000}",
    "\\1",
    "\\k<a>",
    "\"type\":",
    "\"Sequence\"",
    "\"Split\"",
    "\"ByteLevel\"",
    "\"Replace\"",
    "\"Regex\"",
    "\"String\"",
    "\"NFC\"",
    "\"Isolated\"",
    "\"Removed\"",
    "\"invert\":true",
    "\"id\":",
    "\"merges\":",
]; // every class of fragment on its line

/// Changes `bytes` in one to four places; `other` gives a part now and then.
pub(crate) fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let length = [1, 1, 2, 4, 8, 30, 200][random.below(7)].min(bytes.len() - at);
        let part = at..at + length;
        match random.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(part)),
            4 => {
                let again = bytes[part].to_vec();
                let times = [1, 1, 2, 50][random.below(4)];
                let _ = bytes.splice(at..at, again.repeat(times));
            }
            5 => {
                let from = random.below(other.len() + 1);
                let until = other.len().min(from + 1 + random.below(60));
                let _ = bytes.splice(part, other[from..until].iter().copied());
            }
            6 => digits(bytes, at, random),
            7 => {
                let fragment = FRAGMENTS[random.below(FRAGMENTS.len())];
                let _ = bytes.splice(part, fragment.bytes());
            }
            _ => {
                let fragment = FRAGMENTS[random.below(FRAGMENTS.len())];
                let _ = bytes.splice(at..at, fragment.bytes());
            }
        }
    }
}

/// Another number in the place of the next one.
fn digits(bytes: &mut Vec<u8>, from: usize, random: &mut Random) {
    let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit) else {
        return;
    };
    let start = from + start;
    let more = bytes[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let end = start + more.count();
    let number = match random.below(4) {
        0 => random.below(1 << 9).to_string(),
        1 => (1_u64 << random.below(64)).to_string(),
        2 => ((1_u64 << random.below(64)) - 1).to_string(),
        _ => format!("-{}", random.below(300)),
    };
    let _ = bytes.splice(start..end, number.into_bytes());
}
