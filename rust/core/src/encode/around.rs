//! Ids with those that stand around a text.

use super::{Ids, Ragged};
use crate::template::Template;

impl Template {
    /// The ids of a text with those around it. All must be of the size that `ids` has.
    #[must_use]
    pub fn around(&self, ids: Ids) -> Ids {
        if self.is_empty() {
            return ids;
        }
        match ids {
            Ids::Narrow(ids) => {
                Ids::Narrow(join(&self.narrow_before(), &[&ids], &self.narrow_after()))
            }
            Ids::Wide(ids) => Ids::Wide(join(self.before(), &[&ids], self.after())),
        }
    }

    /// The same for every one of several texts.
    #[must_use]
    pub fn around_all(&self, ragged: Ragged) -> Ragged {
        if self.is_empty() {
            return ragged;
        }
        let pairs = ragged.offsets.windows(2);
        let ids = match &ragged.ids {
            Ids::Narrow(ids) => {
                let texts: Vec<&[u16]> = pairs.map(|pair| &ids[pair[0]..pair[1]]).collect();
                Ids::Narrow(join(&self.narrow_before(), &texts, &self.narrow_after()))
            }
            Ids::Wide(ids) => {
                let texts: Vec<&[u32]> = pairs.map(|pair| &ids[pair[0]..pair[1]]).collect();
                Ids::Wide(join(self.before(), &texts, self.after()))
            }
        };
        let offsets = ragged.offsets.into_iter().enumerate();
        let offsets = offsets.map(|(texts, offset)| offset + texts * self.len());
        Ragged {
            ids,
            offsets: offsets.collect(),
        }
    }

    // Ids are 16 bits wide only where all ids of the tokenizer are.
    fn narrow_before(&self) -> Vec<u16> {
        self.before().iter().map(|&id| id as u16).collect()
    }

    fn narrow_after(&self) -> Vec<u16> {
        self.after().iter().map(|&id| id as u16).collect()
    }
}

fn join<T: Copy>(before: &[T], texts: &[&[T]], after: &[T]) -> Vec<T> {
    let around = (before.len() + after.len()) * texts.len();
    let length = texts.iter().map(|ids| ids.len()).sum::<usize>() + around;
    let mut all = Vec::with_capacity(length);
    for ids in texts {
        all.extend_from_slice(before);
        all.extend_from_slice(ids);
        all.extend_from_slice(after);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_gets_them() {
        let template = Template::new(vec![1], vec![2, 3]);
        for wrap in [
            |ids: Vec<u16>| Ids::Narrow(ids),
            |ids: Vec<u16>| Ids::Wide(ids.into_iter().map(u32::from).collect()),
        ] {
            let ragged = Ragged {
                ids: wrap(vec![7, 8, 9]),
                offsets: vec![0, 2, 2, 3],
            };
            let around = template.around_all(ragged);
            assert_eq!(around.ids.to_vec(), [1, 7, 8, 2, 3, 1, 2, 3, 1, 9, 2, 3]);
            assert_eq!(around.offsets, [0, 5, 8, 12]);
            assert_eq!(template.around(wrap(vec![])).to_vec(), [1, 2, 3]);
        }
        assert_eq!((template.bos(), template.eos()), (Some(1), None));
    }
}
