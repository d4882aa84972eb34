//! Whether the index is whole: the tree's shape, and invariant 6.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering};

use logseg::{LogError, LogStatus, SegmentId};

use crate::{
    Index, Stage,
    apply::{is_reserved, usage_item},
    home::Home,
    index::Inner,
    limits,
    tree::{Miss, PageRef, page::Page},
};

/// Problems named in a report at most.
const PROBLEMS: usize = 100;
/// Stretches of lost keys told apart at most.
const LOST: usize = 10_000;

/// What [`Index::check`] found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Items, the index's own included.
    pub items: u64,
    /// Pages.
    pub pages: u64,
    /// Segments that usage knows.
    pub segments: u64,
    /// Live bytes by usage.
    pub live_bytes: u64,
    /// What does not hold, the first hundred; empty: all is well.
    pub problems: Vec<String>,
    /// Stretches of keys whose pages cannot be read. They are among the problems too.
    pub lost: Vec<Lost>,
}

/// Keys that cannot be read, because the page above them, or their own, is damaged or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The least of them.
    pub low: Vec<u8>,
    /// The least key behind them; `None`: there is none.
    pub high: Option<Vec<u8>>,
}

impl Lost {
    /// Whether `key` is among them.
    pub fn holds(&self, key: &[u8]) -> bool {
        key >= &self.low[..] && self.high.as_ref().is_none_or(|high| key < &high[..])
    }
}

/// True for what concerns one page and says nothing of the next.
pub(crate) fn is_damage(error: &LogError) -> bool {
    match error {
        LogError::Corrupt { .. } => true,
        LogError::Store(error) => error.is_not_found(),
        _ => false,
    }
}

/// Figures for `esker status` and `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexStatus {
    /// Records committed since the volume was opened.
    pub records: u64,
    /// Checkpoints published since the volume was opened.
    pub checkpoints: u64,
    /// What the running checkpoint is doing.
    pub stage: Stage,
    /// Budget of pages, bytes.
    pub memory_bytes: u64,
    /// Pages in memory, bytes.
    pub resident_bytes: u64,
    /// Pages in memory.
    pub resident_pages: u64,
    /// Pages that no stored segment holds, bytes.
    pub dirty_bytes: u64,
    /// Pages evicted since the volume was opened.
    pub evictions: u64,
    /// Pages read back since the volume was opened.
    pub faults: u64,
    /// Pages written by checkpoints since the volume was opened.
    pub pages_written: u64,
    /// Segments that usage knows. This and the next count from the first look at usage, shortly
    /// after the volume was opened.
    pub segments: u64,
    /// Live bytes in them.
    pub live_bytes: u64,
    /// Of them, without live bytes and not yet deleted.
    pub dead_segments: u64,
    /// Chain segments that a crash now would replay.
    pub replay_segments: u32,
    /// Remembered requests (R23).
    pub replies: u64,
}

impl Index {
    /// Figures. Cheap: counters only.
    pub fn status(&self) -> IndexStatus {
        let inner = &*self.inner;
        let committer = inner.commit.lock();
        let applier = &committer.applier;
        IndexStatus {
            records: inner.records.load(Ordering::Relaxed),
            checkpoints: inner.checkpoints.load(Ordering::Relaxed),
            stage: Stage::from_number(inner.stage.load(Ordering::Relaxed)),
            memory_bytes: inner.settings.memory,
            resident_bytes: inner.budget.resident(),
            resident_pages: inner.budget.pages(),
            dirty_bytes: inner.budget.dirty(),
            evictions: committer.clock.evicted,
            faults: inner.faults.load(Ordering::Relaxed),
            pages_written: inner.pages_written.load(Ordering::Relaxed),
            segments: u64::try_from(applier.segments_known).unwrap_or(0),
            live_bytes: u64::try_from(applier.live_bytes).unwrap_or(0),
            dead_segments: applier.dead.len() as u64,
            replay_segments: applier.segments,
            replies: inner.replies.lock().len() as u64,
        }
    }

    /// Epoch of this opening; 0 of a volume that is only looked at.
    pub fn epoch(&self) -> u32 {
        self.inner.commit.lock().pen.epoch()
    }

    /// Figures of the log below; of a volume in memory: none.
    pub fn log_status(&self) -> LogStatus {
        match &self.inner.home {
            Home::Memory(_) | Home::Still(_) => LogStatus::default(),
            Home::Log(log) => log.status(),
        }
    }

    /// Reads the whole index, at one moment, and compares usage with what is referred to.
    /// `refers` tells which segments a value refers to, and to how many logical bytes there.
    /// Commits go on meanwhile; checkpoints wait.
    ///
    /// A page that cannot be read is a problem, and so are the keys below it; the rest is looked at
    /// all the same.
    ///
    /// Errors: `Store`, `Journal` where nothing can be read now.
    pub async fn check(
        &self,
        refers: impl Fn(&[u8], &[u8]) -> Vec<(SegmentId, u64)>,
    ) -> Result<CheckReport, LogError> {
        let inner = &*self.inner;
        let keeper = inner.keeper.lock().await;
        let (root, mut held_back) = {
            let committer = inner.commit.lock();
            (inner.live.read().root.clone(), committer.applier.ledger.delta.clone())
        };
        for (segment, delta) in &keeper.owed {
            *held_back.entry(*segment).or_default() += delta;
        }
        let mut walk = Walk { inner, refers, report: CheckReport::default(), balance: held_back };
        walk.run(root).await?;
        let Walk { mut report, balance, .. } = walk;
        if !report.lost.is_empty() {
            complain(&mut report, "usage is not compared: pages cannot be read".into());
            return Ok(report);
        }
        for (segment, over) in balance.into_iter().filter(|(_, over)| *over != 0) {
            let what = if over > 0 { "more" } else { "less" };
            let by = over.unsigned_abs();
            complain(
                &mut report,
                format!("usage of {segment} is {by} bytes {what} than referred to"),
            );
        }
        Ok(report)
    }
}

impl Stage {
    fn from_number(number: u8) -> Self {
        let all = [Self::Freeze, Self::WritePages, Self::WaitStored, Self::Publish, Self::Retire];
        all.into_iter().find(|stage| *stage as u8 == number).unwrap_or(Self::Idle)
    }
}

fn complain(report: &mut CheckReport, problem: String) {
    if report.problems.len() < PROBLEMS {
        report.problems.push(problem);
    }
}

/// A page still to be visited, and what its parent says of it.
struct Visit {
    slot: Arc<PageRef>,
    level: Option<u8>,
    low: Vec<u8>,
    high: Option<Vec<u8>>,
}

struct Walk<'a, F> {
    inner: &'a Inner,
    refers: F,
    report: CheckReport,
    /// Usage minus references; ends at zero everywhere.
    balance: BTreeMap<SegmentId, i64>,
}

impl<F: Fn(&[u8], &[u8]) -> Vec<(SegmentId, u64)>> Walk<'_, F> {
    async fn run(&mut self, root: Arc<PageRef>) -> Result<(), LogError> {
        let mut stack = vec![Visit { slot: root, level: None, low: Vec::new(), high: None }];
        while let Some(visit) = stack.pop() {
            loop {
                let seen = {
                    let state = visit.slot.look();
                    let stored = state.place.stored();
                    state.page.as_ref().map(|page| (self.page(page, &visit, &mut stack), stored))
                };
                if let Some(((), stored)) = seen {
                    if let Some(location) = stored {
                        *self.balance.entry(location.segment).or_default() -=
                            i64::from(location.stored);
                    }
                    break;
                }
                match self.inner.load_all(Miss::one(&visit.slot)).await {
                    Err(error) if is_damage(&error) => {
                        self.lost(&visit, &error);
                        break;
                    }
                    other => other?,
                }
            }
            if self.report.pages.is_multiple_of(64) {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    fn lost(&mut self, visit: &Visit, error: &LogError) {
        complain(&mut self.report, format!("a page cannot be read: {error}"));
        let (low, high) = (visit.low.clone(), visit.high.clone());
        // Beyond the limit whatever follows the first of them counts as lost.
        match self.report.lost.len() {
            n if n < LOST => self.report.lost.push(Lost { low, high }),
            _ => {
                let least = self.report.lost.iter().map(|lost| lost.low.clone()).min();
                self.report.lost = vec![Lost { low: least.unwrap_or_default(), high: None }];
            }
        }
    }

    fn page(&mut self, page: &Page, visit: &Visit, stack: &mut Vec<Visit>) {
        self.report.pages += 1;
        let high = page.high.as_deref();
        if page.low[..] != visit.low[..]
            || high != visit.high.as_deref()
            || visit.level.is_some_and(|level| level != page.level)
        {
            let problem = format!("a page is not the one its parent means, at {:02x?}", visit.low);
            complain(&mut self.report, problem);
        }
        for i in 0..page.cells.len() {
            let key = page.cells.key(i);
            let ascends = i == 0 || page.cells.key(i - 1) < key;
            if !ascends || key < &page.low[..] || high.is_some_and(|high| key >= high) {
                complain(&mut self.report, format!("a key out of place: {key:02x?}"));
            }
            if page.level == 0 {
                self.item(key, page.cells.value(i));
            }
        }
        for (i, child) in page.children.iter().enumerate() {
            let low = if i == 0 { &page.low[..] } else { page.cells.key(i - 1) };
            let high = if i < page.cells.len() { Some(page.cells.key(i)) } else { high };
            stack.push(Visit {
                slot: child.clone(),
                level: page.level.checked_sub(1),
                low: low.to_vec(),
                high: high.map(<[u8]>::to_vec),
            });
        }
    }

    fn item(&mut self, key: &[u8], value: &[u8]) {
        self.report.items += 1;
        if key.len() > limits::KEY_BYTES || value.len() > limits::VALUE_BYTES {
            complain(&mut self.report, format!("an item beyond the limits: {key:02x?}"));
        }
        if let Some((segment, bytes)) = usage_item(key, value) {
            self.report.segments += 1;
            self.report.live_bytes += u64::try_from(bytes).unwrap_or(0);
            if bytes < 0 {
                complain(&mut self.report, format!("usage of {segment} is negative: {bytes}"));
            }
            *self.balance.entry(segment).or_default() += bytes;
        } else if is_reserved(key) {
            complain(&mut self.report, format!("a key that no version 1 writes: {key:02x?}"));
        } else {
            for (segment, bytes) in (self.refers)(key, value) {
                *self.balance.entry(segment).or_default() -= bytes.cast_signed();
            }
        }
    }
}
