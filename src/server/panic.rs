//! The layer that keeps a panic to its own exchange.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower::Service;

/// Catches a panic of the service below and answers with `rescue` in its place.
///
/// A layer of our own, since tower-http's boxes every body on the request's way.
#[derive(Clone)]
pub struct CatchPanic<S, F> {
    service: S,
    rescue: F,
}

impl<S, F> CatchPanic<S, F> {
    /// Catches the panics of `service`.
    pub fn new(service: S, rescue: F) -> Self {
        Self { service, rescue }
    }
}

impl<S, F, R> Service<R> for CatchPanic<S, F>
where
    S: Service<R>,
    F: Fn() -> S::Response + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CatchPanicFuture<S::Future, F>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        CatchPanicFuture { future: self.service.call(request), rescue: self.rescue.clone() }
    }
}

pin_project! {
    /// An exchange that may panic.
    pub struct CatchPanicFuture<U, F> {
        #[pin]
        future: U,
        rescue: F,
    }
}

impl<U, F, A, E> Future for CatchPanicFuture<U, F>
where
    U: Future<Output = Result<A, E>>,
    F: Fn() -> A,
{
    type Output = Result<A, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The future is never polled again after a panic, so what it left half done is not seen.
        match catch_unwind(AssertUnwindSafe(|| this.future.poll(cx))) {
            Ok(poll) => poll,
            Err(_panic) => Poll::Ready(Ok((this.rescue)())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt, service_fn};

    use super::*;

    #[test]
    fn a_panic_costs_one_exchange() {
        let service = service_fn(|number: u32| async move {
            assert_ne!(number, 13, "unlucky");
            Ok::<_, Infallible>(number)
        });
        let service = CatchPanic::new(service, || 500);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let answers = [12, 13, 14].map(|number| runtime.block_on(service.clone().oneshot(number)));
        assert_eq!(answers, [Ok(12), Ok(500), Ok(14)]);
    }
}
