//! What stands around the model in a `tokenizer.json`: how text is split before,
//! and what is done after.
//!
//! Everything that changes ids is either understood exactly or refused by name.
//! Post-processors add tokens only where `add_special_tokens` is asked for, so those
//! that do nothing else are passed over; truncation and padding are refused.

use serde_json::{Value, json};

use super::parts::File;
use crate::error::shortened;
use crate::pattern::Pattern;
use crate::pattern::oniguruma::{self, Doubt};
use crate::{Error, Result, Tokenizer};

/// How text is split, and whether it then is bytes.
pub(super) struct Splitting {
    pub(super) pattern: Pattern,
    pub(super) byte_level: bool,
}

const RESPELL: &str = "respell it with what Oniguruma and the regex crate read alike";
const CONVERT: &str = "convert the tokenizer to byte-level BPE";
const REMOVE: &str = "remove it from the file, or prepare the text before encoding";

pub(super) fn read(file: &File, origin: &str) -> Result<Splitting> {
    let refuse = |feature: String, advice| Error::Unsupported {
        origin: origin.to_owned(),
        feature,
        advice,
    };
    if !file.truncation.is_null() {
        return Err(refuse(
            "truncation".into(),
            "remove it from the file, and call truncate",
        ));
    }
    if !file.padding.is_null() {
        return Err(refuse("padding".into(), "remove it from the file"));
    }
    check_normalizer(&file.normalizer).map_err(|feature| refuse(feature, REMOVE))?;
    check_post_processor(&file.post_processor).map_err(|feature| refuse(feature, REMOVE))?;
    let mut regexes = Vec::new();
    let mut byte_level = false;
    // Earlier versions wrote patterns as they read them, and said so by a fingerprint alone.
    let own = file.model.fingerprint.is_some() && file.model.pattern.is_none();
    pre_tokenizer(&file.pre_tokenizer, own, &mut regexes, &mut byte_level)
        .map_err(|(feature, advice)| refuse(feature, advice))?;
    Ok(Splitting {
        pattern: Pattern::sequence(regexes),
        byte_level,
    })
}

/// Refuses decoders that would not give back the text.
pub(super) fn check_decoding(file: &File, origin: &str, byte_level: bool) -> Result<()> {
    check_decoder(&file.decoder, byte_level).map_err(|feature| Error::Unsupported {
        origin: origin.to_owned(),
        feature,
        advice: CONVERT,
    })
}

/// The `pre_tokenizer` of a byte-level tokenizer.
pub(super) fn write(tokenizer: &Tokenizer) -> Result<Value> {
    let pattern = tokenizer.pattern();
    let byte_level = |use_regex: bool| {
        json!({
            "type": "ByteLevel",
            "add_prefix_space": false,
            "trim_offsets": true,
            "use_regex": use_regex,
        })
    };
    if pattern.name() == Some("gpt2") {
        return Ok(byte_level(true));
    }
    let split = |regex: String| {
        json!({
            "type": "Split",
            "pattern": {"Regex": regex},
            "behavior": "Isolated",
            "invert": false,
        })
    };
    let mut steps: Vec<Value> = pattern.portable()?.into_iter().map(split).collect();
    if steps.is_empty() {
        return Ok(byte_level(false));
    }
    steps.push(byte_level(false));
    Ok(json!({"type": "Sequence", "pretokenizers": steps}))
}

/// A feature that is refused, and what can be done instead.
type Refusal = (String, &'static str);

fn pre_tokenizer(
    step: &Value,
    own: bool,
    regexes: &mut Vec<String>,
    byte_level: &mut bool,
) -> Result<(), Refusal> {
    if step.is_null() {
        return Ok(());
    }
    let kind = kind(step);
    if *byte_level {
        return Err((format!("the pre-tokenizer {kind} after ByteLevel"), CONVERT));
    }
    match kind {
        "Sequence" => {
            for step in list(step, "pretokenizers") {
                pre_tokenizer(step, own, regexes, byte_level)?;
            }
            Ok(())
        }
        "ByteLevel" => {
            if flag(step, "add_prefix_space", true) {
                return Err(("add_prefix_space of ByteLevel".to_owned(), CONVERT));
            }
            if flag(step, "use_regex", true) {
                let gpt2 = Pattern::named("gpt2").map_err(|error| (error.to_string(), CONVERT))?;
                regexes.extend_from_slice(gpt2.regexes());
            }
            *byte_level = true;
            Ok(())
        }
        "Split" => {
            regexes.push(split(step, own)?);
            Ok(())
        }
        other => Err((format!("the pre-tokenizer {other}"), CONVERT)),
    }
}

/// The regular expression of a `Split`.
fn split(step: &Value, own: bool) -> Result<String, Refusal> {
    let regex = match (&step["pattern"]["Regex"], &step["pattern"]["String"]) {
        (Value::String(regex), _) => {
            let read = if own {
                Ok(regex.clone())
            } else {
                oniguruma::read(regex)
            };
            read.map_err(|Doubt { at, construct }| {
                let pattern = shortened(regex);
                let feature = format!("{construct} at byte {at} of the Split pattern {pattern}");
                (feature, RESPELL)
            })?
        }
        (_, Value::String(text)) => regex_syntax::escape(text),
        _ => return Err(("a Split without a Regex or String".to_owned(), CONVERT)),
    };
    let behavior = step["behavior"].as_str().unwrap_or("none");
    let isolated = behavior.eq_ignore_ascii_case("isolated");
    // Keeping only the matches is the same where the matches are everything.
    let matches_only = behavior.eq_ignore_ascii_case("removed") && flag(step, "invert", false);
    let complete = || {
        let name = Pattern::regex(regex.clone()).name();
        name.is_some_and(|name| name != "none" && name != "deepseek")
    };
    if isolated || matches_only && complete() {
        return Ok(regex);
    }
    Err((format!("the Split behavior {behavior}"), CONVERT))
}

fn check_normalizer(step: &Value) -> Result<(), String> {
    if step.is_null() {
        return Ok(());
    }
    match kind(step) {
        "Sequence" => list(step, "normalizers")
            .iter()
            .try_for_each(check_normalizer),
        other => Err(format!("the normalizer {other}")),
    }
}

fn check_post_processor(step: &Value) -> Result<(), String> {
    if step.is_null() {
        return Ok(());
    }
    match kind(step) {
        "Sequence" => list(step, "processors")
            .iter()
            .try_for_each(check_post_processor),
        "ByteLevel" | "TemplateProcessing" => Ok(()),
        other => Err(format!("the post-processor {other}")),
    }
}

fn check_decoder(step: &Value, byte_level: bool) -> Result<(), String> {
    if step.is_null() {
        return Ok(());
    }
    match (kind(step), byte_level) {
        ("ByteLevel", true) | ("Fuse", false) => Ok(()),
        ("Sequence", _) => {
            let mut steps = list(step, "decoders").iter();
            steps.try_for_each(|step| check_decoder(step, byte_level))
        }
        (other, _) => Err(format!("the decoder {other}")),
    }
}

fn kind(step: &Value) -> &str {
    step["type"].as_str().unwrap_or("without a type")
}

fn list<'a>(step: &'a Value, field: &str) -> &'a [Value] {
    step[field].as_array().map_or(&[], Vec::as_slice)
}

fn flag(step: &Value, field: &str, absent: bool) -> bool {
    step[field].as_bool().unwrap_or(absent)
}
