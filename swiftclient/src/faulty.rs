//! A store that goes wrong on purpose: at the Nth call, or as seeded dice say.

use std::{ops::Range, path::Path, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::{
    ErrorKind, ObjectInfo, ObjectName, ObjectStore, ObjectWriter, StoreError, StoreFuture, Verb,
    disk::{Disk, OsDisk},
    local::read_whole,
    seam::sim::SeededDice,
};

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done; this is answered.
    Refuse(ErrorKind),
    /// It is done, and `Unknown` is answered.
    LoseReply,
    /// Nothing is done and nothing ever answered.
    Hang,
    /// It is done and nothing ever answered.
    HangAfter,
    /// One bit of the object's bytes, on their way in or out, is another. Nothing else.
    Corrupt,
    /// The second half of the bytes, or of a listing, is missing. Nothing else.
    Truncate,
    /// It is done this much later.
    Delay(Duration),
}

/// Which calls go wrong, and how.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `None`: any.
    pub verb: Option<Verb>,
    /// Only names (for a listing: prefixes) that contain this.
    pub name: Option<String>,
    /// Matching calls that still go well before.
    pub skip: u64,
    /// Matching calls that go wrong after them.
    pub times: u64,
    /// How.
    pub fault: Fault,
}

impl Rule {
    /// The `nth` call (0: the next), of any kind, goes wrong once.
    pub fn nth(nth: u64, fault: Fault) -> Self {
        Self { verb: None, name: None, skip: nth, times: 1, fault }
    }

    /// Every call goes wrong.
    pub fn always(fault: Fault) -> Self {
        Self { times: u64::MAX, ..Self::nth(0, fault) }
    }

    /// Only calls of `verb`.
    #[must_use]
    pub fn of(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Only names that contain `part`.
    #[must_use]
    pub fn at(mut self, part: &str) -> Self {
        self.name = Some(part.to_owned());
        self
    }

    /// This many in a row.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    fn matches(&self, verb: Verb, name: &str) -> bool {
        self.verb.is_none_or(|v| v == verb)
            && self.name.as_deref().is_none_or(|part| name.contains(part))
    }
}

/// A store that goes wrong as planned. Clones share plan and store.
#[derive(Clone)]
pub struct Faulty {
    store: Arc<dyn ObjectStore>,
    plan: Arc<Mutex<Plan>>,
    disk: Arc<dyn Disk>,
}

#[derive(Default)]
struct Plan {
    rules: Vec<Rule>,
    chance: Option<Chance>,
    calls: u64,
    faults: u64,
}

struct Chance {
    dice: SeededDice,
    per_mille: u64,
    faults: Vec<Fault>,
    verbs: Vec<Verb>,
}

impl Plan {
    fn next(&mut self, verb: Verb, name: &str) -> Option<Fault> {
        self.calls += 1;
        let mut fault = None;
        for rule in &mut self.rules {
            if rule.times > 0 && rule.matches(verb, name) {
                if rule.skip > 0 {
                    rule.skip -= 1;
                } else if fault.is_none() {
                    rule.times -= 1;
                    fault = Some(rule.fault);
                }
            }
        }
        if let (None, Some(chance)) = (fault, &self.chance)
            && chance.verbs.contains(&verb)
            && chance.dice.chance(chance.per_mille)
        {
            let drawn = chance.dice.below(chance.faults.len() as u64);
            fault = chance.faults.get(usize::try_from(drawn).unwrap_or(0)).copied();
        }
        self.faults += u64::from(fault.is_some());
        fault
    }
}

impl Faulty {
    /// `store`, without faults as yet.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, plan: Arc::default(), disk: Arc::new(OsDisk) }
    }

    /// Reads the files given to `put_file`, where their bytes are to be harmed, from `disk`.
    #[must_use]
    pub fn on_disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// Adds a rule. Of several that match one call the first takes effect.
    pub fn add(&self, rule: Rule) {
        self.plan.lock().rules.push(rule);
    }

    /// Of calls of `verbs`, `per_mille` in a thousand get one of `faults`, as the dice of `seed`
    /// say.
    pub fn at_random(&self, seed: u64, per_mille: u64, faults: &[Fault], verbs: &[Verb]) {
        let dice = SeededDice::new(seed);
        let (faults, verbs) = (faults.to_vec(), verbs.to_vec());
        self.plan.lock().chance = Some(Chance { dice, per_mille, faults, verbs });
    }

    /// Ends all faults.
    pub fn heal(&self) {
        let mut plan = self.plan.lock();
        plan.rules.clear();
        plan.chance = None;
    }

    /// Calls so far, each verb of a stream one.
    pub fn calls(&self) -> u64 {
        self.plan.lock().calls
    }

    /// Calls that went wrong.
    pub fn faults(&self) -> u64 {
        self.plan.lock().faults
    }

    /// Makes one call, wrong or right. `harm_in` has already harmed what goes in; `harm_out` harms
    /// what comes out.
    async fn call<T>(
        fault: Option<Fault>,
        verb: Verb,
        name: &str,
        call: StoreFuture<'_, T>,
        harm_out: impl FnOnce(T, Fault) -> T,
    ) -> Result<T, StoreError> {
        match fault {
            None => call.await,
            Some(Fault::Refuse(kind)) => Err(kind.error(verb.name(), name, "planned")),
            Some(Fault::LoseReply) => {
                call.await?;
                Err(ErrorKind::Unknown.error(verb.name(), name, "planned: the reply was lost"))
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::HangAfter) => {
                let _ = call.await;
                std::future::pending().await
            }
            Some(Fault::Delay(by)) => {
                tokio::time::sleep(by).await;
                call.await
            }
            Some(fault @ (Fault::Corrupt | Fault::Truncate)) => Ok(harm_out(call.await?, fault)),
        }
    }

    fn next(&self, verb: Verb, name: &str) -> Option<Fault> {
        self.plan.lock().next(verb, name)
    }
}

fn same<T>(value: T, _: Fault) -> T {
    value
}

/// Bytes harmed on their way.
fn harmed(bytes: &Bytes, fault: Option<Fault>) -> Bytes {
    match fault {
        Some(Fault::Truncate) => bytes.slice(..bytes.len() / 2),
        Some(Fault::Corrupt) if !bytes.is_empty() => {
            let mut bad = BytesMut::from(&bytes[..]);
            let middle = bad.len() / 2;
            bad[middle] ^= 0x10;
            bad.freeze()
        }
        _ => bytes.clone(),
    }
}

impl ObjectStore for Faulty {
    fn put_new<'a>(&'a self, name: &'a ObjectName, body: Vec<Bytes>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let fault = self.next(Verb::Put, name.as_str());
            let body = match fault {
                Some(Fault::Corrupt | Fault::Truncate) => {
                    vec![harmed(&body.concat().into(), fault)]
                }
                _ => body,
            };
            let call = self.store.put_new(name, body);
            Self::call(fault, Verb::Put, name.as_str(), call, same).await
        })
    }

    fn put_stream<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, Box<dyn ObjectWriter>> {
        Box::pin(async move {
            let fault = self.next(Verb::OpenStream, name.as_str());
            let call = self.store.put_stream(name);
            let writer = Self::call(fault, Verb::OpenStream, name.as_str(), call, same).await?;
            let name = name.clone();
            Ok(Box::new(Writer { writer, of: self.clone(), name }) as Box<dyn ObjectWriter>)
        })
    }

    fn put_file<'a>(
        &'a self,
        name: &'a ObjectName,
        file: &'a Path,
        len: u64,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let fault = self.next(Verb::PutFile, name.as_str());
            let call = match fault {
                Some(Fault::Corrupt | Fault::Truncate) => {
                    let bytes = read_whole(self.disk.as_ref(), file, len)?;
                    self.store.put_new(name, vec![harmed(&bytes, fault)])
                }
                _ => self.store.put_file(name, file, len),
            };
            Self::call(fault, Verb::PutFile, name.as_str(), call, same).await
        })
    }

    fn get<'a>(&'a self, name: &'a ObjectName, range: Range<u64>) -> StoreFuture<'a, Bytes> {
        Box::pin(async move {
            let fault = self.next(Verb::Get, name.as_str());
            let call = self.store.get(name, range);
            let harm = |bytes: Bytes, fault| harmed(&bytes, Some(fault));
            Self::call(fault, Verb::Get, name.as_str(), call, harm).await
        })
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, ObjectInfo> {
        Box::pin(async move {
            let fault = self.next(Verb::Head, name.as_str());
            let harm = |info: ObjectInfo, fault| match fault {
                Fault::Truncate => ObjectInfo { len: info.len / 2, crc32c: None },
                _ => ObjectInfo { crc32c: info.crc32c.map(|c| c ^ 1), ..info },
            };
            Self::call(fault, Verb::Head, name.as_str(), self.store.head(name), harm).await
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<ObjectName>> {
        Box::pin(async move {
            let fault = self.next(Verb::List, prefix);
            let call = self.store.list(prefix, after, limit);
            let harm = |mut names: Vec<ObjectName>, _| {
                names.truncate(names.len() / 2);
                names
            };
            Self::call(fault, Verb::List, prefix, call, harm).await
        })
    }

    fn delete_many<'a>(
        &'a self,
        names: &'a [ObjectName],
    ) -> StoreFuture<'a, Vec<Result<(), StoreError>>> {
        Box::pin(async move {
            let first = names.first().map_or("", |n| n.as_str());
            let fault = self.next(Verb::Delete, first);
            // Half done: the others were not reached.
            let reached = match fault {
                Some(Fault::Truncate) => names.len() / 2,
                _ => names.len(),
            };
            let call = self.store.delete_many(&names[..reached]);
            let mut done = Self::call(fault, Verb::Delete, first, call, same).await?;
            done.extend(names[reached..].iter().map(|name| {
                Err(ErrorKind::Unavailable.error("delete", name.as_str(), "planned: not reached"))
            }));
            Ok(done)
        })
    }

    crate::forward!((store): sweep, distrust, streams, attests, class, capacity, local_dir);
}

struct Writer {
    writer: Box<dyn ObjectWriter>,
    of: Faulty,
    name: ObjectName,
}

impl ObjectWriter for Writer {
    fn write(&mut self, piece: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let fault = self.of.next(Verb::WriteStream, self.name.as_str());
            let call = self.writer.write(harmed(&piece, fault));
            Faulty::call(fault, Verb::WriteStream, self.name.as_str(), call, same).await
        })
    }

    fn finish(self: Box<Self>) -> StoreFuture<'static, ()> {
        Box::pin(async move {
            let fault = self.of.next(Verb::FinishStream, self.name.as_str());
            let call = self.writer.finish();
            Faulty::call(fault, Verb::FinishStream, self.name.as_str(), call, same).await
        })
    }
}

#[cfg(test)]
mod tests;
