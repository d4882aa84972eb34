//! From C and back.

use std::{
    cell::RefCell,
    ffi::{CStr, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
};

use client::{
    Error,
    rpc::{Identity, List, Object, Place, errno, limits},
};

use crate::files::esker_who;

thread_local! {
    /// Words of this thread's last error.
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Why a function failed.
pub struct Failed {
    errno: u16,
    words: String,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { errno: error.errno(), words: error.to_string() }
    }
}

impl Failed {
    pub fn new(errno: u16, words: &str) -> Self {
        Self { errno, words: words.to_owned() }
    }

    /// What a caller gave makes no sense.
    pub fn invalid(words: &str) -> Self {
        Self::new(errno::EINVAL, words)
    }
}

pub type Outcome<T> = Result<T, Failed>;

/// Runs `work`; what goes wrong, be it a panic, becomes -errno.
pub fn guard(work: impl FnOnce() -> Outcome<i64>) -> i64 {
    let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Failed { errno: errno::EIO, words: words.unwrap_or_else(|| "a panic".into()) })
    });
    match outcome {
        Ok(value) => value,
        Err(failed) => {
            LAST.with(|last| *last.borrow_mut() = failed.words);
            -i64::from(failed.errno)
        }
    }
}

/// The same where the result is 0 or -errno.
pub fn done(work: impl FnOnce() -> Outcome<()>) -> i32 {
    // -errno, or 0.
    i32::try_from(guard(|| work().map(|()| 0))).unwrap_or(-i32::from(errno::EIO))
}

/// Words of this thread's last error.
pub fn last_words<T>(show: impl FnOnce(&str) -> T) -> T {
    LAST.with(|last| show(&last.borrow()))
}

/// What a pointer points to.
///
/// # Safety
/// `pointer` is null or points to a `T` that nobody changes while the result lives.
pub unsafe fn given<'a, T>(pointer: *const T, what: &str) -> Outcome<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| Failed::invalid(what))
}

/// Where a result is to go.
///
/// # Safety
/// `pointer` is null or may be written.
pub unsafe fn put<T>(pointer: *mut T, value: T, what: &str) -> Outcome<()> {
    if pointer.is_null() {
        return Err(Failed::invalid(what));
    }
    // SAFETY: the caller's promise. What stood there is not read.
    unsafe { pointer.write(value) };
    Ok(())
}

/// A string of C.
///
/// # Safety
/// `text` is null or ends with a NUL.
pub unsafe fn string<'a>(text: *const c_char, what: &str) -> Outcome<&'a [u8]> {
    if text.is_null() {
        return Err(Failed::invalid(what));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// A path, from the root.
///
/// # Safety
/// As [`string`].
pub unsafe fn place(path: *const c_char) -> Outcome<Place> {
    // SAFETY: the caller's promise.
    let path = unsafe { string(path, "a path is null") }?;
    if path.len() > limits::PATH_BYTES {
        return Err(Failed::new(errno::ENAMETOOLONG, "a path is too long"));
    }
    Ok(Place::of(Object::Root, path))
}

/// Who asks; null: root.
///
/// # Safety
/// `who` is null or points to one whose groups are as many as it says.
pub unsafe fn identity(who: *const esker_who) -> Outcome<Identity> {
    // SAFETY: the caller's promise.
    let Some(who) = (unsafe { who.as_ref() }) else { return Ok(Identity::default()) };
    if who.group_count > limits::GROUPS {
        return Err(Failed::invalid("too many groups"));
    }
    let groups = if who.group_count == 0 {
        Vec::new()
    } else if who.groups.is_null() {
        return Err(Failed::invalid("groups are null"));
    } else {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(who.groups, who.group_count) }.to_vec()
    };
    Ok(Identity { uid: who.uid, gid: who.gid, groups: List(groups) })
}

/// Copies `from` to memory of a caller; how much of it there was room for.
///
/// # Safety
/// `size` bytes at `buffer` may be written, or `size` is 0.
pub unsafe fn copy_out(from: &[u8], buffer: *mut u8, size: usize) -> Outcome<usize> {
    let n = from.len().min(size);
    if n > 0 {
        if buffer.is_null() {
            return Err(Failed::invalid("a buffer is null"));
        }
        // SAFETY: the caller's promise; memory of Rust is none of the caller's.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), buffer, n) };
    }
    Ok(n)
}

/// Bytes of a caller.
///
/// # Safety
/// `size` bytes at `data` may be read and are not changed while the result lives, or `size` is 0.
pub unsafe fn bytes<'a>(data: *const u8, size: usize) -> Outcome<&'a [u8]> {
    match size {
        0 => Ok(&[]),
        _ if data.is_null() => Err(Failed::invalid("data are null")),
        _ if isize::try_from(size).is_err() => Err(Failed::invalid("data are too long")),
        // SAFETY: the caller's promise.
        _ => Ok(unsafe { std::slice::from_raw_parts(data, size) }),
    }
}
