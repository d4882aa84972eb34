//! Rows 9, 10 and 18: listings of a directory that changes, of every size, over a restart.

use std::collections::{BTreeMap, BTreeSet};

use esker_tests::nfsclient::proc::{Create, Entry, How, Readdir, Readdirplus, Remove, Rename};
use esker_tests::nfsclient::{Client, Fh, Sattr, Status};

use crate::{Lab, fine};

/// Makes files with a window of calls; gives them by name.
fn fill(c: &mut Client, dir: &Fh, names: &[String]) -> BTreeMap<Vec<u8>, Fh> {
    let mut made = BTreeMap::new();
    for chunk in names.chunks(64) {
        let xids: Vec<u32> = chunk
            .iter()
            .map(|n| {
                let how = How::Guarded(Sattr::mode(0o644));
                c.send(&Create { dir, name: n.as_bytes(), how }).unwrap()
            })
            .collect();
        for (xid, n) in xids.into_iter().zip(chunk) {
            let r = fine!(c.recv::<Create>(xid));
            made.insert(n.clone().into_bytes(), r.fh.unwrap());
        }
    }
    made
}

fn names(entries: &[Entry]) -> Vec<Vec<u8>> {
    entries.iter().map(|e| e.name.clone()).collect()
}

/// Each name exactly once, `.` and `..` first, cookies rising and within what clients can keep.
fn check_listing(entries: &[Entry], want: &BTreeSet<Vec<u8>>) {
    assert_eq!(entries[0].name, b".");
    assert_eq!(entries[1].name, b"..");
    for pair in entries.windows(2) {
        assert!(pair[0].cookie < pair[1].cookie, "cookies rise");
    }
    for e in &entries[2..] {
        assert!((3..=i64::MAX as u64).contains(&e.cookie), "cookie {:#x}", e.cookie);
    }
    let got: BTreeSet<_> = entries[2..].iter().map(|e| e.name.clone()).collect();
    assert_eq!(got.len(), entries.len() - 2, "a name came twice");
    assert_eq!(&got, want);
}

#[test]
fn both_listings_agree_and_name_the_right_files() {
    let lab = Lab::fast();
    let mut c = lab.client();
    let dir = c.mkdir(&lab.root, "d", 0o755).unwrap();
    let all: Vec<String> = (0..700).map(|i| format!("entry number {i}")).collect();
    let made = fill(&mut c, &dir, &all);
    let want: BTreeSet<_> = made.keys().cloned().collect();
    let plain = c.list(&dir, 4096).unwrap();
    let plus = c.list_plus(&dir, 8192).unwrap();
    check_listing(&plain.entries, &want);
    check_listing(&plus.entries, &want);
    assert!(plain.calls > 3 && plus.calls > 3);
    for (a, b) in plain.entries.iter().zip(&plus.entries) {
        assert_eq!((&a.name, a.fileid, a.cookie), (&b.name, b.fileid, b.cookie));
    }
    let (here, above) = (c.attr(&dir).unwrap(), c.attr(&lab.root).unwrap());
    assert_eq!((plain.entries[0].fileid, plain.entries[1].fileid), (here.fileid, above.fileid));
    for e in &plus.entries[2..] {
        if let Some(fh) = &e.fh {
            assert_eq!(fh, &made[&e.name]);
        }
        if let Some(a) = &e.attr {
            assert_eq!((a.fileid, a.fsid), (e.fileid, here.fsid));
        }
    }
    let with_both = plus.entries.iter().filter(|e| e.fh.is_some() && e.attr.is_some()).count();
    assert!(with_both >= all.len(), "READDIRPLUS gave handle and attributes of {with_both}");
    let root = c.list(&lab.root, 4096).unwrap();
    assert_eq!(root.entries[0].fileid, root.entries[1].fileid, "`..` of the root is the root");
}

/// Every count from 64 up: within the limit, at least one entry or TOOSMALL, nothing lost.
#[test]
fn every_count_is_honoured() {
    let lab = Lab::fast();
    let mut c = lab.client();
    let dir = c.mkdir(&lab.root, "d", 0o755).unwrap();
    let all: Vec<String> = (1..60).map(|i| "n".repeat(i * 4)).collect();
    let want: BTreeSet<_> = fill(&mut c, &dir, &all).keys().cloned().collect();
    for plus in [false, true] {
        let mut first_good = 0;
        for count in (64..1500).chain([4096, 65_536, u32::MAX]) {
            let listed = list_within(&mut c, &dir, count, plus);
            if let Some(entries) = listed {
                if first_good == 0 {
                    first_good = count;
                }
                check_listing(&entries, &want);
            } else {
                assert!(first_good == 0, "{count}: TOOSMALL, but {first_good} was enough");
            }
        }
        assert!(first_good < if plus { 700 } else { 400 }, "TOOSMALL up to {first_good}");
    }
}

/// A whole listing with replies of at most `count` bytes; `None` if some entry does not fit.
fn list_within(c: &mut Client, dir: &Fh, count: u32, plus: bool) -> Option<Vec<Entry>> {
    let (mut all, mut cookie, mut verf) = (Vec::new(), 0, [0; 8]);
    loop {
        let r = if plus {
            let (dircount, maxcount) = (count, count);
            c.call(&Readdirplus { dir, cookie, verf, dircount, maxcount }).unwrap()
        } else {
            c.call(&Readdir { dir, cookie, verf, count }).unwrap()
        };
        if r.status == Status::TOOSMALL {
            return None;
        }
        assert!(r.status.ok(), "count {count}: {:?}", r.status);
        assert!(r.bytes - 4 <= count as usize, "{} bytes for count {count}", r.bytes - 4);
        assert!(r.eof || !r.entries.is_empty(), "count {count}: neither entries nor the end");
        verf = r.verf;
        cookie = r.entries.last().map_or(cookie, |e| e.cookie);
        all.extend(r.entries);
        if r.eof {
            return Some(all);
        }
    }
}

/// Names come, go and are renamed while the listing runs: what existed throughout is there once,
/// what never existed never.
#[test]
fn a_changing_directory_loses_nothing() {
    let lab = Lab::fast();
    let mut c = lab.client();
    let mut other = lab.client();
    let dir = c.mkdir(&lab.root, "d", 0o755).unwrap();
    let stay: Vec<String> = (0..1500).map(|i| format!("stay-{i}")).collect();
    let go: Vec<String> = (0..1500).map(|i| format!("go-{i}")).collect();
    fill(&mut c, &dir, &stay);
    fill(&mut c, &dir, &go);
    for plus in [false, true] {
        let (mut all, mut cookie, mut verf, mut step) = (Vec::new(), 0, [0; 8], 0usize);
        loop {
            let r = if plus {
                let (dircount, maxcount) = (4000, 4000);
                c.call(&Readdirplus { dir: &dir, cookie, verf, dircount, maxcount }).unwrap()
            } else {
                c.call(&Readdir { dir: &dir, cookie, verf, count: 1000 }).unwrap()
            };
            assert!(r.status.ok(), "{:?}", r.status);
            verf = r.verf;
            cookie = r.entries.last().map_or(cookie, |e| e.cookie);
            let last = r.entries.last().map(|e| e.name.clone());
            all.extend(r.entries);
            if r.eof {
                break;
            }
            // The very entry that the cookie stands for goes too, if it may.
            let gone = last.filter(|n| n.starts_with(b"go-"));
            if let Some(name) = &gone {
                other.call(&Remove { dir: &dir, name }).unwrap();
            }
            for k in 0..5 {
                step += 1;
                let (name, new) = (go[step * 7 % go.len()].clone(), format!("new-{plus}-{step}"));
                match k % 3 {
                    0 => drop(other.remove(&dir, &name).unwrap()),
                    1 => drop(other.create(&dir, &new, 0o644).unwrap()),
                    _ => {
                        let (a, b) = (name.into_bytes(), new.into_bytes());
                        other.call(&Rename { from: (&dir, &a), to: (&dir, &b) }).unwrap();
                    }
                }
            }
        }
        assert!(step > 50, "the directory changed only {step} times");
        let got = names(&all);
        let once: BTreeSet<_> = got.iter().collect();
        assert_eq!(once.len(), got.len(), "a name came twice");
        for n in &stay {
            assert!(once.contains(&n.clone().into_bytes()), "{n} was left out");
        }
        for n in got {
            let n = String::from_utf8(n).unwrap();
            let known =
                n == "." || n == ".." || ["stay-", "go-", "new-"].iter().any(|p| n.starts_with(p));
            assert!(known, "{n} never existed");
        }
    }
}

/// A cookie goes on after a restart, after a crash, with any verifier, and when its entry is gone.
#[test]
fn cookies_outlive_the_server() {
    let mut lab = Lab::fast();
    let mut c = lab.client();
    let dir = c.mkdir(&lab.root, "d", 0o755).unwrap();
    let all: Vec<String> = (0..400).map(|i| format!("f{i}")).collect();
    let made = fill(&mut c, &dir, &all);
    fine!(c.commit(&made[&all.last().unwrap().clone().into_bytes()]));
    let whole = c.list(&dir, 8192).unwrap().entries;
    let half = whole.len() / 2;
    let rest = |lab: &Lab, verf: [u8; 8], cookie: u64| {
        let mut c = lab.client();
        let listed =
            c.list_from(&dir, cookie, |dir, cookie, _| Readdir { dir, cookie, verf, count: 2000 });
        names(&listed.unwrap().entries)
    };
    let want = names(&whole[half..]);
    let cookie = whole[half - 1].cookie;
    assert_eq!(rest(&lab, [0; 8], cookie), want);
    lab.server.restart().unwrap();
    assert_eq!(rest(&lab, [0; 8], cookie), want, "after a clean stop");
    lab.server.kill().unwrap();
    lab.server.start_again().unwrap();
    assert_eq!(rest(&lab, [0; 8], cookie), want, "after a crash");
    let mut c = lab.client();
    fine!(c.call(&Remove { dir: &dir, name: &whole[half - 1].name }));
    assert_eq!(rest(&lab, [0; 8], cookie), want, "its entry being gone");
    assert_eq!(rest(&lab, [0; 8], cookie + 1), want, "a cookie that never was");
    assert_eq!(rest(&lab, [0; 8], i64::MAX as u64), Vec::<Vec<u8>>::new());
}
