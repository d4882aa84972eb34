use std::{borrow::Borrow, fmt};

/// The name of one object: 1–255 bytes of `[A-Za-z0-9._-]`, in parts divided by `/`; no part empty,
/// `.` or `..`. So it is a legal S3 key, Swift object name and relative path alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName(String);

impl ObjectName {
    /// Checks `name`; `None` where a rule above is broken.
    pub fn new(name: impl Into<String>) -> Option<Self> {
        let name = name.into();
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let ok = name.len() <= 255
            && name.split('/').all(|part| {
                !part.is_empty() && part != "." && part != ".." && part.bytes().all(legal)
            });
        ok.then_some(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for ObjectName {
    fn borrow(&self) -> &str {
        &self.0
    }
}
