//! Cancels a request in HTTP/2 when its exchange is over: the task in which hyper sends its body ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use hyper::rt::Executor;
use pin_project_lite::pin_project;

use crate::locks::lock;

/// Whether a request is cancelled. It is when its exchange is over, however much of its body is still to come: otherwise it
/// would hold its client and a stream of upstream's for as long as both like.
pub struct Cancellation {
    is_cancelled: AtomicBool,
    task: Mutex<Option<Waker>>,
    starting: StartingBody,
}

/// The request whose body was just asked for the first time. hyper makes a task of sending that body next, and does not say
/// which request it is for.
pub type StartingBody = Arc<Mutex<Option<Arc<Cancellation>>>>;

impl Cancellation {
    /// Of a request that goes on until [`Cancellation::cancel`].
    #[must_use]
    pub fn new(starting: StartingBody) -> Self {
        Self { is_cancelled: AtomicBool::new(false), task: Mutex::default(), starting }
    }

    /// To be called by the request's body when it is first asked for.
    pub fn begin(self: Arc<Self>) {
        let starting = Arc::clone(&self.starting);
        *lock(&starting) = Some(self);
    }

    /// Has hyper end the request at once, because its client has gone.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        if let Some(task) = lock(&self.task).take() {
            task.wake();
        }
    }

    fn is_cancelled(&self, context: &Context<'_>) -> bool {
        let is_cancelled = self.is_cancelled.load(Ordering::Relaxed);
        if !is_cancelled {
            let mut task = lock(&self.task);
            if !task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
                *task = Some(context.waker().clone());
            }
        }
        is_cancelled
    }
}

/// Runs hyper's tasks for one connection.
#[derive(Clone)]
pub struct CancellingExecutor {
    /// The request whose body was just asked for the first time.
    pub starting: StartingBody,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for CancellingExecutor {
    fn execute(&self, task: F) {
        let cancellation = lock(&self.starting).take();
        match cancellation {
            None => drop(tokio::spawn(task)),
            Some(cancellation) => drop(tokio::spawn(CancellableTask { task, cancellation })),
        }
    }
}

pin_project! {
    /// A task that ends when its request is cancelled. hyper resets the stream with it, which tells upstream.
    struct CancellableTask<F> {
        #[pin]
        task: F,
        cancellation: Arc<Cancellation>,
    }
}

impl<F: Future<Output = ()>> Future for CancellableTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.cancellation.is_cancelled(context) { Poll::Ready(()) } else { this.task.poll(context) }
    }
}
