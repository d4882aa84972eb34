//! What the store is asked, counted at the proxy.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::time::Duration;

use esker_tests::chaos::{Line, Seen, Verb};
use esker_tests::load::{Pool, Prepared};
use esker_tests::nfsclient::proc::FILE_SYNC;
use esker_tests::nfsclient::{Client, Fh};
use esker_tests::server::{Esker, pause, until};

use crate::place::Place;

const ROUNDS: u64 = 8;
const TOGETHER: usize = 16;

/// Puts of chain segments that have ended.
fn segments(place: &Place) -> Vec<Seen> {
    let mut seen = place.proxy.seen();
    seen.retain(|s| s.verb == Verb::Put && s.path.contains("/seg/"));
    seen
}

fn write(c: &mut Client, fh: &Fh, n: u64, len: usize) {
    let pool = Pool::new();
    let w = c.write(fh, n * len as u64, FILE_SYNC, pool.block(n, len)).unwrap();
    assert!(w.status.ok() && w.count as usize == len);
}

/// Until nothing is asked any more: `still` without a request.
fn quiet(place: &Place, still: Duration) {
    let at_rest = || {
        let before = place.proxy.requests();
        pause(still);
        (place.proxy.requests() == before).then_some(())
    };
    until(Duration::from_secs(120), at_rest).expect("never at rest");
}

fn open(server: &Esker, name: &str) -> (Client, Fh) {
    let root = server.mount("/").unwrap();
    let mut c = server.root_client().unwrap();
    c.conn.set_timeout(Some(Duration::from_secs(60))).unwrap();
    let fh = c.create(&root, name, 0o644).unwrap();
    (c, fh)
}

/// Without a journal, a sync of less than a segment costs one put, not one behind another.
#[test]
fn one_sync_one_put() {
    let place = Place::new(71, false, &[]);
    let server = place.start().unwrap();
    let (mut c, fh) = open(&server, "synced");
    for n in 0..ROUNDS {
        place.proxy.forget();
        write(&mut c, &fh, n, [100, 4096, 70_000, 1 << 20][n as usize % 4]);
        // Noted a moment after the server has its answer; a second one would come before that of
        // the next round is noted.
        until(Duration::from_secs(10), || (!segments(&place).is_empty()).then_some(()));
        let puts = segments(&place);
        assert_eq!(puts.len(), 1, "{puts:#?}");
    }
}

/// Syncs that wait at the same time share puts: whoever comes while one is under way goes with the
/// next.
#[test]
fn syncs_together_share_a_put() {
    let place = Place::new(72, false, &[]);
    let server = place.start().unwrap();
    let files: Vec<_> = (0..TOGETHER).map(|i| open(&server, &format!("f{i}"))).collect();
    let barrier = Barrier::new(TOGETHER);
    // So slow that all have come before the first put has ended.
    place.proxy.line(Line { latency_ms: 300, ..Line::default() });
    place.proxy.forget();
    std::thread::scope(|s| {
        for (mut c, fh) in files {
            let barrier = &barrier;
            s.spawn(move || {
                for n in 0..ROUNDS {
                    barrier.wait();
                    write(&mut c, &fh, n, 4096);
                }
            });
        }
    });
    let puts = segments(&place);
    let most = ROUNDS as usize * 3;
    assert!(puts.len() <= most, "{} puts for {ROUNDS} rounds of {TOGETHER}", puts.len());
    assert!(puts.len() >= ROUNDS as usize);
}

/// With a journal small files share segments.
#[test]
fn small_files_share_objects() {
    let place = Place::new(73, true, &["--flush-interval", "5s"]);
    let server = place.start().unwrap();
    let mut load = Prepared::new(server.target()).unwrap();
    quiet(&place, Duration::from_secs(7));
    place.proxy.forget();
    load.flood(2000).unwrap();
    quiet(&place, Duration::from_secs(7));
    let mut by_kind = BTreeMap::<String, usize>::new();
    for put in place.proxy.seen().iter().filter(|s| s.verb == Verb::Put) {
        let kind = ["/seg/", "/side/", "/ckpt/"].into_iter().find(|k| put.path.contains(k));
        *by_kind.entry(kind.unwrap_or(&put.path).to_owned()).or_default() += 1;
    }
    let objects: usize = by_kind.values().sum();
    assert!(objects <= 10 && by_kind.contains_key("/seg/"), "{by_kind:?} for 2,000 files");
}

/// A volume at rest asks nothing: for a minute where there is time, else for some seconds.
#[test]
fn at_rest_nothing_is_asked() {
    let place = Place::new(74, true, &[]);
    let server = place.start().unwrap();
    let (mut c, fh) = open(&server, "once");
    write(&mut c, &fh, 0, 4096);
    quiet(&place, Duration::from_secs(3));
    let before = place.proxy.requests();
    let long = std::env::var_os("ESKER_LONG").is_some();
    pause(Duration::from_secs(if long { 60 } else { 5 }));
    let seen = place.proxy.seen();
    assert_eq!(place.proxy.requests(), before, "{:#?}", &seen[before as usize..]);
}
