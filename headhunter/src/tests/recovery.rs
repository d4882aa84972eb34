use super::*;

/// Random work with checkpoints in between; at random moments a crash is recovered from beside the
/// living index, and both must be the same.
#[tokio::test]
async fn recovery_gives_what_lived() {
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let (memory, index) = fresh(if seed % 2 == 0 { 60 << 10 } else { 1 << 30 });
        for step in 0..900u64 {
            match dice.below(100) {
                0..60 => write(&index, dice.below(400), usize::try_from(dice.below(3000)).unwrap())
                    .await
                    .unwrap(),
                60..97 => remove(&index, dice.below(400)).await.unwrap(),
                97 => index.checkpoint_now().await.unwrap(),
                _ if step % 3 == 0 => {
                    let image = memory.photograph();
                    let again = recover(&image, settings(60 << 10)).await;
                    check(&again).await;
                    assert_eq!(contents(&again).await, contents(&index).await, "seed {seed}");
                    assert_eq!(again.last_seq(), index.last_seq());
                    // It goes on, and its own checkpoints hold too.
                    write(&again, 1000, 10).await.unwrap();
                    again.checkpoint_now().await.unwrap();
                    write(&again, 1001, 10).await.unwrap();
                    check(&again).await;
                    let third = recover(&image.photograph(), settings(60 << 10)).await;
                    assert_eq!(contents(&third).await, contents(&again).await);
                }
                _ => check(&index).await,
            }
        }
        check(&index).await;
    }
}

/// What is remembered of requests lives through a crash, from the checkpoint's table and replay.
#[tokio::test]
async fn replies_are_found_again() {
    let (memory, index) = fresh(1 << 20);
    for n in 0..50 {
        write(&index, n, 100).await.unwrap();
        if n == 30 {
            index.checkpoint_now().await.unwrap();
        }
    }
    let again = recover(&memory, settings(1 << 20)).await;
    for n in 0..50u64 {
        let tag = RequestTag { client: [4; 16], id: n, digest: 0 };
        let found = again.remembered(&tag).unwrap();
        assert_eq!(found, index.remembered(&tag).unwrap());
        assert_eq!(found.seq.0, n + 1);
    }
}

/// Fail operation N of the log for N = 0, 1, 2 … during checkpoints, until one passes untouched:
/// the living index stays whole, whatever a crash then leaves is the same, and the next attempt
/// succeeds.
#[tokio::test]
async fn a_failing_checkpoint_loses_nothing() {
    let mut passed = false;
    for n in 0..500 {
        let (memory, index) = fresh(1 << 20);
        for i in 0..150 {
            write(&index, i, 300).await.unwrap();
        }
        index.checkpoint_now().await.unwrap();
        for i in 0..150 {
            write(&index, i * 2, 200).await.unwrap();
        }
        memory.fail_after(Some(n));
        let first = index.checkpoint_now().await;
        memory.fail_after(None);
        check(&index).await;
        for i in 0..40 {
            remove(&index, i * 7).await.unwrap();
        }
        check(&index).await;
        let expected = contents(&index).await;
        let crashed = recover(&memory.photograph(), settings(1 << 20)).await;
        check(&crashed).await;
        assert_eq!(contents(&crashed).await, expected, "operation {n}");
        for _ in 0..3 {
            index.checkpoint_now().await.unwrap();
            check(&index).await;
        }
        let again = recover(&memory, settings(1 << 20)).await;
        check(&again).await;
        assert_eq!(contents(&again).await, expected, "operation {n}");
        if first.is_ok() {
            passed = true;
            break;
        }
    }
    assert!(passed);
}

/// A checkpoint given up in the middle (its future dropped) leaves no trace.
#[tokio::test]
async fn a_dropped_checkpoint_loses_nothing() {
    let (memory, index) = fresh(1 << 20);
    for i in 0..2000 {
        write(&index, i, 30).await.unwrap();
    }
    {
        let mut attempt = Box::pin(index.checkpoint_now());
        // It yields now and then between pages: poll it once, then let it go.
        assert!(poll(&mut attempt).await.is_pending());
    }
    for i in 0..300 {
        remove(&index, i).await.unwrap();
    }
    check(&index).await;
    index.checkpoint_now().await.unwrap();
    check(&index).await;
    let again = recover(&memory, settings(1 << 20)).await;
    assert_eq!(contents(&again).await, contents(&index).await);
}

/// Commits between the stages of a checkpoint: pages of the frozen root that the live one has
/// dropped before they were written must be freed with the next checkpoint.
#[tokio::test]
async fn commits_during_a_checkpoint_keep_usage_right() {
    work_during_checkpoints(1 << 30).await;
}

/// The same with hardly any memory: a page may leave memory once it is stored, not when it is
/// merely written.
#[tokio::test]
async fn no_page_is_evicted_before_it_is_stored() {
    work_during_checkpoints(48 << 10).await;
}

async fn work_during_checkpoints(memory_bytes: u64) {
    let (memory, index) = fresh(memory_bytes);
    let mut dice = Dice(5);
    for i in 0..3000 {
        write(&index, i, 30).await.unwrap();
    }
    for _ in 0..12 {
        {
            let mut attempt = Box::pin(index.checkpoint_now());
            let mut polls = 0;
            while poll(&mut attempt).await.is_pending() {
                polls += 1;
                for _ in 0..30 {
                    write(&index, dice.below(3200), 20).await.unwrap();
                    remove(&index, dice.below(3200)).await.unwrap();
                }
            }
            assert!(polls > 1);
        }
        check(&index).await;
        let again = recover(&memory.photograph(), settings(1 << 20)).await;
        check(&again).await;
        assert_eq!(contents(&again).await, contents(&index).await);
    }
}
