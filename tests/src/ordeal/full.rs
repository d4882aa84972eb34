//! A store that is full, and has room again.

use std::time::Duration;

use super::{Bed, Outcome, told::patiently};
use crate::{
    load::{Pool, now},
    nfsclient::{Client, Fh, Status, proc::FILE_SYNC},
    server::pause,
};

/// Size of one file, bytes.
const FILE: usize = 1 << 20;
/// Most files before the store must be full.
const FILES: u64 = 4000;
/// Longest that one answer may take, and longest until there is room again: not a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fills the store until a writer is told so, reads and removes, makes room and goes on. `more` is a
/// command that gives the store room again; without one, removing does.
pub fn full(more: Option<&str>) -> Outcome<()> {
    let bed = Bed::new("full")?;
    let work = bed.dir("server")?;
    let journal = bed.dir("journal")?.display().to_string();
    let args = ["--journal", &journal, "--dirty-budget", "64MiB", "--memory", "128MiB"];
    let server = bed.serve(&work, &args)?;
    let root = server.mount("/").map_err(|e| e.to_string())?;
    let mut c = server.root_client().map_err(|e| e.to_string())?;
    c.conn.set_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
    let pool = Pool::new();

    let (first, slowest) = fill(&mut c, &root, &pool, 0)?;
    println!("told that it is full after {first} MiB, slowest answer {} ms", slowest.as_millis());
    // Full is not broken.
    for n in [0, first / 2, first - 1] {
        compare(&mut c, &root, &pool, n)?;
    }
    for n in first / 4..first {
        let (status, _) = patiently(|| c.remove(&root, &format!("f{n}")))
            .map_err(|e| format!("REMOVE while full: {e}"))?;
        if !status.ok() {
            return Err(format!("REMOVE while full: {status:?}"));
        }
    }
    if let Some(command) = more {
        let done = std::process::Command::new("bash").args(["-c", command]).status();
        if !done.is_ok_and(|status| status.success()) {
            return Err(format!("no room by {command}"));
        }
    }
    let began = now();
    while !write(&mut c, &root, &pool, first)?.ok() {
        if now() - began > PATIENCE {
            return Err("no room a minute after most was removed".into());
        }
        pause(Duration::from_millis(500));
    }
    println!("room again after {} ms", (now() - began).as_millis());
    for n in 0..first / 4 {
        compare(&mut c, &root, &pool, n)?;
    }
    for n in first + 1..first + first / 4 {
        let status = write(&mut c, &root, &pool, n)?;
        if !status.ok() {
            return Err(format!("file {n} behind the time when it was full: {status:?}"));
        }
    }
    let status = server.stop().map_err(|e| e.to_string())?;
    if !status.success() {
        return Err(format!("stopped with {status}"));
    }
    println!("check: {}", bed.check(&args[..2])?);
    bed.done()
}

/// Files of a MiB until NFS3ERR_NOSPC: how many went in, and the longest wait for an answer.
fn fill(c: &mut Client, root: &Fh, pool: &Pool, from: u64) -> Outcome<(u64, Duration)> {
    let mut slowest = Duration::ZERO;
    for n in from..FILES {
        let began = now();
        let status = write(c, root, pool, n)?;
        slowest = slowest.max(now() - began);
        match status {
            Status::NOSPC if n > 8 => return Ok((n, slowest)),
            status if status.ok() => (),
            status => return Err(format!("file {n}: {status:?}")),
        }
    }
    Err(format!("{FILES} MiB went in: the store is not small"))
}

/// Makes or rewrites file `n`, durable. The status of what failed, if anything; anything but "no
/// room" and "later" is an error.
fn write(c: &mut Client, root: &Fh, pool: &Pool, n: u64) -> Outcome<Status> {
    let name = format!("f{n}");
    let made = patiently(|| {
        let how = crate::nfsclient::proc::How::Unchecked(crate::nfsclient::Sattr::mode(0o644));
        let call = crate::nfsclient::proc::Create { dir: root, name: name.as_bytes(), how };
        c.call(&call).map(|r| (r.status, r.fh))
    });
    let (status, fh) = made.map_err(|e| format!("CREATE {name}: no answer: {e}"))?;
    let Some(fh) = fh else {
        return only_room(status, "CREATE");
    };
    let block = pool.block(n, FILE);
    let (status, _) = patiently(|| c.write(&fh, 0, FILE_SYNC, block).map(|r| (r.status, ())))
        .map_err(|e| format!("WRITE {name}: no answer: {e}"))?;
    if status.ok() { Ok(status) } else { only_room(status, "WRITE") }
}

fn only_room(status: Status, what: &str) -> Outcome<Status> {
    match status {
        Status::NOSPC => Ok(status),
        other => Err(format!("{what}: {other:?}")),
    }
}

fn compare(c: &mut Client, root: &Fh, pool: &Pool, n: u64) -> Outcome<()> {
    let name = format!("f{n}");
    let fh = c.walk(root, &name).map_err(|e| format!("{name}: {e}"))?;
    let (status, r) =
        patiently(|| c.read(&fh, 0, 1 << 20).map(|r| (r.status, r))).map_err(|e| e.to_string())?;
    if !status.ok() || r.data != pool.block(n, FILE) {
        return Err(format!("READ {name}: {status:?}, {} bytes, wrong ones", r.data.len()));
    }
    Ok(())
}
