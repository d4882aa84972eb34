//! The handshake: who is there, and which session.

use std::{fmt, net::SocketAddr, sync::Arc};

use rpc::{
    Frame, Label, Refusal, Wire,
    errno::{EACCES, EKEYREJECTED, ENOENT, EPERM, EPROTO},
    hello::{
        AUTH, Answer, Auth, Challenge, HELLO, Hello, MAGIC, Side, VERSION, Welcome, proof, same,
    },
    limits::PAYLOAD_BYTES,
};

use crate::{
    service::Service,
    session::{Owner, Session},
};

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A process on this machine, by the kernel's word (SO_PEERCRED).
    Unix {
        /// Its effective uid when it connected.
        uid: u32,
        /// Its number.
        pid: i32,
    },
    /// Over TCP.
    Tcp(SocketAddr),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { uid, pid } => write!(f, "uid {uid}, pid {pid}"),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// How far a connection has come.
pub enum Door {
    /// Nothing said yet.
    Shut,
    /// Waits for the proof that answers this challenge.
    Asked(Box<Hello>, [u8; 32]),
}

/// What a frame of the handshake came to.
pub enum Step {
    /// Answer so, and wait.
    Ask(Answer),
    /// Answer so; the session stands.
    Enter(Answer, Arc<Session>),
}

impl Door {
    /// The next frame of the handshake. A refusal is answered, then the connection ends.
    pub fn knock(
        &mut self,
        service: &Service,
        origin: Origin,
        frame: &Frame,
    ) -> Result<Step, Refusal> {
        match (&*self, frame.header.op) {
            (Self::Shut, HELLO) => {
                let hello = Hello::whole(&frame.body).map_err(|e| protocol(&e.to_string()))?;
                self.greet(service, origin, hello)
            }
            (Self::Asked(hello, nonce), AUTH) => {
                let auth = Auth::whole(&frame.body).map_err(|e| protocol(&e.to_string()))?;
                let secret = service.secret.as_deref().unwrap_or_default();
                let expected = proof(Side::Client, secret, hello, nonce);
                if secret.is_empty() || !same(&auth.proof, &expected) {
                    return Err(Refusal::new(EKEYREJECTED, "the secret is another"));
                }
                enter(service, hello, Owner::Secret)
            }
            _ => Err(protocol("the first frame must be HELLO, and AUTH where it is asked for")),
        }
    }

    fn greet(&mut self, service: &Service, origin: Origin, hello: Hello) -> Result<Step, Refusal> {
        if hello.magic != MAGIC {
            return Err(protocol("this is not the protocol"));
        }
        if hello.oldest > VERSION || hello.newest < VERSION {
            return Err(protocol("this server speaks version 1 only"));
        }
        if hello.flags != 0 {
            return Err(protocol("unknown flags"));
        }
        match origin {
            Origin::Unix { uid, .. } => {
                let own = rustix::process::geteuid().as_raw();
                if uid != 0 && uid != own {
                    let text = "only root and the server's own user may speak here";
                    return Err(Refusal::new(EPERM, text));
                }
                enter(service, &hello, Owner::Uid(uid))
            }
            Origin::Tcp(_) => {
                let Some(secret) = &service.secret else {
                    return Err(Refusal::new(EACCES, "no secret is set"));
                };
                let mut nonce = [0; 32];
                service.env.dice.fill(&mut nonce);
                let proof = proof(Side::Server, secret, &hello, &nonce);
                *self = Self::Asked(Box::new(hello), nonce);
                Ok(Step::Ask(Answer::Challenge(Challenge { nonce, proof })))
            }
        }
    }
}

fn protocol(text: &str) -> Refusal {
    Refusal::new(EPROTO, text)
}

fn enter(service: &Service, hello: &Hello, owner: Owner) -> Result<Step, Refusal> {
    let wanted = &*hello.volume;
    if !wanted.is_empty() && wanted != uuid_text(&service.uuid).as_bytes() {
        let wanted = String::from_utf8_lossy(wanted);
        return Err(Refusal::new(ENOENT, format!("no volume {wanted} here")));
    }
    let label = String::from_utf8_lossy(&hello.client);
    let (session, resumed) = service.sessions.join(hello.session, owner, &label)?;
    let limits = &service.limits;
    let most = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let root = service.volume.root();
    let welcome = Welcome {
        version: VERSION,
        resumed,
        boot: service.boot,
        grace_ms: u32::try_from(limits.grace.as_millis()).unwrap_or(u32::MAX),
        requests: most(limits.requests),
        bytes: most(limits.connection_bytes),
        payload: most(PAYLOAD_BYTES),
        window: limits.window,
        handles: most(limits.handles),
        volume: service.uuid,
        root: rpc::FileId { ino: root.ino, generation: root.generation },
        server: Label::from(concat!("esker ", env!("CARGO_PKG_VERSION"))),
    };
    Ok(Step::Enter(Answer::Welcome(welcome), session))
}

/// As RFC 9562 writes it.
fn uuid_text(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in uuid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
