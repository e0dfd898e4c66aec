//! Added tokens that text could become without their being found in it.
//!
//! Where whole pre-tokens are looked up first (`ignore_merges`), one that is spelled like an entry of the vocabulary becomes that entry.
//! If an added token is such an entry, it matters whether it stands in the vocabulary of a file, which otherwise changes nothing.

use std::collections::HashSet;

use super::parts::{AddedToken, File};
use super::{entries, excerpt, only_special};
use crate::error::Inexpressible;
use crate::special::SpecialToken;
use crate::{Error, Result, Tokenizer, alphabet};

/// Where whole pre-tokens are looked up, one that is spelled like an added token becomes that token. Refused are
/// special tokens that ordinary text could so become, and tokens that other text than their own could become.
pub(super) fn check(file: &File, tokenizer: &Tokenizer, origin: &str) -> Result<()> {
    if !file.model.ignore_merges {
        return Ok(());
    }
    let only_special = only_special(file);
    let entries: HashSet<&str> = entries(file).map(|(text, _)| text).collect();
    let is_looked_up = |token: &&AddedToken| {
        let content = token.content.as_str();
        let may_stand = token.single_word || !tokenizer.normalizer().is_empty();
        let hidden = |content: &[u8]| {
            let mut pieces = 0;
            tokenizer.pretokenizer().for_each(content, |_| pieces += 1);
            token.special && may_stand && pieces == 1
        };
        entries.contains(content)
            && only_special.contains(content)
            && alphabet::to_bytes(content)
                .is_some_and(|bytes| bytes != content.as_bytes() || hidden(&bytes))
    };
    match file.added_tokens.iter().find(is_looked_up) {
        None => Ok(()),
        Some(token) => Err(Error::Unsupported {
            origin: origin.to_owned(),
            feature: format!(
                "ignore_merges with the added token {} in its vocabulary",
                excerpt(&token.content)
            ),
            advice: "take the token out of the model's vocabulary, or set ignore_merges to false",
        }),
    }
}

/// Refused is an added token of which the normalizer leaves nothing: `tokenizers` finds it everywhere.
pub(super) fn check_normalized(tokenizer: &Tokenizer, origin: &str) -> Result<()> {
    let Some(rewriting) = tokenizer.rewriting() else {
        return Ok(());
    };
    let mut tokens = tokenizer.special_tokens().iter();
    let is_lost = |token: &&SpecialToken| {
        token.normalized && rewriting.normalizer().normalize(&token.content).is_empty()
    };
    match tokens.find(is_lost) {
        None => Ok(()),
        Some(token) => Err(Error::Unsupported {
            origin: origin.to_owned(),
            feature: format!(
                "the added token {}, which its normalizer makes empty",
                excerpt(&token.content)
            ),
            advice: "set normalized to false, or take the token out",
        }),
    }
}

/// How many of the added tokens that are no entries, in the order of their ids, are written in the vocabulary.
///
/// All, so that `tokenizers` numbers none of them anew. But those that would be looked up there are left out, with all that follow:
/// they must have the ids that `tokenizers` gives to tokens that are in no vocabulary.
pub(super) fn written(
    tokenizer: &Tokenizer,
    entries: usize,
    added: &[&SpecialToken],
) -> Result<usize, Inexpressible> {
    let whole_first = tokenizer.vocab().is_some_and(|vocab| vocab.whole_first());
    let would_be = |token: &&SpecialToken| {
        let may_stand = token.single_word || !tokenizer.normalizer().is_empty();
        let spelled = alphabet::to_bytes(&token.content);
        whole_first
            && spelled.is_some_and(|bytes| {
                bytes != token.content.as_bytes() || !token.special || may_stand
            })
    };
    let Some(first) = added.iter().position(would_be) else {
        return Ok(added.len());
    };
    let numbered_so =
        |(place, token): (usize, &&SpecialToken)| token.id as usize == entries + place;
    let same = added.iter().enumerate().rev();
    let written = added.len() - same.take_while(|&entry| numbered_so(entry)).count();
    if first < written {
        return Err(Inexpressible::LookedUp {
            content: added[first].content.clone(),
        });
    }
    Ok(first)
}
