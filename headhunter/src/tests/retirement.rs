use super::*;

/// Segments come and go: after removals and two checkpoints only what is needed is left.
#[tokio::test]
async fn what_nobody_can_reach_is_deleted() {
    let (memory, index) = fresh(1 << 20);
    for n in 0..1000 {
        write(&index, n, 10_000).await.unwrap();
    }
    index.checkpoint_now().await.unwrap();
    assert!(memory.segments().len() > 10);
    for n in 0..1000 {
        remove(&index, n).await.unwrap();
    }
    for _ in 0..4 {
        index.checkpoint_now().await.unwrap();
        check(&index).await;
    }
    let left = memory.segments();
    let report = index.check(refers).await.unwrap();
    assert!(left.len() <= 6, "{left:?}");
    assert!(report.segments <= 8, "{report:?}");
    assert_eq!(memory.checkpoints().len(), 2);
    // At rest nothing piles up: each checkpoint removes what one before it left.
    let before = left.len();
    for n in 0..20 {
        write(&index, n % 3, 10).await.unwrap();
        index.checkpoint_now().await.unwrap();
    }
    assert!(memory.segments().len() <= before + 6, "{:?}", memory.segments());
    let again = recover(&memory, settings(1 << 20)).await;
    check(&again).await;
    assert_eq!(contents(&again).await, contents(&index).await);
}

/// A view taken before a removal can read what it refers to, however many checkpoints pass.
#[tokio::test]
async fn a_view_keeps_its_segments() {
    let (memory, index) = fresh(1 << 20);
    let frame = Frame::data(Owner(1), Bytes::from(vec![9; 5000]), Codec::Stored);
    let mut location = None;
    change(&index, |txn| {
        let at = txn.append(&frame);
        txn.account(at.segment, 5000);
        txn.put(key(1), value(at.segment, 5000, &[]));
        location = Some(at);
        Ok(())
    })
    .await
    .unwrap();
    let location = location.unwrap();
    let view = index.view();
    remove(&index, 1).await.unwrap();
    index.checkpoint_now().await.unwrap();
    for n in 0..5 {
        write(&index, 100 + n, 10).await.unwrap();
        index.checkpoint_now().await.unwrap();
    }
    assert!(view.get(&key(1)).unwrap().is_some());
    assert_eq!(index.read(&location).await.unwrap().len(), 5000);
    drop(view);
    index.checkpoint_now().await.unwrap();
    assert!(index.read(&location).await.is_err());
    assert!(!memory.segments().contains(&location.segment));
}

/// The older checkpoint must be recoverable too, at any time: nothing that it needs is deleted.
#[tokio::test]
async fn the_older_checkpoint_stays_whole() {
    let (memory, index) = fresh(1 << 20);
    let mut dice = Dice(11);
    for round in 0..25 {
        for _ in 0..200 {
            write(&index, dice.below(500), 500).await.unwrap();
            remove(&index, dice.below(500)).await.unwrap();
        }
        index.checkpoint_now().await.unwrap();
        let image = memory.photograph();
        if image.checkpoints().len() == 2 {
            let newest = image.checkpoints()[1].0;
            image.delete_checkpoints(&[newest]).unwrap();
            let again = recover(&image, settings(1 << 20)).await;
            check(&again).await;
            assert_eq!(contents(&again).await, contents(&index).await, "round {round}");
        }
    }
}

/// A checkpoint that crashed leaves side segments that usage never knew: the next epochs sweep them.
#[tokio::test]
async fn what_a_crashed_checkpoint_left_is_swept() {
    let (memory, index) = fresh(1 << 20);
    for n in 0..400 {
        write(&index, n, 10).await.unwrap();
    }
    index.checkpoint_now().await.unwrap();
    for n in 0..400 {
        write(&index, n, 20).await.unwrap();
    }
    memory.fail_after(Some(12)); // among the pages
    assert!(index.checkpoint_now().await.is_err());
    memory.fail_after(None);
    assert_eq!(index.inner.keeper.lock().await.kept.len(), 1);
    let garbage = memory.litter();
    drop(index);
    let again = recover(&memory, settings(1 << 20)).await;
    again.checkpoint_now().await.unwrap();
    assert!(!memory.segments().contains(&garbage));
    check(&again).await;
    assert_eq!(contents(&again).await.len(), 400);
}

/// Chain segments that never held data are found and deleted too.
#[tokio::test]
async fn segments_of_records_alone_do_not_pile_up() {
    let (memory, index) = fresh(1 << 20);
    for n in 0..30u64 {
        change(&index, |txn| {
            txn.put([&(n + 1).to_be_bytes()[..], b"nowhere"].concat(), Vec::new());
            Ok(())
        })
        .await
        .unwrap();
        index.checkpoint_now().await.unwrap();
    }
    assert!(memory.segments().len() < 10, "{:?}", memory.segments());
    let mut again = recover(&memory, settings(1 << 20)).await;
    for n in 0..12 {
        write(&again, n, 10).await.unwrap();
        again.checkpoint_now().await.unwrap();
        drop(again);
        again = recover(&memory, settings(1 << 20)).await;
    }
    assert!(memory.segments().len() < 25, "{:?}", memory.segments());
    check(&again).await;
}

/// A segment whose last live byte goes and that gets new ones before it is sealed lives: what was
/// written to it later is found after any number of checkpoints.
#[tokio::test]
async fn a_segment_that_lives_again_stays() {
    let (memory, index) = fresh(1 << 20);
    write(&index, 1, 4_000).await.unwrap();
    remove(&index, 1).await.unwrap(); // dead
    write(&index, 2, 4_000).await.unwrap(); // in the same segment
    for n in 0..5 {
        index.checkpoint_now().await.unwrap();
        write(&index, 100 + n, 10).await.unwrap();
        check(&index).await;
    }
    let again = recover(&memory, settings(1 << 20)).await;
    check(&again).await;
    assert_eq!(contents(&again).await, contents(&index).await);
    let key = key(2);
    let value = index.view().get(&key).unwrap().unwrap();
    let (segment, _) = refers(&key, &value)[0];
    assert!(memory.segments().contains(&segment), "{segment} holds live bytes and is gone");
}
