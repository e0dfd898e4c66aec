//! What searches have learned, kept from one text to the next.
//!
//! A search takes a value out of the pool, works with it alone, and puts it back. Locks are only tried and held for a
//! move, so no search waits for another, and a process that forked while a thread held a lock goes on without that
//! place. A value for which there is no place is dropped: a pool never holds more than [`PLACES`].

use std::sync::{Arc, Mutex};

/// Values that are kept, at most: more threads than that rarely search at a time.
const PLACES: usize = 64;

/// A pool; clones share their values.
#[derive(Debug)]
pub(super) struct Pool<T>(Arc<[Mutex<Option<Box<T>>>; PLACES]>);

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(Arc::new(std::array::from_fn(|_| Mutex::new(None))))
    }
}

impl<T> Pool<T> {
    /// One of the values, if any is there.
    pub(super) fn take(&self) -> Option<Box<T>> {
        self.0
            .iter()
            .find_map(|place| place.try_lock().ok()?.take())
    }

    /// Keeps a value, if there is a free place.
    pub(super) fn put(&self, value: Box<T>) {
        let free = self.0.iter().find_map(|place| {
            let place = place.try_lock().ok()?;
            place.is_none().then_some(place)
        });
        if let Some(mut place) = free {
            *place = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_no_more_than_there_are_places() {
        let pool = Pool::default();
        assert!(pool.take().is_none());
        for value in 0..2 * PLACES {
            pool.put(Box::new(value));
        }
        let found: Vec<usize> = std::iter::from_fn(|| pool.clone().take())
            .map(|value| *value)
            .collect();
        assert_eq!(found, (0..PLACES).collect::<Vec<_>>());
    }

    /// As in a process that was forked while a thread held a lock.
    #[test]
    fn a_place_that_stays_locked_is_passed_over() {
        let pool = Pool::default();
        pool.put(Box::new(1));
        pool.put(Box::new(2));
        let locked = pool.0[0].lock().unwrap();
        assert_eq!(pool.take(), Some(Box::new(2)));
        pool.put(Box::new(3));
        assert_eq!(pool.take(), Some(Box::new(3)));
        assert_eq!(pool.take(), None);
        drop(locked);
        assert_eq!(pool.take(), Some(Box::new(1)));
    }
}
