//! The index over the real log: opened, killed, crashed, opened again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]
#![allow(clippy::cast_possible_wrap)]

mod crash;
mod full;
mod leaning;
mod little_room;
mod opening;
mod storm;
mod sweep;
mod world;
