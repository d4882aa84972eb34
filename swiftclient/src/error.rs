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

impl StoreError {
    /// True only when the store definitely said that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// True when trying the same request again can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Unknown { .. })
    }
}
