//! The last few values that were built, by key.
//!
//! The lock is only ever tried. Who does not get it builds a value of its own, so no
//! call waits for another, and a process that was forked while some thread held the
//! lock goes on (and builds anew each time).

use std::sync::Mutex;

use crate::Result;

/// More different keys than this are not expected in one program's calls.
const MOST: usize = 8;

/// At most [`MOST`] values; the least recently used one makes room.
#[derive(Debug)]
pub(super) struct Kept<K, V>(Mutex<Vec<(K, V)>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<K: PartialEq, V: Clone> Kept<K, V> {
    /// The value of `key`, built only if it is not kept.
    pub(super) fn get_or_build(&self, key: K, build: impl FnOnce(&K) -> Result<V>) -> Result<V> {
        if let Ok(mut kept) = self.0.try_lock()
            && let Some(at) = kept.iter().position(|(known, _)| *known == key)
        {
            kept[..=at].rotate_right(1);
            return Ok(kept[0].1.clone());
        }
        let value = build(&key)?;
        if let Ok(mut kept) = self.0.try_lock() {
            kept.truncate(MOST - 1);
            kept.insert(0, (key, value.clone()));
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn the_least_recently_used_makes_room() {
        let kept = Kept::default();
        let built = std::cell::Cell::new(0);
        let get = |key: usize| {
            let value = kept.get_or_build(key, |&key| {
                built.set(built.get() + 1);
                Ok(key * 2)
            });
            assert_eq!(value.unwrap(), key * 2);
            built.replace(0)
        };
        assert_eq!((0..MOST).map(get).sum::<usize>(), MOST);
        assert_eq!((0..MOST).map(get).sum::<usize>(), 0);
        assert_eq!(get(MOST), 1);
        assert_eq!(get(1), 0);
        assert_eq!(get(0), 1, "0 was the least recently used");
    }

    #[test]
    fn a_lock_that_is_held_is_not_waited_for() {
        let kept = Kept::default();
        let held = kept.0.lock().unwrap();
        assert_eq!(kept.get_or_build(1, |_| Ok(2)).unwrap(), 2);
        drop(held);
        assert_eq!(kept.get_or_build(1, |_| Ok(3)).unwrap(), 3);
        assert!(kept.get_or_build(2, |_| Err(Error::Cancelled)).is_err());
    }
}
