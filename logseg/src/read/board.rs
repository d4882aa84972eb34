//! Which entries are wanted and not here, and which requests bring them. Pure: no I/O, no clock.
//!
//! ```text
//!   book ─► waiting ──take: neighbours together──► a load (one request) ──land──► told
//!             └── flights: one per location, joined by whoever else wants it ──┘
//! ```
//!
//! 1. Whoever waits goes before what is read ahead; of each, first come, first served.
//! 2. What flies is limited in bytes, and read-ahead to three quarters of that.
//! 3. While anything waits, a runner flies or has been asked for: a runner ends only where nothing
//!    waits, or where another flies, which will look again when it has landed.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, Shared};
use swiftclient::StoreError;
use tokio::sync::oneshot;

use crate::{
    Location, LogError, SegmentId,
    limits::{FLIGHT_BYTES, FLIGHT_LEAST_BYTES, RANGE_BYTES, RANGE_GAP_BYTES},
};

/// A location, and the decoded bytes of it that are wanted (`None`: all).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub location: Location,
    pub part: Option<(u32, u32)>,
}

pub(super) type Outcome = Result<Bytes, Arc<LogError>>;
pub(super) type Flight = Shared<BoxFuture<'static, Outcome>>;

/// How much may travel, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// In all requests together.
    pub flight: u64,
    /// In one request, unless one entry alone is longer.
    pub request: u64,
    /// Unwanted between two entries of one request.
    pub gap: u64,
}

impl Limits {
    /// An eighth of what frames may take in memory.
    pub fn of_cache(cache_bytes: u64) -> Self {
        let flight = (cache_bytes / 8).clamp(FLIGHT_LEAST_BYTES, FLIGHT_BYTES);
        Self { flight, request: RANGE_BYTES.min(flight / 4), gap: RANGE_GAP_BYTES }
    }
}

/// A flight, for one who wants it.
pub(super) struct Booked {
    pub flight: Flight,
    /// It was begun by nobody who waits: its error may be another's affair.
    pub ahead: bool,
    /// Somebody waits for it.
    pub joined: bool,
}

struct Waiting {
    tell: oneshot::Sender<Outcome>,
    /// Travels by itself.
    alone: bool,
    ahead: bool,
}

/// Entries of one segment, ascending, that travel together.
pub(super) struct Load {
    pub places: Vec<(Location, oneshot::Sender<Outcome>)>,
    /// From the first byte to the last, gaps too.
    pub span: u64,
    pub alone: bool,
    /// Nobody waited for it when it set out.
    pub ahead: bool,
}

pub(super) struct Board {
    limits: Limits,
    flights: HashMap<Wanted, Booked>,
    waiting: BTreeMap<Location, Waiting>,
    demand: VecDeque<Location>,
    ahead: VecDeque<Location>,
    /// Bytes that wait and were asked for ahead.
    ahead_waiting: u64,
    flying: u64,
}

impl Board {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            flights: HashMap::new(),
            waiting: BTreeMap::new(),
            demand: VecDeque::new(),
            ahead: VecDeque::new(),
            ahead_waiting: 0,
            flying: 0,
        }
    }

    /// The flight of `wanted`, if there is one. What only waited to be read ahead is now waited
    /// for.
    pub fn join(&mut self, wanted: &Wanted) -> Option<Booked> {
        let booked = self.flights.get_mut(wanted)?;
        booked.joined = true;
        if let Some(waiting) = self.waiting.get_mut(&wanted.location)
            && wanted.part.is_none()
            && waiting.ahead
        {
            (waiting.ahead, booked.ahead) = (false, false);
            self.ahead_waiting -= u64::from(wanted.location.stored);
            self.demand.push_back(wanted.location);
        }
        Some(Booked { flight: booked.flight.clone(), ahead: booked.ahead, joined: true })
    }

    /// Opens a flight that its caller will carry out: for what does not travel with others.
    pub fn open(&mut self, wanted: Wanted) -> (Flight, oneshot::Sender<Outcome>) {
        let (tell, told) = oneshot::channel();
        let segment = wanted.location.segment;
        let flight = async move { told.await.unwrap_or_else(|_| Err(stopped(segment))) };
        let flight = flight.boxed().shared();
        let booked = Booked { flight: flight.clone(), ahead: false, joined: true };
        self.flights.insert(wanted, booked);
        (flight, tell)
    }

    /// Books a whole entry that nobody has booked yet. A runner must be started.
    pub fn book(&mut self, location: Location, alone: bool) -> Flight {
        let (flight, tell) = self.open(Wanted { location, part: None });
        self.waiting.insert(location, Waiting { tell, alone, ahead: false });
        self.demand.push_back(location);
        flight
    }

    /// Books an entry ahead; `false` where somebody has, or too much waits already.
    pub fn book_ahead(&mut self, location: Location) -> bool {
        let wanted = Wanted { location, part: None };
        let bytes = u64::from(location.stored);
        if self.flights.contains_key(&wanted) || self.ahead_waiting + bytes > self.limits.flight {
            return false;
        }
        let (_, tell) = self.open(wanted);
        if let Some(booked) = self.flights.get_mut(&wanted) {
            (booked.ahead, booked.joined) = (true, false);
        }
        self.waiting.insert(location, Waiting { tell, alone: false, ahead: true });
        self.ahead.push_back(location);
        self.ahead_waiting += bytes;
        true
    }

    /// What travels next; `None` where nothing waits or too much flies. Each load taken must
    /// [`Board::land`].
    pub fn take(&mut self) -> Option<Load> {
        let (first, ahead) = match self.front(false) {
            Some(first) => (first, false),
            None => (self.front(true)?, true),
        };
        let (places, span) = self.around(first, ahead);
        let room = if ahead { self.limits.flight / 4 * 3 } else { self.limits.flight };
        if self.flying > 0 && self.flying + span > room {
            return None;
        }
        self.flying += span;
        let mut load = Load { places: Vec::with_capacity(places.len()), span, alone: false, ahead };
        for place in places {
            let Some(waiting) = self.waiting.remove(&place) else { continue };
            if waiting.ahead {
                self.ahead_waiting -= u64::from(place.stored);
            }
            load.alone = waiting.alone;
            load.places.push((place, waiting.tell));
        }
        Some(load)
    }

    /// True while anything waits.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A flight is over: who comes now begins another. True where somebody waited for it.
    pub fn over(&mut self, wanted: &Wanted) -> bool {
        self.flights.remove(wanted).is_some_and(|booked| booked.joined)
    }

    /// A load of this span flies no more.
    pub fn land(&mut self, span: u64) {
        self.flying -= span;
    }

    /// Nobody need wait for these segments' read-ahead any more.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.waiting.is_empty() && self.flying == 0
    }

    /// The oldest that waits, of one sort. What left the sort, or was taken with another, is
    /// skipped.
    fn front(&mut self, ahead: bool) -> Option<Location> {
        let queue = if ahead { &mut self.ahead } else { &mut self.demand };
        while let Some(first) = queue.front() {
            if self.waiting.get(first).is_some_and(|w| w.ahead == ahead) {
                return Some(*first);
            }
            queue.pop_front();
        }
        None
    }

    /// `first` and its neighbours that fit into one request, ascending, and their span.
    fn around(&self, first: Location, ahead: bool) -> (Vec<Location>, u64) {
        let (mut from, mut to) = (begin(&first), end(&first));
        let mut places = vec![first];
        if self.waiting.get(&first).is_none_or(|w| w.alone) {
            return (places, to - from);
        }
        let fits = |at: &Location, w: &Waiting| {
            at.segment == first.segment && !w.alone && w.ahead == ahead
        };
        let Limits { request, gap, .. } = self.limits;
        for (at, w) in self.waiting.range((Bound::Excluded(first), Bound::Unbounded)) {
            let reach = end(at).max(to);
            if !fits(at, w) || begin(at) > to + gap || reach - from > request {
                break;
            }
            places.push(*at);
            to = reach;
        }
        for (at, w) in self.waiting.range(..first).rev() {
            let reach = end(at).max(to);
            if !fits(at, w) || end(at) + gap < from || reach - begin(at) > request {
                break;
            }
            places.push(*at);
            (from, to) = (begin(at), reach);
        }
        places.sort_unstable();
        (places, to - from)
    }
}

/// First byte of an entry in its segment.
pub(super) fn begin(at: &Location) -> u64 {
    u64::from(at.offset)
}

/// The byte behind its last.
pub(super) fn end(at: &Location) -> u64 {
    u64::from(at.offset) + u64::from(at.stored)
}

fn stopped(segment: SegmentId) -> Arc<LogError> {
    Arc::new(LogError::Store(StoreError::Unavailable {
        what: format!("read {segment}"),
        reason: "the store's pool has stopped".to_owned(),
        retry_after: None,
    }))
}

#[cfg(test)]
mod tests;
