//! What wakes the task of a client, but not for what it does itself.
//!
//! Whoever takes a piece out of a body of hyper's wakes the task that puts the next one in. On the way of a request in HTTP/1.1
//! that is the same task, which runs just now: it would be polled once more, with both of its connections, to find nothing to do.
//! So the bell is held while a piece is taken, and rings afterwards only where the task would not come to the next one anyhow.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

/// Wakes a task, or has that wait for whoever holds the bells of this thread.
struct Bell(Waker);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if !IS_HELD.get() {
            self.0.wake_by_ref();
        } else if let Some(other) = RUNG.replace(Some(self)) {
            other.0.wake_by_ref();
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        Arc::clone(self).wake();
    }
}

/// The bell of this task, which is good for as long as the task lives.
pub async fn of_this_task() -> Waker {
    poll_fn(|context| Poll::Ready(Arc::new(Bell(context.waker().clone())).into())).await
}

/// Holds the bells of this thread for as long as `act` takes. Gives the one that would have rung.
pub fn hold<T>(act: impl FnOnce() -> T) -> (T, Rung) {
    let holding = Holding::begin();
    let done = act();
    drop(holding);
    (done, Rung(RUNG.take()))
}

/// A bell that would have rung.
#[must_use]
pub struct Rung(Option<Arc<Bell>>);

impl Rung {
    /// Rings it, if there is one.
    pub fn ring(self) {
        if let Some(bell) = self.0 {
            bell.wake();
        }
    }
}

/// However that ends, the bells ring again.
struct Holding;

impl Holding {
    fn begin() -> Self {
        IS_HELD.set(true);
        Self
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        IS_HELD.set(false);
    }
}

thread_local! {
    static IS_HELD: Cell<bool> = const { Cell::new(false) };
    static RUNG: Cell<Option<Arc<Bell>>> = const { Cell::new(None) };
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn bell() -> (Waker, impl Fn() -> usize) {
        let count = Arc::new(Count::default());
        let bell = Arc::new(Bell(Arc::clone(&count).into())).into();
        (bell, move || count.0.load(Ordering::Relaxed))
    }

    #[test]
    fn a_bell_that_is_held_rings_when_it_is_let_go_of_or_never() {
        let (bell, rung) = bell();
        bell.wake_by_ref();
        assert_eq!(rung(), 1);
        let ((), held) = hold(|| bell.wake_by_ref());
        assert_eq!(rung(), 1);
        held.ring();
        assert_eq!(rung(), 2);
        let ((), _) = hold(|| bell.wake_by_ref());
        bell.wake_by_ref();
        assert_eq!(rung(), 3);
    }

    #[test]
    fn no_ring_gets_lost_among_several() {
        let ((one, one_rung), (other, other_rung)) = (bell(), bell());
        let (_, held) = hold(|| [&one, &other].map(Waker::wake_by_ref));
        held.ring();
        assert_eq!([one_rung(), other_rung()], [1, 1]);
    }

    #[test]
    fn nobody_holds_the_bells_of_another_thread_or_those_of_a_panic() {
        let (bell, rung) = bell();
        let ((), _) = hold(|| thread::scope(|scope| drop(scope.spawn(|| bell.wake_by_ref()).join())));
        assert_eq!(rung(), 1);
        drop(catch_unwind(|| hold(|| panic!("as it may happen"))));
        bell.wake_by_ref();
        assert_eq!(rung(), 2);
    }
}
