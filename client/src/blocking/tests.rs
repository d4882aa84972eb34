use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use rpc::{Identity, List, Object, Place, SetAttributes, calls};

use super::{Client, Options, TlsSetup};
use crate::{Address, Error, fake::Fake, inbox::Inbox, seams};

/// The fake behind a Unix socket. It writes before it reads on, as simple servers do.
pub(crate) struct Served {
    pub(crate) fake: Arc<Mutex<Fake>>,
    /// Of the listener that there is: each has its own.
    stopped: Mutex<Arc<AtomicBool>>,
    current: Arc<Mutex<Option<UnixStream>>>,
    dir: tempfile::TempDir,
    /// Killed after so many requests, again and again.
    mortal: u64,
}

impl Served {
    pub(crate) fn start(mortal: u64) -> Self {
        let served = Self {
            fake: Arc::new(Mutex::new(Fake::new())),
            stopped: Mutex::default(),
            current: Arc::default(),
            dir: tempfile::tempdir().unwrap(),
            mortal,
        };
        served.listen();
        served
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("socket")
    }

    fn listen(&self) {
        let listener = UnixListener::bind(self.path()).unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        *self.stopped.lock() = stopped.clone();
        let fake = self.fake.clone();
        let (current, mortal) = (self.current.clone(), self.mortal);
        let run = move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { return };
                if stopped.load(SeqCst) {
                    return;
                }
                *current.lock() = Some(socket.try_clone().unwrap());
                fake.lock().disconnect();
                serve(&fake, &socket, mortal, &stopped);
                // A copy of it lives on in `current`.
                let _ = socket.shutdown(std::net::Shutdown::Both);
            }
        };
        seams::thread("fake", run).unwrap();
    }

    /// Nobody is there any more.
    pub(crate) fn stop(&self) {
        self.stopped.lock().store(true, SeqCst);
        if let Some(socket) = self.current.lock().take() {
            socket.shutdown(std::net::Shutdown::Both).unwrap();
        }
        let _ = UnixStream::connect(self.path());
        std::fs::remove_file(self.path()).unwrap();
        self.fake.lock().kill();
    }

    pub(crate) fn again(&self) {
        self.listen();
    }

    fn client(&self, patience: Duration) -> Client {
        connect(&self.path(), patience).unwrap()
    }
}

fn connect(path: &Path, patience: Duration) -> Result<Client, Error> {
    Client::connect(Options { patience, ..Options::new(Address::Unix(path.into())) })
}

fn serve(fake: &Mutex<Fake>, mut socket: &UnixStream, mortal: u64, stopped: &AtomicBool) {
    let mut inbox = Inbox::default();
    inbox.open();
    loop {
        while let Some(frame) = inbox.next().unwrap() {
            let answers = {
                let mut fake = fake.lock();
                if stopped.load(SeqCst) {
                    return;
                }
                let answers = fake.serve(&frame);
                if mortal > 0 && fake.served >= mortal {
                    // Dead before it could answer.
                    fake.served = 0;
                    fake.kill();
                    return;
                }
                answers
            };
            for answer in answers {
                if socket.write_all(&answer).is_err() {
                    return;
                }
            }
        }
        match socket.read(inbox.room()) {
            Ok(n) if n > 0 => inbox.took(n),
            _ => return,
        }
    }
}

const LONG: Duration = Duration::from_secs(600);

fn open(client: &Client, name: &str) -> u32 {
    let handle = client.new_handle();
    let call = calls::Open {
        place: Place::of(Object::Root, name.as_bytes()),
        flags: calls::open::READ | calls::open::WRITE | calls::open::CREATE,
        handle,
        set: SetAttributes::default(),
        wanted: List::default(),
    };
    client.open(&Identity::default(), &call).unwrap();
    handle
}

fn append(client: &Client, handle: u32, data: &[u8]) -> Result<calls::Written, Error> {
    let call =
        calls::Write { file: Object::Handle(handle), offset: 0, flags: calls::write::APPEND };
    client.write(&Identity::default(), &call, Bytes::copy_from_slice(data))
}

/// 64 threads on one connection, of a server that dies after every 331 requests.
#[test]
fn many_threads_share_a_connection_and_every_append_is_made_once() {
    let served = Served::start(331);
    served.fake.lock().lag = 10;
    let client = served.client(LONG);
    std::thread::scope(|scope| {
        for thread in 0..64u8 {
            let client = client.clone();
            scope.spawn(move || {
                let handle = open(&client, &format!("f{thread}"));
                for step in 0..30u8 {
                    append(&client, handle, &[thread, step]).unwrap();
                }
                client.close_handle(&Identity::default(), &calls::Close { handle }).unwrap();
            });
        }
    });
    assert!(client.connections() > 4, "{} connections", client.connections());
    client.sync(&Identity::default(), &calls::Sync {}).unwrap();
    let fake = served.fake.lock();
    for thread in 0..64u8 {
        let expected: Vec<u8> = (0..30).flat_map(|step| [thread, step]).collect();
        assert_eq!(fake.content(format!("f{thread}").as_bytes()), Some(&expected[..]));
    }
    assert_eq!((fake.changes(), fake.handle_count()), (64 * 31, 0));
    assert_eq!(fake.wrong, Vec::<String>::new());
}

/// More than any socket takes, in both directions at once, by one thread that does not read.
#[test]
fn large_requests_pass_though_nobody_reads() {
    let served = Served::start(0);
    served.fake.lock().bytes = 64 << 20;
    let client = served.client(LONG);
    let who = Identity::default();
    let handle = open(&client, "f");
    let file = Object::Handle(handle);
    append(&client, handle, &[7; 1 << 20]).unwrap();
    let read = calls::Read { file, offset: 0, count: 1 << 20 };
    let write = calls::Write { file, offset: 0, flags: 0 };
    let mut reads = Vec::new();
    for _ in 0..12 {
        reads.push(client.start(&who, &read, Bytes::new()).unwrap());
        client.start(&who, &write, Bytes::from(vec![7; 1 << 20])).unwrap();
    }
    for read in reads {
        let (data, bytes) = read.wait().unwrap();
        assert!(data.eof && bytes.len() == 1 << 20 && bytes.iter().all(|b| *b == 7));
    }
}

#[test]
fn a_server_that_stays_away_is_an_error_and_one_that_comes_back_is_used() {
    let served = Served::start(0);
    let client = served.client(Duration::from_millis(300));
    let handle = open(&client, "f");
    append(&client, handle, b"1").unwrap();
    served.stop();
    let error = append(&client, handle, b"2").unwrap_err();
    assert!(matches!(&error, Error::Away(text) if text.contains("socket")), "{error}");
    served.again();
    // As soon as it is back; what was answered before is there again.
    while append(&client, handle, b"3").is_err() {}
    let content = served.fake.lock().content(b"f").unwrap().to_vec();
    assert!(content.starts_with(b"1") && content.ends_with(b"3"), "{content:?}");
    client.close().unwrap();
    assert_eq!(served.fake.lock().handle_count(), 1);
}

/// Servers that are none: each is an error in the end, and takes no memory.
#[test]
fn nonsense_is_refused() {
    let scripts: [&[u8]; 6] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n and some more words, so that it is a header",
        // 2 GiB.
        &[0, 0, 0, 0x80, 0, 0, 0, 0],
        // Too short to be one.
        &[3, 0, 0, 0],
        // A body longer than its frame.
        &[
            28, 0, 0, 0, 99, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0,
        ],
        // Half a frame.
        &[60, 0, 0, 0, 32, 0, 0, 0, 1, 0],
        b"",
    ];
    for script in scripts {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let run = move || {
            for socket in listener.incoming() {
                let Ok(mut socket) = socket else { return };
                let mut hello = [0; 64];
                let _ = socket.read(&mut hello).and_then(|_| socket.write_all(script));
            }
        };
        seams::thread("nonsense", run).unwrap();
        let error = connect(&path, Duration::from_millis(100)).err().unwrap();
        assert!(matches!(&error, Error::Away(_)), "{script:?}: {error}");
    }
}

/// It shakes hands as it should, and answers every request by nonsense.
#[test]
fn a_server_that_answers_nonsense_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let run = move || {
        let mut fake = Fake::new();
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            fake.disconnect();
            let mut inbox = Inbox::default();
            while let Ok(n) = socket.read(inbox.room()) {
                if n == 0 {
                    break;
                }
                inbox.took(n);
                if let Ok(Some(frame)) = inbox.next() {
                    let garbage: &[u8] = &[0xff; 100];
                    let answer = match frame.header.op {
                        1 => fake.serve(&frame).remove(0),
                        _ => garbage.into(),
                    };
                    if socket.write_all(&answer).is_err() {
                        break;
                    }
                }
            }
        }
    };
    seams::thread("nonsense", run).unwrap();
    let client = connect(&path, Duration::from_millis(300)).unwrap();
    let error = client.ping(&Identity::default(), &calls::Ping {}).unwrap_err();
    assert!(matches!(&error, Error::Away(_)), "{error}");
}

#[test]
fn a_client_is_shared_by_threads() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Client>();
    shared::<Options>();
    let _: Option<TlsSetup> = None;
}
