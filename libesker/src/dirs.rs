//! Directories.

use std::{collections::VecDeque, ffi::c_char};

use client::{
    blocking::Client,
    rpc::{Entry, Identity, List, Place, calls},
};

use crate::{
    border::{Failed, done, given, identity, place, put},
    files::{esker_client, esker_who},
    names::{esker_attributes, tell},
};

/// Entries asked for at once.
const ENTRIES: u32 = 512;

/// A directory that is being read.
pub struct esker_dir {
    client: Client,
    who: Identity,
    place: Place,
    cookie: u64,
    end: bool,
    entries: VecDeque<Entry>,
    /// Of the entry that was given last, with a NUL.
    name: Vec<u8>,
}

/// One entry.
#[repr(C)]
pub struct esker_entry {
    /// Its name; valid until the next call with this directory.
    pub name: *const c_char,
    /// What it is.
    pub attributes: esker_attributes,
}

/// Begins to read a directory.
///
/// # Safety
/// `client` lives, `path` ends with a NUL, `who` is null or one, `out` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_opendir(
    client: *const esker_client,
    who: *const esker_who,
    path: *const c_char,
    out: *mut *mut esker_dir,
) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        unsafe { put(out, std::ptr::null_mut(), "out is null") }?;
        // SAFETY: the caller's promise.
        let (client, who, place) =
            unsafe { (given(client, "no client")?, identity(who)?, place(path)?) };
        let mut dir = Box::new(esker_dir {
            client: client.client.clone(),
            who,
            place,
            cookie: 0,
            end: false,
            entries: VecDeque::new(),
            name: Vec::new(),
        });
        // What is no directory is refused here.
        dir.fill()?;
        // SAFETY: the caller's promise.
        unsafe { put(out, Box::into_raw(dir), "out is null") }
    })
}

impl esker_dir {
    fn fill(&mut self) -> Result<(), Failed> {
        while self.entries.is_empty() && !self.end {
            let call = calls::ReadDir {
                place: self.place.clone(),
                flags: calls::readdir::ATTRIBUTES,
                cookie: self.cookie,
                count: ENTRIES,
                wanted: List::default(),
            };
            let (listed, entries) = self.client.read_dir(&self.who, &call)?;
            if entries.is_empty() && !listed.end {
                return Err(Failed::invalid("the server lists nothing, and no end"));
            }
            self.end = listed.end;
            self.cookie = entries.last().map_or(self.cookie, |entry| entry.cookie);
            self.entries.extend(entries);
        }
        Ok(())
    }
}

/// The next entry: 1, and 0 behind the last one.
///
/// # Safety
/// `dir` lives and no other thread uses it, `out` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_readdir(dir: *mut esker_dir, out: *mut esker_entry) -> i32 {
    let mut found = false;
    let outcome = done(|| {
        // SAFETY: the caller's promise.
        let dir = unsafe { dir.as_mut() }.ok_or_else(|| Failed::invalid("no directory"))?;
        dir.fill()?;
        let Some(entry) = dir.entries.pop_front() else { return Ok(()) };
        dir.name = entry.name.to_vec();
        dir.name.push(0);
        let attributes = entry.attributes.as_ref().map(tell).unwrap_or_default();
        found = true;
        // SAFETY: the caller's promise.
        unsafe {
            put(out, esker_entry { name: dir.name.as_ptr().cast(), attributes }, "out is null")
        }
    });
    if outcome == 0 { i32::from(found) } else { outcome }
}

/// Ends reading.
///
/// # Safety
/// `dir` came from `esker_opendir`, or is null; it is no more afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_closedir(dir: *mut esker_dir) -> i32 {
    done(|| {
        if !dir.is_null() {
            // SAFETY: the caller's promise.
            drop(unsafe { Box::from_raw(dir) });
        }
        Ok(())
    })
}
