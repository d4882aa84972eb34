//! Where a server is.

use std::{fmt, path::PathBuf, str::FromStr};

/// `unix:PATH`, a path with a `/` in it, or `HOST:PORT` (also `tcp:HOST:PORT`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP.
    Tcp(String),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let (rest, told) = match text.strip_prefix("tcp:") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if !told && text.contains('/') {
            return Ok(Self::Unix(text.into()));
        }
        match rest.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(rest.into()))
            }
            _ => Err(format!("{text:?} is neither unix:PATH nor HOST:PORT")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_meant() {
        let of = |text: &str| text.parse::<Address>();
        assert_eq!(of("/run/e.sock"), Ok(Address::Unix("/run/e.sock".into())));
        assert_eq!(of("unix:e.sock"), Ok(Address::Unix("e.sock".into())));
        assert_eq!(of("tcp:[::1]:2051"), Ok(Address::Tcp("[::1]:2051".into())));
        assert_eq!(of("host:2051").unwrap().to_string(), "host:2051");
        for bad in ["", "host", ":1", "host:", "host:99999"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
