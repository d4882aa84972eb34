//! Limits of the client, with their units.

use std::time::Duration;

/// Most bytes of changes that were answered and are not yet durable; half of it makes the client
/// ask for a sync by itself.
pub const KEPT_BYTES: usize = 32 << 20;
/// Most such changes.
pub const KEPT_REQUESTS: usize = 2048;
/// What a small reply is taken to hold, bytes, when requests in flight are counted.
pub const REPLY_BYTES: usize = 256;
/// First and last pause between two tries to connect.
pub const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// A connection, a handshake, the end of a session: each must be done by then.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// A server that is away for longer than this is given up, unless the caller says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Room of a receive, bytes.
pub const READ_BYTES: usize = 64 << 10;
/// Pieces of one vectored write.
pub const WRITE_PIECES: usize = 64;
/// A silent server over TCP is asked whether it still exists after the first time, then at each
/// second one.
pub const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// Before the server has said what it takes: requests in flight.
pub const FIRST_REQUESTS: usize = 64;
/// Before the server has said what it takes: bytes in flight.
pub const FIRST_BYTES: usize = 4 << 20;
