//! A worker from its start to its end: it serves clients, keeps time for them, gives memory back, and drains.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::Stage;
use super::listener::{accept, receive};
use super::worker::Worker;
use crate::allocator;
use crate::net::coarse_clock;
use crate::net::limits::Limits;

/// Serves until `stage` says to stop and the clients are gone, or the time for it is over.
pub async fn run(
    worker: Arc<Worker>,
    workers: Arc<[Arc<Worker>]>,
    listener: TcpListener,
    inbox: mpsc::Receiver<(std::net::TcpStream, IpAddr)>,
    stage: watch::Receiver<Stage>,
) {
    let shortest = shortest(worker.context.limits());
    let ticking = tokio::spawn(keep_time(Arc::clone(&worker), shortest));
    let tidying = tokio::spawn(tidy_up(Arc::clone(&worker)));
    let receiving = tokio::spawn(receive(Arc::clone(&worker), inbox));
    accept(&worker, &workers, listener, stage.clone()).await;
    ticking.abort();
    let shortest = shortest.min(worker.context.limits().stall_while_draining());
    let ticking = tokio::spawn(keep_time(Arc::clone(&worker), shortest));
    drain(&worker, stage).await;
    ticking.abort();
    tidying.abort();
    receiving.abort();
    worker.context.end();
}

/// Ticks as the shortest limit needs it: moves the coarse clock, has open connections check their limits, and closes idle ones.
async fn keep_time(worker: Arc<Worker>, shortest: Duration) {
    let mut ticks = tokio::time::interval(coarse_clock::interval(shortest));
    loop {
        ticks.tick().await;
        worker.context.coarse_clock.tick();
        worker.context.pool.sweep();
        worker.connections.wake_all();
        worker.context.rejections.log_rest();
    }
}

/// Gives memory back when a crowd has left, a moment later: the rest of it may be on its way out. The connections to upstream
/// that it used are kept for a while, so once they have gone as well, their memory is given back, too. Apart from that, what
/// has not been needed for some time is given back now and then.
async fn tidy_up(worker: Arc<Worker>) {
    let until_the_pool_is_swept =
        worker.context.limits().pool_idle_timeout + coarse_clock::interval(shortest(worker.context.limits())) * 2;
    loop {
        while tokio::time::timeout(TIDYING, worker.connections.crowd_left()).await.is_err() {
            allocator::tidy();
        }
        tokio::time::sleep(CROWD_LEAVES).await;
        give_back(&worker);
        // Another crowd that leaves meanwhile begins the time anew.
        while tokio::time::timeout(until_the_pool_is_swept, worker.connections.crowd_left()).await.is_ok() {
            tokio::time::sleep(CROWD_LEAVES).await;
            give_back(&worker);
        }
        give_back(&worker);
    }
}

fn give_back(worker: &Worker) {
    allocator::give_back();
    tracing::debug!(clients = worker.connections.count(), "a crowd has left, its memory is given back");
}

fn shortest(limits: &Limits) -> Duration {
    let Limits { answer_timeout, idle_timeout, client_idle_timeout, client_stall_timeout, pool_idle_timeout, .. } =
        *limits;
    answer_timeout.min(idle_timeout).min(client_idle_timeout).min(client_stall_timeout).min(pool_idle_timeout)
}

/// Waits for the clients to finish, but not for ever.
async fn drain(worker: &Worker, mut stage: watch::Receiver<Stage>) {
    let gone = async {
        // A client that has just connected has a request on the way that is not read yet, and would be closed without it.
        tokio::time::sleep(GRACE_FOR_NEW_CLIENTS).await;
        worker.connections.ask_to_leave();
        while worker.connections.count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let cut = async { stage.wait_for(|stage| *stage == Stage::Ended).await.is_ok() };
    tokio::select! {
        () = gone => {}
        _ = cut => {}
        () = tokio::time::sleep(worker.context.limits().drain_timeout) => {
            tracing::warn!(open = worker.connections.count(), "the time for draining is over, what is open is cut");
        }
    }
}

/// How long a leaving crowd may take before its memory is given back.
const CROWD_LEAVES: Duration = Duration::from_millis(100);

/// How often memory that is not needed is looked for.
const TIDYING: Duration = Duration::from_secs(10);

/// How long new clients have before they are asked to leave: many turns of the runtime. Each reads what came.
const GRACE_FOR_NEW_CLIENTS: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
