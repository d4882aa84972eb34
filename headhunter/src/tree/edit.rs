//! Changing the live root.

use std::{collections::BTreeMap, sync::Arc};

use logseg::{Location, SegmentId, Seq};

use super::{Miss, PageRef, Place, Shape, cells::Cells, page::Page};

/// What page changes did to usage since the last published checkpoint (R9).
#[derive(Default)]
pub(crate) struct Ledger {
    /// Bytes of pages stored minus bytes of stored pages that the live root dropped.
    pub delta: BTreeMap<SegmentId, i64>,
    /// Pages of the root being checkpointed that the live root has dropped before they had a
    /// location: whatever they get is freed with the next checkpoint.
    pub pending: Vec<Arc<PageRef>>,
}

impl Ledger {
    /// A stored page left the live root.
    pub fn freed(&mut self, location: Location) {
        *self.delta.entry(location.segment).or_default() -= i64::from(location.stored);
    }

    /// Settles [`Ledger::pending`] as far as its pages are stored by now, and frees their memory:
    /// only the root being checkpointed still has them.
    pub fn settle(&mut self, finished: bool) {
        let mut waiting = Vec::new();
        for page in std::mem::take(&mut self.pending) {
            let mut state = page.state.write();
            if let Some(location) = state.place.stored() {
                state.page = None;
                drop(state);
                self.freed(location);
            } else if !finished {
                drop(state);
                waiting.push(page);
            }
        }
        self.pending = waiting;
    }
}

/// One transaction's way into the live tree.
pub(crate) struct Edit<'a> {
    /// Seq of the transaction: birth of what it changes.
    pub seq: Seq,
    /// Page sizes.
    pub shape: Shape,
    /// Seq of the root being checkpointed, if one is.
    pub frozen: Option<Seq>,
    /// Accounts.
    pub ledger: &'a mut Ledger,
}

type Split = Option<(Box<[u8]>, Arc<PageRef>)>;

impl Edit<'_> {
    /// The stored bytes behind `slot`, if any, no longer belong to the live root.
    fn dismiss(&mut self, slot: &Arc<PageRef>) {
        let state = slot.state.read();
        match state.place {
            Place::Stored(location) => self.ledger.freed(location),
            _ if self.frozen.is_some_and(|frozen| state.birth <= frozen) => {
                self.ledger.pending.push(slot.clone());
            }
            _ => {}
        }
    }

    /// The page in `slot`, to be changed: in place where nobody else can see it, else copied.
    fn own<'s>(&mut self, slot: &'s mut Arc<PageRef>) -> Result<&'s mut Page, Miss> {
        if slot.state.read().page.is_none() {
            return Err(Miss::one(slot));
        }
        self.dismiss(slot);
        let state = Arc::make_mut(slot).state.get_mut();
        state.place = Place::Dirty;
        state.birth = self.seq;
        match &mut state.page {
            Some(page) => Ok(page),
            None => Err(Miss::none()), // evicting needs the lock that we hold
        }
    }

    fn limit(&self, page: &Page) -> usize {
        if page.level == 0 { self.shape.leaf } else { self.shape.inner }
    }

    fn is_full(&self, page: &Page) -> bool {
        page.encoded_bytes() > self.limit(page)
    }

    fn is_small(&self, page: &Page) -> bool {
        page.encoded_bytes() < self.limit(page) / 4
    }
}

/// Sets `key` to `value` in the tree of `root`. Fails only where the path is not in memory
/// (check with [`super::resident`] first), and then has changed nothing that can be seen.
pub(crate) fn put(
    root: &mut Arc<PageRef>,
    edit: &mut Edit<'_>,
    key: &[u8],
    value: &[u8],
) -> Result<(), Miss> {
    let Some((separator, right)) = put_below(root, edit, key, value)? else { return Ok(()) };
    let left = root.clone();
    let (level, budget) = {
        let state = left.state.read();
        match &state.page {
            Some(page) => (page.level + 1, page.budget().clone()),
            None => return Err(Miss::one(&left)),
        }
    };
    let mut cells = Cells::default();
    cells.insert(0, &separator, &[]);
    let page = Page::new(&budget, level, Box::default(), None, cells, vec![left, right]);
    *root = Arc::new(PageRef::dirty(page, edit.seq));
    Ok(())
}

fn put_below(
    slot: &mut Arc<PageRef>,
    edit: &mut Edit<'_>,
    key: &[u8],
    value: &[u8],
) -> Result<Split, Miss> {
    let page = edit.own(slot)?;
    let at = if page.level == 0 {
        match page.cells.find(key) {
            Ok(i) => {
                page.cells.replace(i, value);
                i
            }
            Err(i) => {
                page.cells.insert(i, key, value);
                i
            }
        }
    } else {
        let i = page.child_for(key);
        let Some((separator, right)) = put_below(&mut page.children[i], edit, key, value)? else {
            return Ok(None);
        };
        page.cells.insert(i, &separator, &[]);
        page.children.insert(i + 1, right);
        i
    };
    let split = if edit.is_full(page) { Some(split(page, at, edit)) } else { None };
    page.recharge(true);
    Ok(split)
}

/// Cuts `page`, which has just grown at item `at`, in two; gives the right half. Keys that arrive
/// in ascending order leave full pages behind.
fn split(page: &mut Page, at: usize, edit: &Edit<'_>) -> (Box<[u8]>, Arc<PageRef>) {
    let n = page.cells.len();
    let mut cut = if at + 1 == n { n - 1 } else { middle(&page.cells) };
    let (separator, from): (Box<[u8]>, usize) = loop {
        let (separator, from) = if page.level == 0 {
            (between(page.cells.key(cut - 1), page.cells.key(cut)), cut)
        } else {
            (page.cells.key(cut).into(), cut + 1)
        };
        // The upper bound that the left half gets must fit too, or its next change cuts it again.
        let gone: usize = (cut..n).map(|i| page.cells.cell_bytes(i) + 2).sum();
        let bound = separator.len().saturating_sub(page.high.as_ref().map_or(0, |h| h.len()));
        if page.encoded_bytes() - gone + bound <= edit.limit(page) || cut == 1 {
            break (separator, from);
        }
        cut -= 1;
    };
    let cells = page.cells.part(from, n);
    let children = if page.level == 0 { Vec::new() } else { page.children.split_off(from) };
    page.cells = page.cells.part(0, cut);
    let high = page.high.replace(separator.clone());
    let right = Page::new(page.budget(), page.level, separator.clone(), high, cells, children);
    (separator, Arc::new(PageRef::dirty(right, edit.seq)))
}

/// Where half of the bytes lie on either side; never at an end.
fn middle(cells: &Cells) -> usize {
    let half = cells.live_bytes() / 2;
    let mut seen = 0;
    let cut = (0..cells.len()).find(|i| {
        seen += cells.cell_bytes(*i);
        seen >= half
    });
    cut.unwrap_or(0).clamp(1, cells.len() - 1)
}

/// The shortest key that is greater than `left` and at most `right`.
fn between(left: &[u8], right: &[u8]) -> Box<[u8]> {
    let same = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    right[..right.len().min(same + 1)].into()
}

/// Removes `key`, present or not, from the tree of `root`. Fails as [`put`] does.
pub(crate) fn delete(root: &mut Arc<PageRef>, edit: &mut Edit<'_>, key: &[u8]) -> Result<(), Miss> {
    if super::get(root, key)?.is_none() {
        return Ok(()); // do not dirty a path for nothing
    }
    delete_below(root, edit, key)?;
    loop {
        let only = {
            let state = root.state.read();
            match &state.page {
                Some(page) if page.level > 0 && page.children.len() == 1 => {
                    page.children[0].clone()
                }
                _ => return Ok(()),
            }
        };
        if only.state.read().page.is_none() {
            return Ok(()); // the next change that comes by will do it
        }
        edit.dismiss(root);
        *root = only;
    }
}

/// Gives whether the page in `slot` has become small.
fn delete_below(slot: &mut Arc<PageRef>, edit: &mut Edit<'_>, key: &[u8]) -> Result<bool, Miss> {
    let page = edit.own(slot)?;
    if page.level == 0 {
        if let Ok(i) = page.cells.find(key) {
            page.cells.remove(i);
        }
    } else {
        let i = page.child_for(key);
        if !delete_below(&mut page.children[i], edit, key)? {
            return Ok(false);
        }
        // Merge with the right neighbour, or with the left one.
        if !merge(page, i, edit) && i > 0 {
            merge(page, i - 1, edit);
        }
    }
    page.recharge(true);
    Ok(edit.is_small(page))
}

/// Joins children `i` and `i + 1` where both are in memory and fit with room to spare.
fn merge(page: &mut Page, i: usize, edit: &mut Edit<'_>) -> bool {
    let Some(right) = page.children.get(i + 1).cloned() else { return false };
    let limit = if page.level == 1 { edit.shape.leaf } else { edit.shape.inner };
    let size = |slot: &Arc<PageRef>| slot.state.read().page.as_ref().map(|p| p.encoded_bytes());
    let (Some(a), Some(b)) = (size(&page.children[i]), size(&right)) else { return false };
    if a + b + page.cells.cell_bytes(i) > limit * 3 / 4 {
        return false;
    }
    let Ok(left) = edit.own(&mut page.children[i]) else { return false };
    {
        let state = right.state.read();
        let Some(other) = &state.page else { return false };
        if left.level > 0 {
            let end = left.cells.len();
            left.cells.insert(end, page.cells.key(i), &[]);
            left.children.extend(other.children.iter().cloned());
        }
        left.cells.append(&other.cells, 0, other.cells.len());
        left.high.clone_from(&other.high);
        left.recharge(true);
    }
    edit.dismiss(&right);
    page.children.remove(i + 1);
    page.cells.remove(i);
    true
}
