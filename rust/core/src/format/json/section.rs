//! What reading any section of a `tokenizer.json` needs.

use serde_json::Value;

use crate::error::shortened;
use crate::pattern::oniguruma::{self, Doubt};

/// A feature that is refused, and what can be done instead.
pub(super) type Refusal = (String, &'static str);

pub(super) const RESPELL: &str = "respell it with what Oniguruma and the regex crate read alike";
pub(super) const ONLY_BYTE_LEVEL: &str =
    "only byte-level BPE is read: use a tokenizer that has ByteLevel, or tokenizers itself";
pub(super) const NO_EQUAL: &str = "its ids could not be made equal: encode with tokenizers itself, or train a tokenizer without it";
pub(super) const REMOVE: &str = "remove it from the file, or prepare the text before encoding";

/// How the regular expressions of a file are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Regexes {
    /// Earlier versions of this library wrote them as the regex crate reads them.
    pub(super) own: bool,
    /// One of them is spelled otherwise in the file than here.
    pub(super) respelled: bool,
}

impl Regexes {
    /// The regular expression `Regex` of a pattern, if it has one, as the regex crate reads it. In the pattern it
    /// stays, or becomes, what Oniguruma reads.
    pub(super) fn read(
        &mut self,
        pattern: &mut Value,
        place: &str,
    ) -> Result<Option<String>, Refusal> {
        let Some(text) = pattern["Regex"].as_str() else {
            return Ok(None);
        };
        let (read, kept) = match oniguruma::read(text) {
            Ok(read) if !self.own || read == text => (read, text.to_owned()),
            Err(Doubt { at, construct }) if !self.own => {
                let pattern = shortened(text);
                let feature = format!("{construct} at byte {at} of the {place} {pattern}");
                return Err((feature, RESPELL));
            }
            _ => {
                let kept = oniguruma::write(text).map_err(|error| {
                    let feature = format!("a {place} of which it is said: {error}");
                    (feature, RESPELL)
                })?;
                (text.to_owned(), kept)
            }
        };
        self.respelled |= read != kept;
        pattern["Regex"] = Value::String(kept);
        Ok(Some(read))
    }
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
