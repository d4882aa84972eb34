//! Objects by name, and what the store truthfully said about them.
//!
//! The lowest storey. It puts, gets, lists and deletes whole objects, in a directory, in memory or
//! on Swift (S3 comes later), and it holds the *seams*: the only doors through which this workspace
//! reaches a disk, a clock, dice or a thread.
//!
//! It must never know: segments, records, inodes, protocols.
//!
//! Invariants
//! 1. `put_new` never replaces an object.
//! 2. Only [`StoreError::NotFound`] means *definitely absent* (R3). Everything else means "don't know".
//! 3. After [`StoreError::Unknown`] the caller must read back before it believes either outcome.

pub mod conformance;
pub mod directory;
pub mod disk;
mod error;
pub mod faulty;
mod forward;
pub mod http;
pub mod limits;
mod local;
pub mod memory;
pub mod metered;
mod name;
pub mod probe;
pub mod racy;
pub mod retrying;
pub mod s3;
pub mod seam;
mod store;
pub mod swift;
mod verb;

pub use directory::Directory;
pub use error::{ErrorKind, StoreError};
pub use faulty::Faulty;
pub use memory::Memory;
pub use metered::Metered;
pub use name::ObjectName;
pub use probe::Classed;
pub use retrying::Retrying;
pub use s3::{S3, S3Config};
pub use store::{Capacity, ObjectInfo, ObjectStore, ObjectWriter, StoreClass, StoreFuture};
pub use swift::Swift;
pub use verb::Verb;
