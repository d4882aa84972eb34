use std::time::Duration;

/// What the store said, sorted by what the caller must do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The object is *definitely absent*: the store itself said so (R3).
    #[error("{name}: not found")]
    NotFound {
        /// Object asked for.
        name: String,
    },
    /// A create-only put found an object of that name. Nothing was changed.
    #[error("{name}: exists already")]
    Exists {
        /// Object that was to be created.
        name: String,
    },
    /// The request may or may not have taken effect: read back before going on (R4).
    #[error("{what}: outcome unknown: {reason}")]
    Unknown {
        /// Operation and object.
        what: String,
        /// What was seen.
        reason: String,
    },
    /// Nothing happened; try again later, after `retry_after` where the store named it.
    #[error("{what}: unavailable: {reason}")]
    Unavailable {
        /// Operation and object.
        what: String,
        /// What was seen.
        reason: String,
        /// The store's own wish.
        retry_after: Option<Duration>,
    },
    /// No room (ENOSPC, EDQUOT, 507, QuotaExceeded). Nothing was stored.
    #[error("{what}: the store is full: {reason}")]
    Full {
        /// Operation and object.
        what: String,
        /// What was seen.
        reason: String,
    },
    /// Credentials or permissions: an operator must act; retrying does not help.
    #[error("{what}: refused: {reason}")]
    Denied {
        /// Operation and object.
        what: String,
        /// What was seen.
        reason: String,
    },
    /// The store answered with bytes that are not what it was given.
    #[error("{what}: damaged: {reason}")]
    Corrupt {
        /// Operation and object.
        what: String,
        /// What was seen.
        reason: String,
    },
    /// The request itself is wrong (name, range, size): a bug or a foreign store.
    #[error("{what}: invalid: {reason}")]
    Invalid {
        /// Operation and object.
        what: String,
        /// Why.
        reason: String,
    },
}

/// The kinds of [`StoreError`], for counting and for faults made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// [`StoreError::NotFound`]
    NotFound,
    /// [`StoreError::Exists`]
    Exists,
    /// [`StoreError::Unknown`]
    Unknown,
    /// [`StoreError::Unavailable`]
    Unavailable,
    /// [`StoreError::Full`]
    Full,
    /// [`StoreError::Denied`]
    Denied,
    /// [`StoreError::Corrupt`]
    Corrupt,
    /// [`StoreError::Invalid`]
    Invalid,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::NotFound,
        Self::Exists,
        Self::Unknown,
        Self::Unavailable,
        Self::Full,
        Self::Denied,
        Self::Corrupt,
        Self::Invalid,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Unknown => "unknown",
            Self::Unavailable => "unavailable",
            Self::Full => "full",
            Self::Denied => "denied",
            Self::Corrupt => "corrupt",
            Self::Invalid => "invalid",
        }
    }

    /// An error of this kind about `name`.
    pub fn error(self, verb: &str, name: &str, reason: &str) -> StoreError {
        let (what, reason) = (format!("{verb} {name}"), reason.to_owned());
        match self {
            Self::NotFound => StoreError::NotFound { name: name.to_owned() },
            Self::Exists => StoreError::Exists { name: name.to_owned() },
            Self::Unknown => StoreError::Unknown { what, reason },
            Self::Unavailable => StoreError::Unavailable { what, reason, retry_after: None },
            Self::Full => StoreError::Full { what, reason },
            Self::Denied => StoreError::Denied { what, reason },
            Self::Corrupt => StoreError::Corrupt { what, reason },
            Self::Invalid => StoreError::Invalid { what, reason },
        }
    }
}

impl StoreError {
    /// Which kind it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Exists { .. } => ErrorKind::Exists,
            Self::Unknown { .. } => ErrorKind::Unknown,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Full { .. } => ErrorKind::Full,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Invalid { .. } => ErrorKind::Invalid,
        }
    }

    /// True only when the store definitely said that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// True when trying the same request again can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Unknown { .. })
    }
}
