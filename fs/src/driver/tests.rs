use headhunter::{LogError, SegmentId};
use inode::{Fault, StoreError};

use super::{Stop, failed};
use crate::FsError;

/// Every word of the log has its word of POSIX; what can pass by itself is never final, and what
/// is final is never "later".
#[test]
fn words_of_the_log() {
    let what = || "put seg/1".to_string();
    let reason = || "said so".to_string();
    let unavailable = StoreError::Unavailable { what: what(), reason: reason(), retry_after: None };
    let cases = [
        (LogError::Full, FsError::NoSpc),
        (StoreError::Full { what: what(), reason: reason() }.into(), FsError::NoSpc),
        (LogError::ReadOnly { reason: reason() }, FsError::RoFs),
        (LogError::Fenced { holder: "another".into() }, FsError::Fenced),
        (unavailable.into(), FsError::TryLater),
        (StoreError::Unknown { what: what(), reason: reason() }.into(), FsError::TryLater),
        (StoreError::NotFound { name: what() }.into(), FsError::Io),
        (StoreError::Exists { name: what() }.into(), FsError::Io),
        (StoreError::Denied { what: what(), reason: reason() }.into(), FsError::Io),
        (StoreError::Corrupt { what: what(), reason: reason() }.into(), FsError::Io),
        (StoreError::Invalid { what: what(), reason: reason() }.into(), FsError::Io),
        (
            LogError::Journal { what: what(), source: std::io::Error::from_raw_os_error(5) },
            FsError::Io,
        ),
        (
            LogError::Corrupt { segment: SegmentId::chain(1, 2), offset: 3, reason: reason() },
            FsError::Io,
        ),
        (LogError::Refused(reason()), FsError::Io),
    ];
    for (error, code) in cases {
        assert_eq!(failed(&error), code, "{error}");
    }
}

/// Damage is an I/O error, a full hash is no room, a file with too many marks waits for a slice.
#[test]
fn words_of_files() {
    let code = |fault| match Stop::from(fault) {
        Stop::Refused(failure) => Some(failure.error),
        Stop::Miss(_) | Stop::Slice(_) => None,
    };
    assert_eq!(code(Fault::Damaged("key".into())), Some(FsError::Io));
    assert_eq!(code(Fault::NoRoom), Some(FsError::NoSpc));
    assert!(matches!(Stop::from(Fault::Slice(7)), Stop::Slice(7)));
}
