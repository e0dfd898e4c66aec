//! `tokenizer.json`, Hugging Face's format and our own.
//!
//! Read are BPE models over bytes (with `ByteLevel` among the pre-tokenizers) and over single
//! characters (no merges, no pre-tokenizer). The ids are those of
//! `tokenizers` with all special tokens allowed, with and without `add_special_tokens`. A
//! file that needs what cannot be equal (a normalizer or a split of another kind, dropout, another model, …) is refused with
//! the name of what it needs: a tokenizer that is nearly right is wrong.
//! One module for each section says what is read of it.
//!
//! Written is what `tokenizers`, `transformers.PreTrainedTokenizerFast` and converters
//! read; split patterns in a spelling that means to Oniguruma what they mean to us. Two fields of our own,
//! which they skip and do not write again, stand in `model`. `fingerprint` is checked when the file is read:
//! a flipped bit may leave valid JSON with other ids. `pattern` holds the split patterns as they were given, where they
//! had to be respelled (`\w`): it is believed if it is spelled as the file is. Files of earlier versions have a fingerprint
//! and no `pattern`, and their patterns are meant as the regex crate reads them. Special tokens stand in the vocabulary too, as in GPT-2's own file,
//! for otherwise `tokenizers` would number them anew; but not where it would give them the same ids and has
//! `ignore_merges`, with which it looks words up there. Reading what was written gives the same fingerprint.

mod added;
mod decoder;
mod normalizer;
pub(in crate::format) mod parts;
mod pipeline;
mod post_processor;
mod pre_tokenizer;
mod section;

use std::collections::{HashMap, HashSet};

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{alphabet, broken, excerpt, of_file};
use crate::characters::Characters;
use crate::error::{FormatProblem, Inexpressible};
use crate::pattern::Pattern;
use crate::shard::format::hex;
use crate::special::SpecialToken;
use crate::vocab::Vocab;
use crate::{Error, Result, Tokenizer, model};
use parts::{AddedToken, Entries, File, Model, Outline, OutlineModel, Pair, position, resolve};
use pipeline::Around;

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
    let Some(OutlineModel::Model { kind }) = outline.model else {
        return Err(broken(FORMAT, origin, "model", FormatProblem::NoModel));
    };
    let refuse = |feature: String| Error::Unsupported {
        origin: origin.to_owned(),
        feature,
        advice: "only byte-level BPE and plain characters are read",
    };
    if let Some(kind) = kind.filter(|kind| kind != "BPE") {
        return Err(refuse(format!("the model {kind}")));
    }
    let file: File = serde_json::from_slice(bytes).map_err(at)?;
    check_model(&file.model).map_err(refuse)?;
    let Around {
        mut pipeline,
        byte_level,
    } = pipeline::read(&file, origin)?;
    if let Some(given) = &file.model.pattern {
        pipeline.pattern = as_given(pipeline.pattern, given);
    }
    let special = added::read(&file, origin)?;
    let model = if byte_level {
        model::Model::Bytes(Box::new(read_bytes(&file, origin)?))
    } else if !pipeline.pattern.regexes().is_empty() || !file.model.merges.is_empty() {
        return Err(refuse(
            "BPE over characters (no ByteLevel pre-tokenizer)".to_owned(),
        ));
    } else if file.model.unk_token.is_some() {
        return Err(refuse("unk_token without ByteLevel".to_owned()));
    } else if file.model.byte_fallback {
        return Err(refuse("byte_fallback without ByteLevel".to_owned()));
    } else {
        model::Model::Characters(read_characters(&file, origin)?)
    };
    pipeline::check_decoding(&file, origin, byte_level)?;
    let tokenizer = Tokenizer::new(model, pipeline, special).map_err(of_file(origin))?;
    added::check_normalized(&file, &tokenizer, origin)?;
    let template = tokenizer.template();
    let mut around = template.before().iter().chain(template.after());
    if let Some(id) = around.find(|&&id| tokenizer.token_bytes(id).is_none()) {
        return Err(Error::Unsupported {
            origin: origin.to_owned(),
            feature: format!("the id {id} in its post-processor, which no token has"),
            advice: "add the token, or take it out of the post-processor",
        });
    }
    Ok((tokenizer, file.model.fingerprint))
}

/// Writes a `tokenizer.json`.
pub fn write(tokenizer: &Tokenizer) -> Result<Vec<u8>> {
    let refuse = |problem| Error::NotExpressible {
        format: FORMAT,
        problem,
    };
    let mut entries: Vec<(String, u32)> = match tokenizer.model() {
        model::Model::Bytes(vocab) => {
            let entries = vocab
                .iter()
                .map(|(id, bytes)| (alphabet::to_text(bytes), id));
            entries.collect()
        }
        model::Model::Characters(characters) => {
            let entries = characters
                .iter()
                .map(|(character, id)| (character.to_string(), id));
            entries.collect()
        }
    };
    let sections = pipeline::write(tokenizer)?;
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
    let ignore_merges = tokenizer.vocab().is_some_and(Vocab::whole_first);
    let more = special.into_values();
    let mut more: Vec<_> = more
        .map(|token| (token.content.clone(), token.id))
        .collect();
    more.sort_by_key(|&(_, id)| id);
    let mut next = entries.len() as u32..;
    let are_next = more.iter().all(|&(_, id)| next.next() == Some(id));
    if !(ignore_merges && are_next) {
        entries.extend(more);
    }
    entries.sort_by_key(|&(_, id)| id);
    let file = Written {
        version: "1.0",
        truncation: (),
        padding: (),
        added_tokens: tokenizer
            .special_tokens()
            .iter()
            .map(added::written)
            .collect(),
        normalizer: sections.normalizer,
        pre_tokenizer: sections.pre_tokenizer,
        post_processor: sections.post_processor,
        decoder: sections.decoder,
        model: Model {
            kind: Some("BPE".to_owned()),
            dropout: sections.model.dropout,
            unk_token: sections.model.unk_token,
            continuing_subword_prefix: sections.model.continuing_subword_prefix,
            end_of_word_suffix: sections.model.end_of_word_suffix,
            fuse_unk: sections.model.fuse_unk,
            byte_fallback: sections.model.byte_fallback,
            ignore_merges,
            fingerprint: Some(hex(&tokenizer.fingerprint())),
            pattern: given_pattern(tokenizer)?,
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
    let on_alphabet = pattern.on_alphabet().to_vec();
    let given = Pattern::sequence(given.to_vec()).then_on_alphabet(on_alphabet);
    let spelled = |pattern: &Pattern| pattern.portable().ok();
    let alike = given.regexes().len() == pattern.regexes().len()
        && spelled(&given).is_some_and(|given| Some(given) == spelled(&pattern));
    if alike { given } else { pattern }
}

/// The pattern as given, where the file spells it otherwise and no name stands for it.
fn given_pattern(tokenizer: &Tokenizer) -> Result<Option<Vec<String>>> {
    let pattern = tokenizer.pattern();
    let respelled = match &tokenizer.pipeline().sections {
        Some(sections) => sections.respelled,
        None => pattern.name().is_none() && pattern.portable()? != pattern.regexes(),
    };
    Ok(respelled.then(|| pattern.regexes().to_vec()))
}

/// The file as written, in the order of fields that `tokenizers` uses.
#[derive(Serialize)]
struct Written<'v> {
    version: &'static str,
    truncation: (),
    padding: (),
    added_tokens: Vec<AddedToken>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Model<MergeLine<'v>>,
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
    let bytes = |id| vocab.token(id).expect("both tokens of a merge exist");
    let merges = vocab.merges().iter();
    merges
        .map(|merge| MergeLine(bytes(merge.left), bytes(merge.right)))
        .collect()
}

/// The name of an option of the model that is set and changes ids. Where every byte is a token,
/// `unk_token`, `fuse_unk` and `byte_fallback` do not.
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
    Ok(())
}

fn read_bytes(file: &File, origin: &str) -> Result<Vocab> {
    let only_special = added::only_special(file);
    added::check_look_up(file, &only_special, origin)?;
    let ordinary = entries(file).filter(|(text, _)| !only_special.contains(text));
    let merges = file
        .model
        .merges
        .iter()
        .map(|Pair(left, right)| (left.as_str(), right.as_str()));
    let (tokens, merges) = resolve(ordinary, merges)
        .map_err(|(place, problem)| broken(FORMAT, origin, format!("model, {place}"), problem))?;
    let tokens = || tokens.iter().map(|(id, bytes)| (*id, bytes.as_slice()));
    let whole_first = file.model.ignore_merges;
    match Vocab::from_tokens(tokens(), &merges, whole_first) {
        Err(Error::DuplicateMerge { .. }) => {
            Vocab::from_tokens(tokens(), &last_of_each(&merges), whole_first)
        }
        vocab => vocab,
    }
    .map_err(of_file(origin))
}

/// Of a merge that is given several times the last place counts in `tokenizers`.
fn last_of_each(merges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut seen = HashSet::new();
    let last = merges.iter().rev().filter(|&merge| seen.insert(merge));
    let mut last: Vec<_> = last.copied().collect();
    last.reverse();
    last
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
