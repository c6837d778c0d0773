//! What keyward and a service manager such as systemd say to each other: sockets that it hands over, and how keyward is.

use std::env;
use std::net::TcpListener;

use anyhow::{Context, ensure};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use socket2::SockRef;

use crate::config::Config;

/// The listening sockets that were handed over (`LISTEN_FDS`): they outlive this process, so that no client is turned away
/// while another one takes its place.
#[derive(Default)]
pub(super) struct Sockets {
    clients: Option<TcpListener>,
    admin: Option<TcpListener>,
}

impl Sockets {
    /// Takes them. This must come before there are threads: it removes the variables that tell of them.
    pub(super) fn take() -> anyhow::Result<Self> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<_> = names.split(':').collect();
        let (mut handed_over, mut sockets) = (ListenFd::from_env(), Self::default());
        for number in 0..handed_over.len() {
            let listener = listener(&mut handed_over, number)
                .with_context(|| format!("socket {} of LISTEN_FDS cannot be used; {ALLOWED}", number + 1))?;
            let place = sockets.place(names.get(number).copied());
            ensure!(place.is_none(), "LISTEN_FDS has too many sockets; {ALLOWED}");
            *place = listener;
        }
        Ok(sockets)
    }

    /// The settings with the addresses of these sockets in place of those that are not bound then.
    pub(super) fn settle(&self, config: &Config) -> anyhow::Result<Config> {
        let mut config = config.clone();
        if let Some(listener) = &self.clients {
            config.proxy.listen = listener.local_addr()?;
        }
        if let Some(listener) = &self.admin {
            config.admin.listen = Some(listener.local_addr()?);
        }
        Ok(config)
    }

    /// The settings that count for nothing, in words.
    pub(super) fn describe(&self) -> Option<&'static str> {
        match (&self.clients, &self.admin) {
            (None, None) => None,
            (Some(_), None) => Some("handed over (LISTEN_FDS): proxy.listen is not used"),
            (None, Some(_)) => Some("handed over (LISTEN_FDS): admin.listen is not used"),
            (Some(_), Some(_)) => Some("handed over (LISTEN_FDS): proxy.listen and admin.listen are not used"),
        }
    }

    /// The listener for clients, or the one that is opened.
    pub(super) fn clients(
        &mut self,
        open: impl FnOnce() -> anyhow::Result<TcpListener>,
    ) -> anyhow::Result<TcpListener> {
        self.clients.take().map_or_else(open, Ok)
    }

    /// The admin listener, or the one that is opened, if any.
    pub(super) fn admin(
        &mut self,
        open: impl FnOnce() -> anyhow::Result<Option<TcpListener>>,
    ) -> anyhow::Result<Option<TcpListener>> {
        self.admin.take().map_or_else(open, |listener| Ok(Some(listener)))
    }

    /// Where a socket of that name belongs: the first one is for clients, unless it is called `admin`.
    fn place(&mut self, name: Option<&str>) -> &mut Option<TcpListener> {
        if name == Some("admin") || self.clients.is_some() { &mut self.admin } else { &mut self.clients }
    }
}

fn listener(handed_over: &mut ListenFd, number: usize) -> anyhow::Result<Option<TcpListener>> {
    let Some(listener) = handed_over.take_tcp_listener(number)? else { return Ok(None) };
    ensure!(SockRef::from(&listener).is_listener()?, "it does not listen");
    listener.set_nonblocking(true)?;
    Ok(Some(listener))
}

/// keyward serves: units that wait for it may start.
pub(super) fn say_ready() {
    tell(NotifyState::Ready);
}

/// keyward takes no new clients.
pub(super) fn say_stopping() {
    tell(NotifyState::Stopping);
}

/// Without a service manager that listens (`NOTIFY_SOCKET`), nothing is said.
fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(
            event = "systemd",
            error = &error as &dyn std::error::Error,
            "the service manager cannot be told"
        );
    }
}

const ALLOWED: &str = "allowed are one or two listening TCP sockets, the admin listener's called admin or the second";
