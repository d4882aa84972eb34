use std::time::Duration;

use bytes::Bytes;
use rpc::{Identity, List, Object, Place, SetAttributes, calls};

use super::{Client, Options};
use crate::{Address, Error, blocking::tests::Served};

async fn open(client: &Client, name: &str) -> u32 {
    let handle = client.new_handle();
    let call = calls::Open {
        place: Place::of(Object::Root, name.as_bytes()),
        flags: calls::open::READ | calls::open::WRITE | calls::open::CREATE,
        handle,
        set: SetAttributes::default(),
        wanted: List::default(),
    };
    client.open(&Identity::default(), &call).await.unwrap();
    handle
}

fn options(served: &Served, patience: Duration) -> Options {
    Options { patience, ..Options::new(Address::Unix(served.path())) }
}

/// 64 tasks on one connection, of a server that dies after every 331 requests.
#[tokio::test]
async fn many_tasks_share_a_connection_and_every_append_is_made_once() {
    let served = Served::start(331);
    served.fake.lock().lag = 10;
    let client = Client::connect(options(&served, Duration::from_secs(600))).await.unwrap();
    let mut tasks = Vec::new();
    for task in 0..64u8 {
        let client = client.clone();
        tasks.push(tokio::spawn(async move {
            let handle = open(&client, &format!("f{task}")).await;
            let file = Object::Handle(handle);
            let call = calls::Write { file, offset: 0, flags: calls::write::APPEND };
            for step in 0..30u8 {
                let data = Bytes::copy_from_slice(&[task, step]);
                client.write(&Identity::default(), &call, data).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(client.connections() > 4, "{} connections", client.connections());
    client.close().await.unwrap();
    let fake = served.fake.lock();
    for task in 0..64u8 {
        let expected: Vec<u8> = (0..30).flat_map(|step| [task, step]).collect();
        assert_eq!(fake.content(format!("f{task}").as_bytes()), Some(&expected[..]));
    }
    assert_eq!(fake.changes(), 64 * 31);
    assert_eq!(fake.wrong, Vec::<String>::new());
}

#[tokio::test]
async fn a_server_that_stays_away_is_an_error() {
    let served = Served::start(0);
    let client = Client::connect(options(&served, Duration::from_millis(200))).await.unwrap();
    open(&client, "f").await;
    served.stop();
    let error = client.ping(&Identity::default(), &calls::Ping {}).await.unwrap_err();
    assert!(matches!(&error, Error::Away(_)), "{error}");
    served.again();
    while client.ping(&Identity::default(), &calls::Ping {}).await.is_err() {
        tokio::task::yield_now().await;
    }
}
