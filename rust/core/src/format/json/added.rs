//! The added tokens of a file.
//!
//! They are numbered as `tokenizers` numbers them: a token that stands in the vocabulary has its id there,
//! the others take the ids from the number of the vocabulary's entries on, in the order of the list. In a file
//! that `tokenizers` or we wrote these are the ids that the list says; in any other one what it says is passed
//! over, there as here. Of a token that is given twice the last options count, and an empty one is none.
//!
//! Refused is what has no sensible meaning there: a content that is special first and then not (it stays
//! special, but not in the file that is written), an id that another token has, and with `ignore_merges` a
//! token of the vocabulary that ordinary text would become too.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::parts::{AddedToken, File, Pair};
use super::{FORMAT, entries};
use crate::error::FormatProblem;
use crate::format::{alphabet, broken, excerpt};
use crate::special::SpecialToken;
use crate::{Error, Result, Tokenizer};

/// A token as it is written.
pub(super) fn written(token: &SpecialToken) -> AddedToken {
    AddedToken {
        id: token.id,
        content: token.content.clone(),
        single_word: token.single_word,
        lstrip: token.lstrip,
        rstrip: token.rstrip,
        normalized: Some(token.normalized),
        special: token.special,
    }
}

/// The tokens of the list, with the ids that `tokenizers` gives them.
pub(super) fn read(file: &File, origin: &str) -> Result<Vec<SpecialToken>> {
    let ids: HashMap<&str, u32> = entries(file).collect();
    let mut next = ids.len() as u32..;
    let mut tokens: Vec<SpecialToken> = Vec::with_capacity(file.added_tokens.len());
    let mut places: HashMap<&str, usize> = HashMap::new();
    for added in &file.added_tokens {
        let content = added.content.as_str();
        if content.is_empty() {
            continue;
        }
        let token = |id| SpecialToken {
            content: content.to_owned(),
            id,
            special: added.special,
            normalized: added.normalized.unwrap_or(!added.special),
            single_word: added.single_word,
            lstrip: added.lstrip,
            rstrip: added.rstrip,
        };
        match places.entry(content) {
            Entry::Occupied(place) => {
                let earlier = &mut tokens[*place.get()];
                if earlier.special && !added.special {
                    let found = excerpt(content);
                    let problem = FormatProblem::SpecialAndNot { found };
                    return Err(broken(FORMAT, origin, "added_tokens", problem));
                }
                *earlier = token(earlier.id);
            }
            Entry::Vacant(place) => {
                place.insert(tokens.len());
                let id = ids.get(content).copied().or_else(|| next.next());
                tokens.push(token(id.unwrap_or(u32::MAX)));
            }
        }
    }
    Ok(tokens)
}

/// The added tokens that are in the vocabulary for their ids only: neither a
/// byte nor part of any merge.
pub(super) fn only_special(file: &File) -> HashSet<&str> {
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

/// Refuses what `ignore_merges` would find in the vocabulary: a pre-token that is spelled in the byte
/// alphabet like a token that is there for its id only. Plain tokens are left: what is always matched
/// is gone before, and what is special must not come of text that nobody allowed.
///
/// A file of our own puts its tokens there, and means what it says.
pub(super) fn check_look_up(file: &File, only_special: &HashSet<&str>, origin: &str) -> Result<()> {
    if !file.model.ignore_merges || file.model.fingerprint.is_some() {
        return Ok(());
    }
    let entries: HashSet<&str> = entries(file).map(|(text, _)| text).collect();
    for token in &file.added_tokens {
        let content = token.content.as_str();
        let bytes = alphabet::to_bytes(content).filter(|bytes| std::str::from_utf8(bytes).is_ok());
        let is_other = bytes.is_some_and(|bytes| token.single_word || bytes != content.as_bytes());
        if is_other && only_special.contains(content) && entries.contains(content) {
            let found = excerpt(content);
            return Err(Error::Unsupported {
                origin: origin.to_owned(),
                feature: format!("ignore_merges with the added token {found} in the vocabulary"),
                advice: "take the token out of the vocabulary; added_tokens gives it an id",
            });
        }
    }
    Ok(())
}

/// Refuses what a normalizer does to added tokens that has no equal here: one of which it leaves nothing, for `tokenizers`
/// finds that everywhere; and with `ignore_merges` one that stands in the vocabulary and is a pre-token as it is spelled, for other
/// text may be normalised to it.
pub(super) fn check_normalized(file: &File, tokenizer: &Tokenizer, origin: &str) -> Result<()> {
    let normalizer = match tokenizer.rewriting() {
        Some(rewriting) if !rewriting.normalizer().is_empty() => rewriting.normalizer(),
        _ => return Ok(()),
    };
    let refuse = |feature, advice| Error::Unsupported {
        origin: origin.to_owned(),
        feature,
        advice,
    };
    let mut tokens = tokenizer.special_tokens().iter();
    let lost =
        tokens.find(|token| token.normalized && normalizer.normalize(&token.content).is_empty());
    if let Some(token) = lost {
        let found = excerpt(&token.content);
        let feature = format!("the added token {found}, which its normalizer makes empty");
        return Err(refuse(
            feature,
            "set normalized to false, or take the token out",
        ));
    }
    if !file.model.ignore_merges || file.model.fingerprint.is_some() {
        return Ok(());
    }
    let entries: HashSet<&str> = entries(file).map(|(text, _)| text).collect();
    let only_special = only_special(file);
    let looked_up = tokenizer.special_tokens().iter().find(|token| {
        let content = token.content.as_str();
        let mut pieces = 0;
        if let Some(bytes) = alphabet::to_bytes(content) {
            tokenizer.pretokenizer().for_each(&bytes, |_| pieces += 1);
        }
        pieces == 1 && only_special.contains(content) && entries.contains(content)
    });
    match looked_up {
        None => Ok(()),
        Some(token) => {
            let found = excerpt(&token.content);
            let feature = format!(
                "ignore_merges and a normalizer with the added token {found} in the vocabulary"
            );
            let advice = "take the token out of the vocabulary; added_tokens gives it an id";
            Err(refuse(feature, advice))
        }
    }
}
