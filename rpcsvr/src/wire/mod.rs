//! Frames on their way in, replies on their way out.

mod inbound;
mod out;

pub use inbound::Inbound;
pub use out::{OutQueue, Reply};
