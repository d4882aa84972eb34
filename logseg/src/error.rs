use swiftclient::StoreError;

use crate::SegmentId;

/// What went wrong with the log, sorted by remedy.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The store failed; its own words say whether to retry.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal's disk failed.
    #[error("{what}: {source}")]
    Journal {
        /// Operation and file.
        what: String,
        /// The disk's answer.
        source: std::io::Error,
    },
    /// Bytes that were durable are not what was written. Never believed, never skipped silently.
    #[error("{segment}: damaged at byte {offset}: {reason}")]
    Corrupt {
        /// Segment that holds the bad bytes.
        segment: SegmentId,
        /// Offset of the bad entry, bytes.
        offset: u64,
        /// What did not hold.
        reason: String,
    },
    /// Another writer owns the volume now (R2, R5). This one must acknowledge nothing more.
    #[error("fenced: {holder}")]
    Fenced {
        /// Who holds it, as that holder described itself.
        holder: String,
    },
    /// Neither journal nor store took the bytes (R10): the volume is read-only until restarted.
    #[error("the volume is read-only: {reason}")]
    ReadOnly {
        /// The first failure.
        reason: String,
    },
    /// No room, decided before anything was appended (R18).
    #[error("no space left")]
    Full,
    /// The volume cannot be opened so; the text names what, where, and the overruling option.
    #[error("{0}")]
    Refused(String),
}

impl LogError {
    /// The same error for one more waiter (a read that several share fails for all of them).
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Store(e) => Self::Store(e.clone()),
            Self::Journal { what, source } => Self::Journal {
                what: what.clone(),
                source: std::io::Error::new(source.kind(), source.to_string()),
            },
            Self::Corrupt { segment, offset, reason } => {
                Self::Corrupt { segment: *segment, offset: *offset, reason: reason.clone() }
            }
            Self::Fenced { holder } => Self::Fenced { holder: holder.clone() },
            Self::ReadOnly { reason } => Self::ReadOnly { reason: reason.clone() },
            Self::Full => Self::Full,
            Self::Refused(why) => Self::Refused(why.clone()),
        }
    }
}

/// A failed operation on a local file, in words.
pub(crate) fn journal_error(
    verb: &str,
    path: &std::path::Path,
    source: std::io::Error,
) -> LogError {
    LogError::Journal { what: format!("{verb} {}", path.display()), source }
}
