//! What Linux clients rely on, row by row of what they were seen to do: change attributes, caches
//! per identity, silly renames, deep pipelines, one fsid for ever.
#![allow(clippy::unwrap_used)]

mod at;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use at::{At, config, now, volume};
use esker_tests::nfsclient::{NFS, RpcStatus, Sattr, Status, proc::*};
use fs::{
    Volume,
    seam::{Clock, Env},
};
use headhunter::Index;
use nfssvr::{Limits, ServerConfig};

/// A clock that runs backwards: each look gives an earlier wall time.
struct Backwards(AtomicU64);

impl Clock for Backwards {
    fn wall(&self) -> Duration {
        Duration::from_nanos(self.0.fetch_sub(1_000_000, Relaxed))
    }
    fn monotonic(&self) -> Duration {
        Duration::from_secs(1)
    }
}

#[test]
fn row_1_ctime_rises_whatever_the_clock_does() {
    let clock = Arc::new(Backwards(AtomicU64::new(1_700_000_000_000_000_000)));
    let env = Env { clock, ..Env::real() };
    let volume = now(Volume::open(Index::in_memory(env), (0, 0))).unwrap();
    let at = At::over(config(), volume);
    let top = at.top("/");
    let mut c = at.root();
    let file = c.create(&top, "f", 0o644).unwrap();
    let mut last = c.attr(&file).unwrap().ctime;
    for n in 0..3_000u32 {
        let after = if n % 2 == 0 {
            c.setattr(&file, Sattr::mode(0o600 | (n % 8))).unwrap().wcc.after
        } else {
            c.write(&file, 0, UNSTABLE, &n.to_be_bytes()).unwrap().wcc.after
        };
        let ctime = after.unwrap().ctime;
        assert!(ctime > last, "change {n}: {ctime:?} after {last:?}");
        last = ctime;
    }
    let mut last = c.attr(&top).unwrap();
    for n in 0..200 {
        c.create(&top, &format!("n{n}"), 0o644).unwrap();
        let a = c.attr(&top).unwrap();
        assert!(a.ctime > last.ctime && a.mtime > last.mtime);
        last = a;
    }
}

#[test]
fn row_3_attributes_show_a_write_at_once_to_everyone() {
    let at = At::new();
    let top = at.top("/");
    let (mut writer, mut reader) = (at.root(), at.root());
    let file = writer.create(&top, "f", 0o644).unwrap();
    for n in 1..50u64 {
        let before = reader.attr(&file).unwrap();
        let wrote = writer.write(&file, n * 10, UNSTABLE, b"0123456789").unwrap();
        let after = reader.attr(&file).unwrap();
        assert_eq!(wrote.wcc.after.as_ref(), Some(&after));
        assert_eq!(after.size, n * 10 + 10);
        assert!(after.mtime > before.mtime && after.ctime > before.ctime);
        assert_eq!(reader.read(&file, n * 10, 10).unwrap().data, b"0123456789");
    }
}

#[test]
fn row_4_a_change_of_rights_moves_ctime_and_access_follows() {
    let at = At::new();
    let top = at.top("/");
    let mut root = at.root();
    let mut user = at.user(1000, 1000, &[]);
    let file = root.create(&top, "f", 0o600).unwrap();
    let bits = |c: &mut esker_tests::nfsclient::Client| {
        c.call(&Access { fh: &file, want: 63 }).unwrap().bits
    };
    assert_eq!(bits(&mut user), 0);
    for (set, expected) in [
        (Sattr::mode(0o604), 1),
        (Sattr::mode(0o606), 1 | 4 | 8),
        (Sattr::mode(0o605), 1 | 32),
        (Sattr { uid: Some(1000), ..Sattr::mode(0o200) }, 4 | 8),
        (Sattr { uid: Some(1), gid: Some(1000), ..Sattr::mode(0o040) }, 1),
    ] {
        let before = root.attr(&file).unwrap().ctime;
        root.setattr(&file, set).unwrap();
        assert!(root.attr(&file).unwrap().ctime > before);
        assert_eq!(bits(&mut user), expected, "{set:?}");
    }
    root.setattr(&file, Sattr::mode(0o600)).unwrap();
    assert_eq!(bits(&mut root) & 32, 0, "root executes only what someone may execute");
    root.setattr(&file, Sattr::mode(0o001)).unwrap();
    assert_eq!(bits(&mut root) & 32, 32);
}

#[test]
fn row_5_a_silly_rename_keeps_the_file_and_a_removal_makes_its_handle_stale() {
    let at = At::new();
    let top = at.top("/");
    let (mut holder, mut other) = (at.root(), at.root());
    let file = holder.create(&top, "open", 0o644).unwrap();
    holder.write(&file, 0, FILE_SYNC, b"kept").unwrap();
    let silly = Rename { from: (&top, b"open"), to: (&top, b".nfs0001") };
    assert!(holder.call(&silly).unwrap().status.ok());
    assert_eq!(holder.read(&file, 0, 4).unwrap().data, b"kept");
    assert_eq!(other.remove(&top, ".nfs0001").unwrap().0, Status::OK);
    assert_eq!(holder.read(&file, 0, 4).unwrap().status, Status::STALE);
    assert_eq!(holder.write(&file, 0, UNSTABLE, b"x").unwrap().status, Status::STALE);
    assert_eq!(holder.commit(&file).unwrap().status, Status::STALE);
    // Replaced by a rename: gone as well; with a second name: not.
    let one = holder.create(&top, "one", 0o644).unwrap();
    let two = holder.create(&top, "two", 0o644).unwrap();
    holder.call(&Link { fh: &one, dir: &top, name: b"hard" }).unwrap();
    other.call(&Rename { from: (&top, b"two"), to: (&top, b"one") }).unwrap();
    assert_eq!(holder.attr(&one).unwrap().nlink, 1);
    other.remove(&top, "hard").unwrap();
    assert_eq!(holder.call(&Getattr(&one)).unwrap().status, Status::STALE);
    assert!(holder.attr(&two).is_ok());
}

#[test]
fn row_14_ten_thousand_calls_in_flight_on_one_connection() {
    // Credit far below what is sent: nothing is dropped, the server only stops reading.
    let limits = Limits { calls: 16, connection_bytes: 256 << 10, ..Limits::default() };
    let at = At::with(ServerConfig { limits, ..config() });
    let top = at.top("/");
    let mut c = at.root();
    let file = c.create(&top, "f", 0o644).unwrap();
    c.write(&file, 0, UNSTABLE, &vec![1; 64 << 10]).unwrap();
    let reader = c.conn.stream().try_clone().unwrap();
    let mut replies = esker_tests::nfsclient::Conn::over(reader).unwrap();
    let cred = c.cred.clone();
    std::thread::scope(|s| {
        s.spawn(|| {
            for n in 0..10_000u32 {
                let read = n % 4 == 0;
                c.conn.queue(n, (NFS, 3, if read { 6 } else { 1 }), &cred, |e| {
                    e.opaque(&file.0);
                    if read {
                        e.u64(0);
                        e.u32(64 << 10);
                    }
                });
                if n % 100 == 99 {
                    c.conn.flush().unwrap();
                }
            }
        });
        for n in 0..10_000 {
            let reply = replies.reply().unwrap();
            assert_eq!((reply.xid, reply.status), (n, RpcStatus::Success));
        }
    });
    at.quiet();
}

#[test]
fn row_17_handles_fsid_and_fileid_stay_over_a_restart() {
    let volume = volume();
    let at = At::over(config(), volume.clone());
    let top = at.top("/");
    let mut c = at.root();
    let file = c.create(&top, "f", 0o644).unwrap();
    let before = c.attr(&file).unwrap();
    at.server.shutdown();
    let at = At::over(config(), volume.clone());
    let mut c = at.root();
    assert_eq!(c.attr(&file).unwrap(), before);
    assert_eq!(at.top("/"), top);
    // Another fsid is another volume: a snapshot, a copy.
    let copy = At::over(ServerConfig { fsid: 1, ..config() }, volume);
    assert_eq!(copy.root().call(&Getattr(&file)).unwrap().status, Status::BADHANDLE);
}
