//! Many threads at once in the same few directories: afterwards the volume is whole.
#![allow(clippy::cast_possible_truncation, clippy::drop_non_drop)]
#![allow(clippy::type_complexity)]
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests; these threads are the test

mod at;

use at::{mode, now, root, size, volume};
use bytes::Bytes;
use fs::*;

#[test]
fn nothing_tears() {
    let at = volume();
    let top = at.v.root();
    let dirs: Vec<FileId> =
        (0..3).map(|n| at.mkdir(&root(), top, &format!("d{n}"), 0o755)).collect();
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            let (v, dirs) = (at.v.clone(), dirs.clone());
            std::thread::spawn(move || {
                let mut dice = thread + 1;
                let mut roll = |n: u64| {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (dice >> 33) % n
                };
                let mut done = 0;
                for _ in 0..1_500 {
                    let (a, b) = (dirs[roll(3) as usize], dirs[roll(3) as usize]);
                    let (x, y) = ([b'a' + roll(5) as u8], [b'a' + roll(5) as u8]);
                    let cx = root();
                    let open = CreateHow::Unchecked(mode(0o644));
                    let ok = match roll(8) {
                        0 | 1 => now(v.create(&cx, a, &x, open)).is_ok_and(|made| {
                            let id = made.object.id;
                            let wrote = now(v.write(&cx, id, roll(99), Bytes::from_static(b"zz")));
                            let held = now(v.hold(id)).is_ok();
                            if held {
                                now(v.setattr(&cx, id, size(roll(50)), None)).unwrap();
                                now(v.release(id)).unwrap();
                            }
                            wrote.is_ok()
                        }),
                        2 => now(v.mkdir(&cx, a, &x, mode(0o755))).is_ok(),
                        3 => now(v.remove(&cx, a, &x)).is_ok(),
                        4 => now(v.rmdir(&cx, a, &x)).is_ok(),
                        5 | 6 => now(v.rename(&cx, a, &x, b, &y)).is_ok(),
                        _ => now(v.lookup(&cx.caller, a, &x))
                            .is_ok_and(|(f, _)| now(v.link(&cx, f.id, b, &y)).is_ok()),
                    };
                    done += u32::from(ok);
                }
                done
            })
        })
        .collect();
    let done: Vec<u32> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert!(done.iter().all(|n| *n > 100), "{done:?}");
    while now(at.v.tend()).unwrap() {}
    at.sound();
}
