//! Where a volume is. A name never holds a secret: what looks like one is refused, and no message
//! repeats a name that might hold one.

use std::{fmt, path::PathBuf, str::FromStr};

/// Longest name of a bucket or container, bytes (Swift's limit is 256, S3's 63).
const CONTAINER_BYTES: usize = 255;
/// Longest prefix, bytes: with the longest name of an object behind it, within S3's 1,024.
const PREFIX_BYTES: usize = 512;

const KINDS: &str = "PATH, dir:PATH, s3://BUCKET[/PREFIX], swift://CONTAINER[/PREFIX] or mem:";

/// A store as the operator names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `PATH` or `dir:PATH`.
    Directory(PathBuf),
    /// `mem:`.
    Memory,
    /// `s3://BUCKET[/PREFIX]`; endpoint, region and credentials come from the environment.
    S3 { bucket: String, prefix: String },
    /// `swift://CONTAINER[/PREFIX]`; account and credentials come from the environment.
    Swift { container: String, prefix: String },
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(format!("a store is {KINDS}"));
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
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = container(rest, "s3://BUCKET[/PREFIX]", S3_ENVIRONMENT)?;
            return Ok(Self::S3 { bucket, prefix });
        }
        if let Some(rest) = text.strip_prefix("swift://") {
            let form = "swift://CONTAINER[/PREFIX]";
            let (container, prefix) = container(rest, form, SWIFT_ENVIRONMENT)?;
            return Ok(Self::Swift { container, prefix });
        }
        match text.split_once(':') {
            // A path may hold a colon behind its first slash; before it, it names a kind of store.
            Some((kind, _)) if !kind.contains('/') => {
                Err(format!("{kind}: is no kind of store known here; a store is {KINDS}"))
            }
            _ => Ok(Self::Directory(text.into())),
        }
    }
}

const S3_ENVIRONMENT: &str = "credentials, endpoint and region of an S3 store come from the \
    environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_ENDPOINT_URL; \
    AWS_REGION)";
const SWIFT_ENVIRONMENT: &str = "credentials and address of a Swift store come from the \
    environment (ST_AUTH, ST_USER and ST_KEY, or the OS_* variables of Keystone)";

/// Bucket or container, and prefix without slashes at its ends.
fn container(rest: &str, form: &str, environment: &str) -> Result<(String, String), String> {
    // First of all, and without a word of what stands there: it may be a password.
    if rest.contains('@') {
        return Err(format!(
            "a store's name must not hold a user or password, process lists would show it: say \
             {form}; {environment}"
        ));
    }
    if rest.contains(['?', '#']) {
        return Err(format!("a store's name takes no options: say {form}; {environment}"));
    }
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if name.contains(':') {
        return Err(format!("no host or port stands in a store's name: say {form}; {environment}"));
    }
    if !is_part(name) || name.len() > CONTAINER_BYTES {
        return Err(format!("{name:?} is no name for the place of a volume: say {form}"));
    }
    let prefix = prefix.trim_matches('/');
    let legal = prefix.is_empty() || prefix.split('/').all(is_part);
    if !legal || prefix.len() > PREFIX_BYTES {
        return Err(format!(
            "{prefix:?} is no prefix: parts of A-Z a-z 0-9 . _ - divided by single slashes, at \
             most {PREFIX_BYTES} bytes"
        ));
    }
    Ok((name.to_owned(), prefix.to_owned()))
}

/// What may stand between two slashes: as in the names of objects (docs/format.md §1).
fn is_part(part: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !matches!(part, "" | "." | "..") && part.chars().all(legal)
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = |f: &mut fmt::Formatter<'_>, kind, name: &str, prefix: &str| {
            let slash = if prefix.is_empty() { "" } else { "/" };
            write!(f, "{kind}://{name}{slash}{prefix}")
        };
        match self {
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
            Self::Memory => f.write_str("mem:"),
            Self::S3 { bucket, prefix } => network(f, "s3", bucket, prefix),
            Self::Swift { container, prefix } => network(f, "swift", container, prefix),
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
        let s3 = |bucket: &str, prefix: &str| {
            Ok(StoreUrl::S3 { bucket: bucket.into(), prefix: prefix.into() })
        };
        assert_eq!("s3://b".parse(), s3("b", ""));
        assert_eq!("s3://my.bucket-1/".parse(), s3("my.bucket-1", ""));
        assert_eq!("s3://b/volumes/home/".parse(), s3("b", "volumes/home"));
        let swift = StoreUrl::Swift { container: "c_1".into(), prefix: "p".into() };
        assert_eq!("swift://c_1/p".parse(), Ok(swift));
        for bad in [
            "",
            "dir:",
            "s4://x/y",
            "mem:x",
            "s3:b",
            "s3://",
            "s3:///x",
            "s3://b/x//y",
            "s3://b/..",
            "s3://b/%41",
            "s3://b c",
            "swift://",
            "swift://c/a/./b",
            "s3://host:9000/b",
            "s3://b?x",
        ] {
            assert!(bad.parse::<StoreUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_written_as_it_is_read() {
        for url in ["dir:/a", "mem:", "s3://b", "s3://b/p/q", "swift://c", "swift://c/p"] {
            let parsed: StoreUrl = url.parse().unwrap();
            assert_eq!(parsed.to_string(), url);
        }
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for (url, variable) in [
            ("s3://AKIA:hunter2@bucket/p", "AWS_SECRET_ACCESS_KEY"),
            ("s3://bucket/p@hunter2", "AWS_SECRET_ACCESS_KEY"),
            ("swift://user:hunter2@c", "ST_KEY"),
        ] {
            let said = url.parse::<StoreUrl>().unwrap_err();
            assert!(said.contains(variable) && !said.contains("hunter2"), "{said}");
        }
        let said = "s3://b?secret=hunter2".parse::<StoreUrl>().unwrap_err();
        assert!(said.contains("AWS_ENDPOINT_URL") && !said.contains("hunter2"), "{said}");
    }
}
