//! What reading any section of a `tokenizer.json` needs.

use serde_json::Value;

use super::oniguruma::{Doubt, first_doubt};
use crate::error::shortened;

/// A feature that is refused, and what can be done instead.
pub(super) type Refusal = (String, &'static str);

pub(super) const RESPELL: &str = "respell it with what Oniguruma and the regex crate read alike";
pub(super) const ONLY_BYTE_LEVEL: &str =
    "only byte-level BPE is read: use a tokenizer that has ByteLevel, or tokenizers itself";
pub(super) const NO_EQUAL: &str = "its ids could not be made equal: encode with tokenizers itself, or train a tokenizer without it";
pub(super) const REMOVE: &str = "remove it from the file, or prepare the text before encoding";

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
