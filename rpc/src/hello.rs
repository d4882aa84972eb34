//! The handshake: HELLO and, over TCP, AUTH. Neither carries an identity.
//!
//! ```text
//!   client                                   server
//!     HELLO {magic, versions, session, …}  ►
//!                                          ◄ WELCOME                    over a Unix socket
//!                                          ◄ CHALLENGE {nonce, proof}   over TCP
//!     AUTH {proof}                         ►
//!                                          ◄ WELCOME
//! ```
//!
//! Both sides prove that they know the secret, each over both nonces and a word of its own, so that
//! no proof can be turned around; the secret itself never travels. Without TLS this keeps strangers
//! out, not listeners or tamperers: that is what TLS is for.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::{
    types::{FileId, Label},
    wire::{Malformed, Reader, Wire, layout},
};

/// Operation of [`Hello`]; request id 1.
pub const HELLO: u16 = 1;
/// Operation of [`Auth`]; request id 2.
pub const AUTH: u16 = 2;
/// `eskerRPC`.
pub const MAGIC: [u8; 8] = *b"eskerRPC";
/// The version that this page describes.
pub const VERSION: u16 = 1;

layout! {
    /// First frame of a connection.
    pub struct Hello {
        /// [`MAGIC`].
        pub magic: [u8; 8],
        /// Oldest version that the client speaks.
        pub oldest: u16,
        /// Newest version that the client speaks.
        pub newest: u16,
        /// 0.
        pub flags: u32,
        /// Random, chosen once for each session: who knows it may join it.
        pub session: [u8; 16],
        /// Random, fresh for each connection.
        pub nonce: [u8; 32],
        /// Name or uuid of the volume; empty: the one there is.
        pub volume: Label,
        /// What the client calls itself, for the log.
        pub client: Label,
    }
    /// Of HELLO, where a secret is asked for (status 0, body begins with 1).
    pub struct Challenge {
        /// Random, fresh for each connection.
        pub nonce: [u8; 32],
        /// [`proof`] of the server.
        pub proof: [u8; 32],
    }
    /// The client's proof.
    pub struct Auth {
        /// [`proof`] of the client.
        pub proof: [u8; 32],
    }
    /// The session stands (body begins with 0).
    pub struct Welcome {
        /// The version spoken from here on.
        pub version: u16,
        /// True: the server knows the session, with its handles, locks and replies. False: it is
        /// new, or the server is (see `boot`), or the grace time was over: handles and locks are
        /// gone, and may be claimed again.
        pub resumed: bool,
        /// Random for each start of the server: where it is another, changes that were not durable
        /// may be lost.
        pub boot: u64,
        /// How long a session without a connection is kept, milliseconds.
        pub grace_ms: u32,
        /// Most requests of one connection in flight.
        pub requests: u32,
        /// Most bytes of requests and replies of one connection in flight.
        pub bytes: u32,
        /// Most bytes of one payload.
        pub payload: u32,
        /// A request that is carried out once must have an id less than mark + this.
        pub window: u32,
        /// Most handles of a session.
        pub handles: u32,
        /// Identity of the volume.
        pub volume: [u8; 16],
        /// Its root directory.
        pub root: FileId,
        /// What the server calls itself.
        pub server: Label,
    }
}

/// Answer to HELLO, or to AUTH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `0`, then it.
    Welcome(Welcome),
    /// `1`, then it.
    Challenge(Challenge),
}

impl Wire for Answer {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Welcome(welcome) => {
                out.push(0);
                welcome.put(out);
            }
            Self::Challenge(challenge) => {
                out.push(1);
                challenge.put(out);
            }
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::take(from)? {
            0 => Self::Welcome(Welcome::take(from)?),
            1 => Self::Challenge(Challenge::take(from)?),
            _ => return Err(Malformed("an answer of no kind")),
        })
    }
}

/// Whose proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `esker rpc 1 client`
    Client,
    /// `esker rpc 1 server`
    Server,
}

/// HMAC-SHA-256 (RFC 2104) under the secret over: the side's words, the client's nonce, the server's
/// nonce, the session.
pub fn proof(side: Side, secret: &[u8], hello: &Hello, server_nonce: &[u8; 32]) -> [u8; 32] {
    let words: &[u8] = match side {
        Side::Client => b"esker rpc 1 client",
        Side::Server => b"esker rpc 1 server",
    };
    hmac(secret, &[words, &hello.nonce, server_nonce, &hello.session])
}

/// True when both are the same, in a time that does not tell where they differ.
pub fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let differ = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differ) == 0
}

fn hmac(key: &[u8], pieces: &[&[u8]]) -> [u8; 32] {
    // A key of any length is one (RFC 2104 §3): there is no other error.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    pieces.iter().for_each(|piece| mac.update(piece));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        // RFC 4231 §4.2, §4.3, §4.7 (a key longer than a block).
        let one = hmac(&[0x0b; 20], &[b"Hi There"]);
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(one.to_vec(), hex(expected));
        let two = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(two.to_vec(), hex(expected));
        let key = [0xaa; 131];
        let six = hmac(&key, &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
        let expected = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        assert_eq!(six.to_vec(), hex(expected));
    }

    #[test]
    fn a_proof_cannot_be_turned_around() {
        let hello = Hello {
            magic: MAGIC,
            oldest: 1,
            newest: 1,
            flags: 0,
            session: [1; 16],
            nonce: [2; 32],
            volume: "".into(),
            client: "".into(),
        };
        let of = |side| proof(side, b"a secret of some length", &hello, &[3; 32]);
        assert!(!same(&of(Side::Client), &of(Side::Server)));
        assert!(same(&of(Side::Client), &of(Side::Client)));
        let other = Hello { session: [9; 16], ..hello.clone() };
        let theirs = proof(Side::Client, b"a secret of some length", &other, &[3; 32]);
        assert!(!same(&of(Side::Client), &theirs));
    }
}
