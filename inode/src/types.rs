/// Identity of an inode as handles carry it: never reused (DESIGN §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Inode number; the root directory is 1.
    pub ino: u64,
    /// Epoch of creation.
    pub generation: u32,
}

/// Nanoseconds since 1970-01-01 UTC are `sec * 10⁹ + nsec`; `nsec` < 10⁹.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds, negative before 1970.
    pub sec: i64,
    /// Nanoseconds within the second.
    pub nsec: u32,
}

impl Timestamp {
    /// The next representable moment.
    #[must_use]
    pub fn next(self) -> Self {
        if self.nsec >= 999_999_999 {
            Self { sec: self.sec.saturating_add(1), nsec: 0 }
        } else {
            Self { nsec: self.nsec + 1, ..self }
        }
    }
}

impl From<std::time::Duration> for Timestamp {
    fn from(wall: std::time::Duration) -> Self {
        let sec = i64::try_from(wall.as_secs()).unwrap_or(i64::MAX);
        Self { sec, nsec: wall.subsec_nanos() }
    }
}

/// What an inode is. The numbers are those of the format (docs/format.md §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Regular file.
    File = 1,
    /// Directory.
    Directory = 2,
    /// Symbolic link.
    Symlink = 3,
    /// Block device.
    Block = 4,
    /// Character device.
    Char = 5,
    /// Named pipe.
    Fifo = 6,
    /// Unix socket.
    Socket = 7,
}

impl Kind {
    /// From the format's number.
    pub fn from_number(n: u8) -> Option<Self> {
        Some(match n {
            1 => Self::File,
            2 => Self::Directory,
            3 => Self::Symlink,
            4 => Self::Block,
            5 => Self::Char,
            6 => Self::Fifo,
            7 => Self::Socket,
            _ => return None,
        })
    }
}
