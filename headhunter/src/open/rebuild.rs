//! From a checkpoint and the records after it to a live index.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use logseg::{Location, LogError, Recovery, Replayed, SegmentId, Seq};

use crate::{
    Index,
    apply::Applier,
    check::is_damage,
    checkpoint::{Keeper, Scan, format::Checkpoint},
    home::{Home, Memory, Pen},
    index::{Parts, Settings, install},
    limits,
    record::Outcome,
    replies::Replies,
    retire::BEFORE,
    tree::{Miss, PageRef, budget::Budget, evict::Clock, page::Page},
};

/// Records prepared together: their pages are asked for at once.
const BATCH_RECORDS: usize = 64;
/// Bytes of records prepared together.
const BATCH_BYTES: usize = 4 << 20;

/// Where the past is read from.
pub(crate) enum Past {
    /// A log in memory: only tests recover from one.
    #[cfg_attr(not(test), allow(dead_code))]
    Memory(Memory, std::vec::IntoIter<Replayed>),
    /// The chain.
    Log(Box<Recovery>),
}

impl Past {
    async fn next(&mut self) -> Result<Option<Replayed>, LogError> {
        match self {
            Self::Memory(_, records) => Ok(records.next()),
            Self::Log(recovery) => recovery.next().await,
        }
    }

    pub async fn read(&self, location: &Location) -> Result<Bytes, LogError> {
        match self {
            Self::Memory(memory, _) => memory.read_or_fail(location),
            Self::Log(recovery) => recovery.read(location).await,
        }
    }
}

/// An index in the making.
pub(crate) struct Rebuild {
    settings: Settings,
    budget: Arc<Budget>,
    root: Arc<PageRef>,
    applier: Applier,
    clock: Clock,
    replies: Replies,
    scan: Option<Scan>,
    /// Newest seq applied.
    pub seq: Seq,
    /// Records applied.
    pub records: u64,
    /// For who only looks: damage on the way is noted here and passed over where that is possible.
    /// `None`: it is an error.
    pub trouble: Option<Vec<String>>,
}

impl Rebuild {
    /// Of an empty volume.
    pub fn empty(settings: Settings) -> Self {
        let budget = Arc::new(Budget::default());
        let root = Arc::new(PageRef::dirty(Page::empty(&budget), Seq(0)));
        Self::new(settings, budget, root, Seq(0))
    }

    /// On top of a checkpoint: reads its reply table, and the pages of usage that it changes.
    pub async fn from_checkpoint(
        settings: Settings,
        checkpoint: &Checkpoint,
        past: &Past,
        lenient: bool,
    ) -> Result<Self, LogError> {
        let body = &checkpoint.body;
        let root = Arc::new(PageRef::stored(body.root.0, body.root.1));
        let mut this = Self::new(settings, Arc::new(Budget::default()), root, body.seq);
        this.trouble = lenient.then(Vec::new);
        if let Some(location) = body.replies {
            let read = past.read(&location).await;
            let read = read.and_then(|bytes| {
                Replies::decode(&bytes)
                    .ok_or_else(|| corrupt(location.segment, location.offset, "no reply table"))
            });
            match read {
                Ok(replies) => this.replies = replies,
                Err(error) => this.pass_over("the reply table", error)?,
            }
        }
        let mut usage: BTreeMap<SegmentId, i64> = body.usage.clone();
        for held in checkpoint.held() {
            usage.entry(held).or_default();
        }
        for (segment, delta) in usage.clone() {
            while let Err(miss) =
                this.applier.account_if_resident(&mut this.root, body.seq, segment, delta)
            {
                if let Err(error) = this.load(past, miss).await {
                    this.pass_over("a page of usage", error)?;
                    break;
                }
            }
        }
        // All that is dead now was so in that root; the scan will count the rest with it.
        this.applier.dead.values_mut().for_each(|death| death.tag = BEFORE);
        (this.applier.segments_known, this.applier.live_bytes) = (0, 0);
        let root = Arc::new(PageRef::stored(body.root.0, body.root.1));
        this.scan = Some(Scan { root, usage });
        Ok(this)
    }

    fn new(settings: Settings, budget: Arc<Budget>, root: Arc<PageRef>, seq: Seq) -> Self {
        let applier = Applier { shape: settings.shape, ..Applier::default() };
        Self {
            settings,
            budget,
            root,
            applier,
            clock: Clock::default(),
            replies: Replies::default(),
            scan: None,
            seq,
            records: 0,
            trouble: None,
        }
    }

    /// Notes damage, where that is what it is and the caller wants it so.
    fn pass_over(&mut self, what: &str, error: LogError) -> Result<(), LogError> {
        match &mut self.trouble {
            Some(trouble) if is_damage(&error) => {
                trouble.push(format!("{what} cannot be read: {error}"));
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Applies every record that `past` still has.
    pub async fn replay(&mut self, past: &mut Past) -> Result<(), LogError> {
        loop {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while batch.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
                let Some(record) = past.next().await? else { break };
                let outcome = Outcome::decode(&record.record).ok_or_else(|| {
                    corrupt(record.segment, 0, &format!("record {} is unreadable", record.seq.0))
                })?;
                bytes += record.record.len();
                batch.push((record.seq, record.segment, outcome));
            }
            if batch.is_empty() {
                return Ok(());
            }
            self.prefetch(past, &batch).await?;
            for (seq, segment, outcome) in batch {
                if seq <= self.seq {
                    let reason = format!("record {} follows record {}", seq.0, self.seq.0);
                    return Err(corrupt(segment, 0, &reason));
                }
                while let Err(miss) = self.applier.resident(&self.root, &outcome) {
                    self.load(past, miss).await?;
                }
                if self.applier.apply(&mut self.root, seq, segment, &outcome).is_err() {
                    return Err(corrupt(segment, 0, "a page vanished during replay"));
                }
                if let Some(reply) = &outcome.reply {
                    self.replies.insert(seq, reply);
                }
                self.seq = seq;
                self.records += 1;
            }
            if self.budget.resident() > self.settings.memory {
                self.clock.turn(&self.root, limits::CLOCK_SLOTS);
            }
        }
    }

    /// One level of missing pages of the whole batch at once; what lies deeper comes by itself.
    async fn prefetch(
        &mut self,
        past: &Past,
        batch: &[(Seq, SegmentId, Outcome)],
    ) -> Result<(), LogError> {
        let mut missing = Miss::none();
        for (_, _, outcome) in batch {
            if let Err(miss) = self.applier.resident(&self.root, outcome) {
                missing.join(miss);
            }
        }
        self.load(past, missing).await
    }

    async fn load(&self, past: &Past, miss: Miss) -> Result<(), LogError> {
        let one = |slot: Arc<PageRef>| async move {
            let (location, birth) = {
                let state = slot.state.read();
                match state.place.stored() {
                    Some(location) if state.page.is_none() => (location, state.birth),
                    _ => return Ok(()),
                }
            };
            let bytes = past.read(&location).await?;
            install(&slot, location, birth, &bytes, &self.budget)
        };
        try_join_all(miss.pages.into_iter().map(one)).await?;
        Ok(())
    }

    /// The live index.
    pub fn finish(self, home: Home, pen: Pen, mut keeper: Keeper) -> Index {
        keeper.scan = self.scan;
        let changed = self.records > 0;
        let index = Index::assemble(Parts {
            settings: self.settings,
            home,
            pen,
            budget: self.budget,
            root: self.root,
            applier: self.applier,
            replies: self.replies,
            keeper,
            last: AtomicU64::new(self.seq.0),
        });
        if changed {
            let inner = &index.inner;
            inner.pulse.first_change(|| inner.settings.env.clock.monotonic());
        }
        index
    }
}

fn corrupt(segment: SegmentId, offset: u32, reason: &str) -> LogError {
    LogError::Corrupt { segment, offset: u64::from(offset), reason: reason.into() }
}
