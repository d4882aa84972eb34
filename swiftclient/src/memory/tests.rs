use super::*;

fn name(n: &str) -> ObjectName {
    ObjectName::new(n).unwrap()
}

#[tokio::test]
async fn the_limit_answers_full_and_deleting_makes_room() {
    let store = Memory::new().limit(10);
    store.put_new(&name("a"), vec![Bytes::from_static(b"12345678")]).await.unwrap();
    let body = vec![Bytes::from_static(b"123")];
    let full = store.put_new(&name("b"), body.clone()).await.unwrap_err();
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    assert!(store.head(&name("b")).await.unwrap_err().is_not_found());
    assert_eq!(store.capacity(), Some(Capacity { total: 10, free: 2 }));
    store.delete_many(&[name("a"), name("absent")]).await.unwrap();
    store.put_new(&name("b"), body).await.unwrap();
    assert_eq!(store.used(), 3);
}

#[tokio::test]
async fn a_stream_over_the_limit_stops_at_the_piece_that_passes_it() {
    let store = Memory::new().limit(4);
    let name = name("s");
    let mut writer = store.put_stream(&name).await.unwrap();
    writer.write(Bytes::from_static(b"1234")).await.unwrap();
    let full = writer.write(Bytes::from_static(b"5")).await.unwrap_err();
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    drop(writer);
    assert_eq!(store.used(), 0);
}
