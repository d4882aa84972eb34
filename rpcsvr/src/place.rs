//! From a place on the wire to an inode, or to a directory and a name in it.

use std::collections::VecDeque;

use bytes::Bytes;
use fs::{Attributes, FileId, FsError, Kind};
use rpc::{Place, errno, limits::LINKS};

use crate::{
    call::{Cx, Fail},
    session::Handle,
};

/// Where a place leads.
pub struct Spot {
    /// The directory that holds the last component, and the component. `None` where the path was
    /// empty: the object itself.
    pub name: Option<(FileId, Bytes)>,
    /// What is there, if anything is.
    pub found: Option<Attributes>,
    /// The handle, where the object itself was meant and it is one.
    pub handle: Option<Handle>,
}

impl Spot {
    /// What is there; ENOENT where nothing is.
    pub fn there(self) -> Result<Attributes, Fail> {
        self.found.ok_or_else(|| FsError::NoEnt.into())
    }
}

fn push_front(rest: &mut VecDeque<Bytes>, path: &Bytes) {
    let mut at = rest.len();
    let before = at;
    for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
        rest.push_back(path.slice_ref(part));
        at += 1;
    }
    rest.rotate_right(at - before);
}

impl Cx {
    /// Walks `place`. Symbolic links before the end are followed, one at the end with `follow`.
    pub async fn walk(&self, place: &Place, follow: bool) -> Result<Spot, Fail> {
        let (mut at, handle) = self.object(place.from)?;
        let mut rest = VecDeque::new();
        push_front(&mut rest, &place.path.0);
        let Some(mut name) = rest.pop_front() else {
            let found = Some(self.volume().getattr(at).await?);
            let name = None;
            return Ok(Spot { name, found, handle });
        };
        let mut links = 0;
        loop {
            let looked = self.volume().lookup(&self.caller, at, &name).await;
            let found = match looked {
                Ok((found, _)) => found,
                Err(f) if f.error == FsError::NoEnt && rest.is_empty() => {
                    return Ok(Spot { name: Some((at, name)), found: None, handle: None });
                }
                Err(f) => return Err(f.into()),
            };
            if found.kind == Kind::Symlink && (follow || !rest.is_empty()) {
                links += 1;
                if links > LINKS {
                    return Err(Fail::of(errno::ELOOP));
                }
                let (target, _) = self.volume().readlink(&self.caller, found.id).await?;
                if target.starts_with(b"/") {
                    at = self.volume().root();
                }
                push_front(&mut rest, &target);
                match rest.pop_front() {
                    Some(next) => name = next,
                    None => {
                        // It says `/`.
                        let found = Some(self.volume().getattr(at).await?);
                        return Ok(Spot { name: None, found, handle: None });
                    }
                }
                continue;
            }
            let Some(next) = rest.pop_front() else {
                return Ok(Spot { name: Some((at, name)), found: Some(found), handle: None });
            };
            at = found.id;
            name = next;
        }
    }

    /// What is at `place`.
    pub async fn there(&self, place: &Place, follow: bool) -> Result<Attributes, Fail> {
        self.walk(place, follow).await?.there()
    }

    /// The directory and the name in it that `place` speaks of: nothing is asked of the name, but
    /// that there is one.
    pub async fn name(&self, place: &Place) -> Result<(FileId, Bytes), Fail> {
        let mut parts = place.path.split(|b| *b == b'/').filter(|part| !part.is_empty());
        let Some(last) = parts.next_back() else {
            return Err(Fail::saying(errno::EINVAL, "a path that names nothing"));
        };
        let last = place.path.0.slice_ref(last);
        if parts.next_back().is_none() {
            return Ok((self.object(place.from)?.0, last));
        }
        let before = last.as_ptr() as usize - place.path.as_ptr() as usize;
        let dir = Place { from: place.from, path: rpc::Blob(place.path.0.slice(..before)) };
        Ok((self.there(&dir, true).await?.id, last))
    }
}
