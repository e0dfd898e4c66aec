//! A bounded store of values that follow from their keys and are dear to make.
//!
//! Nobody ever waits for it: whoever finds it busy makes the value again. So a process that was forked while another thread
//! held the lock goes on, a little slower, where a blocking lock would hang for ever.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use crate::Result;

/// Values used lately, up to a total weight.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    most: usize,
    kept: Mutex<Kept<K, V>>,
}

#[derive(Debug)]
struct Kept<K, V> {
    values: HashMap<K, Entry<V>>,
    weight: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: Arc<V>,
    weight: usize,
    used: u64,
}

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    /// A store of values that weigh at most `most` together. A heavier one is kept alone.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            kept: Mutex::new(Kept {
                values: HashMap::new(),
                weight: 0,
                clock: 0,
            }),
        }
    }

    /// The value of a key, made now unless it is kept; `weigh` says what it takes.
    pub(crate) fn get_or_make(
        &self,
        key: &K,
        weigh: impl FnOnce(&V) -> usize,
        make: impl FnOnce() -> Result<V>,
    ) -> Result<Arc<V>> {
        if let Some(found) = self.try_lock().and_then(|mut kept| kept.get(key)) {
            return Ok(found);
        }
        let value = Arc::new(make()?); // without the lock: others may look up meanwhile
        if let Some(mut kept) = self.try_lock() {
            kept.insert(key.clone(), Arc::clone(&value), weigh(&value), self.most);
        }
        Ok(value)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Kept<K, V>>> {
        match self.kept.try_lock() {
            Ok(kept) => Some(kept),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<K: Eq + Hash + Clone, V> Kept<K, V> {
    fn get(&mut self, key: &K) -> Option<Arc<V>> {
        self.clock += 1;
        let entry = self.values.get_mut(key)?;
        entry.used = self.clock;
        Some(Arc::clone(&entry.value))
    }

    fn insert(&mut self, key: K, value: Arc<V>, weight: usize, most: usize) {
        while self.weight + weight > most {
            let Some(oldest) = self.values.iter().min_by_key(|(_, entry)| entry.used) else {
                break;
            };
            let oldest = oldest.0.clone();
            self.weight -= self.values.remove(&oldest).map_or(0, |entry| entry.weight);
        }
        let entry = Entry {
            value,
            weight,
            used: self.clock,
        };
        let replaced = self.values.insert(key, entry);
        self.weight += weight;
        self.weight -= replaced.map_or(0, |entry| entry.weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(recent: &Recent<u32, u32>, key: u32, made: &mut Vec<u32>) -> u32 {
        let value = recent.get_or_make(
            &key,
            |_| 1,
            || {
                made.push(key);
                Ok(10 * key)
            },
        );
        *value.unwrap()
    }

    #[test]
    fn the_least_used_goes() {
        let (recent, mut made) = (Recent::new(2), Vec::new());
        for key in [1, 2, 1, 3, 1, 2] {
            assert_eq!(get(&recent, key, &mut made), 10 * key);
        }
        assert_eq!(made, [1, 2, 3, 2]);
    }

    #[test]
    fn a_busy_store_is_not_waited_for() {
        let (recent, mut made) = (Recent::new(2), Vec::new());
        get(&recent, 1, &mut made);
        let held = recent.kept.lock();
        assert_eq!(get(&recent, 1, &mut made), 10);
        drop(held);
        assert_eq!(made, [1, 1]);
    }

    #[test]
    fn a_value_above_the_limit_is_kept_alone() {
        let recent = Recent::new(2);
        for _ in 0..2 {
            let value = recent.get_or_make(&1, |_| 5, || Ok(7));
            assert_eq!(*value.unwrap(), 7);
        }
        assert_eq!(recent.kept.lock().map(|kept| kept.weight).ok(), Some(5));
    }
}
