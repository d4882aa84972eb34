//! Where the server listens.

use std::{
    fmt,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    str::FromStr,
};

/// An address to listen on: `unix:PATH`, or `ADDRESS:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// TCP; port 0 chooses one.
    Tcp(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("unix: names no path".into());
            }
            return Ok(Self::Unix(path.into()));
        }
        let wrong = || format!("{text:?} is neither unix:PATH nor ADDRESS:PORT");
        text.parse().map(Self::Tcp).map_err(|_| wrong())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket; its file goes with it.
    Unix(UnixListener, SocketFile),
    /// TCP.
    Tcp(TcpListener),
}

/// The file of a bound Unix socket, removed when dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already: another server has taken the place, or somebody has tidied up.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listen {
    /// Binds it.
    pub fn bind(&self) -> io::Result<Listener> {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{self}: {e}"));
        match self {
            Self::Unix(path) => unix(path).map_err(named),
            Self::Tcp(address) => tcp(*address).map(Listener::Tcp).map_err(named),
        }
    }
}

impl Listener {
    /// The address bound.
    pub fn local(&self) -> io::Result<Listen> {
        Ok(match self {
            Self::Unix(_, file) => Listen::Unix(file.0.clone()),
            Self::Tcp(listener) => Listen::Tcp(listener.local_addr()?),
        })
    }
}

fn unix(path: &Path) -> io::Result<Listener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            clear_away(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    let file = SocketFile(path.to_owned());
    // Whoever may not speak is told so by the handshake; this keeps most of them from asking.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(Listener::Unix(listener, file))
}

/// Removes the socket of a server that was killed; errors where one lives, or where it is a file of
/// another kind.
fn clear_away(path: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another server listens there")),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) => Err(error),
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    // A restarted server must have its port at once.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses to listen on, not one.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}
