//! What the server has said within one turn of smbd's event loop.
//!
//! For one request of its client smbd asks the same again and again: the attributes of a file that it
//! has just opened, its DOS attributes, its ACL. Each STAT and OPEN brings all of that along, and until
//! the turn ends (the C half says so), or this process changes anything, it is what it was. Requests
//! of others meanwhile come as if after that turn.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;
use rpc::{Along, Attributes, FileId, Found, Wanted, XattrName};

/// Extended attributes that smbd reads for nearly each open: DOS attributes with the birth time, and
/// the ACL that acl_xattr keeps.
const NAMES: [&[u8]; 2] = [b"user.DOSATTRIB", b"security.NTACL"];
/// Most files known at once.
const FILES: usize = 256;

struct Known {
    attributes: Attributes,
    /// For whom, since not all may see the same.
    along: Option<(u32, Found)>,
}

/// See the page's head.
#[derive(Default)]
pub struct Seen {
    files: Mutex<HashMap<FileId, Known>>,
}

impl Seen {
    /// What each STAT and OPEN is to bring along.
    pub fn wanted() -> Wanted {
        rpc::List(NAMES.iter().map(|name| XattrName::copy(name)).collect())
    }

    /// Of an answer to `uid`.
    pub fn note(&self, uid: u32, attributes: &Attributes, along: Found) {
        let mut files = self.files.lock();
        if files.len() >= FILES {
            files.clear();
        }
        let along = (along.0.len() == NAMES.len()).then_some((uid, along));
        files.insert(attributes.id, Known { attributes: attributes.clone(), along });
    }

    /// Attributes, if they were told.
    pub fn attributes(&self, id: FileId) -> Option<Attributes> {
        self.files.lock().get(&id).map(|known| known.attributes.clone())
    }

    /// An extended attribute's value, or that there is none; `None`: it must be asked for.
    pub fn xattr(&self, uid: u32, id: FileId, name: &[u8]) -> Option<Option<Bytes>> {
        let place = NAMES.iter().position(|known| *known == name)?;
        let files = self.files.lock();
        let (who, along) = files.get(&id)?.along.as_ref()?;
        if *who != uid {
            return None;
        }
        match along.0.get(place)? {
            Along::Value(value) => Some(Some(value.0.clone())),
            // Of `user.` it may also mean that this one may not read it, which smbd must hear.
            Along::Absent if uid == 0 || name.starts_with(b"security.") => Some(None),
            Along::Absent | Along::Large => None,
        }
    }

    /// The turn is over, or something was changed.
    pub fn forget(&self) {
        self.files.lock().clear();
    }
}
