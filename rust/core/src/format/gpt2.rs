//! `vocab.json` and `merges.txt`, as published with GPT-2.
//!
//! Tokens are written in the byte alphabet; merges stand in order, one a line, after
//! a `#version` line. Neither file marks special tokens, but every ordinary token is
//! a byte or the result of a merge, so the entries that are neither are the
//! special ones.

use std::collections::HashSet;

use super::json::parts::{Entries, position, resolve};
use super::{alphabet, broken, byte_level, excerpt, of_file};
use crate::error::{FormatProblem, Inexpressible};
use crate::pattern::Pattern;
use crate::special::SpecialToken;
use crate::vocab::Vocab;
use crate::{Error, Result, Tokenizer};

const FORMAT: &str = "vocab.json and merges.txt";

/// Reads the two files.
pub fn read(vocab: &[u8], merges: &[u8], origin: &str, pattern: Pattern) -> Result<Tokenizer> {
    let entries: Entries = serde_json::from_slice(vocab).map_err(|error| {
        broken(
            FORMAT,
            origin,
            position("vocab.json", &error),
            FormatProblem::Json(error.to_string()),
        )
    })?;
    let merges = parse(merges).map_err(|(line, problem)| {
        broken(FORMAT, origin, format!("merges.txt, line {line}"), problem)
    })?;
    let made: HashSet<String> = merges
        .iter()
        .map(|(left, right)| format!("{left}{right}"))
        .collect();
    let (ordinary, other): (Vec<_>, Vec<_>) = entries.0.iter().partition(|(text, _)| {
        let mut characters = text.chars();
        let single = characters.next().is_some() && characters.next().is_none();
        made.contains(text) || (single && alphabet::to_bytes(text).is_some())
    });
    let special = other
        .into_iter()
        .map(|(text, id)| SpecialToken::new(text, *id));
    let named = ordinary.iter().map(|(text, id)| (text.as_str(), *id));
    let pairs = merges.iter().map(|(left, right)| (*left, *right));
    let (tokens, pairs) =
        resolve(named, pairs).map_err(|(place, problem)| broken(FORMAT, origin, place, problem))?;
    let tokens = tokens.iter().map(|(id, bytes)| (*id, bytes.as_slice()));
    Vocab::from_tokens(tokens, &pairs, false)
        .and_then(|vocab| Tokenizer::from_vocab(vocab, pattern, special.collect()))
        .map_err(of_file(origin))
}

/// The two files, `vocab.json` first.
pub fn write(tokenizer: &Tokenizer) -> Result<(Vec<u8>, Vec<u8>)> {
    let vocab = byte_level(tokenizer, FORMAT)?;
    let refuse = |problem| Error::NotExpressible {
        format: FORMAT,
        problem,
    };
    if vocab.whole_first() && vocab.whole_first_matters() {
        return Err(refuse(Inexpressible::NotReached));
    }
    let mut entries: Vec<(String, u32)> = vocab
        .iter()
        .map(|(id, bytes)| (alphabet::to_text(bytes), id))
        .collect();
    let taken: HashSet<String> = entries.iter().map(|(text, _)| text.clone()).collect();
    for token in tokenizer.special_tokens() {
        if taken.contains(&token.content) {
            let content = token.content.clone();
            return Err(refuse(Inexpressible::BothKinds { content }));
        }
        entries.push((token.content.clone(), token.id));
    }
    entries.sort_by_key(|&(_, id)| id);
    let entries = serde_json::to_vec(&Entries(entries))
        .map_err(|error| refuse(Inexpressible::Json(error.to_string())))?;
    let mut lines = String::from("#version: 0.2\n");
    for merge in vocab.merges() {
        let [left, right] = [merge.left, merge.right].map(|id| {
            let bytes = vocab.token(id).expect("both tokens of a merge exist");
            alphabet::to_text(bytes)
        });
        lines.extend([&left, " ", &right, "\n"]);
    }
    Ok((entries, lines.into_bytes()))
}

type Lines<'a> = Vec<(&'a str, &'a str)>;

fn parse(merges: &[u8]) -> Result<Lines<'_>, (usize, FormatProblem)> {
    let text = std::str::from_utf8(merges).map_err(|error| {
        let before = &merges[..error.valid_up_to()];
        let lines = before.split(|&byte| byte == b'\n').count();
        (lines, FormatProblem::NotUtf8)
    })?;
    let mut pairs = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || number == 1 && line.starts_with("#version") {
            continue;
        }
        let pair = line
            .split_once(' ')
            .filter(|(_, right)| !right.contains(' '));
        pairs.push(pair.ok_or_else(|| {
            let found = excerpt(line);
            (number, FormatProblem::NoMergeLine { found })
        })?);
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u32 = b'a' as u32;

    fn toy() -> Tokenizer {
        let merges = [(32, A), (A, A), (35, 35), (256, 257)];
        let special = [("<|end of text|>".to_owned(), 260)];
        Tokenizer::from_merges(&merges, Pattern::named("gpt2").unwrap(), &special).unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let (vocab, merges) = write(&toy()).unwrap();
        assert!(merges.starts_with("#version: 0.2\nĠ a\na a\n# #\n".as_bytes()));
        let again = read(&vocab, &merges, "x", toy().pattern().clone()).unwrap();
        assert_eq!(again.fingerprint(), toy().fingerprint());
        let without_version = &merges[b"#version: 0.2\n".len()..];
        let again = read(&vocab, without_version, "x", toy().pattern().clone()).unwrap();
        assert_eq!(again.fingerprint(), toy().fingerprint());
    }

    #[test]
    fn errors_name_the_place() {
        let (vocab, merges) = write(&toy()).unwrap();
        let refusal = |vocab: &[u8], merges: &[u8]| {
            read(vocab, merges, "x", Pattern::default())
                .unwrap_err()
                .to_string()
        };
        let with = |more: &str| [&merges[..], more.as_bytes()].concat();
        assert!(refusal(&vocab, &with("a a a\n")).contains("merges.txt, line 6: expected two"));
        assert!(refusal(&vocab, &with("a\n")).contains("line 6"));
        assert!(refusal(&vocab, &with("a の\n")).contains("merge 4"));
        assert!(refusal(&vocab, &with("a a\n")).contains("merge 4 repeats"));
        assert!(refusal(&vocab, b"a a\n\xFF").contains("line 2: expected UTF-8"));
        assert!(refusal(&vocab[..100], &merges).contains("vocab.json, line 1 column"));
        assert!(refusal(b"{\"a\": -1}", &merges).contains("expected u32"));
        assert!(refusal(b"{}", b"").contains("no token for the single byte"));
    }
}
