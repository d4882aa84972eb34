//! The only doors to the clock, the dice and threads: the rest of the crate has none of them.

use std::{io, thread, time::Instant};

/// Now, for deadlines.
#[allow(clippy::disallowed_methods)] // The crate stands below the house and its seams.
pub fn now() -> Instant {
    Instant::now()
}

/// The thread of one client: it connects, and watches the connection (`blocking`).
pub fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(run).map(drop)
}

/// Bytes that nobody can guess.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut bytes[filled..], flags)?;
    }
    Ok(bytes)
}
