//! Changes that were answered and may still be lost with the server.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rpc::{
    Malformed, Object, Op, Request, Wire,
    calls::{Changed, Copied, Done, Opened, Written},
};

use super::Asked;

/// The seq of a change, from its reply; 0 where nothing was changed.
pub fn seq_of(op: Op, body: &Bytes) -> Result<u64, Malformed> {
    Ok(match op {
        Op::SetAttr
        | Op::MkDir
        | Op::Symlink
        | Op::MkNod
        | Op::Link
        | Op::Allocate
        | Op::SetXattr
        | Op::RemoveXattr => Changed::whole(body)?.seq,
        Op::Open => Opened::whole(body)?.seq,
        Op::Unlink | Op::Rename => Done::whole(body)?.seq,
        Op::Write => Written::whole(body)?.seq,
        Op::Copy => Copied::whole(body)?.seq,
        _ => 0,
    })
}

/// The handles that a request speaks of.
pub fn handles_of(op: Op, body: &Bytes) -> Vec<u32> {
    let Ok((_, request)) = Request::decode(op, body) else { return Vec::new() };
    let objects = match request {
        Request::Open(open) => return [vec![open.handle], of(&[open.place.from])].concat(),
        Request::Close(close) => return vec![close.handle],
        Request::SetAttr(call) => vec![call.place.from],
        Request::MkDir(call) => vec![call.place.from],
        Request::Symlink(call) => vec![call.place.from],
        Request::MkNod(call) => vec![call.place.from],
        Request::Link(call) => vec![call.file.from, call.place.from],
        Request::Unlink(call) => vec![call.place.from],
        Request::Rename(call) => vec![call.from.from, call.to.from],
        Request::Write(call) => vec![call.file],
        Request::Allocate(call) => vec![call.file],
        Request::Copy(call) => vec![call.from, call.to],
        Request::SetXattr(call) => vec![call.place.from],
        Request::RemoveXattr(call) => vec![call.place.from],
        _ => Vec::new(),
    };
    of(&objects)
}

fn of(objects: &[Object]) -> Vec<u32> {
    let handle = |object: &Object| match object {
        Object::Handle(handle) => Some(*handle),
        Object::Root | Object::Id(_) => None,
    };
    objects.iter().filter_map(handle).collect()
}

struct Change {
    asked: Asked,
    seq: u64,
    handles: Vec<u32>,
}

/// Kept changes, by request id.
#[derive(Default)]
pub struct Kept {
    changes: BTreeMap<u64, Change>,
    /// (seq, id) of each.
    order: BTreeSet<(u64, u64)>,
    /// How many changes speak of a handle, and the last one's seq.
    uses: BTreeMap<u32, (usize, u64)>,
    bytes: usize,
}

impl Kept {
    /// How many.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest id.
    pub fn first(&self) -> Option<u64> {
        self.changes.first_key_value().map(|(id, _)| *id)
    }

    /// True where this request is kept.
    pub fn has(&self, id: u64) -> bool {
        self.changes.contains_key(&id)
    }

    /// Keeps a change until `seq` is durable.
    pub fn keep(&mut self, id: u64, asked: Asked, seq: u64) {
        let handles = handles_of(asked.op, &asked.body);
        for handle in &handles {
            let (count, last) = self.uses.entry(*handle).or_default();
            *count += 1;
            *last = seq.max(*last);
        }
        self.bytes += asked.bytes();
        self.order.insert((seq, id));
        self.changes.insert(id, Change { asked, seq, handles });
    }

    /// A change whose seq is not known any more, since the server that gave it is gone.
    pub fn put_back(&mut self, id: u64, asked: Asked) {
        self.keep(id, asked, u64::MAX);
    }

    /// The seq until which changes speak of a handle.
    pub fn speaks_of(&self, handle: u32) -> Option<u64> {
        self.uses.get(&handle).map(|(_, last)| *last)
    }

    /// All up to `seq` is durable; `over` is told of each closed handle that none speaks of now.
    pub fn durable(&mut self, seq: u64, mut over: impl FnMut(u32)) {
        while let Some(&(at, id)) = self.order.first() {
            if at > seq {
                return;
            }
            for handle in self.drop_change(id) {
                over(handle);
            }
        }
    }

    fn drop_change(&mut self, id: u64) -> Vec<u32> {
        let Some(change) = self.changes.remove(&id) else { return Vec::new() };
        self.order.remove(&(change.seq, id));
        self.bytes -= change.asked.bytes();
        for handle in &change.handles {
            if let Some((count, _)) = self.uses.get_mut(handle) {
                *count -= 1;
                if *count == 0 {
                    self.uses.remove(handle);
                }
            }
        }
        // Only the end of a CLOSE is the end of a handle: it stays for as long as it is spoken of.
        if change.asked.op == Op::Close { change.handles } else { Vec::new() }
    }

    /// Takes out those that were put back.
    pub fn take_unsettled(&mut self) -> Vec<(u64, Asked)> {
        let ids: Vec<u64> = self.order.range((u64::MAX, 0)..).map(|(_, id)| *id).collect();
        let mut taken = Vec::new();
        for id in ids {
            if let Some(asked) = self.changes.get(&id).map(|change| change.asked.clone()) {
                self.drop_change(id);
                taken.push((id, asked));
            }
        }
        taken
    }

    /// Takes all of them out, in the order of their ids.
    pub fn take(&mut self) -> BTreeMap<u64, Asked> {
        let changes = std::mem::take(self).changes;
        changes.into_iter().map(|(id, change)| (id, change.asked)).collect()
    }
}
