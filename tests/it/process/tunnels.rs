//! A proxy of a test's own that opens tunnels to one upstream, whatever name it is asked for, and keeps what it was asked.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The proxy. Its thread ends with the test's process.
pub(crate) struct TunnelProxy {
    address: SocketAddr,
    scheme: &'static str,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What it does about a request.
#[derive(Clone)]
pub(crate) enum Manner {
    /// It opens a tunnel to there.
    Opens(SocketAddr),
    /// It says that and closes.
    Says(Vec<u8>),
    /// It says that and waits for more.
    Awaits(Vec<u8>),
    /// It says nothing.
    Silent,
}

impl TunnelProxy {
    pub(crate) fn start(manner: Manner) -> Self {
        Self::run("http", None, manner)
    }

    /// One that is spoken to over TLS.
    pub(crate) fn over_tls(tls: Arc<rustls::ServerConfig>, manner: Manner) -> Self {
        Self::run("https", Some(TlsAcceptor::from(tls)), manner)
    }

    /// Its URL, with that in front of the host: `user:password@` or nothing.
    pub(crate) fn url(&self, user: &str) -> String {
        format!("{}://{user}{}", self.scheme, self.address)
    }

    /// The heads of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn run(scheme: &'static str, tls: Option<TlsAcceptor>, manner: Manner) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            runtime.block_on(async { accept(TcpListener::from_std(listener).unwrap(), tls, manner, heard).await });
        });
        Self { address, scheme, asked }
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, manner: Manner, heard: Arc<Mutex<Vec<String>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, manner, heard) = (tls.clone(), manner.clone(), Arc::clone(&heard));
        tokio::spawn(async move {
            match tls {
                None => serve(stream, manner, &heard).await,
                Some(tls) => serve(tls.accept(stream).await?, manner, &heard).await,
            }
        });
    }
}

async fn serve<S>(mut client: S, manner: Manner, heard: &Mutex<Vec<String>>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(client.read_u8().await?);
    }
    heard.lock().unwrap().push(String::from_utf8(request).unwrap());
    match manner {
        Manner::Opens(target) => {
            let mut target = TcpStream::connect(target).await?;
            client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n").await?;
            copy_bidirectional(&mut client, &mut target).await.map(drop)
        }
        Manner::Says(bytes) => {
            client.write_all(&bytes).await?;
            client.shutdown().await
        }
        Manner::Awaits(bytes) => {
            client.write_all(&bytes).await?;
            client.read_u8().await.map(drop)
        }
        Manner::Silent => pending().await,
    }
}
