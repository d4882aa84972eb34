//! The thread that connects, and watches what it has connected.

use std::{
    os::unix::net::UnixStream,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use super::{Shared, feed, link, link::Link, receive, send};
use crate::{
    error::Error,
    inbox::Inbox,
    limits::{HANDSHAKE, PAUSE},
    seams,
};

/// The keeper of one client. It ends when the client is gone.
pub struct Keeper {
    pub shared: Weak<Shared>,
    pub bell: UnixStream,
}

/// Since when nothing has been answered. A server that takes connections and answers nonsense is
/// as good as none.
struct Drought {
    since: Instant,
    answers: u64,
    pause: Duration,
}

impl Keeper {
    pub fn run(self) {
        let mut drought = Drought { since: seams::now(), answers: 0, pause: PAUSE.0 };
        while let Some(link) = self.connect(&mut drought) {
            let begun = seams::now();
            if !self.watch(&link) {
                return;
            }
            let Some(shared) = self.shared.upgrade() else { return };
            let state = shared.state.lock();
            let answers = state.core.answers();
            let long = seams::now().saturating_duration_since(begun) >= shared.options.patience;
            if long || answers != drought.answers || state.core.unanswered() == 0 {
                drought = Drought { since: seams::now(), answers, pause: PAUSE.0 };
            }
        }
    }

    /// Tries until a session stands. `None`: the client is gone, or was never let in.
    fn connect(&self, drought: &mut Drought) -> Option<Arc<Link>> {
        let mut error = Error::Away("it closes every connection before an answer".into());
        loop {
            let shared = self.shared.upgrade()?;
            if shared.state.lock().closing {
                return None;
            }
            let over = seams::now() >= drought.since + shared.options.patience;
            if over && !shared.give_up(&error) {
                return None;
            }
            match shared.attempt() {
                Ok(link) => return Some(link),
                Err(refused) => error = refused,
            }
            if matches!(error, Error::Denied(_)) && !shared.give_up(&error) {
                return None;
            }
            drop(shared);
            if link::rest(&self.bell, drought.pause).is_err() {
                return None;
            }
            drought.pause = (drought.pause * 2).min(PAUSE.1);
        }
    }

    /// Waits for the connection to end. False: the client is gone.
    fn watch(&self, link: &Arc<Link>) -> bool {
        loop {
            let Ok(gone) = link.watch(&self.bell) else { return false };
            link::quiet(&self.bell);
            let Some(shared) = self.shared.upgrade() else { return false };
            let mut state = shared.state.lock();
            if state.closing {
                return false;
            }
            if !state.is(link) {
                return true;
            }
            // Answers may have come before the end: they are read, by whoever reads, up to it.
            if gone && !shared.read(&mut state) {
                drop(state);
                drop(shared);
                if link::rest(&self.bell, PAUSE.0).is_err() {
                    return false;
                }
            }
        }
    }
}

impl Shared {
    /// One connection and its handshake.
    fn attempt(&self) -> Result<Arc<Link>, Error> {
        let address = &self.options.address;
        let at = |error| Error::Away(format!("{address}: {error}"));
        let link = Link::connect(address, self.options.tls.as_ref()).map_err(at)?;
        let nonce = seams::random().map_err(at)?;
        self.state.lock().core.connected(nonce);
        let mut inbox = Inbox::default();
        if let Err(error) = self.shake(&link, &mut inbox) {
            self.state.lock().core.lost();
            link.shut();
            return Err(match error {
                Error::Away(text) => Error::Away(format!("{address}: {text}")),
                Error::Malformed(what) => Error::Away(format!("{address}: {what}")),
                Error::Refused(refusal) => Error::Away(format!("{address}: {refusal}")),
                other => other,
            });
        }
        let link = Arc::new(link);
        let mut state = self.state.lock();
        state.link = Some(link.clone());
        state.inbox = Some(inbox);
        state.connections += 1;
        state.away = None;
        self.settle(&mut state);
        self.write(&mut state);
        // What is brought back is answered though nobody may be waiting for it.
        while state.core.is_recovering() && self.read(&mut state) {}
        self.hand_over(&mut state);
        self.room.notify_all();
        Ok(link)
    }

    /// The handshake, up to a session that stands.
    fn shake(&self, link: &Link, inbox: &mut Inbox) -> Result<(), Error> {
        let deadline = seams::now() + HANDSHAKE;
        loop {
            let mut out = std::collections::VecDeque::new();
            {
                let mut state = self.state.lock();
                if state.core.is_live() {
                    // What follows is for whoever writes now.
                    return Ok(());
                }
                state.core.take_out(&mut out);
            }
            let left = || deadline.saturating_duration_since(seams::now());
            while !send(link, &mut out).map_err(Error::from_io)? {
                if left().is_zero() {
                    return Err(Error::from_io("the handshake takes too long"));
                }
                link.wait(false, true, Some(left())).map_err(Error::from_io)?;
            }
            receive(link, inbox, Some(left())).map_err(Error::from_io)?;
            feed(&mut self.state.lock().core, inbox)?;
        }
    }

    /// The patience is over: whoever waits is told. False where there never was a session: then
    /// there is nothing to go on with.
    fn give_up(&self, error: &Error) -> bool {
        let mut state = self.state.lock();
        state.core.give_up(error);
        state.away = Some(error.clone());
        self.settle(&mut state);
        self.room.notify_all();
        state.connections > 0
    }
}
