//! The ordered copy-on-write tree.
//!
//! A root is an `Arc<PageRef>`; whoever holds one holds an immutable tree. A change takes the live
//! root by `&mut`: what nobody else holds, all the way from the root, is changed in place, anything
//! shared is copied first. So a view costs two counters, and an unobserved change costs no copy.

pub(crate) mod budget;
mod cells;
mod edit;
pub(crate) mod evict;
pub(crate) mod page;
mod read;
#[cfg(test)]
mod tests;

pub(crate) use edit::{Edit, Ledger, delete, put};
pub use page::{Item, Miss};
pub(crate) use page::{PageRef, Place};
pub(crate) use read::{get, last, range, resident};

use crate::limits;

/// Sizes of pages, bytes encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Largest leaf; at least four times the largest item.
    pub leaf: usize,
    /// Largest inner page.
    pub inner: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self { leaf: limits::LEAF_BYTES, inner: limits::INNER_BYTES }
    }
}
