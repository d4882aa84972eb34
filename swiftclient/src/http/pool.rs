//! Connections: made, lent for one request at a time, kept a while.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    net::{TcpStream, lookup_host},
    task::AbortHandle,
    time::{Instant, timeout},
};

use crate::limits::MISMATCH_TRIAL;

use super::{
    HttpConfig, HttpError, HttpErrorKind,
    body::Outgoing,
    tls::{Tls, no_tls},
    wire::{Moved, Transport, Wire},
};

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    tls: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

impl Target {
    pub(super) fn of(uri: &Uri) -> Result<Self, HttpError> {
        let invalid =
            || HttpError::unsent(HttpErrorKind::Invalid, format!("{uri} is no http(s) address"));
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(invalid()),
        };
        let host = uri.host().ok_or_else(invalid)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host, port })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// One connection. Dropping it closes the socket, whatever was on its way.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Outgoing>,
    pub(super) moved: Arc<Moved>,
    pub(super) target: Target,
    /// It has served before.
    pub(super) reused: bool,
    /// [`Pool::doubts`] when it was made.
    doubts: u64,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Idle {
    connection: Connection,
    since: Instant,
}

#[derive(Default)]
struct Kept {
    by_target: HashMap<Target, Vec<Idle>>,
    reaping: bool,
    /// How often all connections were given up.
    doubts: u64,
    /// Servers that have ever answered.
    met: HashSet<Target>,
}

/// Connections of one client.
pub(super) struct Pool {
    tls: Tls,
    connect_timeout: Duration,
    idle_connections: usize,
    idle_keep: Duration,
    kept: Mutex<Kept>,
}

impl Pool {
    pub(super) fn new(config: &HttpConfig, tls: Tls) -> Arc<Self> {
        Arc::new(Self {
            tls,
            connect_timeout: config.connect_timeout,
            idle_connections: config.idle_connections,
            idle_keep: config.idle_keep,
            kept: Mutex::default(),
        })
    }

    /// A connection that is ready for a request: a kept one where `may_reuse`, else a new one.
    pub(super) async fn lend(
        &self,
        target: &Target,
        may_reuse: bool,
    ) -> Result<Connection, HttpError> {
        while may_reuse && let Some(mut connection) = self.take(target) {
            // The reply before was whole, so this waits for the connection's task at most.
            if timeout(Duration::from_secs(1), connection.sender.ready())
                .await
                .is_ok_and(|r| r.is_ok())
            {
                return Ok(connection);
            }
        }
        let late = |_| {
            let reason = format!("{target}: no connection within {:?}", self.connect_timeout);
            HttpError::unsent(HttpErrorKind::Connect, reason)
        };
        match timeout(self.connect_timeout, self.connect(target)).await.map_err(late).flatten() {
            Err(e) if e.kind == HttpErrorKind::Connect && target.tls => {
                Err(self.mismatch(target).await.unwrap_or(e))
            }
            other => other,
        }
    }

    /// The newest kept connection that is still alive.
    fn take(&self, target: &Target) -> Option<Connection> {
        let mut kept = self.kept.lock();
        let idle = kept.by_target.get_mut(target)?;
        while let Some(Idle { connection, since }) = idle.pop() {
            if !connection.sender.is_closed() && since.elapsed() < self.idle_keep {
                return Some(connection);
            }
        }
        None
    }

    /// Takes back a connection after a whole request and a whole reply.
    pub(super) fn keep(self: &Arc<Self>, mut connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        connection.reused = true;
        let mut kept = self.kept.lock();
        if connection.doubts != kept.doubts {
            return;
        }
        let idle = kept.by_target.entry(connection.target.clone()).or_default();
        if idle.len() >= self.idle_connections {
            return;
        }
        idle.push(Idle { connection, since: Instant::now() });
        if !kept.reaping {
            kept.reaping = true;
            tokio::spawn(reap(Arc::downgrade(self), self.idle_keep));
        }
    }

    /// Closes the kept connections to `target`: one of them turned out to be dead.
    pub(super) fn forget(&self, target: &Target) {
        let _closed = self.kept.lock().by_target.remove(target);
    }

    /// It has answered as it was asked: what goes wrong later is no wrong address.
    pub(super) fn meet(&self, target: &Target) {
        let mut kept = self.kept.lock();
        if !kept.met.contains(target) {
            kept.met.insert(target.clone());
        }
    }

    /// What is wrong with the address of a server that closed or kept silent and never answered
    /// before; `None` where nothing can be told. Servers say very different things to who comes with
    /// TLS to a port in the clear or the other way round, and many say nothing.
    pub(super) async fn mismatch(&self, target: &Target) -> Option<HttpError> {
        if self.kept.lock().met.contains(target) {
            return None;
        }
        let trial = async {
            let wire = Wire::new(self.dial(target).await.ok()?).ok()?;
            let other = match target.tls {
                true => wire.speaks_http(&target.host).await,
                false => self.tls.is_spoken(&target.host, wire).await,
            };
            other.then_some(())
        };
        timeout(MISMATCH_TRIAL, trial).await.ok()??;
        let reason = match target.tls {
            true => no_tls(&target.to_string()),
            false => format!("{target}: it speaks TLS on this port: write https://"),
        };
        Some(HttpError::unsent(HttpErrorKind::Refused, reason))
    }

    /// Closes every connection: those kept now, those lent after their reply. One of them gave an
    /// answer that was not its request's, and which one cannot be told.
    pub(super) fn distrust(&self) {
        let mut kept = self.kept.lock();
        kept.doubts += 1;
        kept.by_target.clear();
    }

    async fn connect(&self, target: &Target) -> Result<Connection, HttpError> {
        let doubts = self.kept.lock().doubts;
        let failed =
            |e: &io::Error| HttpError::unsent(HttpErrorKind::Connect, format!("{target}: {e}"));
        let tcp = self.dial(target).await.map_err(|e| failed(&e))?;
        let wire = Wire::new(tcp).map_err(|e| failed(&e))?;
        let transport = if target.tls {
            Transport::tls(self.tls.secure(&target.host, wire).await?)
        } else {
            Transport::plain(wire)
        };
        let moved = transport.moved();
        let built = http1::Builder::new().writev(true).handshake(TokioIo::new(transport)).await;
        let (sender, connection) = built
            .map_err(|e| HttpError::unsent(HttpErrorKind::Connect, format!("{target}: {e}")))?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "a connection to a store ended");
            }
        });
        let (target, task) = (target.clone(), task.abort_handle());
        Ok(Connection { sender, moved, target, reused: false, doubts, task })
    }

    /// Tries every address of the name, each for its share of the time.
    async fn dial(&self, target: &Target) -> io::Result<TcpStream> {
        let found = lookup_host((target.host.as_str(), target.port)).await?;
        let addresses: Vec<_> = found.collect();
        let share = self.connect_timeout / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(e)) => last = e,
                Err(_) => {
                    let reason = format!("{address} does not answer within {share:?}");
                    last = io::Error::new(io::ErrorKind::TimedOut, reason);
                }
            }
        }
        Err(last)
    }
}

/// Closes what was kept too long; ends with the last one.
async fn reap(pool: Weak<Pool>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut kept = pool.kept.lock();
        kept.by_target.retain(|_, idle| {
            idle.retain(|i| i.since.elapsed() < every && !i.connection.sender.is_closed());
            !idle.is_empty()
        });
        if kept.by_target.is_empty() {
            kept.reaping = false;
            return;
        }
    }
}
