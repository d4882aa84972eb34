use super::*;
use crate::Memory;

fn name(n: &str) -> ObjectName {
    ObjectName::new(n).unwrap()
}

fn body() -> Vec<Bytes> {
    vec!["01234567".into(), "89".into()]
}

fn faulty() -> (Faulty, Memory) {
    let memory = Memory::new();
    (Faulty::new(Arc::new(memory.clone())), memory)
}

#[tokio::test]
async fn every_kind_can_be_answered_and_nothing_is_done() {
    for kind in ErrorKind::ALL {
        let (faulty, memory) = faulty();
        faulty.add(Rule::nth(0, Fault::Refuse(kind)));
        let e = faulty.put_new(&name("a"), body()).await.unwrap_err();
        assert_eq!(e.kind(), kind);
        assert_eq!(memory.used(), 0);
        faulty.put_new(&name("a"), body()).await.unwrap();
    }
}

#[tokio::test]
async fn the_nth_matching_call_goes_wrong_and_no_other() {
    let (faulty, _) = faulty();
    faulty.add(Rule::nth(2, Fault::Refuse(ErrorKind::Full)).of(Verb::Put).at("seg/"));
    let mut outcomes = Vec::new();
    for n in ["seg/1", "ckpt/1", "seg/2", "seg/3", "seg/4"] {
        outcomes.push(faulty.put_new(&name(n), body()).await.is_ok());
        faulty.head(&name(n)).await.ok();
    }
    assert_eq!(outcomes, [true, true, true, false, true]);
    assert_eq!((faulty.calls(), faulty.faults()), (10, 1));
}

#[tokio::test]
async fn a_lost_reply_is_unknown_and_done() {
    let (faulty, memory) = faulty();
    faulty.add(Rule::nth(0, Fault::LoseReply));
    let e = faulty.put_new(&name("a"), body()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unknown);
    assert_eq!(memory.used(), 10);
}

#[tokio::test(start_paused = true)]
async fn hanging_is_for_ever_before_or_after() {
    let (faulty, memory) = faulty();
    for (fault, done) in [(Fault::Hang, 0), (Fault::HangAfter, 10)] {
        faulty.add(Rule::nth(0, fault));
        let day = Duration::from_secs(86_400);
        let name = name("a");
        assert!(tokio::time::timeout(day, faulty.put_new(&name, body())).await.is_err());
        assert_eq!(memory.used(), done);
    }
}

#[tokio::test]
async fn bytes_are_harmed_on_their_way_in_and_out() {
    let (faulty, memory) = faulty();
    let read = |n: &'static str| {
        let memory = memory.clone();
        async move { memory.get(&name(n), 0..99).await.unwrap() }
    };
    faulty.add(Rule::nth(0, Fault::Corrupt));
    faulty.put_new(&name("put"), body()).await.unwrap();
    assert_eq!(read("put").await, "01234%6789");
    faulty.add(Rule::nth(0, Fault::Truncate));
    faulty.put_new(&name("short"), body()).await.unwrap();
    assert_eq!(read("short").await, "01234");
    faulty.add(Rule::nth(0, Fault::Truncate).of(Verb::WriteStream));
    let stream = name("stream");
    let mut writer = faulty.put_stream(&stream).await.unwrap();
    writer.write("abcd".into()).await.unwrap();
    writer.write("ef".into()).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(read("stream").await, "abef");
    faulty.add(Rule::nth(0, Fault::Corrupt));
    assert_eq!(faulty.get(&stream, 0..4).await.unwrap(), "abuf");
    assert_eq!(faulty.get(&stream, 0..4).await.unwrap(), "abef");
    faulty.add(Rule::nth(0, Fault::Truncate));
    assert_eq!(faulty.list("", None, 10).await.unwrap().len(), 1);
    faulty.add(Rule::nth(0, Fault::Truncate));
    let both = [name("put"), name("short")];
    let done = faulty.delete_many(&both).await.unwrap();
    assert!(done[0].is_ok() && done[1].is_err());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "abcd").unwrap();
    faulty.add(Rule::nth(0, Fault::Corrupt));
    faulty.put_file(&name("file"), &dir.path().join("f"), 4).await.unwrap();
    assert_eq!(read("file").await, "absd");
}

#[tokio::test]
async fn dice_of_one_seed_make_the_same_faults() {
    let run = |seed| async move {
        let (faulty, _) = faulty();
        faulty.at_random(seed, 300, &[Fault::Refuse(ErrorKind::Full)], &[Verb::Head]);
        let mut wrong = Vec::new();
        for _ in 0..100 {
            wrong.push(faulty.head(&name("a")).await.unwrap_err().kind());
            assert!(faulty.list("", None, 1).await.is_ok());
        }
        wrong
    };
    assert_eq!(run(1).await, run(1).await);
    assert_ne!(run(1).await, run(2).await);
    assert!(run(1).await.contains(&ErrorKind::Full));
    assert!(run(1).await.contains(&ErrorKind::NotFound));
}
