//! TLS between the frames and a TCP socket.

use std::{
    io::{self, IoSlice, Read, Write},
    net::{Shutdown, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use parking_lot::Mutex;
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};

use super::link::send_bytes;

/// Whom to believe, and the name that the server's certificate must have.
#[derive(Clone, Debug)]
pub struct TlsSetup {
    /// Roots and versions.
    pub config: Arc<ClientConfig>,
    /// Name in the certificate.
    pub name: ServerName<'static>,
}

/// A socket with TLS over it.
#[derive(Debug)]
pub struct Tls {
    socket: TcpStream,
    state: Mutex<ClientConnection>,
}

/// Without SIGPIPE, and never waiting.
struct Quiet<'a>(&'a TcpStream);

impl Write for Quiet<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        send_bytes(self.0, bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tls {
    /// Over `socket`; hands are shaken by the first reads and writes.
    pub fn begin(setup: &TlsSetup, socket: TcpStream) -> io::Result<Self> {
        let state = ClientConnection::new(setup.config.clone(), setup.name.clone())
            .map_err(io::Error::other)?;
        Ok(Self { socket, state: Mutex::new(state) })
    }

    fn drain(&self, state: &mut ClientConnection) -> io::Result<bool> {
        while state.wants_write() {
            match state.write_tls(&mut Quiet(&self.socket)) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Encrypts as much as there is room for.
    pub fn write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.state.lock();
        if !self.drain(&mut state)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = state.writer().write_vectored(pieces)?;
        self.drain(&mut state)?;
        Ok(written)
    }

    /// Writes what is encrypted; true when nothing is left.
    pub fn flush(&self) -> io::Result<bool> {
        self.drain(&mut self.state.lock())
    }

    /// Decrypts what has come.
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        loop {
            match state.reader().read(into) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            let came = state.read_tls(&mut &self.socket)?;
            state.process_new_packets().map_err(io::Error::other)?;
            // The handshake answers by itself.
            self.drain(&mut state)?;
            if came == 0 {
                return Ok(0);
            }
        }
    }

    /// Ends it in both directions.
    pub fn shut(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Both)
    }

    /// Nothing more will be written.
    pub fn shut_writing(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    /// To wait for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
