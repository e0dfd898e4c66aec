//! The `normalizer` of a `tokenizer.json`.

use serde_json::Value;

use super::section::{REMOVE, Refusal, flag, kind, list_mut, regex};
use crate::normalize::{Form, Normalizer, Step, Wanted};

/// Its steps, those of sequences one after another. Regular expressions in it become what they were read as.
pub(super) fn read(section: &mut Value, own: bool) -> Result<Vec<Step>, Refusal> {
    let mut steps = Vec::new();
    add(section, own, &mut steps)?;
    Ok(steps)
}

fn add(step: &mut Value, own: bool, steps: &mut Vec<Step>) -> Result<(), Refusal> {
    if step.is_null() {
        return Ok(());
    }
    let text = |step: &Value, field: &str| {
        let text = step[field].as_str().map(str::to_owned);
        text.ok_or_else(|| (format!("a {} without {field}", kind(step)), REMOVE))
    };
    steps.push(match kind(step) {
        "Sequence" => {
            for step in list_mut(step, "normalizers") {
                add(step, own, steps)?;
            }
            return Ok(());
        }
        "NFC" => Step::Form(Form::Nfc),
        "NFD" => Step::Form(Form::Nfd),
        "NFKC" => Step::Form(Form::Nfkc),
        "NFKD" => Step::Form(Form::Nfkd),
        "Lowercase" => Step::Lowercase,
        "Prepend" => Step::Prepend(text(step, "prepend")?),
        "Strip" => Step::Strip {
            left: flag(step, "strip_left", true),
            right: flag(step, "strip_right", true),
        },
        "Replace" => replace(step, text(step, "content")?, own)?,
        other => return Err((format!("the normalizer {other}"), REMOVE)),
    });
    Ok(())
}

fn replace(step: &mut Value, content: String, own: bool) -> Result<Step, Refusal> {
    let pattern = &step["pattern"];
    let wanted = if let Some(text) = pattern["String"].as_str() {
        Wanted::Text(text.to_owned())
    } else if let Some(text) = pattern["Regex"].as_str() {
        let text = regex(text, own, "Replace pattern")?;
        step["pattern"]["Regex"] = Value::String(text.clone());
        Wanted::Regex(text)
    } else {
        return Err(("a Replace without a String or Regex".to_owned(), REMOVE));
    };
    let step = Step::Replace { wanted, content };
    match Normalizer::new(vec![step.clone()]) {
        Ok(_) => Ok(step),
        Err(error) => Err((format!("a Replace of which it is said: {error}"), REMOVE)),
    }
}
