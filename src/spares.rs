//! Vectors that a thread is done with, kept with their room for its next use.

use std::cell::RefCell;
use std::thread::LocalKey;

/// The spare vectors of a thread, of one kind.
pub struct Spares<T>(RefCell<Vec<Vec<T>>>);

impl<T> Default for Spares<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Spares<T> {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// An empty vector, with room where one was kept: the one that was used last, which the processor's caches still have.
    #[must_use]
    pub fn take(spares: &'static LocalKey<Self>) -> Vec<T> {
        // At the end of its thread there is none.
        spares.try_with(|spares| spares.0.borrow_mut().pop()).ok().flatten().unwrap_or_default()
    }

    /// Keeps a vector for its room. Too large a one goes, and so does one too many.
    pub fn put(spares: &'static LocalKey<Self>, mut spare: Vec<T>) {
        if spare.capacity() == 0 || spare.capacity() * size_of::<T>() > LARGEST {
            return;
        }
        spare.clear();
        let _ = spares.try_with(|spares| {
            let mut spares = spares.0.borrow_mut();
            if spares.len() < MOST {
                spares.push(spare);
            }
        });
    }
}

/// How many of a kind a thread keeps.
const MOST: usize = 32;

/// How large a vector is at most that is kept, in bytes.
const LARGEST: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    thread_local!(static SPARES: Spares<u64> = const { Spares::new() });

    #[test]
    fn the_vector_that_was_used_last_comes_back_empty_and_with_its_room() {
        assert_eq!(Spares::take(&SPARES).capacity(), 0);
        Spares::put(&SPARES, Vec::with_capacity(10));
        Spares::put(&SPARES, vec![7; 20]);
        let spare = Spares::take(&SPARES);
        assert_eq!((spare.len(), spare.capacity()), (0, 20));
        assert_eq!(Spares::take(&SPARES).capacity(), 10);
    }

    #[test]
    fn no_more_room_is_kept_than_is_worth_it() {
        Spares::put(&SPARES, Vec::new());
        Spares::put(&SPARES, Vec::with_capacity(LARGEST));
        assert_eq!(Spares::take(&SPARES).capacity(), 0);
        for _ in 0..=MOST {
            Spares::put(&SPARES, Vec::with_capacity(1));
        }
        let kept = std::iter::from_fn(|| Some(Spares::take(&SPARES)).filter(|spare| spare.capacity() > 0)).count();
        assert_eq!(kept, MOST);
    }
}
