//! One connection: a socket that never blocks, and waiting for it.

use std::{
    io::{self, IoSlice, Read},
    net::{Shutdown, TcpStream, ToSocketAddrs},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{SendAncillaryBuffer, SendFlags, sendmsg},
};
use socket2::{SockRef, TcpKeepalive};

use crate::{
    address::Address,
    limits::{HANDSHAKE, KEEPALIVE},
};

/// A connected socket. All calls may come from several threads at once.
#[derive(Debug)]
pub enum Link {
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
    /// Over TCP with TLS.
    #[cfg(feature = "tls")]
    Tls(Box<super::tls::Tls>),
}

impl Link {
    /// Connects; with a configuration of TLS, over it.
    pub fn connect(address: &Address, tls: Option<&super::TlsSetup>) -> io::Result<Self> {
        let link = match address {
            Address::Unix(path) => {
                if tls.is_some() {
                    return Err(io::Error::other("TLS is for TCP, not for a Unix socket"));
                }
                let socket = UnixStream::connect(path)?;
                socket.set_nonblocking(true)?;
                return Ok(Self::Unix(socket));
            }
            Address::Tcp(address) => connect_tcp(address)?,
        };
        match tls {
            None => Ok(Self::Tcp(link)),
            #[cfg(feature = "tls")]
            Some(setup) => super::tls::Tls::begin(setup, link).map(|tls| Self::Tls(Box::new(tls))),
            #[cfg(not(feature = "tls"))]
            Some(never) => match *never {},
        }
    }

    /// As much as there is room for; `WouldBlock` where there is none.
    pub fn write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => send_pieces(socket, pieces),
            Self::Tcp(socket) => send_pieces(socket, pieces),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.write(pieces),
        }
    }

    /// As much as there is; 0 at the end; `WouldBlock` where there is nothing yet.
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => (&*socket).read(into),
            Self::Tcp(socket) => (&*socket).read(into),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.read(into),
        }
    }

    /// Writes what a layer between holds back; true when nothing is left.
    pub fn flush(&self) -> io::Result<bool> {
        match self {
            Self::Unix(_) | Self::Tcp(_) => Ok(true),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.flush(),
        }
    }

    /// Ends it for everybody who waits for it.
    pub fn shut(&self) {
        // What is shut already cannot be shut.
        let _ = match self {
            Self::Unix(socket) => socket.shutdown(Shutdown::Both),
            Self::Tcp(socket) => socket.shutdown(Shutdown::Both),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.shut(),
        };
    }

    /// Tells the other side that nothing more will come.
    pub fn shut_writing(&self) {
        let _ = match self {
            Self::Unix(socket) => socket.shutdown(Shutdown::Write),
            Self::Tcp(socket) => socket.shutdown(Shutdown::Write),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.shut_writing(),
        };
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(socket) => socket.as_fd(),
            Self::Tcp(socket) => socket.as_fd(),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.fd(),
        }
    }

    /// Waits until it can be read or written, if wanted; at most `time`. True where it can be read,
    /// or has come to its end.
    pub fn wait(&self, read: bool, write: bool, time: Option<Duration>) -> io::Result<bool> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, read);
        flags.set(PollFlags::OUT, write);
        let mut fds = [PollFd::from_borrowed_fd(self.fd(), flags)];
        poll_for(&mut fds, time)?;
        let got = fds[0].revents();
        let ended = got.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        Ok(read && (ended || got.contains(PollFlags::IN)))
    }

    /// Waits until the other side is gone (true), or until `bell` rings.
    pub fn watch(&self, bell: &UnixStream) -> io::Result<bool> {
        let mut fds = [
            PollFd::from_borrowed_fd(self.fd(), PollFlags::RDHUP),
            PollFd::new(bell, PollFlags::IN),
        ];
        poll_for(&mut fds, None)?;
        Ok(!fds[0].revents().is_empty())
    }
}

/// Sends without the signal that a program in C may not expect (SIGPIPE).
pub fn send_bytes(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    send_pieces(socket, &[IoSlice::new(bytes)])
}

fn send_pieces(socket: impl AsFd, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(sendmsg(socket, pieces, &mut SendAncillaryBuffer::default(), flags)?)
}

fn connect_tcp(address: &str) -> io::Result<TcpStream> {
    let mut last = None;
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, HANDSHAKE) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                socket.set_nonblocking(true)?;
                let (first, next) = KEEPALIVE;
                let keepalive = TcpKeepalive::new().with_time(first).with_interval(next);
                SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
                return Ok(socket);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("that name has no address")))
}

fn poll_for(fds: &mut [PollFd<'_>], time: Option<Duration>) -> io::Result<()> {
    let time = time.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    });
    match poll(fds, time.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until `bell` rings, at most `time`; takes the ringing.
pub fn rest(bell: &UnixStream, time: Duration) -> io::Result<()> {
    poll_for(&mut [PollFd::new(bell, PollFlags::IN)], Some(time))?;
    quiet(bell);
    Ok(())
}

/// Takes the ringing.
pub fn quiet(bell: &UnixStream) {
    let mut some = [0; 64];
    while matches!((&*bell).read(&mut some), Ok(n) if n == some.len()) {}
}
