use super::*;
use crate::{
    Faulty, Memory,
    faulty::{Fault, Rule},
};

fn name(n: &str) -> ObjectName {
    ObjectName::new(n).unwrap()
}

#[tokio::test(start_paused = true)]
async fn calls_bytes_errors_and_times_are_counted_by_verb() {
    let env = Env::simulated(1);
    let faulty = Faulty::new(Arc::new(Memory::new()));
    let store = Metered::new(Arc::new(faulty.clone()), &env);
    faulty.add(Rule::nth(0, Fault::Delay(Duration::from_secs(3))).of(Verb::Put));
    store.put_new(&name("a"), vec!["123".into(), "45".into()]).await.unwrap();
    store.put_new(&name("a"), vec!["6".into()]).await.unwrap_err();
    assert_eq!(store.get(&name("a"), 1..3).await.unwrap(), "23");
    store.head(&name("b")).await.unwrap_err();
    let stream = name("s");
    let mut writer = store.put_stream(&stream).await.unwrap();
    writer.write("1234567".into()).await.unwrap();
    writer.finish().await.unwrap();
    faulty.add(Rule::nth(0, Fault::Hang).of(Verb::List));
    let hung = store.list("", None, 1);
    assert!(tokio::time::timeout(Duration::from_secs(1), hung).await.is_err());

    let figures = store.snapshot();
    let put = figures.of(Verb::Put);
    assert_eq!((put.ok, put.sent, put.times.sum), (1, 5, Duration::from_secs(3)));
    assert_eq!(put.times.count(), 2, "refused calls are timed too");
    assert_eq!(put.errors, [(ErrorKind::Exists, 1)]);
    assert_eq!((figures.of(Verb::Get).ok, figures.of(Verb::Get).received), (1, 2));
    assert_eq!(figures.of(Verb::Head).errors, [(ErrorKind::NotFound, 1)]);
    assert_eq!(figures.of(Verb::WriteStream).sent, 7);
    let list = figures.of(Verb::List);
    assert_eq!((list.abandoned, list.running, list.ok), (1, 0, 0));
    assert_eq!(figures.puts(), 2);
    assert_eq!(figures.calls(), 8);
}
