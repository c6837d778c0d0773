//! Pure. What one thread alone touches, although the futures around it have to be `Send`.

use std::cell::{RefCell, RefMut};

use fragile::Fragile;

/// A value for the thread that made it, which checks that in place of a lock: a worker's tasks never leave their thread.
pub struct Confined<T>(Fragile<RefCell<T>>);

impl<T> Confined<T> {
    /// For this thread.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Fragile::new(RefCell::new(value)))
    }

    /// The value, which no other part of the thread may be looking at.
    ///
    /// # Panics
    ///
    /// On another thread.
    pub fn get(&self) -> RefMut<'_, T> {
        self.0.get().borrow_mut()
    }
}

impl<T: Default> Default for Confined<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_for_one_thread() {
        let value = Confined::<u8>::default();
        *value.get() += 1;
        assert_eq!(*value.get(), 1);
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| *value.get()).join());
        assert!(elsewhere.is_err());
    }
}
