//! What stands before and after a text's own tokens when a caller asks for it.
//!
//! Models are trained on texts that begin or end with special tokens; a `tokenizer.json` says so in its post-processor. Only
//! `add_special_tokens` asks for them, so nothing else here knows them.

/// The ids around a text.
///
/// ```
/// use gptbpe_core::template::Template;
///
/// let template = Template::new(vec![1], vec![2, 2]);
/// assert_eq!(template.around(vec![7, 8].into()).to_vec(), [1, 7, 8, 2, 2]);
/// assert_eq!((template.bos(), template.eos()), (Some(1), None));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    before: Vec<u32>,
    after: Vec<u32>,
}

impl Template {
    /// These ids before and after every text.
    pub fn new(before: Vec<u32>, after: Vec<u32>) -> Self {
        Self { before, after }
    }

    /// What stands before a text.
    pub fn before(&self) -> &[u32] {
        &self.before
    }

    /// What stands after it.
    pub fn after(&self) -> &[u32] {
        &self.after
    }

    /// Whether nothing does.
    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    /// How many ids they are.
    pub fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// The id that begins every text, if it is one.
    pub fn bos(&self) -> Option<u32> {
        only(&self.before)
    }

    /// The id that ends every text, if it is one.
    pub fn eos(&self) -> Option<u32> {
        only(&self.after)
    }

    /// The same ids by other numbers; `None` if one has none.
    pub(crate) fn renumbered(&self, number: impl Fn(u32) -> Option<u32>) -> Option<Self> {
        let all = |ids: &[u32]| ids.iter().map(|&id| number(id)).collect::<Option<_>>();
        Some(Self {
            before: all(&self.before)?,
            after: all(&self.after)?,
        })
    }
}

fn only(ids: &[u32]) -> Option<u32> {
    match ids {
        [id] => Some(*id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_without_a_number_is_told() {
        let template = Template::new(vec![1], vec![2]);
        let more = template.renumbered(|id| id.checked_add(10)).unwrap();
        assert_eq!(more, Template::new(vec![11], vec![12]));
        assert_eq!(template.renumbered(|id| (id < 2).then_some(id)), None);
    }
}
