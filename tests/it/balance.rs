//! Clients are spread over the workers, and wait when there are too many.

use crate::support::{Answering, CURRENT, Client, FakeUpstream, Framing, Gate, TestProxy, eventually};

#[test]
fn of_four_busy_connections_the_busier_of_two_workers_serves_at_most_three() {
    for at_once in [true, false, true, false] {
        let (upstream, end) = waiting_upstream();
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).workers(2).start();
        let mut clients: Vec<Client> = Vec::new();
        for number in 1..=4 {
            clients.push(busy(&proxy));
            if !at_once || number == 4 {
                eventually("the requests upstream", || (upstream.received().len() == number).then_some(()));
            }
        }
        let served = [0, 1].map(|worker| open_clients(&proxy, worker));
        assert_eq!(served.iter().sum::<u64>(), 4);
        assert!(served.iter().all(|clients| *clients <= 3), "{served:?}");
        (0..4).for_each(|_| end.open());
        assert!(clients.iter_mut().all(|client| client.answer().status == 200));
        drop(clients);
        eventually("the last client to leave", || {
            [0, 1].iter().all(|worker| open_clients(&proxy, *worker) == 0).then_some(())
        });
    }
}

#[test]
fn a_burst_of_connections_is_spread_over_all_workers() {
    let (upstream, end) = waiting_upstream();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).workers(3).start();
    let mut clients: Vec<_> = (0..30).map(|_| busy(&proxy)).collect();
    eventually("all requests upstream", || (upstream.received().len() == 30).then_some(()));
    let served = [0, 1, 2].map(|worker| open_clients(&proxy, worker));
    assert!(served.iter().all(|clients| (5..=15).contains(clients)), "{served:?}");
    (0..30).for_each(|_| end.open());
    assert!(clients.iter_mut().all(|client| client.answer().status == 200));
}

#[test]
fn a_client_that_comes_when_keyward_is_full_waits_and_is_served() {
    let (upstream, end) = waiting_upstream();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(|limits| limits.max_connections = 2).start();
    let mut inside = [busy(&proxy), busy(&proxy)];
    eventually("both requests upstream", || (upstream.received().len() == 2).then_some(()));
    let mut outside = busy(&proxy);
    for _ in 0..3 {
        // The clients inside may go on: the same worker saw all that came before this, and let none in.
        (0..2).for_each(|_| end.open());
        assert!(inside.iter_mut().all(|client| client.answer().status == 200));
        for client in &mut inside {
            client.send(proxy.get("/v1/models").key(CURRENT).bytes());
        }
        assert_eq!(proxy.metric("keyward_client_connections_total"), 2);
    }
    drop(inside);
    (0..3).for_each(|_| end.open());
    assert_eq!(outside.answer().status, 200);
    assert_eq!(proxy.metric("keyward_client_connections_total"), 3);
}

#[test]
fn each_worker_has_its_own_connections_to_upstream_and_uses_them_again() {
    let upstream = FakeUpstream::scripted(|visit| {
        visit.answer(Answering::STREAM.as_bytes());
        visit.send("0\r\n\r\n");
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).workers(2).start();
    let mut clients: Vec<_> = (0..4).map(|_| proxy.connect()).collect();
    eventually("all of them inside", || (proxy.metric("keyward_client_connections_total") == 4).then_some(()));
    for _ in 0..5 {
        for client in &mut clients {
            client.send(proxy.get("/v1/models").key(CURRENT).bytes());
            client.head();
            assert_eq!(client.piece(&mut Framing::Chunked).unwrap(), None);
        }
    }
    assert!(upstream.connections() <= 2, "{}", upstream.connections());
    assert_eq!(proxy.metric("keyward_upstream_connections_total"), upstream.connections() as u64);
}

/// An upstream that answers a request for each time that the gate is opened.
fn waiting_upstream() -> (FakeUpstream, Gate) {
    let end = Gate::default();
    let gate = end.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        gate.pass();
        visit.answer(&Answering::json(200, "{}"));
    });
    (upstream, end)
}

fn busy(proxy: &TestProxy) -> Client {
    proxy.get("/v1/models").key(CURRENT).begin()
}

fn open_clients(proxy: &TestProxy, worker: usize) -> u64 {
    proxy.metric(&format!("keyward_client_connections_open{{worker=\"{worker}\"}}"))
}
