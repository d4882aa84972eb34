//! A directory of 100,000 entries, listed over the wire while it changes.

use std::collections::BTreeSet;
use std::ops::Range;

use esker_tests::nfsclient::proc::{Create, Entry, How, Readdir, Readdirplus, Remove, Rename};
use esker_tests::nfsclient::{Client, Fh, Sattr};

use crate::Lab;

/// Entries that stand throughout, and beside them those that come and go.
const STAY: usize = 95_000;
const GO: usize = 5_000;
/// Calls in flight while the directory is filled.
const WINDOW: usize = 256;

fn stay(i: usize) -> Vec<u8> {
    format!("stays {i}").into_bytes()
}

fn go(i: usize) -> Vec<u8> {
    format!("goes {i}").into_bytes()
}

/// Makes a name for each of `range`, with a window of calls.
fn fill(c: &mut Client, dir: &Fh, range: Range<usize>, name: fn(usize) -> Vec<u8>) {
    let mut flying = std::collections::VecDeque::with_capacity(WINDOW);
    for i in range {
        if flying.len() == WINDOW {
            let r = c.recv::<Create>(flying.pop_front().unwrap()).unwrap();
            assert!(r.status.ok(), "{:?}", r.status);
        }
        let how = How::Unchecked(Sattr::mode(0o644));
        flying.push_back(c.send(&Create { dir, name: &name(i), how }).unwrap());
    }
    for xid in flying {
        assert!(c.recv::<Create>(xid).unwrap().status.ok());
    }
}

/// One page of a listing, and whether it was the last.
fn page(
    c: &mut Client,
    dir: &Fh,
    cookie: u64,
    verf: &mut [u8; 8],
    plus: bool,
) -> (Vec<Entry>, bool) {
    let r = if plus {
        let (dircount, maxcount) = (1 << 16, 1 << 16);
        c.call(&Readdirplus { dir, cookie, verf: *verf, dircount, maxcount }).unwrap()
    } else {
        c.call(&Readdir { dir, cookie, verf: *verf, count: 1 << 15 }).unwrap()
    };
    assert!(r.status.ok(), "{:?}", r.status);
    let most = if plus { 1 << 16 } else { 1 << 15 };
    assert!(r.bytes - 4 <= most, "a page of {} bytes", r.bytes - 4);
    assert!(r.eof || !r.entries.is_empty(), "neither entries nor the end");
    *verf = r.verf;
    (r.entries, r.eof)
}

/// Lists all of it; after each page `change` may do what it likes. Gives the names, in order, and
/// the number of pages.
fn list(
    c: &mut Client,
    dir: &Fh,
    plus: bool,
    mut change: impl FnMut(usize, &[u8]),
) -> (Vec<Vec<u8>>, usize) {
    let (mut names, mut cookie, mut verf, mut pages) = (Vec::new(), 0, [0; 8], 0);
    loop {
        let (entries, eof) = page(c, dir, cookie, &mut verf, plus);
        for e in &entries {
            assert!(e.cookie > cookie, "cookies rise");
            cookie = e.cookie;
        }
        pages += 1;
        names.extend(entries.into_iter().map(|e| e.name));
        if eof {
            return (names, pages);
        }
        change(pages, names.last().unwrap());
    }
}

#[test]
fn a_hundred_thousand_entries_are_listed_whole_while_the_directory_changes() {
    let lab = Lab::fast();
    let mut c = lab.client();
    let mut other = lab.client();
    let dir = c.mkdir(&lab.root, "d", 0o755).unwrap();
    fill(&mut c, &dir, 0..STAY, stay);
    fill(&mut c, &dir, 0..GO, go);

    // At rest both listings are the directory, each name once.
    let dots = [b".".to_vec(), b"..".to_vec()];
    let all: BTreeSet<Vec<u8>> = (0..STAY).map(stay).chain((0..GO).map(go)).chain(dots).collect();
    let (plain, pages) = list(&mut c, &dir, false, |_, _| ());
    assert!(pages > 50, "only {pages} pages");
    assert_eq!(plain.len(), all.len(), "READDIR at rest");
    assert!(plain.iter().all(|n| all.contains(n)));
    assert_eq!(plain.iter().collect::<BTreeSet<_>>().len(), plain.len(), "a name came twice");

    for plus in [false, true] {
        let (got, pages) = list(&mut c, &dir, plus, |page, last| {
            // The very entry that the cookie stands for goes too, if it may.
            if last.starts_with(b"goes") {
                other.call(&Remove { dir: &dir, name: last }).unwrap();
            }
            for k in 0..3 {
                let name = go((page * 37 + k * 811) % GO);
                let new = format!("new {plus} {page} {k}");
                match k {
                    0 => drop(other.call(&Remove { dir: &dir, name: &name }).unwrap()),
                    1 => drop(other.create(&dir, &new, 0o644).unwrap()),
                    _ => {
                        let to = (&dir, new.as_bytes());
                        other.call(&Rename { from: (&dir, &name[..]), to }).unwrap();
                    }
                }
            }
        });
        assert!(pages > 50, "only {pages} pages");
        let once: BTreeSet<&[u8]> = got.iter().map(Vec::as_slice).collect();
        assert_eq!(once.len(), got.len(), "a name came twice");
        let lost: Vec<usize> = (0..STAY).filter(|&i| !once.contains(&stay(i)[..])).collect();
        assert!(lost.is_empty(), "left out: {} names, first {:?}", lost.len(), lost.first());
        let strange: Vec<&Vec<u8>> =
            got.iter().filter(|n| !all.contains(*n) && !n.starts_with(b"new ")).collect();
        assert!(strange.is_empty(), "never existed: {strange:?}");
    }
}
