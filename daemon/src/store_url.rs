//! Where a volume is.

use std::{fmt, path::PathBuf, str::FromStr};

/// A store as the operator names it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum StoreUrl {
    /// `PATH` or `dir:PATH`.
    Directory(PathBuf),
    /// `mem:`.
    Memory,
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a store is PATH, dir:PATH or mem:".into());
        }
        if text == "mem:" {
            return Ok(Self::Memory);
        }
        if let Some(path) = text.strip_prefix("dir:") {
            return match path {
                "" => Err("dir: needs a path".into()),
                path => Ok(Self::Directory(path.into())),
            };
        }
        match text.split_once(':') {
            // A path may hold a colon behind its first slash; before it, it names a kind of store.
            Some((kind, _)) if !kind.contains('/') => {
                Err(format!("{kind}: is no kind of store known here: PATH, dir:PATH or mem:"))
            }
            _ => Ok(Self::Directory(text.into())),
        }
    }
}

impl TryFrom<String> for StoreUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
            Self::Memory => f.write_str("mem:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StoreUrl;

    #[test]
    fn stores_are_named_as_documented() {
        let dir = |p: &str| Ok(StoreUrl::Directory(p.into()));
        assert_eq!("/a/b".parse(), dir("/a/b"));
        assert_eq!("v".parse(), dir("v"));
        assert_eq!("dir:v:1".parse(), dir("v:1"));
        assert_eq!("./v:1".parse(), dir("./v:1"));
        assert_eq!("mem:".parse(), Ok(StoreUrl::Memory));
        for bad in ["", "dir:", "s4://x/y", "mem:x"] {
            assert!(bad.parse::<StoreUrl>().is_err(), "{bad}");
        }
    }
}
