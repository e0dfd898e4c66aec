//! What the regex crate makes of a pattern, in the spelling of Oniguruma.
//!
//! Elements that both read alike stay as they are, the others are spelled from their expression. What is repeated although
//! it may be empty, and assertions other than those of [`ASSERTIONS`], have no spelling: such a pattern is refused.

use regex_syntax::hir::{Class, ClassUnicode, Hir, HirKind, Look, Repetition};

use super::sets::{Speller, character};
use super::{ASSERTIONS, Doubt, read};
use crate::pattern::ast::{Alternative, Element, Node, quantifier, spell};
use crate::pattern::parser::{LONGEST, parse};
use crate::{Error, Result};

/// The regex that means to Oniguruma what `regex` means to the regex crate: the same text where they agree, but with
/// greedy quantifiers for possessive ones and `\z` for `$`.
pub(crate) fn write(regex: &str) -> Result<String> {
    let alternatives = parse(regex)?;
    let mut writer = Writer::default();
    let mut spelled = |how: Spelling| -> Result<String, String> {
        let mut out = String::new();
        for (index, alternative) in alternatives.iter().enumerate() {
            if index > 0 {
                out.push('|');
            }
            for element in &alternative.elements {
                match how {
                    Spelling::Kept => writer.keep_or_write(&mut out, element)?,
                    Spelling::Written => writer.element(&mut out, element)?,
                }
                if out.len() > LONGEST {
                    return Err(format!(
                        "it is longer than {LONGEST} bytes when spelled out"
                    ));
                }
            }
        }
        Ok(out)
    };
    let own = as_given(regex, &alternatives);
    if reads_alike(&own) {
        return Ok(own);
    }
    let refuse = |reason: String| Error::UnsupportedPattern {
        pattern: regex.to_owned(),
        at: 0,
        reason: format!("{reason}; a tokenizer.json could not hold it"),
    };
    let mut last = None;
    for how in [Spelling::Kept, Spelling::Written] {
        let text = spelled(how).map_err(refuse)?;
        match read(&text) {
            Ok(_) => return Ok(text),
            Err(Doubt { construct, .. }) => last = Some(construct),
        }
    }
    Err(refuse(format!(
        "Oniguruma, which reads it in a tokenizer.json, means something else by {}",
        last.unwrap_or_default()
    )))
}

/// What earlier versions wrote: greedy quantifiers for possessive ones and `\z` for `$`, and all else as given.
pub(crate) fn write_as_given(regex: &str) -> Result<String> {
    Ok(as_given(regex, &parse(regex)?))
}

fn as_given(regex: &str, alternatives: &[Alternative]) -> String {
    let elements = || alternatives.iter().flat_map(|a| &a.elements);
    if !elements().any(|e| e.possessive || matches!(e.node, Node::End)) {
        return regex.to_owned();
    }
    let branch =
        |alternative: &Alternative| -> String { alternative.elements.iter().map(spell).collect() };
    let branches: Vec<String> = alternatives.iter().map(branch).collect();
    branches.join("|")
}

#[derive(Clone, Copy)]
enum Spelling {
    /// As given, element by element, where both read it alike.
    Kept,
    /// All from the expressions.
    Written,
}

fn reads_alike(text: &str) -> bool {
    read(text).is_ok_and(|read| read == text)
}

#[derive(Default)]
struct Writer {
    speller: Speller,
}

impl Writer {
    fn keep_or_write(&mut self, out: &mut String, element: &Element) -> Result<(), String> {
        let own = spell(element);
        if reads_alike(&own) {
            out.push_str(&own);
            return Ok(());
        }
        self.element(out, element)
    }

    fn element(&mut self, out: &mut String, element: &Element) -> Result<(), String> {
        match &element.node {
            Node::Set(set) => self.set(out, set),
            Node::Group(hir) if (element.min, element.max) == (1, Some(1)) => {
                return self.grouped(out, hir);
            }
            Node::Group(hir) => self.atom(out, hir)?,
            Node::End => out.push_str(r"\z"),
            Node::NotAhead(set) => {
                out.push_str("(?!");
                self.set(out, set);
                out.push(')');
            }
        }
        out.push_str(&quantifier(element.min, element.max, element.greedy));
        Ok(())
    }

    fn set(&mut self, out: &mut String, set: &ClassUnicode) {
        out.push_str(self.speller.spell(set));
    }

    /// Where only an alternation needs a group. The depth of an expression is bounded by regex-syntax.
    fn grouped(&mut self, out: &mut String, hir: &Hir) -> Result<(), String> {
        if matches!(hir.kind(), HirKind::Alternation(_)) {
            return self.in_group(out, hir);
        }
        self.expression(out, hir)
    }

    fn in_group(&mut self, out: &mut String, hir: &Hir) -> Result<(), String> {
        out.push_str("(?:");
        self.expression(out, hir)?;
        out.push(')');
        Ok(())
    }

    /// Where a quantifier follows.
    fn atom(&mut self, out: &mut String, hir: &Hir) -> Result<(), String> {
        let single = match hir.kind() {
            HirKind::Capture(capture) => return self.atom(out, &capture.sub),
            HirKind::Class(_) => true,
            HirKind::Literal(literal) => {
                std::str::from_utf8(&literal.0).is_ok_and(|text| text.chars().nth(1).is_none())
            }
            _ => false,
        };
        if single {
            return self.expression(out, hir);
        }
        self.in_group(out, hir)
    }

    fn expression(&mut self, out: &mut String, hir: &Hir) -> Result<(), String> {
        match hir.kind() {
            HirKind::Empty => {}
            HirKind::Literal(literal) => {
                let text = std::str::from_utf8(&literal.0);
                let text = text.map_err(|_| "it matches bytes that are not UTF-8".to_owned())?;
                text.chars().for_each(|c| out.push_str(&character(c)));
            }
            HirKind::Class(Class::Unicode(set)) => self.set(out, set),
            HirKind::Class(Class::Bytes(set)) => {
                let set = set.to_unicode_class();
                let set = set.ok_or_else(|| "it matches bytes that are not UTF-8".to_owned())?;
                self.set(out, &set);
            }
            HirKind::Look(look) => out.push_str(assertion(*look)?),
            HirKind::Repetition(Repetition {
                min,
                max,
                greedy,
                sub,
            }) => {
                self.atom(out, sub)?;
                out.push_str(&quantifier(*min, *max, *greedy));
            }
            HirKind::Capture(capture) => self.grouped(out, &capture.sub)?,
            HirKind::Concat(all) => {
                for hir in all {
                    self.grouped(out, hir)?;
                }
            }
            HirKind::Alternation(all) => {
                for (index, hir) in all.iter().enumerate() {
                    if index > 0 {
                        out.push('|');
                    }
                    self.expression(out, hir)?;
                }
            }
        }
        if out.len() > LONGEST {
            return Err(format!(
                "it is longer than {LONGEST} bytes when spelled out"
            ));
        }
        Ok(())
    }
}

fn assertion(look: Look) -> Result<&'static str, String> {
    let known = ASSERTIONS.iter().find(|assertion| assertion.look == look);
    known.map(|known| known.oniguruma).ok_or_else(|| {
        let construct = match look {
            Look::StartCRLF | Look::EndCRLF => "`^` and `$` under the flag R",
            _ => r"`\b{start}`, `\b{end}` and their halves",
        };
        format!(r"Oniguruma has no {construct} (write \A, \z, (?m:^), (?m:$), \b or \B)")
    })
}
