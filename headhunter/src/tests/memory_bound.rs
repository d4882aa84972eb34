use super::*;

/// An index many times larger than its budget: memory stays near the budget, and everything is
/// still found.
#[tokio::test]
async fn memory_stays_within_the_budget() {
    let budget = 64 << 10;
    let (_memory, index) = fresh(budget);
    let mut most = 0;
    for n in 0..12_000u64 {
        write(&index, n * 7919 % 12_007, 16).await.unwrap();
        if index.inner.dirty_share() >= 40 {
            index.checkpoint_now().await.unwrap();
        }
        most = most.max(index.status().resident_bytes);
    }
    index.checkpoint_now().await.unwrap();
    let report = index.check(refers).await.unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert!(report.pages * 512 > 8 * budget, "{} pages are not many", report.pages);
    let status = index.status();
    assert!(status.evictions > 1000 && status.faults > 1000, "{status:?}");
    assert!(most < budget * 5 / 4, "{most} bytes for a budget of {budget}");
    assert_eq!(contents(&index).await.len(), 12_000);
}

/// Old views keep what they see in memory only as long as they live.
#[tokio::test]
async fn a_view_holds_its_pages_and_lets_them_go() {
    let (_memory, index) = fresh(1 << 30);
    for n in 0..2000 {
        write(&index, n, 16).await.unwrap();
    }
    let before = index.status();
    let view = index.view();
    for n in 0..2000 {
        write(&index, n, 16).await.unwrap();
    }
    assert!(index.status().resident_pages > before.resident_pages * 3 / 2);
    drop(view);
    let after = index.status();
    assert!(after.resident_pages <= before.resident_pages + 1, "{after:?} after {before:?}");
    assert!(after.resident_bytes < before.resident_bytes * 3 / 2, "{after:?} after {before:?}");
}

/// Writers stop at the dirty limit and go on once a checkpoint has made room.
#[tokio::test]
async fn writers_wait_for_a_checkpoint_at_the_limit() {
    use crate::Intent;
    let (_memory, index) = fresh(128 << 10);
    let mut n = 0;
    while index.inner.dirty_share() < 80 {
        write(&index, n, 16).await.unwrap();
        n += 1;
    }
    let mut waiting = Box::pin(index.admit(Intent::Grow { bytes: 10 }));
    assert!(poll(&mut waiting).await.is_pending());
    assert!(index.admit(Intent::Shrink).await.is_ok());
    index.checkpoint_now().await.unwrap();
    waiting.await.unwrap();
}

/// A page that is sound but not the one that its parent means is refused.
#[test]
fn a_page_of_another_birth_is_refused() {
    use std::sync::Arc;

    use logseg::{Location, Seq};

    use crate::{
        index::install,
        tree::{PageRef, budget::Budget, page::Page},
    };
    let budget = Arc::new(Budget::default());
    let at = Location { segment: SegmentId::side(1, 1), offset: 64, stored: 100 };
    let bytes = Page::empty(&budget).encode(Seq(5)).unwrap();
    let slot = Arc::new(PageRef::stored(at, Seq(6)));
    let refused = install(&slot, at, Seq(6), &bytes, &budget);
    assert!(matches!(refused, Err(LogError::Corrupt { offset: 64, .. })), "{refused:?}");
    assert!(slot.state.read().page.is_none());
    install(&slot, at, Seq(5), &bytes, &budget).unwrap();
    assert!(slot.state.read().page.is_some());
}
