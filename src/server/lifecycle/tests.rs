//! Serving clients over real sockets, with a part that panics.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use http::HeaderValue;

use super::*;
use crate::clock::Clock;
use crate::exchange::context::{Parts, Shared, WorkerContext};
use crate::keys::reloader::{Kept, Reloader};
use crate::keys::rules::{Rules, SetRules};
use crate::keys::{SetSettings, Settings, state};
use crate::ledger::sighting::{Exchange, Observer};
use crate::ledger::{Ledger, store::Bounds};
use crate::metrics::Shard;
use crate::net::coarse_clock::CoarseClock;
use crate::net::connect::Connector;
use crate::net::origin::{Scheme, Upstream};
use crate::net::protocol::Protocol;
use crate::outcome::Outcome;
use crate::problems::Problems;
use crate::server::admission::Admission;
use crate::server::connections::Connections;
use crate::server::handshake::Handshake;
use crate::server::listener::listen;
use crate::upstream::dialer::Dialer;
use crate::upstream::open_connections::OpenConnections;
use crate::upstream::pool::Pool;

/// The one part of an exchange that can be handed in from outside.
struct Unlucky;

impl Observer for Unlucky {
    fn exchange_began(&self, _exchange: &Exchange) {}

    fn exchange_ended(&self, exchange: &Arc<Exchange>, _outcome: Outcome) {
        assert_ne!(exchange.path(), "/v1/unlucky");
    }

    fn exchange_goes_on(&self, _exchange: &Exchange) {}

    fn is_shutting_down(&self) -> bool {
        false
    }
}

#[test]
fn a_panic_in_one_exchange_costs_that_exchange_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, receiver) = mpsc::channel(1);
    let context = Arc::new(WorkerContext::new(shared(folder.path()), parts()));
    let handshake = Handshake::open(&crate::server::Settings::default()).unwrap();
    let admission = Arc::new(Admission::new(handshake, Limits::default()));
    let connections = Arc::new(Connections::new(Arc::clone(&context), admission));
    let worker = Arc::new(Worker { context, connections, inbox });
    let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let (stage, watched) = watch::channel(Stage::Running);
    let serving = Arc::clone(&worker);
    let thread = crate::tasks::run("unlucky".into(), async move || {
        let workers = Arc::new([Arc::clone(&serving)]);
        run(serving, workers, TcpListener::from_std(listener).unwrap(), receiver, watched).await;
    });
    let [mut first, mut second] = [(); 2].map(|()| BufReader::new(std::net::TcpStream::connect(address).unwrap()));
    // No server listens upstream, so whatever else is asked for gets a 502.
    assert_eq!(ask(&mut first, "/v1/models"), (502, "upstream_failed".to_owned()));
    assert_eq!(ask(&mut second, "/v1/models"), (502, "upstream_failed".to_owned()));
    assert_eq!(ask(&mut first, "/v1/unlucky"), (500, "keyward_failed".to_owned()));
    assert_eq!(worker.context.counters.panics.value(), 1);
    assert_eq!(ask(&mut first, "/v1/models"), (502, "upstream_failed".to_owned()), "its client goes on");
    assert_eq!(ask(&mut second, "/v1/models"), (502, "upstream_failed".to_owned()), "and so do all others");
    stage.send_replace(Stage::Draining);
    thread.unwrap().join().unwrap();
}

fn ask(client: &mut BufReader<std::net::TcpStream>, path: &str) -> (u16, String) {
    write!(client.get_mut(), "GET {path} HTTP/1.1\r\nhost: keyward\r\n\r\n").unwrap();
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| line != "\r\n") {
        let mut line = String::new();
        assert_ne!(client.read_line(&mut line).unwrap(), 0, "the connection ended: {lines:?}");
        lines.push(line);
    }
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.trim().parse().unwrap()];
    client.read_exact(&mut body).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    (lines[0][9..12].parse().unwrap(), body["error"]["code"].as_str().unwrap().to_owned())
}

fn shared(folder: &std::path::Path) -> Arc<Shared> {
    let settings = Settings { sets: vec![SetSettings::learning("default")], takes_vendors: false };
    let (reloader, _) =
        Reloader::open(&settings, &state::Settings { dir: folder.into() }, Kept::InFile, |_| None, Clock::System)
            .unwrap();
    Arc::new(Shared {
        reloader: Arc::new(reloader.with_rules(Rules { sets: vec![SetRules::default()], ..Rules::default() })),
        ledger: Arc::new(Ledger::new(Bounds::default(), Vec::new())),
        names: Arc::default(),
        store: Arc::default(),
        problems: Arc::new(Problems::new(1)),
        clock: Clock::System,
        host: HeaderValue::from_static("upstream"),
        base_path: None,
        upstream: "http://upstream".into(),
        page: ArcSwap::default(),
        limits: Limits::default(),
    })
}

fn parts() -> Parts {
    // Listened on for a moment only: every connection is refused.
    let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let origin = Upstream { scheme: Scheme::Http, host: "127.0.0.1".into(), port: closed.port() };
    let coarse_clock = CoarseClock::new();
    let counters = Arc::new(Shard::new(1));
    let connector = Connector { origin, tls: None, via: None };
    let dialer = Dialer {
        connector,
        limits: Limits::default(),
        counters: Arc::clone(&counters),
        coarse_clock: coarse_clock.clone(),
        open: OpenConnections::default(),
    };
    Parts {
        pool: Pool::new(dialer, Protocol::Http1),
        counters,
        coarse_clock,
        observer: Arc::new(Unlucky),
        shutting_down: Arc::new(AtomicBool::new(false)),
        seed: 1,
    }
}
