//! `tokenizer.json`, Hugging Face's format and our own.
//!
//! Read are BPE models over bytes (`ByteLevel`, alone or after `Split`s) and over single
//! characters (no merges, no pre-tokenizer). The ids are those of
//! `tokenizers` with all special tokens allowed and `add_special_tokens=False`. A
//! file that needs more (a normalizer, dropout, another model, …) is refused with
//! the name of what it needs: a tokenizer that is nearly right is wrong.
//!
//! Written is what `tokenizers`, `transformers.PreTrainedTokenizerFast` and converters
//! read; split patterns in a spelling that means to Oniguruma what they mean to us. Two fields of our own,
//! which they skip and do not write again, stand in `model`. `fingerprint` is checked when the file is read:
//! a flipped bit may leave valid JSON with other ids. `pattern` holds the split patterns as they were given, where they
//! had to be respelled (`\w`): it is believed if it is spelled as the file is. Files of earlier versions have a fingerprint
//! and no `pattern`, and their patterns are meant as the regex crate reads them. Special tokens stand in the vocabulary too, as in GPT-2's own file,
//! for otherwise `tokenizers` would number them anew. Reading what was written gives the same fingerprint.

pub(in crate::format) mod parts;
mod pipeline;

use std::collections::{HashMap, HashSet};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{alphabet, broken, excerpt, of_file};
use crate::characters::Characters;
use crate::error::{FormatProblem, Inexpressible};
use crate::pattern::Pattern;
use crate::shard::format::hex;
use crate::special::SpecialToken;
use crate::vocab::Vocab;
use crate::{Error, Result, Tokenizer, model};
use parts::{AddedToken, Entries, File, Model, Outline, Pair, position, resolve};

const FORMAT: &str = "tokenizer.json";

/// Reads a `tokenizer.json`.
pub fn read(bytes: &[u8], origin: &str) -> Result<Tokenizer> {
    let (tokenizer, expected) = read_unchecked(bytes, origin)?;
    let found = hex(&tokenizer.fingerprint());
    match expected {
        Some(expected)
            if expected != found && expected != hex(&tokenizer.earlier_fingerprint()) =>
        {
            Err(broken(
                FORMAT,
                origin,
                "model, fingerprint",
                FormatProblem::Fingerprint {
                    claimed: excerpt(&expected),
                    found: excerpt(&found),
                },
            ))
        }
        _ => Ok(tokenizer),
    }
}

/// The tokenizer that the file defines, and the fingerprint that it claims to have.
fn read_unchecked(bytes: &[u8], origin: &str) -> Result<(Tokenizer, Option<String>)> {
    let at = |error: serde_json::Error| {
        let problem = FormatProblem::Json(error.to_string());
        broken(FORMAT, origin, position("", &error), problem)
    };
    let outline: Outline = serde_json::from_slice(bytes).map_err(at)?;
    let refuse = |feature: String| Error::Unsupported {
        origin: origin.to_owned(),
        feature,
        advice: "only byte-level BPE and plain characters are read",
    };
    if let Some(kind) = outline.model.kind.filter(|kind| kind != "BPE") {
        return Err(refuse(format!("the model {kind}")));
    }
    let file: File = serde_json::from_slice(bytes).map_err(at)?;
    check_model(&file.model).map_err(refuse)?;
    let mut splitting = pipeline::read(&file, origin)?;
    if let Some(given) = &file.model.pattern {
        splitting.pattern = as_given(splitting.pattern, given);
    }
    let special = special_tokens(&file, origin)?;
    if splitting.byte_level {
        pipeline::check_decoding(&file, origin, true)?;
        let vocab = read_bytes(&file, origin)?;
        let tokenizer = Tokenizer::from_vocab(vocab, splitting.pattern, special);
        return Ok((tokenizer.map_err(of_file(origin))?, file.model.fingerprint));
    }
    if !splitting.pattern.regexes().is_empty() || !file.model.merges.is_empty() {
        return Err(refuse(
            "BPE over characters (no ByteLevel pre-tokenizer)".to_owned(),
        ));
    }
    if file.model.unk_token.is_some() {
        return Err(refuse("unk_token without ByteLevel".to_owned()));
    }
    pipeline::check_decoding(&file, origin, false)?;
    let characters = read_characters(&file, origin)?;
    let tokenizer = Tokenizer::from_characters(characters, special).map_err(of_file(origin))?;
    Ok((tokenizer, file.model.fingerprint))
}

/// Writes a `tokenizer.json`.
pub fn write(tokenizer: &Tokenizer) -> Result<Vec<u8>> {
    let refuse = |problem| Error::NotExpressible {
        format: FORMAT,
        problem,
    };
    let (mut entries, pre_tokenizer, decoder) = match tokenizer.model() {
        model::Model::Bytes(vocab) => {
            let entries = vocab
                .iter()
                .map(|(id, bytes)| (alphabet::to_text(bytes), id));
            let decoder = json!({
                "type": "ByteLevel",
                "add_prefix_space": false,
                "trim_offsets": true,
                "use_regex": false,
            });
            (entries.collect(), pipeline::write(tokenizer)?, decoder)
        }
        model::Model::Characters(characters) => {
            let entries = characters
                .iter()
                .map(|(character, id)| (character.to_string(), id));
            (
                entries.collect::<Vec<_>>(),
                Value::Null,
                json!({"type": "Fuse"}),
            )
        }
    };
    let special = tokenizer.special_tokens().iter();
    let mut special: HashMap<&str, &SpecialToken> = special
        .map(|token| (token.content.as_str(), token))
        .collect();
    for (text, id) in &entries {
        match special.remove(text.as_str()) {
            Some(token) if *id != token.id => {
                return Err(refuse(Inexpressible::WrittenAlike {
                    content: token.content.clone(),
                    id: token.id,
                    other: *id,
                }));
            }
            _ => {}
        }
    }
    // The others are in no entry yet; their order is seen to with that of all.
    let more = special.into_values();
    let more = more.map(|token| (token.content.clone(), token.id));
    entries.extend(more);
    entries.sort_by_key(|&(_, id)| id);
    let file = Written {
        version: "1.0",
        truncation: (),
        padding: (),
        added_tokens: tokenizer.special_tokens().iter().map(added).collect(),
        normalizer: (),
        pre_tokenizer,
        post_processor: (),
        decoder,
        model: Model {
            kind: Some("BPE".to_owned()),
            dropout: None,
            unk_token: None,
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: tokenizer.vocab().is_some_and(Vocab::whole_first),
            fingerprint: Some(hex(&tokenizer.fingerprint())),
            pattern: given_pattern(tokenizer.pattern())?,
            vocab: Entries(entries),
            merges: tokenizer.vocab().map(merges).unwrap_or_default(),
        },
    };
    let mut bytes = serde_json::to_vec_pretty(&file)
        .map_err(|error| refuse(Inexpressible::Json(error.to_string())))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The spelling that the pattern was given in, if it is one of the pattern that the file has for everyone.
fn as_given(pattern: Pattern, given: &[String]) -> Pattern {
    let given = Pattern::sequence(given.to_vec());
    let spelled = |pattern: &Pattern| pattern.portable().ok();
    let alike = given.regexes().len() == pattern.regexes().len()
        && spelled(&given).is_some_and(|given| Some(given) == spelled(&pattern));
    if alike { given } else { pattern }
}

/// The pattern as given, where the file has to spell it otherwise and no name stands for it.
fn given_pattern(pattern: &Pattern) -> Result<Option<Vec<String>>> {
    let respelled = pattern.name().is_none() && pattern.portable()? != pattern.regexes();
    Ok(respelled.then(|| pattern.regexes().to_vec()))
}

/// The file as written, in the order of fields that `tokenizers` uses.
#[derive(Serialize)]
struct Written<'v> {
    version: &'static str,
    truncation: (),
    padding: (),
    added_tokens: Vec<AddedToken>,
    normalizer: (),
    pre_tokenizer: Value,
    post_processor: (),
    decoder: Value,
    model: Model<MergeLine<'v>>,
}

fn added(token: &SpecialToken) -> AddedToken {
    AddedToken {
        id: token.id,
        content: token.content.clone(),
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: Some(token.normalized),
        special: token.special,
    }
}

/// The bytes of the two tokens that a merge joins.
struct MergeLine<'v>(&'v [u8], &'v [u8]);

impl Serialize for MergeLine<'_> {
    /// As one string: every version of `tokenizers` reads it, and the byte alphabet has no space.
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut line = String::with_capacity(2 * (self.0.len() + self.1.len()) + 1);
        alphabet::push_text(&mut line, self.0);
        line.push(' ');
        alphabet::push_text(&mut line, self.1);
        serializer.serialize_str(&line)
    }
}

fn merges(vocab: &Vocab) -> Vec<MergeLine<'_>> {
    let bytes = |id| vocab.token(id).unwrap_or_default();
    let merges = vocab.merges().iter();
    merges
        .map(|merge| MergeLine(bytes(merge.left), bytes(merge.right)))
        .collect()
}

/// The options of the model that change ids; the name of one that is set.
fn check_model(model: &Model) -> Result<(), String> {
    let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if model.dropout.is_some_and(|dropout| dropout != 0.0) {
        return Err("dropout".to_owned());
    }
    if is_set(&model.continuing_subword_prefix) {
        return Err("continuing_subword_prefix".to_owned());
    }
    if is_set(&model.end_of_word_suffix) {
        return Err("end_of_word_suffix".to_owned());
    }
    if model.byte_fallback {
        return Err("byte_fallback".to_owned());
    }
    Ok(())
}

fn special_tokens(file: &File, origin: &str) -> Result<Vec<SpecialToken>> {
    let ids: HashMap<&str, u32> = entries(file).collect();
    let mut tokens = Vec::with_capacity(file.added_tokens.len());
    for token in &file.added_tokens {
        let options = [
            (token.single_word, "single_word"),
            (token.lstrip, "lstrip"),
            (token.rstrip, "rstrip"),
        ];
        if let Some((_, name)) = options.iter().find(|(set, _)| *set) {
            return Err(Error::Unsupported {
                origin: origin.to_owned(),
                feature: format!("{name} of the added token {}", excerpt(&token.content)),
                advice: "set it to false if the exact ids do not matter",
            });
        }
        if let Some(id) = ids
            .get(token.content.as_str())
            .filter(|&&id| id != token.id)
        {
            let problem = FormatProblem::OtherId {
                found: excerpt(&token.content),
                id: token.id,
                other: *id,
            };
            return Err(broken(FORMAT, origin, "added_tokens", problem));
        }
        tokens.push(SpecialToken {
            content: token.content.clone(),
            id: token.id,
            special: token.special,
            normalized: token.normalized.unwrap_or(!token.special),
        });
    }
    Ok(tokens)
}

fn read_bytes(file: &File, origin: &str) -> Result<Vocab> {
    let only_special = only_special(file);
    let ordinary = entries(file).filter(|(text, _)| !only_special.contains(text));
    let merges = file
        .model
        .merges
        .iter()
        .map(|Pair(left, right)| (left.as_str(), right.as_str()));
    let (tokens, merges) = resolve(ordinary, merges)
        .map_err(|(place, problem)| broken(FORMAT, origin, format!("model, {place}"), problem))?;
    let tokens = tokens.iter().map(|(id, bytes)| (*id, bytes.as_slice()));
    Vocab::from_tokens(tokens, &merges, file.model.ignore_merges).map_err(of_file(origin))
}

/// The special tokens that are in the vocabulary for their ids only: neither a
/// byte nor part of any merge.
fn only_special(file: &File) -> HashSet<&str> {
    let mut found: HashSet<&str> = file
        .added_tokens
        .iter()
        .map(|token| token.content.as_str())
        .filter(|content| alphabet::to_bytes(content).is_none_or(|bytes| bytes.len() != 1))
        .collect();
    for Pair(left, right) in &file.model.merges {
        if found.is_empty() {
            break;
        }
        for part in [left, right, &format!("{left}{right}")] {
            found.remove(part.as_str());
        }
    }
    found
}

fn read_characters(file: &File, origin: &str) -> Result<Characters> {
    let special: HashSet<&str> = file
        .added_tokens
        .iter()
        .map(|token| token.content.as_str())
        .collect();
    let mut characters = Vec::new();
    for (text, id) in entries(file) {
        let mut all = text.chars();
        match (all.next(), all.next()) {
            (Some(character), None) => characters.push((character, id)),
            _ if special.contains(text) => {}
            _ => {
                let problem = FormatProblem::NotOneCharacter {
                    found: excerpt(text),
                };
                return Err(broken(
                    FORMAT,
                    origin,
                    format!("model, token {id}"),
                    problem,
                ));
            }
        }
    }
    Characters::numbered(characters).map_err(of_file(origin))
}

fn entries(file: &File) -> impl Iterator<Item = (&str, u32)> {
    let Entries(entries) = &file.model.vocab;
    entries.iter().map(|(text, id)| (text.as_str(), *id))
}

#[cfg(test)]
mod tests;
