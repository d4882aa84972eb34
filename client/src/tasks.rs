//! The client of tasks: any number of callers on one connection, on tokio.
//!
//! ```text
//!   caller ─► submit ─► rings for the driver ─► waits for its own completion
//!   driver   one task: connects, writes, reads, connects again, brings back
//! ```
//!
//! Invariants:
//! 1. The state is locked between awaits only.
//! 2. A caller that is dropped while it waits forgets the answer; the request is carried out.
//! 3. The clock is tokio's, so that it can be paused.

#[cfg(test)]
#[path = "tasks_tests.rs"]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    io::{self, IoSlice},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use rpc::{Call, Entry, Identity, Wire, calls, hello::Welcome};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::{Notify, oneshot},
    time::{Instant, sleep, timeout},
};

pub use crate::blocking::{Options, TlsSetup};
use crate::{
    address::Address,
    blocking::{consume, feed},
    core::{Asked, Core, Outcome, Ticket},
    error::Error,
    inbox::Inbox,
    limits::{HANDSHAKE, PAUSE, WRITE_PIECES},
    methods::{entries, names, plain},
    seams,
};

/// A client. Clones are the same client; with the last one the session ends.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Owner>,
    flags: u16,
}

struct Owner(Arc<Shared>);

struct Shared {
    options: Options,
    state: Mutex<State>,
    /// There is something for the driver.
    work: Notify,
    /// Something was completed, or the connection has changed.
    news: Notify,
}

struct State {
    core: Core,
    waiting: HashMap<Ticket, oneshot::Sender<Outcome>>,
    away: Option<Error>,
    closing: bool,
    connections: u64,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Client {
    /// Connects; waits for a server at most for the patience, and refuses at once where a server
    /// refuses this client. The runtime must go on for as long as the client is used.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        let session = seams::random().map_err(Error::from_io)?;
        let state = State {
            core: Core::new(options.setup.clone(), session),
            waiting: HashMap::new(),
            away: None,
            closing: false,
            connections: 0,
        };
        let state = Mutex::new(state);
        let shared = Arc::new(Shared { options, state, work: Notify::new(), news: Notify::new() });
        tokio::spawn(shared.clone().drive());
        let client = Self { inner: Arc::new(Owner(shared)), flags: 0 };
        let shared = &client.inner.0;
        loop {
            let news = shared.news.notified();
            {
                let state = shared.state.lock();
                if let Some(error) = &state.away {
                    return Err(error.clone());
                }
                if state.connections > 0 {
                    break;
                }
            }
            news.await;
        }
        Ok(client)
    }

    /// The same client; its changes are answered only when they are durable.
    pub fn durable(&self) -> Self {
        Self { inner: self.inner.clone(), flags: self.flags | rpc::frame::DURABLE }
    }

    /// The same client; each of its requests begins when everything sent before is done.
    pub fn after(&self) -> Self {
        Self { inner: self.inner.clone(), flags: self.flags | rpc::frame::AFTER }
    }

    /// What the server said of itself.
    pub fn welcome(&self) -> Option<Welcome> {
        self.inner.0.state.lock().core.welcome().cloned()
    }

    /// Connections so far whose session stood: 1 until the first was lost.
    pub fn connections(&self) -> u64 {
        self.inner.0.state.lock().connections
    }

    /// A number for a handle that none of this client has.
    pub fn new_handle(&self) -> u32 {
        self.inner.0.state.lock().core.new_handle()
    }

    /// Sends a request, waiting for room, and waits for its answer and payload.
    pub async fn call<C: Call>(
        &self,
        who: &Identity,
        call: &C,
        payload: Bytes,
    ) -> Result<(C::Reply, Bytes), Error> {
        let asked = Asked::new(who, call, payload, self.flags)?;
        let answer = self.inner.0.submit(asked).await?;
        let reply = answer.await.map_err(|_| Error::Closed)??;
        Ok((C::Reply::whole(&reply.body)?, reply.payload))
    }

    /// Makes everything durable and ends the session: handles are closed, locks released.
    pub async fn close(self) -> Result<(), Error> {
        let nobody = Identity::default();
        let synced = self.call(&nobody, &calls::Sync {}, Bytes::new()).await.map(drop);
        let ended = self.call(&nobody, &calls::Bye {}, Bytes::new()).await.map(drop);
        synced.and(ended)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.state.lock().closing = true;
        self.0.work.notify_one();
    }
}

impl Shared {
    async fn submit(&self, mut asked: Asked) -> Result<oneshot::Receiver<Outcome>, Error> {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // Heard from here on, whatever is completed meanwhile.
            news.as_mut().enable();
            {
                let mut state = self.state.lock();
                if let Some(error) = &state.away {
                    return Err(error.clone());
                }
                match state.core.submit(asked) {
                    Ok(ticket) => {
                        let (sender, receiver) = oneshot::channel();
                        state.waiting.insert(ticket, sender);
                        self.settle(&mut state);
                        self.work.notify_one();
                        return Ok(receiver);
                    }
                    Err((back, _)) => asked = back,
                }
                self.work.notify_one();
            }
            news.await;
        }
    }

    fn settle(&self, state: &mut MutexGuard<'_, State>) {
        let mut some = false;
        while let Some((ticket, outcome)) = state.core.take_done() {
            some = true;
            if let Some(sender) = state.waiting.remove(&ticket) {
                // Whoever is gone does not want to know.
                let _ = sender.send(outcome);
            }
        }
        if some {
            self.news.notify_waiters();
        }
    }

    /// The driver.
    async fn drive(self: Arc<Self>) {
        let mut since = Instant::now();
        let mut answers = 0;
        let mut pause = PAUSE.0;
        let mut error = Error::Away("it closes every connection before an answer".into());
        loop {
            if self.state.lock().closing {
                return;
            }
            let over = Instant::now() >= since + self.options.patience;
            if (over || matches!(error, Error::Denied(_))) && !self.give_up(&error) {
                return;
            }
            let begun = Instant::now();
            error = match self.session().await {
                Ok(()) => return,
                Err(error) => error,
            };
            {
                let mut state = self.state.lock();
                state.core.lost();
                let long = begun.elapsed() >= self.options.patience;
                if long || state.core.answers() != answers || state.core.unanswered() == 0 {
                    (since, answers, pause) = (Instant::now(), state.core.answers(), PAUSE.0);
                }
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.closing() => return,
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn closing(&self) {
        while !self.state.lock().closing {
            self.work.notified().await;
        }
    }

    fn give_up(&self, error: &Error) -> bool {
        let mut state = self.state.lock();
        state.core.give_up(error);
        state.away = Some(error.clone());
        self.settle(&mut state);
        self.news.notify_waiters();
        state.connections > 0
    }

    /// One connection, to its end. `Ok`: the client is gone.
    async fn session(&self) -> Result<(), Error> {
        let address = &self.options.address;
        let named = |error: Error| match error {
            Error::Denied(refusal) => Error::Denied(refusal),
            Error::Away(text) => Error::Away(format!("{address}: {text}")),
            other => Error::Away(format!("{address}: {other}")),
        };
        let late = |_| Error::Away(format!("{address}: it takes too long"));
        let connecting = timeout(HANDSHAKE, connect(&self.options)).await.map_err(late)?;
        let mut stream = connecting.map_err(|e| named(Error::from_io(e)))?;
        let nonce = seams::random().map_err(Error::from_io)?;
        self.state.lock().core.connected(nonce);
        let (mut inbox, mut out) = (Inbox::default(), VecDeque::new());
        let shaking = async {
            while !self.state.lock().core.is_live() {
                self.turn(&mut stream, &mut inbox, &mut out).await?;
            }
            Ok(())
        };
        timeout(HANDSHAKE, shaking).await.map_err(late)?.map_err(named)?;
        {
            let mut state = self.state.lock();
            state.connections += 1;
            state.away = None;
            self.settle(&mut state);
        }
        self.news.notify_waiters();
        while !self.state.lock().closing {
            self.turn(&mut stream, &mut inbox, &mut out).await.map_err(named)?;
        }
        self.bye(&mut stream, &mut out).await;
        Ok(())
    }

    /// Writes or reads once.
    async fn turn(
        &self,
        stream: &mut Box<dyn Stream>,
        inbox: &mut Inbox,
        out: &mut VecDeque<Bytes>,
    ) -> Result<(), Error> {
        self.state.lock().core.take_out(out);
        let (mut reader, mut writer) = tokio::io::split(&mut *stream);
        let came = tokio::select! {
            came = reader.read(inbox.room()) => Some(came),
            written = write(&mut writer, out), if !out.is_empty() => {
                consume(out, written.map_err(Error::from_io)?);
                None
            }
            () = self.work.notified(), if out.is_empty() => None,
        };
        match came.transpose().map_err(Error::from_io)? {
            None => return Ok(()),
            Some(0) => return Err(Error::from_io("it closed the connection")),
            Some(n) => inbox.took(n),
        }
        let mut state = self.state.lock();
        let fed = feed(&mut state.core, inbox);
        self.settle(&mut state);
        fed
    }

    /// Ends the session; waits for nothing but room to say so.
    async fn bye(&self, stream: &mut Box<dyn Stream>, out: &mut VecDeque<Bytes>) {
        if let Ok(bye) = Asked::new(&Identity::default(), &calls::Bye {}, Bytes::new(), 0) {
            let mut state = self.state.lock();
            let _ = state.core.submit(bye);
            state.core.take_out(out);
        }
        let saying = async {
            while !out.is_empty() {
                let written = write(stream, out).await?;
                consume(out, written);
            }
            stream.shutdown().await
        };
        let _ = timeout(Duration::from_secs(1), saying).await;
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), out: &VecDeque<Bytes>) -> io::Result<usize> {
    let slices: Vec<IoSlice<'_>> =
        out.iter().take(WRITE_PIECES).map(|piece| IoSlice::new(piece)).collect();
    let written = to.write_vectored(&slices).await?;
    // TLS holds back what it has encrypted.
    to.flush().await?;
    Ok(written)
}

async fn connect(options: &Options) -> io::Result<Box<dyn Stream>> {
    let socket = match &options.address {
        Address::Unix(_) if options.tls.is_some() => {
            return Err(io::Error::other("TLS is for TCP, not for a Unix socket"));
        }
        Address::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
        Address::Tcp(address) => TcpStream::connect(address).await?,
    };
    socket.set_nodelay(true)?;
    match &options.tls {
        None => Ok(Box::new(socket)),
        #[cfg(feature = "tls")]
        Some(setup) => {
            let connector = tokio_rustls::TlsConnector::from(setup.config.clone());
            Ok(Box::new(connector.connect(setup.name.clone(), socket).await?))
        }
        #[cfg(not(feature = "tls"))]
        Some(never) => match *never {},
    }
}

macro_rules! tasks {
    ($($name:ident: $call:ident, $doc:literal;)*) => {
        impl Client {
            $(
                #[doc = $doc]
                pub async fn $name(
                    &self,
                    who: &Identity,
                    call: &calls::$call,
                ) -> Result<<calls::$call as Call>::Reply, Error> {
                    self.call(who, call, Bytes::new()).await.map(|(reply, _)| reply)
                }
            )*
        }
    };
}
plain!(tasks);

impl Client {
    /// Reads at most the server's limit of one payload; short only at the end of the file.
    pub async fn read(
        &self,
        who: &Identity,
        call: &calls::Read,
    ) -> Result<(calls::Data, Bytes), Error> {
        self.call(who, call, Bytes::new()).await
    }

    /// Writes at most the server's limit of one payload.
    pub async fn write(
        &self,
        who: &Identity,
        call: &calls::Write,
        data: Bytes,
    ) -> Result<calls::Written, Error> {
        self.call(who, call, data).await.map(|(reply, _)| reply)
    }

    /// Entries of a directory, from a cookie on.
    pub async fn read_dir(
        &self,
        who: &Identity,
        call: &calls::ReadDir,
    ) -> Result<(calls::Listed, Vec<Entry>), Error> {
        let (listed, payload) = self.call(who, call, Bytes::new()).await?;
        let entries = entries(&listed, &payload)?;
        Ok((listed, entries))
    }

    /// Value of an extended attribute.
    pub async fn get_xattr(&self, who: &Identity, call: &calls::GetXattr) -> Result<Bytes, Error> {
        self.call(who, call, Bytes::new()).await.map(|((), value)| value)
    }

    /// Sets an extended attribute.
    pub async fn set_xattr(
        &self,
        who: &Identity,
        call: &calls::SetXattr,
        value: Bytes,
    ) -> Result<calls::Changed, Error> {
        self.call(who, call, value).await.map(|(reply, _)| reply)
    }

    /// Names of the extended attributes.
    pub async fn list_xattr(
        &self,
        who: &Identity,
        call: &calls::ListXattr,
    ) -> Result<Vec<Vec<u8>>, Error> {
        self.call(who, call, Bytes::new()).await.map(|((), payload)| names(&payload))
    }
}
