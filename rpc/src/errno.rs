//! Error numbers, as Linux on x86-64 has them.

macro_rules! errnos {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: u16 = $number;)*

        /// The number in words.
        pub fn words(errno: u16) -> &'static str {
            match errno {
                $($name => $text,)*
                _ => "failed",
            }
        }
    };
}

errnos! {
    EPERM = 1, "Operation not permitted";
    ENOENT = 2, "No such file or directory";
    EIO = 5, "Input/output error";
    ENXIO = 6, "No such data or hole at or behind that offset";
    EBADF = 9, "No such handle in this session";
    EAGAIN = 11, "Try again";
    EACCES = 13, "Permission denied";
    EBUSY = 16, "Busy";
    EEXIST = 17, "File exists";
    EXDEV = 18, "Another volume";
    ENOTDIR = 20, "Not a directory";
    EISDIR = 21, "Is a directory";
    EINVAL = 22, "Invalid argument";
    EMFILE = 24, "Too many handles in this session";
    EFBIG = 27, "File too large";
    ENOSPC = 28, "No space left";
    EROFS = 30, "Read-only";
    EMLINK = 31, "Too many links";
    ERANGE = 34, "Value too large";
    EDEADLK = 35, "Would wait for itself";
    ENAMETOOLONG = 36, "Name too long";
    ENOLCK = 37, "Too many locks";
    ENOSYS = 38, "No such operation";
    ENOTEMPTY = 39, "Directory not empty";
    ELOOP = 40, "Too many symbolic links";
    ENODATA = 61, "No such attribute";
    EPROTO = 71, "Protocol error";
    EOPNOTSUPP = 95, "Not supported";
    ENOBUFS = 105, "Too much is remembered for this session: sync, and move the mark";
    EHOSTDOWN = 112, "The store is away: nothing was done, ask again";
    ESHUTDOWN = 108, "The server stops";
    ESTALE = 116, "That file is gone";
    ECANCELED = 125, "Cancelled";
    EKEYREJECTED = 129, "The secret is not the server's";
}
