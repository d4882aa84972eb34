//! The network between servers and a store: requests and answers are late, lost, refused, overtake
//! each other; a put lands after its sender has given it up, or has died; now and then an answer is
//! a lie. A server that is stopped (SIGSTOP) sends and hears nothing until it goes on; one that is
//! killed never again, and what it had sent is done all the same.

use std::{
    collections::BTreeSet,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use swiftclient::{
    ErrorKind, ObjectInfo, ObjectName, ObjectStore, ObjectWriter, StoreClass, StoreError,
    StoreFuture,
    disk::{Disk, SimDisk},
    seam::sim::SeededDice,
};
use tokio::{sync::Notify, time::sleep};

use crate::story::Story;

/// Longest time after which a put lands that its sender has given up.
pub const LATEST: Duration = Duration::from_secs(90);
/// Puts of `epoch/…` on a plain store take no longer: that is what decision 0007 relies on.
const EPOCH_PUT: Duration = Duration::from_millis(200);

/// One process of a server, as the outside sees it.
pub struct Being {
    pub name: String,
    pub machine: usize,
    pub disk: SimDisk,
    dead: AtomicBool,
    stopped: AtomicBool,
    opened: AtomicBool,
    paused: AtomicBool,
    goes_on: Notify,
}

impl Being {
    pub fn new(name: String, machine: usize, disk: SimDisk) -> Self {
        let no = || AtomicBool::new(false);
        let (dead, stopped, opened, paused) = (no(), no(), no(), no());
        Self { name, machine, disk, dead, stopped, opened, paused, goes_on: Notify::new() }
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Relaxed) || self.disk.is_power_off()
    }

    /// kill -9.
    pub fn kill(&self) {
        self.dead.store(true, Relaxed);
        self.disk.kill();
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// It serves.
    pub fn has_opened(&self) {
        self.opened.store(true, Relaxed);
    }

    pub fn serves(&self) -> bool {
        self.opened.load(Relaxed) && !self.is_dead()
    }

    /// SIGSTOP.
    pub fn stop(&self) {
        self.paused.store(true, Relaxed);
        self.stopped.store(true, Relaxed);
    }

    /// It was stopped at some time, and what it had to do was left lying.
    pub fn was_stopped(&self) -> bool {
        self.paused.load(Relaxed)
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.stopped.store(false, Relaxed);
        self.goes_on.notify_waiters();
    }

    /// Waits while stopped, for ever where dead.
    pub async fn gate(&self) {
        loop {
            let notified = self.goes_on.notified();
            if self.is_dead() {
                std::future::pending::<()>().await;
            }
            if !self.is_stopped() {
                return;
            }
            notified.await;
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forecast {
    /// Requests in a thousand that go wrong.
    pub harsh: u64,
    /// Most time that a request or an answer takes.
    pub slow: Duration,
}

/// What a store has that is not the network's.
#[derive(Clone, Copy, Debug)]
pub struct Nature {
    pub plain: bool,
    pub attests: bool,
    pub streams: bool,
}

/// The store and the network around it. Clones share both.
#[derive(Clone)]
pub struct Sky {
    truth: Arc<dyn ObjectStore>,
    dice: Arc<SeededDice>,
    now: Arc<Mutex<Forecast>>,
    lies: Arc<AtomicU64>,
    lied: Arc<AtomicU64>,
    /// What landed though its sender was dead, or had been stopped, or had given it up.
    overdue: Arc<Mutex<BTreeSet<String>>>,
    pub nature: Nature,
    story: Story,
}

enum Fate {
    Well,
    Refused,
    /// Done, and the answer is lost.
    Lost,
    /// Done so much later, and the answer is lost.
    Late(Duration),
    /// Done, and nothing is ever answered.
    Silent,
    Lie,
}

impl Sky {
    pub fn new(
        truth: Arc<dyn ObjectStore>,
        nature: Nature,
        dice: SeededDice,
        story: &Story,
    ) -> Self {
        let (dice, now) = (Arc::new(dice), Arc::default());
        let (lies, lied) = (Arc::default(), Arc::default());
        let overdue = Arc::default();
        Self { truth, dice, now, lies, lied, overdue, nature, story: story.clone() }
    }

    pub fn turn(&self, forecast: Forecast) {
        *self.now.lock() = forecast;
    }

    /// One of the next answers is a lie.
    pub fn lie_once(&self) {
        self.lies.store(1, Relaxed);
    }

    /// Nothing goes wrong any more, from now on.
    pub fn calm(&self) {
        self.turn(Forecast::default());
        self.lies.store(0, Relaxed);
    }

    /// True of an object that landed when it was not to be expected any more.
    pub fn is_overdue(&self, name: &str) -> bool {
        self.overdue.lock().contains(name)
    }

    pub fn lied(&self) -> u64 {
        self.lied.load(Relaxed)
    }

    fn fate(&self, change: bool, name: &str) -> Fate {
        let now = *self.now.lock();
        let sacred = self.nature.plain && name.starts_with("epoch/");
        if !change && !sacred && self.lies.load(Relaxed) > 0 && self.dice.chance(100) {
            self.lies.fetch_sub(1, Relaxed);
            return Fate::Lie;
        }
        if !self.dice.chance(now.harsh) {
            return Fate::Well;
        }
        match (self.dice.below(6), change && !sacred) {
            (0 | 1, _) | (_, false) => Fate::Refused,
            (2, _) => Fate::Lost,
            (3, _) => Fate::Silent,
            _ => Fate::Late(Duration::from_millis(
                self.dice.below(u64::try_from(LATEST.as_millis()).unwrap_or(0)),
            )),
        }
    }

    /// How long a request, or an answer, is on its way.
    fn way(&self, name: &str) -> Duration {
        let slow = self.now.lock().slow;
        let longest = if name.starts_with("epoch/") { slow.min(EPOCH_PUT) } else { slow };
        Duration::from_micros(self.dice.below(u64::try_from(longest.as_micros()).unwrap_or(0) + 1))
    }
}

/// A server's connection to the store.
pub struct Line {
    pub sky: Sky,
    pub being: Arc<Being>,
}

impl Line {
    async fn change<T: Clone + Send + 'static>(
        &self,
        verb: &'static str,
        name: &str,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.being.gate().await;
        let (there, back) = (self.sky.way(name), self.sky.way(name));
        let fate = self.sky.fate(true, name);
        if let Fate::Refused = fate {
            sleep(there + back).await;
            self.being.gate().await;
            return Err(ErrorKind::Unavailable.error(verb, name, "simulated"));
        }
        let after = if let Fate::Late(by) = fate { there + by } else { there };
        let (story, who, what) = (self.sky.story.clone(), self.being.name.clone(), name.to_owned());
        let (being, overdue) = (self.being.clone(), self.sky.overdue.clone());
        let (send, answer) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            sleep(after).await;
            let result = work.await;
            if result.is_ok() && (after > there || being.is_dead() || being.was_stopped()) {
                overdue.lock().insert(what.clone());
            }
            story.tell(|| {
                let late = if after > there { ", late" } else { "" };
                let outcome = result.as_ref().map_or_else(ToString::to_string, |_| "done".into());
                format!("  {who} {verb} {what}{late}: {outcome}")
            });
            let _ = send.send(result);
        });
        let result = match fate {
            Fate::Late(_) => {
                sleep(there + back).await;
                Err(ErrorKind::Unknown.error(verb, name, "simulated: it may come yet"))
            }
            Fate::Silent => std::future::pending().await,
            fate => {
                let answered = answer.await;
                sleep(back).await;
                match (fate, answered) {
                    (Fate::Lost, _) | (_, Err(_)) => {
                        Err(ErrorKind::Unknown.error(verb, name, "simulated: no answer"))
                    }
                    (_, Ok(result)) => result,
                }
            }
        };
        self.being.gate().await;
        result
    }

    async fn look<T>(
        &self,
        verb: &'static str,
        name: &str,
        work: impl Future<Output = Result<T, StoreError>>,
        lie: impl FnOnce(T, &SeededDice) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.being.gate().await;
        let fate = self.sky.fate(false, name);
        sleep(self.sky.way(name)).await;
        let result = match fate {
            Fate::Refused => Err(ErrorKind::Unavailable.error(verb, name, "simulated")),
            _ => work.await,
        };
        sleep(self.sky.way(name)).await;
        self.being.gate().await;
        match (fate, result) {
            (Fate::Lie, Ok(answer)) => {
                self.sky.lied.fetch_add(1, Relaxed);
                let who = &self.being.name;
                self.sky.story.tell(|| format!("  {who} {verb} {name}: A LIE"));
                lie(answer, &self.sky.dice)
            }
            (_, result) => result,
        }
    }

    /// Only where the store fences: a plain one's looks by name are believed (decision 0007).
    fn absent(&self, verb: &str, name: &ObjectName) -> Option<StoreError> {
        let may = !self.sky.nature.plain && self.sky.dice.chance(300);
        may.then(|| ErrorKind::NotFound.error(verb, name.as_str(), "a lie"))
    }
}

impl ObjectStore for Line {
    fn put_new<'a>(&'a self, name: &'a ObjectName, body: Vec<Bytes>) -> StoreFuture<'a, ()> {
        let (truth, to) = (self.sky.truth.clone(), name.clone());
        Box::pin(self.change("put", name.as_str(), async move { truth.put_new(&to, body).await }))
    }

    fn put_stream<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, Box<dyn ObjectWriter>> {
        let line = Self { sky: self.sky.clone(), being: self.being.clone() };
        let writer = Writer { line, name: name.clone(), pieces: Vec::new() };
        Box::pin(async move { Ok(Box::new(writer) as Box<dyn ObjectWriter>) })
    }

    fn put_file<'a>(
        &'a self,
        name: &'a ObjectName,
        file: &'a Path,
        len: u64,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let read = || {
                let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
                let n = self.being.disk.open_read(file)?.read_at(0, &mut bytes)?;
                bytes.truncate(n);
                std::io::Result::Ok(bytes)
            };
            let failed = |e: std::io::Error| {
                ErrorKind::Unavailable.error("put", name.as_str(), &e.to_string())
            };
            let body = vec![Bytes::from(read().map_err(failed)?)];
            self.put_new(name, body).await
        })
    }

    fn get<'a>(&'a self, name: &'a ObjectName, range: Range<u64>) -> StoreFuture<'a, Bytes> {
        Box::pin(async move {
            let lie = |bytes: Bytes, dice: &SeededDice| {
                if let Some(absent) = self.absent("get", name) {
                    return Err(absent);
                }
                let at = usize::try_from(dice.below(bytes.len() as u64)).unwrap_or(0);
                if bytes.is_empty() || dice.chance(300) {
                    return Ok(bytes.slice(..at));
                }
                let mut bad = BytesMut::from(&bytes[..]);
                bad[at] ^= 1 << dice.below(8);
                Ok(bad.freeze())
            };
            self.look("get", name.as_str(), self.sky.truth.get(name, range), lie).await
        })
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, ObjectInfo> {
        Box::pin(async move {
            let lie = |info: ObjectInfo, dice: &SeededDice| match self.absent("head", name) {
                Some(absent) => Err(absent),
                None => Ok(ObjectInfo { len: dice.below(info.len + 1), crc32c: info.crc32c }),
            };
            self.look("head", name.as_str(), self.sky.truth.head(name), lie).await
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<ObjectName>> {
        Box::pin(async move {
            // A listing that lags: the newest name is not in it yet.
            let lie = |mut names: Vec<ObjectName>, _: &SeededDice| {
                names.pop();
                Ok(names)
            };
            self.look("list", prefix, self.sky.truth.list(prefix, after, limit), lie).await
        })
    }

    fn delete_many<'a>(
        &'a self,
        names: &'a [ObjectName],
    ) -> StoreFuture<'a, Vec<Result<(), StoreError>>> {
        let (truth, gone) = (self.sky.truth.clone(), names.to_vec());
        Box::pin(async move {
            let what: Vec<_> = names.iter().map(ObjectName::as_str).collect();
            let work = async move { truth.delete_many(&gone).await };
            self.change("delete", &what.join(" "), work).await
        })
    }

    fn streams(&self) -> bool {
        self.sky.nature.streams
    }

    fn attests(&self) -> bool {
        self.sky.nature.attests
    }

    fn class(&self) -> StoreClass {
        if self.sky.nature.plain { StoreClass::Plain } else { StoreClass::Fencing }
    }
}

struct Writer {
    line: Line,
    name: ObjectName,
    pieces: Vec<Bytes>,
}

impl ObjectWriter for Writer {
    fn write(&mut self, piece: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.line.being.gate().await;
            sleep(self.line.sky.way("")).await;
            let harsh = self.line.sky.now.lock().harsh;
            if self.line.sky.dice.chance(harsh / 2) {
                let name = self.name.as_str();
                return Err(ErrorKind::Unavailable.error("stream", name, "simulated: cut"));
            }
            self.pieces.push(piece);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> StoreFuture<'static, ()> {
        Box::pin(async move { self.line.put_new(&self.name, self.pieces).await })
    }
}
