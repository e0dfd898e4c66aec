//! What stands around the model in a `tokenizer.json`, read and written again.
//!
//! Everything that changes ids is either understood exactly or refused by name, with what can be done. What was
//! read is kept as it was spelled, and written like that: so other programs make of a file that we write
//! what they made of the one that was read, down to the offsets that they report.

use std::sync::Arc;

use serde_json::{Value, json};

use super::oniguruma::{Doubt, first_doubt};
use super::parts::File;
use super::{decoder, normalizer, post_processor, pre_tokenizer};
use crate::error::shortened;
use crate::pipeline::{ModelOptions, Pipeline, Sections};
use crate::{Error, Result, Tokenizer};

/// A feature that is refused, and what can be done instead.
pub(super) type Refusal = (String, &'static str);

pub(super) const RESPELL: &str = "respell it with what Oniguruma and the regex crate read alike";
pub(super) const ONLY_BYTE_LEVEL: &str =
    "only byte-level BPE is read: use a tokenizer that has ByteLevel, or tokenizers itself";
pub(super) const NO_EQUAL: &str =
    "its ids could not be made equal: encode with tokenizers itself, or train a tokenizer without it";
pub(super) const REMOVE: &str = "remove it from the file, or prepare the text before encoding";

/// What a file says around its model.
pub(super) struct Around {
    pub(super) pipeline: Pipeline,
    pub(super) byte_level: bool,
}

pub(super) fn read(file: &File, origin: &str) -> Result<Around> {
    let refuse = |(feature, advice): Refusal| Error::Unsupported {
        origin: origin.to_owned(),
        feature,
        advice,
    };
    if !file.truncation.is_null() {
        let advice = "set truncation to null in the file, and call truncate";
        return Err(refuse(("truncation of every text".into(), advice)));
    }
    if !file.padding.is_null() {
        let advice = "set padding to null in the file, and pad where batches are made";
        return Err(refuse(("padding".into(), advice)));
    }
    // A file of our own means what it says here: its fingerprint is compared with what was read.
    let own = file.model.fingerprint.is_some();
    let mut sections = Sections {
        normalizer: file.normalizer.clone(),
        pre_tokenizer: file.pre_tokenizer.clone(),
        post_processor: file.post_processor.clone(),
        decoder: file.decoder.clone(),
        model: ModelOptions {
            dropout: file.model.dropout,
            unk_token: file.model.unk_token.clone(),
            continuing_subword_prefix: file.model.continuing_subword_prefix.clone(),
            end_of_word_suffix: file.model.end_of_word_suffix.clone(),
            fuse_unk: file.model.fuse_unk,
            byte_fallback: file.model.byte_fallback,
        },
        ..Sections::default()
    };
    let steps = normalizer::read(&mut sections.normalizer, own).map_err(refuse)?;
    let splitting = pre_tokenizer::read(&mut sections.pre_tokenizer, own).map_err(refuse)?;
    let template = post_processor::read(&sections.post_processor).map_err(refuse)?;
    decoder::check(&sections.decoder, splitting.byte_level).map_err(refuse)?;
    if !splitting.byte_level && !steps.is_empty() {
        let feature = format!("the normalizer {} without ByteLevel", kind(&file.normalizer));
        return Err(refuse((feature, REMOVE)));
    }
    Ok(Around {
        pipeline: Pipeline {
            normalizer: steps,
            prefix_space: splitting.prefix_space,
            pattern: splitting.pattern,
            template,
            sections: Some(Arc::new(sections)),
        },
        byte_level: splitting.byte_level,
    })
}

/// The sections of a tokenizer: as they were read, or as this one would have them.
pub(super) fn write(tokenizer: &Tokenizer) -> Result<Sections> {
    let pipeline = tokenizer.pipeline();
    if let Some(sections) = &pipeline.sections {
        let mut sections = Sections::clone(sections);
        post_processor::renumber(&mut sections.post_processor, &sections.renumbered);
        return Ok(sections);
    }
    let byte_level = tokenizer.vocab().is_some();
    Ok(Sections {
        pre_tokenizer: if byte_level {
            pre_tokenizer::write(&pipeline.pattern)?
        } else {
            Value::Null
        },
        decoder: if byte_level {
            pre_tokenizer::byte_level(false)
        } else {
            json!({"type": "Fuse"})
        },
        ..Sections::default()
    })
}

/// A regular expression of a file as this library reads it, and as it is kept.
pub(super) fn regex(text: &str, own: bool, place: &str) -> Result<String, Refusal> {
    let doubt = if own { None } else { first_doubt(text) };
    if let Some(Doubt { at, construct }) = doubt {
        let pattern = shortened(text);
        let feature = format!("{construct} at byte {at} of the {place} {pattern}");
        return Err((feature, RESPELL));
    }
    Ok(text.to_owned())
}

pub(super) fn kind(step: &Value) -> &str {
    step["type"].as_str().unwrap_or("without a type")
}

pub(super) fn list<'a>(step: &'a Value, field: &str) -> &'a [Value] {
    step[field].as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn list_mut<'a>(step: &'a mut Value, field: &str) -> &'a mut [Value] {
    let list = step.get_mut(field).and_then(Value::as_array_mut);
    list.map_or(&mut [], Vec::as_mut_slice)
}

pub(super) fn flag(step: &Value, field: &str, absent: bool) -> bool {
    step[field].as_bool().unwrap_or(absent)
}
