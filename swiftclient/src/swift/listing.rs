//! One ascending listing over many containers and lanes.
//!
//! ```text
//!   base container ───────────────┐
//!   C_seg_0_000001  lane 0 … f ───┤  least head first ──► names, ascending
//!   C_seg_2_…       lane 0 … f ───┘
//! ```
//!
//! Each source waits in a heap by the least name that it can still give; it is asked for a page
//! only once that is the least of all. So the listing of `ckpt/` is one request, and a listing that
//! ends before `seg/` never asks the account for its containers.
//!
//! Invariants
//! 1. Names come in ascending order, each once: no name can lie in two sources (`place`).
//! 2. A page shorter than asked for is the source's last (API guide, "Page through large lists").
//! 3. A container that does not exist is empty.
//!
//! What this can be relied on for: Swift updates a container's listing after the object, and
//! answers before that where a container server is slow; the account's listing of containers lags
//! too. A name may be missing for a while after its PUT, and present after its DELETE. Nobody may
//! take a name's absence from a listing for the object's: only `head` and `get` tell that.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use super::place::{Family, Group, LANES, Layout};
use crate::{ObjectName, StoreError, StoreFuture};

/// Where names come from; HTTP in earnest, a map in tests.
pub(super) trait Listed: Sync {
    /// The account's containers that begin with `prefix`, ascending.
    fn containers<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Vec<String>>;
    /// Up to `limit` objects of a container that begin with `prefix` and are greater than `after`,
    /// ascending; none where there is no such container.
    fn objects<'a>(
        &'a self,
        container: &'a str,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<String>>;
}

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub prefix: &'a str,
    pub after: Option<&'a str>,
    pub limit: usize,
    /// Names in one page, at most: what the server grants.
    pub page: usize,
}

/// One ascending run of names.
enum Source {
    Base(Run),
    /// Not yet asked which containers there are.
    Family(Family),
    /// Not yet asked for a name.
    Container(Family, Group),
    Lane(Family, Group, Run),
    /// A whole container, read and sorted.
    Sorted(VecDeque<ObjectName>),
}

/// Pages of one (container, prefix).
struct Run {
    container: String,
    prefix: String,
    /// The last object seen, or where to begin.
    marker: Option<String>,
    waiting: VecDeque<ObjectName>,
    ended: bool,
}

pub(super) struct Listing<'a> {
    layout: &'a Layout,
    listed: &'a dyn Listed,
    wanted: Wanted<'a>,
    sources: Vec<Source>,
    /// (least name that the source can still give, whether it is that name itself, source).
    heads: BinaryHeap<Reverse<(String, bool, usize)>>,
}

/// True where some name with `prefix` and greater than `after` may lie in `least..=most`.
fn overlaps(least: &str, most: &str, prefix: &str, after: Option<&str>) -> bool {
    let beyond = after.is_some_and(|after| most <= after);
    let before = most < prefix && !most.starts_with(prefix);
    let behind = least > prefix && !least.starts_with(prefix);
    !(beyond || before || behind)
}

impl<'a> Listing<'a> {
    /// Up to `wanted.limit` names, ascending.
    pub(super) async fn run(
        layout: &'a Layout,
        listed: &'a dyn Listed,
        wanted: Wanted<'a>,
    ) -> Result<Vec<ObjectName>, StoreError> {
        let (sources, heads) = (Vec::new(), BinaryHeap::new());
        let mut listing = Self { layout, listed, wanted, sources, heads };
        listing.begin();
        let mut names = Vec::new();
        while names.len() < listing.wanted.limit {
            let Some(Reverse((_, is_name, source))) = listing.heads.pop() else { break };
            if is_name {
                names.extend(listing.take(source));
                if names.len() == listing.wanted.limit {
                    break;
                }
            }
            listing.advance(source).await?;
        }
        Ok(names)
    }

    fn begin(&mut self) {
        let Wanted { prefix, after, .. } = self.wanted;
        let base = Run::new(
            self.layout.base().to_owned(),
            format!("{}{prefix}", self.layout.prefix()),
            after.filter(|a| *a >= prefix).map(|a| format!("{}{a}", self.layout.prefix())),
        );
        self.wait(prefix.to_owned(), Source::Base(base));
        for family in Family::ALL {
            let head = family.head();
            if overlaps(head, &format!("{head}~"), prefix, after) {
                self.wait(head.to_owned(), Source::Family(family));
            }
        }
    }

    /// A source whose names are at least `least`.
    fn wait(&mut self, least: String, source: Source) {
        self.heads.push(Reverse((least, false, self.sources.len())));
        self.sources.push(source);
    }

    fn take(&mut self, source: usize) -> Option<ObjectName> {
        match &mut self.sources[source] {
            Source::Base(run) | Source::Lane(_, _, run) => run.waiting.pop_front(),
            Source::Sorted(names) => names.pop_front(),
            Source::Family(_) | Source::Container(..) => None,
        }
    }

    /// Lets the source say its next name, or become other sources.
    async fn advance(&mut self, source: usize) -> Result<(), StoreError> {
        let next = match &mut self.sources[source] {
            Source::Family(family) => {
                let family = *family;
                return self.open_family(source, family).await;
            }
            Source::Container(family, group) => {
                let (family, group) = (*family, *group);
                return self.open_container(source, family, group).await;
            }
            Source::Sorted(names) => names.front().cloned(),
            Source::Base(run) => {
                let (layout, limit) = (self.layout, self.wanted.limit.min(self.wanted.page));
                run.next(self.listed, limit, |o| layout.base_name(o)).await?
            }
            Source::Lane(family, group, run) => {
                let (layout, family, group) = (self.layout, *family, *group);
                let limit = self.wanted.limit.min(self.wanted.page);
                run.next(self.listed, limit, |o| layout.numbered_name(family, group, o)).await?
            }
        };
        if let Some(name) = next {
            self.heads.push(Reverse((name.to_string(), true, source)));
        }
        Ok(())
    }

    async fn open_family(&mut self, source: usize, family: Family) -> Result<(), StoreError> {
        let containers = self.listed.containers(&self.layout.containers(family)).await?;
        self.sources[source] = Source::Sorted(VecDeque::new());
        for container in containers {
            let Some(group) = self.layout.group(family, &container) else { continue };
            let [least, most] = Layout::bounds(family, group);
            if overlaps(&least, &most, self.wanted.prefix, self.wanted.after) {
                self.wait(least, Source::Container(family, group));
            }
        }
        Ok(())
    }

    /// A container that one page holds is sorted here; a larger one is its lanes.
    async fn open_container(
        &mut self,
        source: usize,
        family: Family,
        group: Group,
    ) -> Result<(), StoreError> {
        let (container, page) = (self.layout.container(family, group), self.wanted.page);
        let prefix = format!("{}{}", self.layout.prefix(), family.head());
        let objects = self.listed.objects(&container, &prefix, None, page).await?;
        self.sources[source] = Source::Sorted(VecDeque::new());
        let Wanted { prefix, after, .. } = self.wanted;
        if objects.len() < page {
            let names = objects.iter().filter_map(|o| self.layout.numbered_name(family, group, o));
            let wanted = |n: &ObjectName| {
                n.as_str().starts_with(prefix) && after.is_none_or(|after| n.as_str() > after)
            };
            let mut names: Vec<ObjectName> = names.filter(wanted).collect();
            names.sort();
            self.sources[source] = Source::Sorted(names.into());
            return Box::pin(self.advance(source)).await;
        }
        // What follows the family's head in a name follows the lane in the object's.
        let tail = |text: &'a str| text.strip_prefix(family.head());
        for lane in 0..LANES {
            let lane = self.layout.lane(family, lane);
            let marker = after.and_then(tail).map(|tail| format!("{lane}{tail}"));
            let prefix = format!("{lane}{}", tail(prefix).unwrap_or_default());
            let run = Run::new(container.clone(), prefix, marker);
            self.wait(Layout::bounds(family, group)[0].clone(), Source::Lane(family, group, run));
        }
        Ok(())
    }
}

impl Run {
    fn new(container: String, prefix: String, marker: Option<String>) -> Self {
        Self { container, prefix, marker, waiting: VecDeque::new(), ended: false }
    }

    /// The least name left, asking for pages as needed. Objects for which `name` has none are
    /// passed over.
    async fn next(
        &mut self,
        listed: &dyn Listed,
        limit: usize,
        name: impl Fn(&str) -> Option<ObjectName>,
    ) -> Result<Option<ObjectName>, StoreError> {
        while self.waiting.is_empty() && !self.ended {
            let marker = self.marker.as_deref();
            let page = listed.objects(&self.container, &self.prefix, marker, limit).await?;
            self.ended = page.len() < limit;
            if let Some(last) = page.last() {
                if marker.is_some_and(|marker| last.as_str() <= marker) {
                    return Err(StoreError::Corrupt {
                        what: format!("list {}", self.container),
                        reason: format!("{last} was listed after {}", marker.unwrap_or_default()),
                    });
                }
                self.marker = Some(last.clone());
            }
            self.waiting.extend(page.iter().filter_map(|object| name(object)));
        }
        Ok(self.waiting.front().cloned())
    }
}
