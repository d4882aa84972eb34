//! A store that is full under a server that has nothing else to keep bytes in.

use std::time::Duration;

use esker_tests::chaos::Line;
use esker_tests::load::Pool;
use esker_tests::nfsclient::Status;
use esker_tests::nfsclient::proc::UNSTABLE;
use esker_tests::server::until;

use crate::place::{Backend, Place};
use crate::work::{JUKEBOX, connect};

const MIB: usize = 1 << 20;

/// Without a journal WRITE is told that there is no room, COMMIT never is, and ends: what was accepted
/// has its room. Removing makes room again.
#[test]
fn commit_without_a_journal_on_a_full_store() {
    // Much memory: it is not what bounds the bytes that wait.
    let place = Place::new(21, false, &["--flush-interval", "1s", "--memory", "512MiB"]);
    let Backend::Fake(fake) = &place.store else { return };
    let server = place.start().unwrap();
    let root = server.mount("/").unwrap();
    let (pool, mut c) = (Pool::new(), connect(&server));
    let mut files = Vec::new();
    // The second time there is more ballast, and more waits.
    for round in 0..2 {
        fake.quota(Some(fake.bytes() + (40 << 20)));
        place.proxy.line(Line { latency_ms: 200, ..Line::default() });
        let name = format!("f{round}");
        let fh = c.create(&root, &name, 0o644).unwrap();
        let mut taken = 0;
        let mut verifier = None;
        loop {
            let at = (taken * MIB) as u64;
            let w =
                c.write(&fh, at, UNSTABLE, pool.block(round * 1000 + taken as u64, MIB)).unwrap();
            match w.status {
                status if status.ok() => {
                    assert!(verifier.is_none_or(|v| v == w.verf), "the verifier changed");
                    verifier = Some(w.verf);
                }
                JUKEBOX => continue,
                Status::NOSPC => break,
                other => panic!("WRITE: {other:?}"),
            }
            taken += 1;
            assert!(taken < 200, "never full");
        }
        let committed = until(Duration::from_secs(100), || {
            let done = c.commit(&fh).unwrap();
            assert!(done.status.ok() || done.status == JUKEBOX, "COMMIT: {:?}", done.status);
            done.status.ok().then_some(done.verf)
        });
        let committed = committed.unwrap_or_else(|| panic!("COMMIT hangs\n{}", server.log_text()));
        assert_eq!(Some(committed), verifier);
        files.push((name.clone(), taken));
        place.proxy.line(Line::default());
        // Room comes back.
        fake.quota(Some(fake.bytes() + (400 << 20)));
        let again = || {
            let probe = format!("again{round}");
            let made = c.create(&root, &probe, 0o644);
            made.is_ok().then_some(())
        };
        until(Duration::from_secs(120), again).expect("no room again");
    }
    assert!(server.stop().unwrap().success());
    let server = place.start().unwrap();
    let mut c = connect(&server);
    for (round, (name, taken)) in files.iter().enumerate() {
        let fh = c.walk(&root, name).unwrap();
        for n in 0..*taken {
            let read = c.read(&fh, (n * MIB) as u64, MIB as u32).unwrap();
            let wanted = pool.block(round as u64 * 1000 + n as u64, MIB);
            assert!(read.status.ok() && read.data == wanted, "{name}, MiB {n}");
        }
    }
    assert!(server.stop().unwrap().success());
    assert!(place.check().status.success());
}
