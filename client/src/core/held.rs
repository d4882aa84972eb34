//! What a session holds at the server, and would claim again: handles and locks.

use std::collections::BTreeMap;

use rpc::{FileId, Identity, Object};

/// An open handle.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Its inode.
    pub id: FileId,
    /// READ and WRITE, as it was opened.
    pub flags: u32,
    /// Who opened it.
    pub who: Identity,
    /// The OPEN that made it.
    pub opened_by: u64,
    /// Closed, but changes that are kept speak of it.
    pub closed: bool,
}

/// A stretch of a file that is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// First byte.
    pub start: u64,
    /// Behind the last byte; `u64::MAX`: to the end, wherever it is.
    pub end: u64,
    /// As LOCK numbers it.
    pub kind: u8,
}

impl Stretch {
    /// From a start and a length as LOCK has them.
    pub fn new(start: u64, len: u64, kind: u8) -> Self {
        let end = if len == 0 { u64::MAX } else { start.saturating_add(len) };
        Self { start, end, kind }
    }

    /// Length as LOCK has it.
    pub fn len(&self) -> u64 {
        if self.end == u64::MAX { 0 } else { self.end - self.start }
    }
}

/// Whose locks on which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Inode number and generation.
    pub file: (u64, u32),
    /// Owner.
    pub owner: u64,
}

/// Handles and locks.
#[derive(Default)]
pub struct Held {
    handles: BTreeMap<u32, Handle>,
    locks: BTreeMap<Holder, (Identity, Vec<Stretch>)>,
}

impl Held {
    /// True where there is such a handle, or was one that is still spoken of.
    pub fn has(&self, handle: u32) -> bool {
        self.handles.contains_key(&handle)
    }

    /// All of them.
    pub fn handles(&self) -> impl Iterator<Item = (u32, &Handle)> {
        self.handles.iter().map(|(number, handle)| (*number, handle))
    }

    /// All locks.
    pub fn locks(&self) -> impl Iterator<Item = (&Holder, &(Identity, Vec<Stretch>))> {
        self.locks.iter()
    }

    /// A handle was opened.
    pub fn open(&mut self, number: u32, handle: Handle) {
        self.handles.insert(number, handle);
    }

    /// A handle was closed, and is spoken of.
    pub fn close(&mut self, number: u32) {
        if let Some(handle) = self.handles.get_mut(&number) {
            handle.closed = true;
        }
    }

    /// A handle is gone.
    pub fn forget(&mut self, number: u32) {
        self.handles.remove(&number);
    }

    /// The inode that an object is.
    pub fn file(&self, object: Object, root: FileId) -> Option<FileId> {
        match object {
            Object::Root => Some(root),
            Object::Id(id) => Some(id),
            Object::Handle(number) => self.handles.get(&number).map(|handle| handle.id),
        }
    }

    /// The owner's lock in a stretch is now of that kind; `None`: released.
    pub fn lock(&mut self, holder: Holder, who: &Identity, stretch: &Stretch, held: bool) {
        let (_, stretches) = self.locks.entry(holder).or_insert_with(|| (who.clone(), Vec::new()));
        let mut rest = Vec::with_capacity(stretches.len() + 2);
        for old in stretches.drain(..) {
            if old.end <= stretch.start || old.start >= stretch.end {
                rest.push(old);
                continue;
            }
            if old.start < stretch.start {
                rest.push(Stretch { end: stretch.start, ..old.clone() });
            }
            if old.end > stretch.end {
                rest.push(Stretch { start: stretch.end, ..old });
            }
        }
        if held {
            rest.push(stretch.clone());
        }
        rest.sort_by_key(|s| s.start);
        // Neighbours of one kind are one lock, as at the server.
        rest.dedup_by(|next, before| {
            let joins = before.end == next.start && before.kind == next.kind;
            if joins {
                before.end = next.end;
            }
            joins
        });
        *stretches = rest;
        if stretches.is_empty() {
            self.locks.remove(&holder);
        }
    }

    /// The session has ended.
    pub fn clear(&mut self) {
        self.handles.clear();
        self.locks.clear();
    }
}
