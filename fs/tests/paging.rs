//! Directories read page by page while they change, with hashes cut short so that names collide.
#![allow(clippy::unwrap_used)] // tests

mod at;

use std::collections::{BTreeSet, HashMap};

use at::{At, mode, now, root, tuned};
use fs::*;

fn page(at: &At, dir: FileId, cookie: u64, limit: usize, plus: bool) -> DirPage {
    now(at.v.readdir(&root().caller, dir, cookie, limit, plus)).unwrap()
}

/// No entry that exists all the while is lost or doubled, whatever comes and goes beside it, also
/// over a restart in the middle, at every page size and at every length of the hash.
#[test]
fn what_stays_is_seen_once() {
    for bits in [2, 7, 55] {
        let tuning = Tuning { hash_bits: bits, ..Tuning::default() };
        let mut at = tuned(tuning);
        let dir = at.mkdir(&root(), at.v.root(), "d", 0o755);
        let stays: BTreeSet<String> = (0..200).map(|n| format!("stays-{n}")).collect();
        for n in 0..200 {
            at.create(&root(), dir, &format!("comes-{n}"), 0o644);
            at.create(&root(), dir, &format!("stays-{n}"), 0o644);
        }
        let mut cookies: HashMap<String, u64> = HashMap::new();
        for limit in 1..12 {
            let (mut cookie, mut seen, mut turn) = (0, BTreeSet::new(), 0);
            loop {
                let plus = turn % 2 == 0;
                let page = page(&at, dir, cookie, limit, plus);
                assert!(page.entries.len() <= limit);
                for entry in &page.entries {
                    assert!(entry.cookie > cookie && entry.cookie <= i64::MAX as u64);
                    cookie = entry.cookie;
                    let name = String::from_utf8(entry.name.to_vec()).unwrap();
                    assert!(seen.insert(name.clone()) || name.starts_with("comes"), "{name} twice");
                    assert_eq!(entry.attributes.is_some(), plus);
                    if name.starts_with("stays") {
                        let known = *cookies.entry(name).or_insert(cookie);
                        assert_eq!(known, cookie, "a cookie is for ever");
                    }
                }
                if page.end {
                    break;
                }
                let victim = format!("comes-{}", (turn * 7 + limit) % 200);
                if now(at.v.remove(&root(), dir, victim.as_bytes())).is_err() {
                    at.create(&root(), dir, &victim, 0o644);
                }
                if turn == 20 {
                    at.v = now(Volume::open_tuned(at.index.clone(), (0, 0), tuning)).unwrap();
                }
                turn += 1;
            }
            assert!(stays.is_subset(&seen), "{bits} bits, limit {limit}: lost entries");
            assert!(seen.contains(".") && seen.contains(".."));
        }
        at.sound();
    }
}

/// An unknown cookie, also that of a name just removed, goes on at the next greater one.
#[test]
fn any_cookie_is_good() {
    let at = tuned(Tuning { hash_bits: 2, ..Tuning::default() });
    let dir = at.mkdir(&root(), at.v.root(), "d", 0o755);
    for n in 0..20 {
        at.create(&root(), dir, &format!("{n}"), 0o644);
    }
    let all = page(&at, dir, 0, 100, false);
    assert!(all.end);
    assert_eq!((all.entries[0].cookie, all.entries[1].cookie), (1, 2));
    assert_eq!((all.entries[0].ino, all.entries[1].ino), (dir.ino, 1));
    now(at.v.remove(&root(), dir, &all.entries[7].name)).unwrap();
    let rest = page(&at, dir, all.entries[7].cookie, 100, false);
    let cookies = |of: &[DirEntry]| of.iter().map(|e| e.cookie).collect::<Vec<_>>();
    assert_eq!(cookies(&rest.entries), cookies(&all.entries[8..]));
    for odd in [3, 100, 255] {
        assert_eq!(page(&at, dir, odd, 100, false).entries.len(), 19);
    }
    for end in [i64::MAX as u64, u64::MAX] {
        let last = page(&at, dir, end, 100, false);
        assert!(last.end && last.entries.is_empty());
    }
    let none = page(&at, dir, 0, 0, false);
    assert!(!none.end && none.entries.is_empty());
    let two = page(&at, dir, 0, 2, false);
    assert_eq!((two.entries.len(), two.end), (2, false));
    let exact = page(&at, dir, 0, 21, false);
    assert_eq!((exact.entries.len(), exact.end), (21, true));
}

/// The 257th name of one hash is refused, counted, and changes nothing; when one of the 256 goes
/// there is room again.
#[test]
fn a_hash_is_full_at_256_names() {
    let at = tuned(Tuning { hash_bits: 1, ..Tuning::default() });
    let dir = at.mkdir(&root(), at.v.root(), "d", 0o755);
    // One bit, and hash 0 counts as 1: all names collide.
    for n in 0..256 {
        at.create(&root(), dir, &format!("{n}"), 0o644);
    }
    assert_eq!(at.v.hash_full(), 0);
    let refused = now(at.v.mkdir(&root(), dir, b"256", mode(0o755))).unwrap_err();
    assert_eq!((refused.error, at.v.hash_full()), (FsError::NoSpc, 1));
    at.sound();
    now(at.v.remove(&root(), dir, b"100")).unwrap();
    at.create(&root(), dir, "256", 0o644);
    let found = now(at.v.lookup(&root().caller, dir, b"256")).unwrap().0;
    assert_eq!(page(&at, dir, 0, 1_000, false).entries.len(), 258);
    assert_eq!(at.attr(found.id).nlink, 1);
    at.sound();
}

/// Renaming keeps the entry of the target in its place, and frees that of the source.
#[test]
fn rename_does_not_move_the_target() {
    let at = tuned(Tuning { hash_bits: 3, ..Tuning::default() });
    let dir = at.mkdir(&root(), at.v.root(), "d", 0o755);
    for name in ["a", "b", "c"] {
        at.create(&root(), dir, name, 0o644);
    }
    let cookie_of = |name: &str| {
        let page = page(&at, dir, 0, 100, false);
        page.entries.iter().find(|e| e.name == name.as_bytes()).map(|e| e.cookie)
    };
    let before = cookie_of("b");
    now(at.v.rename(&root(), dir, b"a", dir, b"b")).unwrap();
    assert_eq!((cookie_of("a"), cookie_of("b")), (None, before));
    at.sound();
}
