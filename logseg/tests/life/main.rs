//! The life of a log: opened, written, synced, killed, opened again.

mod basic;
mod crash;
mod world;
