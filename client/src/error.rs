//! What can go wrong, in the caller's terms.

use rpc::{Malformed, Refusal, errno};

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server refused it; nothing was changed.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The server will not have this client: another secret, version, or volume.
    #[error("the server refuses this client: {0}")]
    Denied(Refusal),
    /// The server was away for longer than the patience. Whether the call was carried out is not
    /// known.
    #[error("no server: {0}")]
    Away(String),
    /// Changes that had been answered were lost with the server, and could not be made again. Told
    /// once, by the next sync.
    #[error("changes were lost with the server: {0}")]
    Lost(String),
    /// What came is not what the operation answers.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// What was asked for is beyond a limit of the protocol.
    #[error("beyond a limit: {0}")]
    TooLarge(&'static str),
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
    /// The process was forked: the connection belongs to its parent.
    #[error("this connection belongs to the process that made it")]
    Forked,
}

impl Error {
    /// Of a connection.
    pub(crate) fn from_io(error: impl std::fmt::Display) -> Self {
        Self::Away(error.to_string())
    }

    /// As Linux numbers it; never 0.
    pub fn errno(&self) -> u16 {
        match self {
            Self::Refused(refusal) => match refusal.errno {
                0 => errno::EIO,
                errno => errno,
            },
            Self::Denied(_) => errno::EACCES,
            Self::Away(_) | Self::Lost(_) => errno::EIO,
            Self::Malformed(_) => errno::EPROTO,
            Self::TooLarge(_) => errno::EINVAL,
            Self::Closed | Self::Forked => errno::ESHUTDOWN,
        }
    }
}
