//! kill -9 of the server under load: every request is carried out once.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use client::{
    blocking::{Client, Options},
    rpc::{Identity, List, Object, Place, SetAttributes, calls},
};
use esker_tests::server::until;

use crate::House;

const KILLS: u64 = 4;
const THREADS: u64 = 6;

fn place(path: &str) -> Place {
    Place::of(Object::Root, path.as_bytes())
}

/// What one thread does until it is told to stop: appends of which each is told from the others,
/// files that are made only where there is none, renames. Gives how many.
fn work(client: &Client, thread: u64, stop: &AtomicBool, done: &AtomicU64) -> u64 {
    let root = Identity::default();
    let handle = client.new_handle();
    let set = SetAttributes { mode: Some(0o600), ..SetAttributes::default() };
    let making = |path: &str, handle, flags| calls::Open {
        place: place(path),
        flags: calls::open::WRITE | calls::open::CREATE | flags,
        handle,
        set: set.clone(),
        wanted: List::default(),
    };
    client.open(&root, &making(&format!("log{thread}"), handle, 0)).unwrap();
    let append =
        calls::Write { file: Object::Handle(handle), offset: 0, flags: calls::write::APPEND };
    let mut n = 0u64;
    while !stop.load(SeqCst) {
        let word = format!("{n:08}\n");
        client.write(&root, &append, Bytes::from(word)).unwrap();
        let (fresh, name) = (format!("new{thread}.{n}"), format!("file{thread}.{n}"));
        let made = client.new_handle();
        // A second time would be refused.
        client.open(&root, &making(&fresh, made, calls::open::EXCLUSIVE)).unwrap();
        client.close_handle(&root, &calls::Close { handle: made }).unwrap();
        let rename = calls::Rename {
            from: place(&fresh),
            to: place(&name),
            flags: calls::rename::NO_REPLACE,
        };
        client.rename(&root, &rename).unwrap();
        n += 1;
        done.fetch_add(1, SeqCst);
    }
    client.close_handle(&root, &calls::Close { handle }).unwrap();
    n
}

#[test]
fn every_request_is_carried_out_once_however_often_the_server_is_killed() {
    let mut house = House::start();
    let patience = Duration::from_secs(300);
    let options = Options { patience, ..Options::new(house.address().parse().unwrap()) };
    let client = Client::connect(options).unwrap();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let counts: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (client, stop, done) = (client.clone(), &stop, &done);
                scope.spawn(move || work(&client, thread, stop, done))
            })
            .collect();
        for _ in 0..KILLS {
            // Some work between any two.
            let before = done.load(SeqCst);
            until(patience, || (done.load(SeqCst) > before + 2 * THREADS).then_some(()))
                .expect("work goes on");
            house.server.kill().unwrap();
            house.server.start_again().unwrap();
        }
        let before = done.load(SeqCst);
        until(patience, || (done.load(SeqCst) > before + THREADS).then_some(())).unwrap();
        stop.store(true, SeqCst);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(client.connections() > KILLS, "{} connections", client.connections());
    let root = Identity::default();
    client.sync(&root, &calls::Sync {}).unwrap();
    let mut expected = Vec::new();
    for (thread, count) in (0..THREADS).zip(counts) {
        let handle = client.new_handle();
        let open = calls::Open {
            place: place(&format!("log{thread}")),
            flags: calls::open::READ,
            handle,
            set: SetAttributes::default(),
            wanted: List::default(),
        };
        client.open(&root, &open).unwrap();
        let read = calls::Read { file: Object::Handle(handle), offset: 0, count: 1 << 20 };
        let (_, log) = client.read(&root, &read).unwrap();
        let words: String = (0..count).map(|n| format!("{n:08}\n")).collect();
        assert_eq!(String::from_utf8(log.to_vec()).unwrap(), words, "log{thread}");
        expected.push(format!("log{thread}"));
        expected.extend((0..count).map(|n| format!("file{thread}.{n}")));
    }
    expected.sort();
    assert_eq!(names(&client), expected);
    client.close().unwrap();
}

fn names(client: &Client) -> Vec<String> {
    let mut names = Vec::new();
    let mut call = calls::ReadDir {
        place: Place::at(Object::Root),
        flags: 0,
        cookie: 0,
        count: 100,
        wanted: List::default(),
    };
    loop {
        let (listed, entries) = client.read_dir(&Identity::default(), &call).unwrap();
        for entry in entries {
            call.cookie = entry.cookie;
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
        }
        if listed.end {
            break;
        }
    }
    names.retain(|name| name != "." && name != "..");
    names.sort();
    names
}
