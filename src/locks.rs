//! Pure. Locks that outlive a panic: it costs its exchange alone, and what is guarded is whole between any two statements.

use std::sync::{LockResult, Mutex, MutexGuard, PoisonError};

/// Takes the lock, even if a thread panicked while it held it.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    despite_panics(mutex.lock())
}

/// What was waited for with a lock, even if a thread panicked while it held it.
pub fn despite_panics<T>(result: LockResult<T>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_leaves_the_lock_to_be_taken() {
        let mutex = Mutex::new(1);
        let held = std::thread::scope(|scope| {
            let panics = || {
                let _held = mutex.lock();
                panic!("while the lock is held");
            };
            scope.spawn(panics).join()
        });
        assert!(held.is_err() && mutex.is_poisoned());
        *lock(&mutex) += 1;
        assert_eq!(*lock(&mutex), 2);
    }
}
