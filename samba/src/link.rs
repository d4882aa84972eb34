//! The way to the server: the client library, with errors as smbd wants them.

use std::time::Duration;

use bytes::Bytes;
use client::{
    Address, Error,
    blocking::{Client, Options, Waiting},
};
use rpc::{FileId, Identity, calls::Call, hello::Welcome};

use crate::share::Errno;

/// A session with a server; it is brought back by itself when a connection is lost.
pub struct Link {
    client: Client,
    welcome: Welcome,
}

fn errno(error: &Error) -> Errno {
    i32::from(error.errno())
}

/// A request that was sent.
pub struct Sent<C>(Waiting<C>);

impl<C: Call> Sent<C> {
    /// Its answer.
    pub fn wait(self) -> Result<(C::Reply, Bytes), Errno> {
        self.0.wait().map_err(|error| errno(&error))
    }
}

impl Link {
    /// Connects to `server`; why not, in words. It waits for one that is away for at most
    /// `patience`, and so does each call later.
    pub fn connect(
        server: &str,
        secret: Option<&str>,
        patience: Duration,
    ) -> Result<Self, (Errno, String)> {
        let address: Address = server.parse().map_err(|text| (libc::EINVAL, text))?;
        let mut options = Options::new(address);
        options.patience = patience;
        options.setup.client = format!("smbd, process {}", std::process::id());
        if let Some(file) = secret {
            let read = std::fs::read(file);
            let secret = read.map_err(|error| (libc::EACCES, format!("{file}: {error}")))?;
            options.setup.secret = Some(secret.strip_suffix(b"\n").unwrap_or(&secret).to_vec());
        }
        let told = |error: Error| (errno(&error), error.to_string());
        let client = Client::connect(options).map_err(told)?;
        let welcome = client.welcome().ok_or((libc::EPROTO, "no welcome".into()))?;
        Ok(Self { client, welcome })
    }

    /// The same in every process: names the volume.
    pub fn device(&self) -> u64 {
        let (low, high) = self.welcome.volume.split_at(8);
        let half = |bytes: &[u8]| {
            bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        half(low) ^ half(high)
    }

    /// Root directory of the volume.
    pub fn volume_root(&self) -> FileId {
        self.welcome.root
    }

    /// Most bytes of one request's or reply's payload.
    pub fn payload(&self) -> usize {
        self.welcome.payload as usize
    }

    /// A number for a handle that none of this session has.
    pub fn new_handle(&self) -> u32 {
        self.client.new_handle()
    }

    /// Sends, and waits for nothing but room.
    pub fn send<C: Call>(
        &self,
        who: &Identity,
        call: &C,
        payload: Bytes,
    ) -> Result<Sent<C>, Errno> {
        self.client.start(who, call, payload).map(Sent).map_err(|error| errno(&error))
    }

    /// Makes everything durable and ends the session: whoever was told that a file is written has
    /// no session any more that would bring it back.
    pub fn end(&self) {
        // If the server is away for longer than the patience, its grace time ends the session.
        let _ = self.client.clone().close();
    }

    /// Asks for something new, and has the answer when it is durable: its identity is the server's
    /// choice. After a server's death what it had not made durable is sent again, and would be
    /// given another, while what was asked by the first is sent again with that.
    pub fn make<C: Call>(&self, who: &Identity, call: &C) -> Result<(C::Reply, Bytes), Errno> {
        let answer = self.client.durable().call(who, call, Bytes::new());
        answer.map_err(|error| errno(&error))
    }

    /// Asks, waits, answers; errors as errno.
    pub fn call<C: Call>(
        &self,
        who: &Identity,
        call: &C,
        payload: &[u8],
    ) -> Result<(C::Reply, Bytes), Errno> {
        self.send(who, call, Bytes::copy_from_slice(payload))?.wait()
    }
}
