//! One TCP connection: what a store's client sets on its socket, and how many bytes it moved.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// Bytes that one connection moved, as TCP payload.
#[derive(Debug, Default)]
pub(super) struct Moved {
    read: AtomicU64,
    written: AtomicU64,
    /// What TLS leaves of `read`: bytes of replies.
    replied: AtomicU64,
    /// The first byte read, plus one; 0 before that.
    first: AtomicU64,
}

impl Moved {
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes of replies: a server that closes a connection under TLS says so in bytes of its own.
    pub(super) fn replied(&self) -> u64 {
        self.replied.load(Ordering::Relaxed)
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(super) fn both(&self) -> u64 {
        self.read().wrapping_add(self.written())
    }

    /// The first byte that the server ever sent.
    pub(super) fn first_byte(&self) -> Option<u8> {
        u8::try_from(self.first.load(Ordering::Relaxed).checked_sub(1)?).ok()
    }
}

/// A socket with its counters.
pub(super) struct Wire {
    tcp: TcpStream,
    moved: Arc<Moved>,
}

impl Wire {
    pub(super) fn new(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        Ok(Self { tcp, moved: Arc::default() })
    }

    pub(super) fn moved(&self) -> Arc<Moved> {
        Arc::clone(&self.moved)
    }

    /// Asks the kernel to acknowledge at once. Servers that leave Nagle's algorithm on send a
    /// small reply's body only after its head was acknowledged: 45 ms for each small GET on
    /// loopback, 0.2 ms with this. The kernel forgets the wish on its own (tcp(7)), so it is
    /// renewed around every read and write.
    fn acknowledge_at_once(&self) {
        // A socket that refuses is slower, not wrong.
        let _ = rustix::net::sockopt::set_tcp_quickack(&self.tcp, true);
    }

    fn wrote(&self, n: &io::Result<usize>) {
        if let Ok(n) = n {
            self.moved.written.fetch_add(*n as u64, Ordering::Relaxed);
            self.acknowledge_at_once();
        }
    }
}

impl Wire {
    /// True where HTTP is spoken there in the clear. Servers with TLS say 400 to who comes in the
    /// clear, if they say anything (nginx, Go).
    pub(super) async fn speaks_http(mut self, host: &str) -> bool {
        let ask = format!("HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let mut said = Vec::with_capacity(16);
        if self.write_all(ask.as_bytes()).await.is_err() {
            return false;
        }
        // `HTTP/1.1 400`
        let _ = self.take(12).read_to_end(&mut said).await;
        said.starts_with(b"HTTP/1.") && said.len() == 12 && !said.ends_with(b"400")
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let outcome = Pin::new(&mut self.tcp).poll_read(cx, into);
        if matches!(outcome, Poll::Ready(Ok(()))) {
            let new = &into.filled()[before..];
            if let Some(&byte) = new.first() {
                let seen = u64::from(byte) + 1;
                let first = &self.moved.first;
                let _ = first.compare_exchange(0, seen, Ordering::Relaxed, Ordering::Relaxed);
            }
            self.moved.read.fetch_add(new.len() as u64, Ordering::Relaxed);
        }
        self.acknowledge_at_once();
        outcome
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        if let Poll::Ready(n) = &outcome {
            self.wrote(n);
        }
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.tcp).poll_write_vectored(cx, pieces);
        if let Poll::Ready(n) = &outcome {
            self.wrote(n);
        }
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// A wire in the clear or inside TLS.
pub(super) struct Transport {
    stream: Stream,
    moved: Arc<Moved>,
}

enum Stream {
    Plain(Wire),
    Tls(Box<TlsStream<Wire>>),
}

impl Transport {
    pub(super) fn plain(wire: Wire) -> Self {
        Self { moved: wire.moved(), stream: Stream::Plain(wire) }
    }

    pub(super) fn tls(stream: TlsStream<Wire>) -> Self {
        Self { moved: stream.get_ref().0.moved(), stream: Stream::Tls(Box::new(stream)) }
    }

    pub(super) fn moved(&self) -> Arc<Moved> {
        Arc::clone(&self.moved)
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.stream {
            Stream::Plain($stream) => $call,
            Stream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let outcome = either!(self, s => Pin::new(s).poll_read(cx, into));
        let new = (into.filled().len() - before) as u64;
        self.moved.replied.fetch_add(new, Ordering::Relaxed);
        outcome
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, s => Pin::new(s).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, s => Pin::new(s).poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(s) => s.is_write_vectored(),
            Stream::Tls(s) => s.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => Pin::new(s).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => Pin::new(s).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests;
