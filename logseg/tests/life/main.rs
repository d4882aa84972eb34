//! The life of a log: opened, written, synced, killed, opened again.

mod basic;
mod countdown;
mod crash;
mod destage;
mod failures;
mod far;
mod fenced;
mod full;
mod plain;
mod recovering;
mod world;
