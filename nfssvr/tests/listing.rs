//! READDIR and READDIRPLUS: sizes, cookies, changes meanwhile, restarts (nfs-clients rows 9, 10).
#![allow(clippy::unwrap_used)]

mod at;

use std::collections::BTreeSet;

use at::{At, config, now, volume};
use esker_tests::nfsclient::{Client, Fh, Status, proc::*};

fn fill(c: &mut Client, dir: &Fh, names: impl Iterator<Item = String>) {
    for name in names {
        c.create(dir, &name, 0o644).unwrap();
    }
}

fn names(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|e| String::from_utf8_lossy(&e.name).into_owned()).collect()
}

fn plain(dir: &Fh, cookie: u64, count: u32) -> Readdir<'_> {
    Readdir { dir, cookie, verf: [0; 8], count }
}

fn plus(dir: &Fh, cookie: u64, dircount: u32, maxcount: u32) -> Readdirplus<'_> {
    Readdirplus { dir, cookie, verf: [0; 8], dircount, maxcount }
}

#[test]
fn every_size_from_one_byte_up() {
    let at = At::new();
    let top = at.top("/");
    let mut c = at.root();
    let dir = c.mkdir(&top, "d", 0o755).unwrap();
    let long = "long".repeat(60);
    fill(&mut c, &dir, ["a".into(), "bcdef".into(), long.clone()].into_iter());
    let whole = names(&c.list(&dir, 65_536).unwrap().entries);
    assert_eq!(whole.len(), 5);
    let (mut smallest, mut smallest_plus) = (None, None);
    for count in 1..1400u32 {
        for with in [false, true] {
            let r = if with {
                c.call(&plus(&dir, 0, count, count)).unwrap()
            } else {
                c.call(&plain(&dir, 0, count)).unwrap()
            };
            match r.status {
                Status::TOOSMALL => {
                    let first = if with { smallest_plus } else { smallest };
                    assert_eq!(first, None, "{count} bytes: less sufficed");
                }
                Status::OK => {
                    // `bytes` holds the status word too.
                    assert!(r.bytes - 4 <= count as usize, "{} > {count}", r.bytes - 4);
                    assert!(!r.entries.is_empty());
                    assert_eq!(names(&r.entries), whole[..r.entries.len()]);
                    assert_eq!(r.eof, r.entries.len() == 5);
                    let first = if with { &mut smallest_plus } else { &mut smallest };
                    first.get_or_insert(count);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    // "absent" + verifier + one entry of `.` + end: 4 + 8 + 28 + 8, and twice "absent" for plus.
    assert_eq!((smallest, smallest_plus), (Some(48), Some(56)));
    // Every size that takes the longest name lists the whole directory, by both calls.
    for count in (308..1400).step_by(31) {
        assert_eq!(names(&c.list(&dir, count).unwrap().entries), whole, "{count}");
        assert_eq!(names(&c.list_plus(&dir, count).unwrap().entries), whole, "{count}");
    }
    // dircount is a hint and never an error.
    for dircount in [0, 1, 64, 300, u32::MAX] {
        let r = c.call(&plus(&dir, 0, dircount, 4096)).unwrap();
        assert!(r.status.ok() && !r.entries.is_empty());
    }
    assert!(c.call(&plus(&dir, 0, 60, 4096)).unwrap().entries.len() < 5);
    assert!(c.call(&plain(&dir, 0, u32::MAX)).unwrap().eof);
}

#[test]
fn entries_are_what_they_say() {
    let at = At::new();
    let top = at.top("/");
    let mut c = at.root();
    let dir = c.mkdir(&top, "d", 0o755).unwrap();
    fill(&mut c, &dir, (0..100).map(|n| format!("f{n}")));
    let listed = c.list_plus(&dir, 8192).unwrap();
    let plain_names = names(&c.list(&dir, 1000).unwrap().entries);
    assert_eq!(names(&listed.entries), plain_names, "both calls in one order");
    assert!(listed.calls > 1);
    for e in &listed.entries {
        let a = e.attr.as_ref().unwrap();
        assert_eq!(a.fileid, e.fileid);
        let fh = e.fh.as_ref().unwrap();
        let name = String::from_utf8(e.name.clone()).unwrap();
        assert_eq!(&c.walk(&dir, &name).unwrap(), fh);
        assert_eq!(&c.attr(fh).unwrap(), a);
    }
    let up = listed.entries.iter().find(|e| e.name == b"..").unwrap();
    assert_eq!(up.fh.as_ref(), Some(&top));
    let root = c.list_plus(&top, 8192).unwrap();
    assert!(root.entries[..2].iter().all(|e| e.fh.as_ref() == Some(&top)), "above `/` is `/`");
    let cookies: Vec<_> = listed.entries.iter().map(|e| e.cookie).collect();
    assert!(cookies.is_sorted_by(|a, b| a < b) && cookies[2] > 2);
    assert!(*cookies.last().unwrap() <= i64::MAX as u64);
    // Any verifier, any cookie: never BAD_COOKIE.
    let odd = Readdir { dir: &dir, cookie: cookies[5], verf: [7; 8], count: 4096 };
    assert_eq!(names(&c.call(&odd).unwrap().entries)[0], plain_names[6]);
    let between = plain(&dir, cookies[5] + 1, 4096);
    assert_eq!(names(&c.call(&between).unwrap().entries)[0], plain_names[6]);
    let beyond = c.call(&plain(&dir, u64::MAX, 4096)).unwrap();
    assert!(beyond.status.ok() && beyond.eof && beyond.entries.is_empty());
}

#[test]
fn nothing_is_lost_or_doubled_while_the_directory_changes() {
    let at = At::new();
    let top = at.top("/");
    let (mut c, mut other) = (at.root(), at.root());
    let dir = c.mkdir(&top, "d", 0o755).unwrap();
    let stay: Vec<_> = (0..600).map(|n| format!("stay{n}")).collect();
    fill(&mut c, &dir, stay.iter().cloned());
    fill(&mut c, &dir, (0..300).map(|n| format!("go{n}")));
    let mut seen = Vec::new();
    let (mut cookie, mut round) = (0, 0);
    loop {
        let mixed = round % 2 == 0;
        let r = if mixed {
            c.call(&plain(&dir, cookie, 700)).unwrap()
        } else {
            c.call(&plus(&dir, cookie, 700, 2500)).unwrap()
        };
        assert!(r.status.ok());
        seen.extend(names(&r.entries));
        if let Some(last) = r.entries.last() {
            cookie = last.cookie;
        }
        if r.eof {
            break;
        }
        // The entry behind the cookie goes away, others come and go.
        let last = seen.last().unwrap().clone();
        if last.starts_with("go") {
            other.remove(&dir, &last).unwrap();
        }
        other.create(&dir, &format!("come{round}"), 0o644).unwrap();
        let name = format!("go{}", (round * 7) % 300);
        let _ = other.remove(&dir, &name);
        round += 1;
    }
    assert!(round > 20, "{round} calls");
    let unique: BTreeSet<_> = seen.iter().cloned().collect();
    assert_eq!(unique.len(), seen.len(), "nothing twice");
    for name in &stay {
        assert!(unique.contains(name), "{name} existed throughout");
    }
}

#[test]
fn cookies_survive_a_restart() {
    let volume = volume();
    let at = At::over(config(), volume.clone());
    let top = at.top("/");
    let mut c = at.root();
    fill(&mut c, &top, (0..200).map(|n| format!("f{n}")));
    let whole = names(&c.list(&top, 65_536).unwrap().entries);
    let half = c.call(&plain(&top, 0, 3000)).unwrap();
    let cookie = half.entries.last().unwrap().cookie;
    at.server.shutdown();
    let at = At::over(config(), volume);
    let mut c = at.root();
    let rest = c.list_from(&top, cookie, |dir, cookie, _| plain(dir, cookie, 3000)).unwrap();
    let all: Vec<_> = names(&half.entries).into_iter().chain(names(&rest.entries)).collect();
    assert_eq!(all, whole);
}

#[test]
fn five_thousand_names_that_share_their_hashes() {
    // Seven bits of hash: about forty names on each, so that every page begins among equals.
    let tuning = fs::Tuning { hash_bits: 7, ..fs::Tuning::default() };
    let index = headhunter::Index::in_memory(fs::seam::Env::real());
    let volume = now(fs::Volume::open_tuned(index, (0, 0), tuning)).unwrap();
    let at = At::over(config(), volume.clone());
    let top = at.top("/");
    let mut c = at.root();
    let dir = c.mkdir(&top, "d", 0o755).unwrap();
    fill(&mut c, &dir, (0..5_000).map(|n| format!("n{n}")));
    let first = c.call(&plus(&dir, 0, 1 << 20, 100_000)).unwrap();
    let mut seen = names(&first.entries);
    let half = first.entries.last().unwrap().cookie;
    // Half of the names go, others come, the server starts again.
    for n in (0..5_000).step_by(2) {
        c.remove(&dir, &format!("n{n}")).unwrap();
    }
    fill(&mut c, &dir, (0..1_500).map(|n| format!("late{n}")));
    at.server.shutdown();
    let at = At::over(config(), volume);
    let mut c = at.root();
    let rest = c.list_from(&dir, half, |dir, cookie, _| plain(dir, cookie, 5_000)).unwrap();
    seen.extend(names(&rest.entries));
    let unique: BTreeSet<_> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "nothing twice");
    for n in (1..5_000).step_by(2) {
        assert!(unique.contains(&format!("n{n}")), "n{n} was there all the time");
    }
    let whole = names(&c.list_plus(&dir, 65_536).unwrap().entries);
    assert_eq!(whole.len(), 2 + 2_500 + 1_500);
}
