//! The `post_processor` of a `tokenizer.json`: the ids that stand around a text.
//!
//! `TemplateProcessing`, `RobertaProcessing` and `BertProcessing` all put special tokens before and after a text. `ByteLevel` changes the
//! offsets that other programs report, and no ids.

use std::collections::HashMap;

use serde_json::Value;

use super::section::{NO_EQUAL, Refusal, kind, list, list_mut};
use crate::template::Template;

const EDIT: &str = "give it one sequence A and special tokens that its list has";

/// The ids around a single text.
pub(super) fn read(section: &Value) -> Result<Template, Refusal> {
    let mut templates = Vec::new();
    add(section, &mut templates)?;
    if templates.len() > 1 {
        let feature = "several post-processors that add tokens".to_owned();
        return Err((feature, "keep the one that is meant"));
    }
    Ok(templates.pop().unwrap_or_default())
}

fn add(step: &Value, templates: &mut Vec<Template>) -> Result<(), Refusal> {
    if step.is_null() {
        return Ok(());
    }
    match kind(step) {
        "Sequence" => {
            let mut steps = list(step, "processors").iter();
            steps.try_for_each(|step| add(step, templates))
        }
        "ByteLevel" => Ok(()),
        "TemplateProcessing" => {
            templates.push(template(step)?);
            Ok(())
        }
        "RobertaProcessing" | "BertProcessing" => {
            let (before, after) = (named_id(step, "cls")?, named_id(step, "sep")?);
            templates.push(Template::new(vec![before], vec![after]));
            Ok(())
        }
        other => Err((format!("the post-processor {other}"), NO_EQUAL)),
    }
}

fn template(step: &Value) -> Result<Template, Refusal> {
    let refuse = |what: String| (format!("a TemplateProcessing {what}"), EDIT);
    let (mut before, mut after, mut sequences) = (Vec::new(), Vec::new(), 0);
    for piece in list(step, "single") {
        if let Some(sequence) = piece["Sequence"].as_object() {
            if sequence.get("id").and_then(Value::as_str) != Some("A") {
                return Err(refuse("with sequence B in its template for one".to_owned()));
            }
            sequences += 1;
        } else {
            let name = piece["SpecialToken"]["id"].as_str().unwrap_or_default();
            let found = ids(&step["special_tokens"][name]["ids"]);
            let found = found.ok_or_else(|| refuse(format!("without the ids of {name:?}")))?;
            let side = if sequences == 0 {
                &mut before
            } else {
                &mut after
            };
            side.extend(found);
        }
    }
    if sequences != 1 {
        return Err(refuse(format!("with sequence A {sequences} times")));
    }
    Ok(Template::new(before, after))
}

fn ids(list: &Value) -> Option<Vec<u32>> {
    let ids = list.as_array()?.iter();
    ids.map(|id| u32::try_from(id.as_u64()?).ok()).collect()
}

/// The id of `["<s>", 0]`.
fn named_id(step: &Value, field: &str) -> Result<u32, Refusal> {
    let id = step[field][1]
        .as_u64()
        .and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| (format!("a {} without {field}", kind(step)), EDIT))
}

/// Gives ids their new numbers.
pub(super) fn renumber(section: &mut Value, numbers: &HashMap<u32, u32>) {
    if numbers.is_empty() {
        return;
    }
    let renumber_one = |id: &mut Value| {
        let old = id.as_u64().and_then(|id| u32::try_from(id).ok());
        if let Some(new) = old.and_then(|old| numbers.get(&old)) {
            *id = Value::from(*new);
        }
    };
    match kind(section) {
        "Sequence" => {
            for step in list_mut(section, "processors") {
                renumber(step, numbers);
            }
        }
        "TemplateProcessing" => {
            let tokens = section["special_tokens"].as_object_mut();
            for token in tokens.into_iter().flat_map(|tokens| tokens.values_mut()) {
                if let Some(ids) = token["ids"].as_array_mut() {
                    ids.iter_mut().for_each(renumber_one);
                }
            }
        }
        "RobertaProcessing" | "BertProcessing" => {
            for field in ["cls", "sep"] {
                if let Some(id) = section[field].get_mut(1) {
                    renumber_one(id);
                }
            }
        }
        _ => {}
    }
}
