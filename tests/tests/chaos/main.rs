//! A real server on a store that is lied about: for each kind of harm that the proxy can do, a
//! client writes, syncs, reads and removes meanwhile and knows what was acknowledged. Afterwards
//! nothing acknowledged is lost and nothing wrong was served, on this server, on one that was killed
//! and started again, and on one that has nothing but the store; the invariants hold (`esker check`).
//!
//! The store is the small one of `esker_tests::chaos` unless `ESKER_CHAOS_STORE` names another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod counts;
mod full;
mod place;
mod reads;
mod role;
mod starts;
mod work;
mod writes;
