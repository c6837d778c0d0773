//! The end of a request in HTTP/2 whose exchange is over: the task in which hyper sends its body ends with it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use hyper::rt::Executor;
use pin_project_lite::pin_project;

/// Whether anybody still wants a request to go upstream. When its exchange is over nobody does, however much of its body is
/// still to come: it ends then, rather than hold its client and a stream of upstream's for as long as both like.
pub struct Interest {
    is_over: AtomicBool,
    task: Mutex<Option<Waker>>,
    beginning: Beginning,
}

/// Whose body was just asked for the first time. hyper makes a task of sending it next, and does not say whose it is.
pub type Beginning = Arc<Mutex<Option<Arc<Interest>>>>;

impl Interest {
    /// Wanted, until its exchange is over.
    #[must_use]
    pub fn new(beginning: Beginning) -> Self {
        Self { is_over: AtomicBool::new(false), task: Mutex::default(), beginning }
    }

    /// To be called by the request's body when it is first asked for.
    pub fn begin(self: Arc<Self>) {
        let beginning = Arc::clone(&self.beginning);
        *lock(&beginning) = Some(self);
    }

    /// Nobody wants it any more.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(task) = lock(&self.task).take() {
            task.wake();
        }
    }

    fn is_over(&self, context: &Context<'_>) -> bool {
        let is_over = self.is_over.load(Ordering::Relaxed);
        if !is_over {
            let mut task = lock(&self.task);
            if !task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
                *task = Some(context.waker().clone());
            }
        }
        is_over
    }
}

/// hyper's tasks for one connection.
#[derive(Clone)]
pub struct Tasks {
    /// Whose body was just asked for the first time.
    pub beginning: Beginning,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let interest = lock(&self.beginning).take();
        match interest {
            None => drop(tokio::spawn(task)),
            Some(interest) => drop(tokio::spawn(WhileWanted { task, interest })),
        }
    }
}

pin_project! {
    /// A task that ends with the interest in it. hyper lets go of the stream with it, which tells upstream.
    struct WhileWanted<F> {
        #[pin]
        task: F,
        interest: Arc<Interest>,
    }
}

impl<F: Future<Output = ()>> Future for WhileWanted<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.interest.is_over(context) { Poll::Ready(()) } else { this.task.poll(context) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
