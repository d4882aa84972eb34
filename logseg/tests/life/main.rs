//! The life of a log: opened, written, synced, killed, opened again.

mod basic;
mod countdown;
mod crash;
mod failures;
mod plain;
mod recovering;
mod world;
