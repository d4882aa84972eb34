//! The index over the real log: opened, killed, crashed, opened again.

mod crash;
mod opening;
mod world;
