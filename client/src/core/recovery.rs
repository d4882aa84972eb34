//! What follows a lost connection, or a lost server.

use bytes::Bytes;
use rpc::{
    FileId, Identity, Malformed, Object, Op, Place, Request, SetAttributes, Wanted, Wire, calls,
    hello::Welcome,
};

use super::{
    Asked, Core, Pending, Purpose, Reply,
    held::{Handle, Holder, Stretch},
};
use crate::error::Error;

impl Core {
    /// A session stands again (`before`: the last time), or for the first time.
    pub(super) fn recover(&mut self, before: Option<&Welcome>) {
        let Some(now) = self.welcome.clone() else { return };
        self.queue.clear();
        if let Some(before) = before
            && !now.resumed
        {
            // Anew, whatever an earlier recovery had begun.
            self.drop_claims();
            self.claim(before.boot != now.boot);
        }
        // Changes that an earlier server was lost with, when this client had given up on it.
        for (id, asked) in self.kept.take_unsettled() {
            self.enter_again(id, asked);
        }
        let ids: Vec<u64> = self.pending.keys().copied().collect();
        let (recovers, plain): (Vec<u64>, Vec<u64>) = ids.into_iter().partition(|id| {
            // A LOCK that waits may never be answered: nothing may wait for it.
            self.pending.get(id).is_some_and(|p| (p.resent || p.recovers) && !p.asked.waits())
        });
        let claims = std::mem::take(&mut self.queue);
        self.recovering = claims.len();
        self.queue = claims;
        for id in recovers {
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            if matches!(pending.purpose, Purpose::Handle(_) | Purpose::Lock) && !now.resumed {
                continue;
            }
            if !self.queue.contains(&id) {
                pending.recovers = true;
                pending.alone = !now.resumed;
                self.recovering += 1;
                self.queue.push_back(id);
            }
        }
        self.queue
            .extend(plain.into_iter().filter(|id| !self.queue.contains(id)).collect::<Vec<_>>());
    }

    /// Claims of an earlier recovery that were not answered are made anew.
    fn drop_claims(&mut self) {
        let stale: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, p)| matches!(p.purpose, Purpose::Handle(_) | Purpose::Lock))
            .map(|(id, _)| *id)
            .collect();
        for id in stale {
            self.land(id);
        }
        for pending in self.pending.values_mut() {
            pending.recovers = false;
        }
        self.recovering = 0;
    }

    /// The server knows neither handles nor locks any more; `reborn`: nor changes that were not
    /// durable.
    fn claim(&mut self, reborn: bool) {
        let handles: Vec<(u32, Handle)> = self
            .held
            .handles()
            // One whose OPEN may be lost is opened by that OPEN, in its turn.
            .filter(|(_, handle)| !(reborn && self.kept.has(handle.opened_by)))
            .map(|(number, handle)| (number, handle.clone()))
            .collect();
        for (number, handle) in handles {
            let call = calls::Open {
                place: Place::at(Object::Id(handle.id)),
                flags: handle.flags | calls::open::RECLAIM,
                handle: number,
                set: SetAttributes::default(),
                wanted: Wanted::default(),
            };
            self.demand(&handle.who, &call, Purpose::Handle(number));
        }
        let locks: Vec<(Holder, Identity, Stretch)> = self
            .held
            .locks()
            .flat_map(|(holder, (who, stretches))| {
                stretches.iter().map(|s| (*holder, who.clone(), s.clone()))
            })
            .collect();
        for (holder, who, stretch) in locks {
            let call = calls::Lock {
                file: Object::Id(FileId { ino: holder.file.0, generation: holder.file.1 }),
                owner: holder.owner,
                start: stretch.start,
                len: stretch.len(),
                kind: stretch.kind,
                flags: calls::lock::RECLAIM,
            };
            self.demand(&who, &call, Purpose::Lock);
        }
        self.demand(&Identity::default(), &calls::Reclaimed {}, Purpose::Own);
        if !reborn {
            return;
        }
        self.durable = 0;
        for (id, asked) in self.kept.take() {
            self.enter_again(id, asked);
        }
    }

    fn enter_again(&mut self, id: u64, asked: Asked) {
        self.enter(id, asked, Purpose::Again);
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.resent = true;
        }
    }

    fn demand<C: rpc::Call>(&mut self, who: &Identity, call: &C, purpose: Purpose) {
        // What was taken once is within the limits.
        let Ok(asked) = Asked::new(who, call, Bytes::new(), 0) else { return };
        let id = self.push(asked, purpose);
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.recovers = true;
            pending.alone = C::OP == Op::Reclaimed || C::OP == Op::Lock;
        }
    }

    /// Notes what a granted request means for what is held and kept.
    pub(super) fn note(
        &mut self,
        id: u64,
        pending: &Pending,
        reply: &Reply,
        seq: u64,
    ) -> Result<(), Error> {
        let asked = &pending.asked;
        let claims = matches!(pending.purpose, Purpose::Handle(_) | Purpose::Lock);
        if seq > self.durable && !claims {
            self.kept.keep(id, asked.clone(), seq);
        }
        if !matches!(asked.op, Op::Open | Op::Close | Op::Lock | Op::Unlock | Op::Bye) {
            return Ok(());
        }
        let (who, request) = Request::decode(asked.op, &asked.body)?;
        match request {
            Request::Open(open) if !claims => {
                let opened = calls::Opened::whole(&reply.body)?;
                let flags = open.flags & (calls::open::READ | calls::open::WRITE);
                let handle =
                    Handle { id: opened.attributes.id, flags, who, opened_by: id, closed: false };
                self.held.open(open.handle, handle);
            }
            Request::Close(close) => match self.kept.speaks_of(close.handle) {
                Some(seq) => {
                    self.kept.keep(id, asked.clone(), seq);
                    self.held.close(close.handle);
                }
                None => self.held.forget(close.handle),
            },
            Request::Lock(lock) if !claims => {
                let stretch = Stretch::new(lock.start, lock.len, lock.kind);
                self.locked(lock.file, lock.owner, &who, &stretch, true)?;
            }
            Request::Unlock(lock) => {
                let stretch = Stretch::new(lock.start, lock.len, 0);
                self.locked(lock.file, lock.owner, &who, &stretch, false)?;
            }
            Request::Bye(_) => self.held.clear(),
            _ => {}
        }
        Ok(())
    }

    fn locked(
        &mut self,
        file: Object,
        owner: u64,
        who: &Identity,
        stretch: &Stretch,
        held: bool,
    ) -> Result<(), Error> {
        let root = self.welcome.as_ref().ok_or(Malformed("an answer before a welcome"))?.root;
        // A handle that was closed meanwhile: its inode is not known here any more.
        if let Some(id) = self.held.file(file, root) {
            let holder = Holder { file: (id.ino, id.generation), owner };
            self.held.lock(holder, who, stretch, held);
        }
        Ok(())
    }
}
