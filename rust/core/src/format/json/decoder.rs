//! The `decoder` of a `tokenizer.json`: only those that give the text of the tokens are read.

use serde_json::Value;

use super::section::{ONLY_BYTE_LEVEL, Refusal, kind, list};

/// Refuses decoders that would not give back the text.
pub(super) fn check(section: &Value, byte_level: bool) -> Result<(), Refusal> {
    if section.is_null() {
        return Ok(());
    }
    match (kind(section), byte_level) {
        ("ByteLevel", true) | ("Fuse", false) => Ok(()),
        ("Sequence", _) => {
            let mut steps = list(section, "decoders").iter();
            steps.try_for_each(|step| check(step, byte_level))
        }
        (other, _) => Err((format!("the decoder {other}"), ONLY_BYTE_LEVEL)),
    }
}
