//! A waker that defers wake-ups caused by the task that is running.
//!
//! Taking a piece out of a body of hyper's wakes the task that puts the next one in. For a request in HTTP/1.1 that is the same
//! task, which is running: it would be polled once more, with both of its connections, to find nothing to do. So wake-ups are
//! deferred while a piece is taken, and made up for only where the task would not come to the next piece anyhow.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

/// Wakes a task, or leaves that to the [`defer`] that runs on this thread.
struct DeferredWaker(Waker);

impl Wake for DeferredWaker {
    fn wake(self: Arc<Self>) {
        if !IS_DEFERRING.get() {
            self.0.wake_by_ref();
        } else if let Some(other) = DEFERRED.replace(Some(self)) {
            other.0.wake_by_ref();
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        Arc::clone(self).wake();
    }
}

/// A deferred waker for this task, which is good for as long as the task lives.
pub async fn of_this_task() -> Waker {
    poll_fn(|context| Poll::Ready(Arc::new(DeferredWaker(context.waker().clone())).into())).await
}

/// Defers the wake-ups of this thread for as long as `act` takes. Gives the one that was deferred.
pub fn defer<T>(act: impl FnOnce() -> T) -> (T, DeferredWake) {
    let guard = DeferGuard::begin();
    let done = act();
    drop(guard);
    (done, DeferredWake(DEFERRED.take()))
}

/// A wake-up that was deferred, if there was one.
#[must_use]
pub struct DeferredWake(Option<Arc<DeferredWaker>>);

impl DeferredWake {
    /// Wakes the task that would have been woken; does nothing where none would.
    pub fn wake(self) {
        if let Some(waker) = self.0 {
            waker.wake();
        }
    }
}

/// Ends the deferring, also by a panic.
struct DeferGuard;

impl DeferGuard {
    fn begin() -> Self {
        IS_DEFERRING.set(true);
        Self
    }
}

impl Drop for DeferGuard {
    fn drop(&mut self) {
        IS_DEFERRING.set(false);
    }
}

thread_local! {
    static IS_DEFERRING: Cell<bool> = const { Cell::new(false) };
    static DEFERRED: Cell<Option<Arc<DeferredWaker>>> = const { Cell::new(None) };
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

    fn waker() -> (Waker, impl Fn() -> usize) {
        let count = Arc::new(Count::default());
        let waker = Arc::new(DeferredWaker(Arc::clone(&count).into())).into();
        (waker, move || count.0.load(Ordering::Relaxed))
    }

    #[test]
    fn a_deferred_wake_up_is_made_up_for_or_dropped() {
        let (waker, count) = waker();
        waker.wake_by_ref();
        assert_eq!(count(), 1);
        let ((), deferred) = defer(|| waker.wake_by_ref());
        assert_eq!(count(), 1);
        deferred.wake();
        assert_eq!(count(), 2);
        let ((), _) = defer(|| waker.wake_by_ref());
        waker.wake_by_ref();
        assert_eq!(count(), 3);
    }

    #[test]
    fn no_wake_up_gets_lost_among_several() {
        let ((one, one_count), (other, other_count)) = (waker(), waker());
        let (_, deferred) = defer(|| [&one, &other].map(Waker::wake_by_ref));
        deferred.wake();
        assert_eq!([one_count(), other_count()], [1, 1]);
    }

    #[test]
    fn wake_ups_of_another_thread_and_after_a_panic_are_not_deferred() {
        let (waker, count) = waker();
        let ((), _) = defer(|| thread::scope(|scope| drop(scope.spawn(|| waker.wake_by_ref()).join())));
        assert_eq!(count(), 1);
        drop(catch_unwind(|| defer(|| panic!("as it may happen"))));
        waker.wake_by_ref();
        assert_eq!(count(), 2);
    }
}
