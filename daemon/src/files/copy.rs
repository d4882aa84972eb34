//! Whole files, here and there.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs,
    io::{self, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process::ExitCode,
};

use bytes::Bytes;
use client::{
    blocking::Waiting,
    rpc::{Attributes, Kind, List, Object, Path as Target, SetAttributes, calls},
};

use super::{
    Failed, Outcome, Volume, args, complain, every, failed, join, last, place, progress::Progress,
    words,
};

/// Bytes of one request.
const PIECE: u32 = 1 << 20;
/// Requests on their way at once.
const AHEAD: usize = 6;
/// Deeper trees are refused: they may have no end.
const DEEPEST: usize = 256;

/// `esker put`
pub fn put(args: &args::Put) -> Result<ExitCode, String> {
    let Some((target, sources)) = args.words.split_last() else { return Ok(ExitCode::FAILURE) };
    let target = target.as_bytes();
    let volume = Volume::reach(&args.reach)?;
    let there = volume.stat_if_there(target, calls::FOLLOW).map_err(|f| f.why)?;
    let into = there.is_some_and(|about| about.kind == Kind::Directory);
    if sources.len() > 1 && !into {
        return Err(format!("{}: no directory", super::show::printable(target)));
    }
    let mut good = true;
    for source in sources {
        let to = match last(source).filter(|_| into) {
            Some(name) => join(target, name),
            None => target.to_vec(),
        };
        let outcome = if source == "-" {
            let mut progress = Progress::new(b"-", 0);
            write_file(&volume, &to, &mut io::stdin().lock(), 0o666, &mut |n| progress.more(n))
        } else {
            put_any(&volume, Path::new(source), &to, args.recursive, &mut good, 0)
        };
        if let Err(failed) = outcome {
            complain(&failed);
            good = false;
        }
    }
    volume.client.close().map_err(|e| format!("not all is durable: {e}"))?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn put_any(
    volume: &Volume,
    from: &Path,
    to: &[u8],
    recursive: bool,
    good: &mut bool,
    depth: usize,
) -> Outcome {
    let name = from.as_os_str().as_bytes();
    let here = |e: io::Error| failed(name, e);
    // A link that was named is followed, as cp -r does; those within a tree are links.
    let about = if depth == 0 { fs::metadata(from) } else { fs::symlink_metadata(from) };
    let about = about.map_err(here)?;
    if about.is_symlink() {
        let target = fs::read_link(from).map_err(here)?;
        let call = calls::Symlink {
            place: place(to),
            target: Target::copy(target.as_os_str().as_bytes()),
            set: SetAttributes::default(),
        };
        let made = volume.client.make_symlink(&volume.who, &call);
        return made.map(drop).map_err(|e| failed(to, words(&e)));
    }
    let mode = about.permissions().mode() & 0o7777;
    if about.is_file() {
        let mut file = fs::File::open(from).map_err(here)?;
        let mut progress = Progress::new(name, about.len());
        return write_file(volume, to, &mut file, mode, &mut |n| progress.more(n));
    }
    if !about.is_dir() {
        return Err(failed(name, "neither a file nor a directory"));
    }
    if !recursive {
        return Err(failed(name, "is a directory: say --recursive"));
    }
    if depth > DEEPEST {
        return Err(failed(name, "too deep"));
    }
    volume.make_dir_if_absent(to, mode | 0o700)?;
    for entry in fs::read_dir(from).map_err(here)? {
        let entry = entry.map_err(here)?;
        let to = join(to, entry.file_name().as_bytes());
        if let Err(failed) = put_any(volume, &entry.path(), &to, recursive, good, depth + 1) {
            complain(&failed);
            *good = false;
        }
    }
    Ok(())
}

/// Writes all of `from` to a file, which is made or cut first; tells `more` of each piece.
fn write_file(
    volume: &Volume,
    path: &[u8],
    from: &mut dyn Read,
    mode: u32,
    more: &mut dyn FnMut(usize),
) -> Outcome {
    let (client, who) = (&volume.client, &volume.who);
    let refused = |e: client::Error| failed(path, words(&e));
    let handle = client.new_handle();
    let set = SetAttributes { mode: Some(mode & !super::umask()), ..SetAttributes::default() };
    let flags = calls::open::WRITE | calls::open::CREATE | calls::open::TRUNCATE | calls::FOLLOW;
    let open = calls::Open { place: place(path), flags, handle, set, wanted: List::default() };
    client.open(who, &open).map_err(refused)?;
    let written = write_all(volume, path, handle, from, more);
    let closed = client.close_handle(who, &calls::Close { handle }).map_err(refused);
    written.and(closed)
}

fn write_all(
    volume: &Volume,
    path: &[u8],
    handle: u32,
    from: &mut dyn Read,
    more: &mut dyn FnMut(usize),
) -> Outcome {
    let refused = |e: client::Error| failed(path, words(&e));
    let mut under_way: VecDeque<(Waiting<calls::Write>, usize)> = VecDeque::new();
    let mut offset = 0;
    loop {
        let mut piece = Vec::new();
        let taken = Read::take(&mut *from, u64::from(PIECE)).read_to_end(&mut piece);
        let taken = taken.map_err(|e| failed(path, e))?;
        if taken > 0 {
            let write = calls::Write { file: Object::Handle(handle), offset, flags: 0 };
            let sent = volume.client.start(&volume.who, &write, Bytes::from(piece));
            under_way.push_back((sent.map_err(refused)?, taken));
            offset += taken as u64;
        }
        while under_way.len() > if taken > 0 { AHEAD } else { 0 } {
            let Some((waiting, bytes)) = under_way.pop_front() else { break };
            waiting.wait().map_err(refused)?;
            more(bytes);
        }
        if taken == 0 {
            return Ok(());
        }
    }
}

/// `esker get`
pub fn get(args: &args::Get) -> Result<ExitCode, String> {
    let Some((target, sources)) = args.words.split_last() else { return Ok(ExitCode::FAILURE) };
    let into = Path::new(target).is_dir();
    if sources.len() > 1 && !into {
        return Err(format!("{}: no directory", Path::new(target).display()));
    }
    let mut good = true;
    let sources: Vec<OsString> = sources.to_vec();
    let code = every(&args.reach, &sources, |volume, path| {
        let name = last(OsStr::from_bytes(path));
        let to = match name.filter(|_| into) {
            Some(name) => Path::new(target).join(OsStr::from_bytes(name)),
            None => PathBuf::from(target),
        };
        let about = volume.stat(path, calls::FOLLOW)?;
        get_any(volume, path, &about, &to, args.recursive, &mut good, 0)
    })?;
    Ok(if good { code } else { ExitCode::FAILURE })
}

fn get_any(
    volume: &Volume,
    from: &[u8],
    about: &Attributes,
    to: &Path,
    recursive: bool,
    good: &mut bool,
    depth: usize,
) -> Outcome {
    let here = |e: io::Error| failed(to.as_os_str().as_bytes(), e);
    match about.kind {
        Kind::File => {
            let mode = u32::from(about.mode) & 0o777;
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(mode);
            if depth > 0 {
                // Not through a link that came from the server.
                options.custom_flags(libc::O_NOFOLLOW);
            }
            let mut file = options.open(to).map_err(here)?;
            let mut progress = Progress::new(from, about.size);
            read_file(volume, from, &mut file, &mut |n| progress.more(n))
        }
        Kind::Symlink => {
            let call = calls::ReadLink { place: place(from) };
            let said = volume.client.read_link(&volume.who, &call);
            let said = said.map_err(|e| failed(from, words(&e)))?;
            symlink(OsStr::from_bytes(&said.target), to).map_err(here)
        }
        Kind::Directory if !recursive => Err(failed(from, "is a directory: say --recursive")),
        Kind::Directory if depth > DEEPEST => Err(failed(from, "too deep")),
        Kind::Directory => {
            match fs::create_dir(to) {
                // Not one behind a link that came from the server.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    let real = fs::symlink_metadata(to).is_ok_and(|m| m.is_dir());
                    if !real && depth > 0 {
                        return Err(here(e));
                    }
                }
                other => other.map_err(here)?,
            }
            let mut entries = Vec::new();
            volume.entries(from, |entry| {
                if let Some(about) = &entry.attributes {
                    entries.push((entry.name.to_vec(), about.clone()));
                }
                Ok(())
            })?;
            for (name, about) in entries {
                let (from, to) = (join(from, &name), to.join(OsStr::from_bytes(&name)));
                let got = get_any(volume, &from, &about, &to, recursive, good, depth + 1);
                if let Err(failed) = got {
                    complain(&failed);
                    *good = false;
                }
            }
            Ok(())
        }
        _ => Err(failed(from, "neither a file, a directory nor a link")),
    }
}

/// Reads all of a file into `to`; tells `more` of each piece.
pub fn read_file(
    volume: &Volume,
    path: &[u8],
    to: &mut dyn Write,
    more: &mut dyn FnMut(usize),
) -> Outcome {
    let (client, who) = (&volume.client, &volume.who);
    let refused = |e: client::Error| failed(path, words(&e));
    let handle = client.new_handle();
    let flags = calls::open::READ | calls::FOLLOW;
    let set = SetAttributes::default();
    let open = calls::Open { place: place(path), flags, handle, set, wanted: List::default() };
    let opened = client.open(who, &open).map_err(refused)?;
    let read = match opened.attributes.kind {
        Kind::File => read_all(volume, path, handle, opened.attributes.size, to, more),
        _ => Err(failed(path, "no file")),
    };
    let closed = client.close_handle(who, &calls::Close { handle }).map_err(refused);
    read.and(closed)
}

fn read_all(
    volume: &Volume,
    path: &[u8],
    handle: u32,
    size: u64,
    to: &mut dyn Write,
    more: &mut dyn FnMut(usize),
) -> Outcome {
    let refused = |e: client::Error| failed(path, words(&e));
    let mut under_way: VecDeque<Waiting<calls::Read>> = VecDeque::new();
    let (mut asked, mut got) = (0u64, 0u64);
    loop {
        // Behind the length that it had one request at a time, up to the end.
        while under_way.len() < AHEAD && (asked < size || under_way.is_empty()) {
            let file = Object::Handle(handle);
            let read = calls::Read { file, offset: asked, count: PIECE };
            let sent = volume.client.start(&volume.who, &read, Bytes::new());
            under_way.push_back(sent.map_err(refused)?);
            asked += u64::from(PIECE);
        }
        let Some(waiting) = under_way.pop_front() else { return Ok(()) };
        let (data, bytes) = waiting.wait().map_err(refused)?;
        let written = to.write_all(&bytes);
        written.map_err(|e| failed(path, e))?;
        more(bytes.len());
        got += bytes.len() as u64;
        if data.eof {
            return to.flush().map_err(|e| failed(path, e));
        }
        if bytes.len() < PIECE as usize {
            // Short, and not the end: the file was cut and grew between. Go on from there.
            asked = got;
            under_way.clear();
        }
    }
}

impl From<Failed> for String {
    fn from(failed: Failed) -> Self {
        format!("{}: {}", super::show::printable(&failed.path), failed.why)
    }
}
