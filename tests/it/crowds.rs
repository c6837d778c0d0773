//! A crowd of clients costs memory while it is there, and not when it has left.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::process::Home;
use crate::support::eventually;

/// More than a worker takes for a crowd, but not so many that a machine has no room for their sockets.
const CROWD: usize = 1000;

/// The kept connections of a crowd outlive its clients, and are given back as well when they end.
#[test]
fn the_memory_of_a_crowd_is_given_back_with_that_of_its_connections_to_upstream() {
    allow_many_files();
    let home = Home::new();
    let (upstream, address) = upstream_for(CROWD);
    let keyward = home.serve().args(&["--upstream", &format!("http://{address}")]);
    let keyward = keyward.env("KEYWARD_PROXY_WORKERS", "1").env("KEYWARD_PROXY_POOL_IDLE_TIMEOUT", "2s").start();
    let before = keyward.private();
    let mut clients: Vec<_> = (0..CROWD).map(|_| begin(keyward.listen)).collect();
    let connections = upstream.join().unwrap();
    let at_most = keyward.private();
    clients.iter_mut().for_each(finish);
    drop(clients);
    eventually("the end of the pool's connections", || connections.iter().all(has_ended).then_some(()));
    // A connection takes so little that what the allocator keeps of its pages shows.
    let most_left = ((at_most - before) / 10).max(4 << 20);
    eventually("their memory", || (keyward.private() < before + most_left).then_some(()));
}

/// Waits until that many requests are there at once, then answers them all and keeps their connections.
fn upstream_for(requests: usize) -> (JoinHandle<Vec<TcpStream>>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let mut connections: Vec<_> = listener.incoming().take(requests).map(Result::unwrap).collect();
        for connection in &mut connections {
            assert!(connection.read(&mut [0; 4096]).unwrap() > 0);
        }
        for connection in &mut connections {
            connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
            connection.set_nonblocking(true).unwrap();
        }
        connections
    });
    (serving, address)
}

fn begin(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET /v1/models HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer sk-a\r\n\r\n").unwrap();
    client
}

fn finish(client: &mut TcpStream) {
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"\r\n\r\n{}") {
        let count = client.read(&mut piece).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..count]);
    }
}

fn has_ended(connection: &TcpStream) -> bool {
    matches!(connection.peek(&mut [0]), Ok(0))
}

/// Each client has a socket here, and so has each of upstream's connections.
pub(crate) fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}
