//! What stands around the model in a `tokenizer.json`, read and written again.
//!
//! Everything that changes ids is either understood exactly or refused by name, with what can be done. What was
//! read is kept as it was spelled, and written like that: so other programs make of a file that we write
//! what they made of the one that was read, down to the offsets that they report.

use std::sync::Arc;

use serde_json::{Value, json};

use super::parts::File;
use super::section::{REMOVE, Refusal, kind};
use super::{decoder, normalizer, post_processor, pre_tokenizer};
use crate::pipeline::{ModelOptions, Pipeline, Sections};
use crate::{Error, Result, Tokenizer};

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
    if !splitting.byte_level && !steps.is_empty() {
        let feature = format!(
            "the normalizer {} without ByteLevel",
            kind(&file.normalizer)
        );
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

/// Refuses decoders that would not give back the text.
pub(super) fn check_decoding(file: &File, origin: &str, byte_level: bool) -> Result<()> {
    decoder::check(&file.decoder, byte_level).map_err(|(feature, advice)| Error::Unsupported {
        origin: origin.to_owned(),
        feature,
        advice,
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
