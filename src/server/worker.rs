//! A worker: one thread, one runtime, its own clients and its own connections to upstream.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::connections::Connections;
use crate::exchange::context::WorkerContext;

/// One worker, as the others see it.
pub struct Worker {
    /// What its requests need.
    pub context: Arc<WorkerContext>,
    pub connections: Arc<Connections>,
    /// Hands it a connection that another worker accepted.
    pub inbox: mpsc::Sender<(std::net::TcpStream, IpAddr)>,
}
