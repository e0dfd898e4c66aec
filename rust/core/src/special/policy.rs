//! What one call allows among special tokens, and what it refuses: tiktoken's rule.
//!
//! A call names the special tokens that stand for themselves (*allowed*), and strings
//! that must not stand in the text (*disallowed*). By default nothing is allowed, and
//! all special tokens that are not allowed are disallowed. Disallowed strings need not
//! be special tokens of the tokenizer.
//!
//! Making a policy must cost little, since every call makes one. Those of the usual calls are
//! kept; they need no memory and no matcher. "All but the allowed" is only built when it can matter: a
//! text in which no special token at all is found holds none of them.

use std::borrow::Cow;
use std::sync::Arc;

use super::set::Contents;
use super::{Chosen, SpecialSet, SpecialToken, SpecialTokens};
use crate::{Error, Result};

/// The special tokens that an argument of a call names.
#[derive(Debug, Clone, Copy)]
pub enum SpecialNames<'a> {
    /// Every special token of the tokenizer.
    All,
    /// These strings.
    These(&'a [&'a str]),
}

/// What is allowed and what is refused. Cheap to clone.
///
/// ```
/// use gptbpe_core::{SpecialNames, Tokenizer, pattern::Pattern};
///
/// let special = [("<|x|>".to_owned(), 256), ("<|y|>".to_owned(), 257)];
/// let tokenizer = Tokenizer::from_merges(&[], Pattern::default(), &special)?;
/// let policy = tokenizer.special_policy(SpecialNames::These(&["<|x|>"]), SpecialNames::All)?;
/// assert!(tokenizer.check_special(b"a<|x|>", &policy).is_ok());
/// assert!(tokenizer.check_special(b"a<|y|>", &policy).is_err());
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct SpecialPolicy {
    allowed: SpecialSet,
    refused: Refused,
    others: Option<Others>,
}

/// The refused strings that are special tokens.
#[derive(Debug, Clone, Default)]
enum Refused {
    #[default]
    Nothing,
    All,
    /// All but those with these ids, which ascend. There are such.
    AllBut(Arc<[u32]>),
    These(SpecialSet),
}

/// The policies of the usual calls.
#[derive(Debug)]
pub(super) struct Usual {
    nothing: SpecialPolicy,
    refuse_all: SpecialPolicy,
    allow_all: SpecialPolicy,
}

impl Usual {
    pub(super) fn new(all: &SpecialSet, always: &SpecialSet) -> Self {
        let nothing = SpecialPolicy {
            allowed: always.clone(),
            ..SpecialPolicy::none()
        };
        Self {
            refuse_all: SpecialPolicy {
                refused: Refused::All,
                ..nothing.clone()
            },
            allow_all: SpecialPolicy {
                allowed: all.clone(),
                ..SpecialPolicy::none()
            },
            nothing,
        }
    }
}

/// The refused strings that are not special tokens; their numbers serve as ids.
#[derive(Debug, Clone)]
pub(super) struct Others {
    set: SpecialSet,
    names: Arc<[String]>,
}

impl SpecialPolicy {
    /// Nothing is special and nothing is refused.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether no text can be refused.
    pub fn refuses_nothing(&self) -> bool {
        matches!(self.refused, Refused::Nothing) && self.others.is_none()
    }

    /// What stands for itself, ready to be looked for.
    pub fn allowed(&self) -> &SpecialSet {
        &self.allowed
    }
}

impl SpecialTokens {
    pub(crate) fn policy(
        &self,
        allowed: SpecialNames<'_>,
        disallowed: SpecialNames<'_>,
    ) -> Result<Cow<'_, SpecialPolicy>> {
        use SpecialNames::{All, These};
        Ok(match (allowed, disallowed) {
            (These([]), These([])) => Cow::Borrowed(&self.usual.nothing),
            (These([]), All) => Cow::Borrowed(&self.usual.refuse_all),
            (All, All | These([])) => Cow::Borrowed(&self.usual.allow_all),
            _ => Cow::Owned(self.new_policy(allowed, disallowed)?),
        })
    }

    fn new_policy(
        &self,
        allowed: SpecialNames<'_>,
        disallowed: SpecialNames<'_>,
    ) -> Result<SpecialPolicy> {
        let mut policy = SpecialPolicy::none();
        let allowed_ids = match allowed {
            SpecialNames::All => Vec::new(),
            SpecialNames::These(names) => self.ids(names.iter().copied(), true),
        };
        policy.refused = match (disallowed, allowed) {
            (SpecialNames::These([]), _) | (SpecialNames::All, SpecialNames::All) => {
                Refused::Nothing
            }
            (SpecialNames::All, _) if allowed_ids.is_empty() => Refused::All,
            (SpecialNames::All, _) if allowed_ids.len() == self.special.len() => Refused::Nothing,
            (SpecialNames::All, _) => Refused::AllBut(allowed_ids.as_slice().into()),
            (SpecialNames::These(names), _) => {
                policy.others = self.others(names)?;
                let ids = self.ids(names.iter().copied(), false);
                match ids[..] {
                    [] => Refused::Nothing,
                    _ => Refused::These(self.set(Chosen::Strings(ids))?),
                }
            }
        };
        policy.allowed = match allowed {
            SpecialNames::All => self.all.clone(),
            SpecialNames::These(_) => self.allowed(allowed_ids)?,
        };
        Ok(policy)
    }

    /// Those of the names that are no special tokens, if there are such.
    fn others(&self, names: &[&str]) -> Result<Option<Others>> {
        let is_other = |name: &&&str| !name.is_empty() && self.by_content(name).is_none();
        let others = names.iter().filter(is_other);
        let mut others: Vec<String> = others.map(|&name| name.to_owned()).collect();
        if others.is_empty() {
            return Ok(None);
        }
        others.sort_unstable();
        others.dedup();
        let others = self.others.get_or_build(others, |names| {
            let tokens = (0..).zip(names);
            let tokens = tokens.map(|(number, name)| SpecialToken::new(name, number));
            Ok(Others {
                set: SpecialSet::new(&tokens.collect::<Vec<_>>(), &Contents::new())?,
                names: names.as_slice().into(),
            })
        });
        others.map(Some)
    }

    /// An error if `text` holds a refused string: it names the first one, and of those
    /// that begin at one place the longest special token or the other string that is
    /// less than it.
    pub(crate) fn check(&self, text: &[u8], policy: &SpecialPolicy) -> Result<()> {
        let known = match &policy.refused {
            Refused::Nothing => None,
            Refused::All => self.strings.find(text),
            Refused::These(set) => set.find(text),
            Refused::AllBut(ids) => match self.strings.find(text) {
                None => None,
                Some(_) => self.set(Chosen::StringsBut(ids.to_vec()))?.find(text),
            },
        };
        let known = known.and_then(|found| {
            let token = self.by_id(found.id)?;
            Some((found.start, token.content.as_str()))
        });
        let other = policy.others.as_ref().and_then(|others| {
            let found = others.set.find(text)?;
            Some((found.start, others.names[found.id as usize].as_str()))
        });
        match known.into_iter().chain(other).min() {
            None => Ok(()),
            Some((at, content)) => Err(Error::DisallowedSpecial {
                content: content.to_owned(),
                at,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::set::work;
    use super::super::tests::{many, tokens};
    use super::*;
    use SpecialNames::{All, These};

    const A: &str = "<a>";
    const B: &str = "<b>";

    /// The first refused string, and the ids of what is allowed.
    fn outcome(
        tokens: &SpecialTokens,
        allowed: SpecialNames<'_>,
        disallowed: SpecialNames<'_>,
        text: &str,
    ) -> (Option<(String, usize)>, Vec<u32>) {
        let policy = tokens.policy(allowed, disallowed).unwrap();
        let refused = match tokens.check(text.as_bytes(), &policy) {
            Ok(()) => None,
            Err(Error::DisallowedSpecial { content, at }) => Some((content, at)),
            Err(other) => panic!("{other}"),
        };
        let found = policy.allowed().matches(text.as_bytes());
        (refused, found.map(|found| found.id).collect())
    }

    #[test]
    fn what_is_allowed_and_what_is_refused() {
        let tokens = tokens(&[A, B, "<a><b>"]);
        let rows = [
            // allowed, disallowed, text, refused, ids
            (These(&[]), All, "x<a>", Some((A, 1)), vec![]),
            (These(&[]), These(&[]), "x<a>", None, vec![]),
            (These(&[A]), All, "<a>", None, vec![100]),
            (These(&[A]), All, "<a>é<b>", Some((B, 5)), vec![100]),
            (These(&[A]), These(&[]), "<a><b>", None, vec![100]),
            (All, All, "<a>.<b>", None, vec![100, 101]),
            (All, These(&[B]), "<a>.<b>", Some((B, 4)), vec![100, 101]),
            (These(&[A, B, "<a><b>"]), All, "<b>", None, vec![101]),
            (These(&["<c>"]), All, "<c><a>", Some((A, 3)), vec![]),
            // A refused token inside an allowed one is still refused.
            (These(&["<a><b>"]), All, "<a><b>", Some((A, 0)), vec![102]),
            // Strings that are no special tokens.
            (
                These(&[]),
                These(&["b>", "b"]),
                "<b>",
                Some(("b>", 1)),
                vec![],
            ),
            (These(&[]), These(&["b", A]), "b<a>", Some(("b", 0)), vec![]),
            (
                These(&[]),
                These(&["<a>!", A]),
                "<a>!",
                Some((A, 0)),
                vec![],
            ),
            (These(&[]), These(&["", ""]), "<a>", None, vec![]),
        ];
        for (allowed, disallowed, text, refused, ids) in rows {
            let refused = refused.map(|(content, at)| (content.to_owned(), at));
            let row = format!("{allowed:?} {disallowed:?} {text}");
            assert_eq!(
                outcome(&tokens, allowed, disallowed, text),
                (refused, ids),
                "{row}"
            );
        }
    }

    #[test]
    fn without_special_tokens_only_other_strings_are_refused() {
        let tokens = tokens(&[]);
        assert_eq!(outcome(&tokens, All, All, "<a>"), (None, vec![]));
        assert_eq!(outcome(&tokens, These(&[A]), All, "<a>"), (None, vec![]));
        let (refused, _) = outcome(&tokens, All, These(&[A]), "<a>");
        assert_eq!(refused, Some((A.to_owned(), 0)));
    }

    #[test]
    fn a_default_call_builds_nothing_and_searches_once() {
        let tokens = tokens(&[A, B]);
        let (built, searched) = (work::built(), work::searched());
        let text = "no such token in here";
        assert_eq!(outcome(&tokens, These(&[]), All, text), (None, vec![]));
        assert_eq!(work::built() - built, 0);
        assert_eq!(work::searched() - searched, text.len());
    }

    #[test]
    fn all_but_one_of_many_is_built_only_if_a_token_is_there() {
        let tokens = many(10_000);
        let allow = |text| outcome(&tokens, These(&["<|7|>"]), All, text);
        let built = work::built();
        for _ in 0..3 {
            assert_eq!(allow("hello"), (None, vec![]));
        }
        assert_eq!(work::built() - built, 1, "what is allowed");
        for _ in 0..3 {
            assert_eq!(allow("<|7|>"), (None, vec![7]));
            assert_eq!(allow("<|8|>").0, Some(("<|8|>".to_owned(), 0)));
        }
        assert_eq!(work::built() - built, 2, "what is allowed and the rest");
    }

    #[test]
    fn other_strings_are_built_once() {
        let tokens = tokens(&[A]);
        let built = work::built();
        for names in [["b", "c"], ["c", "b"]] {
            assert!(
                outcome(&tokens, These(&[]), These(&names), "xc")
                    .0
                    .is_some()
            );
        }
        assert_eq!(work::built() - built, 1);
    }
}
