//! A service manager hands sockets over and is told how keyward is: another process takes over, and no client is turned away.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use rustix::process::Signal;

use crate::process::client::get;
use crate::process::{Home, events};
use crate::support::{Client, DEADLINE, FakeUpstream, eventually};

#[test]
fn all_workers_share_the_socket_that_was_handed_over() {
    let (home, upstream, socket) = (Home::new(), FakeUpstream::accepting(), listener());
    let launch = home.serve_on_sockets(1).upstream(&upstream).env("KEYWARD_PROXY_WORKERS", "3");
    let keyward = launch.sockets("keyward.socket", &socket, None).start();
    assert_eq!(keyward.listen, socket.local_addr().unwrap());
    let mut clients: Vec<_> = (0..9).map(|_| Client::connect(keyward.listen)).collect();
    for client in &mut clients {
        assert_eq!(client.ask("/v1/models", &[]).status, 200);
    }
    let line = &events(&keyward.log(), "listening")[0];
    assert_eq!(line["sockets"], "handed over (LISTEN_FDS): proxy.listen is not used");
    assert_ne!(keyward.admin, keyward.listen, "the admin listener was opened as ever");
}

#[test]
fn the_admin_listener_is_told_by_its_name_or_comes_second() {
    for (names, clients_first) in [("web:admin", true), ("admin:web", false), ("", true), ("web:web", true)] {
        let (home, upstream, one, other) = (Home::new(), FakeUpstream::accepting(), listener(), listener());
        let launch = home.serve_on_sockets(2).upstream(&upstream);
        let keyward = launch.sockets(names, &one, Some(&other)).start();
        let (clients, admin) = if clients_first { (&one, &other) } else { (&other, &one) };
        assert_eq!((keyward.listen, keyward.admin), (address(clients), address(admin)), "{names}");
        assert_eq!((get(keyward.listen, "/v1/models").status, keyward.admin("/readyz").status), (200, 200));
    }
    let (home, upstream, admin) = (Home::new(), FakeUpstream::accepting(), listener());
    let keyward = home.serve_on_sockets(1).upstream(&upstream).sockets("admin", &admin, None).start();
    assert_eq!(keyward.admin, address(&admin));
    assert_eq!(get(keyward.listen, "/v1/models").status, 200, "clients come by the address that was set");
}

#[test]
fn sockets_for_another_process_are_none_of_ours() {
    let (home, socket) = (Home::new(), listener());
    let launch = home.serve_after("export LISTEN_PID=1 LISTEN_FDS=1; exec 3<&0 </dev/null");
    let keyward = launch.sockets("", &socket, None).start();
    assert_ne!(keyward.listen, address(&socket));
}

#[test]
fn a_socket_of_another_kind_is_told_at_the_start() {
    let home = Home::new();
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let local = UnixListener::bind(home.path("socket")).unwrap();
    let peer = listener();
    let connected = TcpStream::connect(address(&peer)).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for (socket, said) in [
        (OwnedFd::from(datagrams), "fd 3 is not a valid tcp socket"),
        (OwnedFd::from(local), "fd 3 is not a valid tcp socket"),
        (OwnedFd::from(connected), "it does not listen"),
        (OwnedFd::from(file), "fd 3 is not a socket"),
    ] {
        let finished = home.serve_on_sockets(1).sockets("", &TcpListener::from(socket), None).run();
        assert_eq!(finished.code(), Some(1));
        let allowed = "allowed are one or two listening TCP sockets, the admin listener's called admin or the second";
        for said in ["socket 1 of LISTEN_FDS cannot be used", allowed, said] {
            assert!(finished.stderr.contains(said), "{said} is not in {}", finished.stderr);
        }
    }
    let finished = home.serve_on_sockets(2).sockets("admin:admin", &listener(), Some(&listener())).run();
    assert!(finished.stderr.contains("LISTEN_FDS has too many sockets; allowed are"), "{}", finished.stderr);
}

#[test]
fn another_process_takes_over_and_no_client_is_turned_away() {
    let (upstream, socket) = (FakeUpstream::accepting(), listener());
    let start = |home: &Home| {
        let launch = home.serve_on_sockets(1).upstream(&upstream).env("KEYWARD_PROXY_WORKERS", "2");
        launch.sockets("", &socket, None).start()
    };
    let homes: Vec<_> = (0..3).map(|_| Home::new()).collect();
    let mut keyward = start(&homes[0]);
    let crowd = Crowd::gather(address(&socket));
    for home in &homes[1..] {
        crowd.wait_for_more();
        // For a moment no process accepts: a client that comes then waits for the next one.
        let finished = keyward.stop();
        assert_eq!(finished.code(), Some(0));
        assert!(!finished.exchanges().is_empty(), "it had served");
        keyward = start(home);
    }
    crowd.wait_for_more();
    crowd.leave();
}

#[test]
fn the_service_manager_is_told_when_keyward_serves_and_when_it_stops() {
    let home = Home::new();
    let manager = UnixDatagram::bind(home.path("notify")).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let heard = || {
        let mut text = [0; 64];
        let length = manager.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    let keyward = home.serve().env("NOTIFY_SOCKET", home.path("notify").to_str().unwrap()).start();
    assert_eq!(heard(), "READY=1\n");
    assert_eq!(keyward.admin("/readyz").status, 200);
    keyward.signal(Signal::TERM);
    assert_eq!(heard(), "STOPPING=1\n");
    assert_eq!(keyward.wait().code(), Some(0));
}

/// Clients that come one after the other, each on a connection of its own.
struct Crowd {
    members: Vec<JoinHandle<usize>>,
    served: Arc<AtomicUsize>,
    done: Arc<AtomicBool>,
}

impl Crowd {
    const SIZE: usize = 4;

    fn gather(address: SocketAddr) -> Self {
        let (served, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let come = |_| {
            let (served, done) = (Arc::clone(&served), Arc::clone(&done));
            thread::spawn(move || {
                let mut sent_off = 0;
                while !done.load(Ordering::SeqCst) {
                    // It fails the test if it cannot connect, or has no answer in time.
                    match get(address, "/v1/models").status {
                        200 => _ = served.fetch_add(1, Ordering::SeqCst),
                        0 => sent_off += 1,
                        other => panic!("status {other}"),
                    }
                }
                sent_off
            })
        };
        Self { members: (0..Self::SIZE).map(come).collect(), served, done }
    }

    #[track_caller]
    fn wait_for_more(&self) {
        let before = self.served.load(Ordering::SeqCst);
        eventually("more answers", || (self.served.load(Ordering::SeqCst) > before + 50).then_some(()));
    }

    /// A client that came in at the very moment of a stop may have been sent off before its request: that is once for
    /// each client and each stop at most.
    #[track_caller]
    fn leave(self) {
        self.done.store(true, Ordering::SeqCst);
        for member in self.members {
            let sent_off = member.join().unwrap();
            assert!(sent_off <= 2, "{sent_off}");
        }
    }
}

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().unwrap()
}
