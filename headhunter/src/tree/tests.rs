//! The tree against a `BTreeMap`, with small pages to force depth.

use std::{collections::BTreeMap, sync::Arc};

use logseg::{Location, SegmentId, Seq};
use proptest::prelude::*;

use super::{
    Edit, Ledger, Miss, PageRef, Place, Shape, budget::Budget, delete, evict::Clock, get, last,
    page::Page, put, range, resident,
};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

const SHAPE: Shape = Shape { leaf: 256, inner: 256 };

/// A live root, and a store of its own for its pages.
struct World {
    root: Arc<PageRef>,
    budget: Arc<Budget>,
    ledger: Ledger,
    clock: Clock,
    seq: u64,
    disk: Vec<Vec<u8>>,
}

impl World {
    fn new() -> Self {
        let budget = Arc::new(Budget::default());
        Self {
            root: Arc::new(PageRef::dirty(Page::empty(&budget), Seq(0))),
            budget,
            ledger: Ledger::default(),
            clock: Clock::default(),
            seq: 0,
            disk: Vec::new(),
        }
    }

    fn fault(&self, miss: &Miss) {
        fault(&self.disk, &self.budget, miss);
    }

    fn retry<T>(&self, f: impl Fn() -> Result<T, Miss>) -> T {
        retry(&self.disk, &self.budget, f)
    }

    fn change(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.seq += 1;
        while let Err(miss) = resident(&self.root, key) {
            self.fault(&miss);
        }
        let mut edit =
            Edit { seq: Seq(self.seq), shape: SHAPE, frozen: None, ledger: &mut self.ledger };
        match value {
            Some(value) => put(&mut self.root, &mut edit, key, value).unwrap(),
            None => delete(&mut self.root, &mut edit, key).unwrap(),
        }
    }

    /// Writes every dirty page below `slot`, children first.
    fn store(&mut self, slot: &Arc<PageRef>) {
        let children = match &*slot.state.read() {
            s if s.place.stored().is_some() => return,
            s => s.page.as_ref().unwrap().children.clone(),
        };
        for child in &children {
            self.store(child);
        }
        let mut state = slot.state.write();
        let page = state.page.as_ref().unwrap().encode(state.birth).unwrap();
        assert_eq!(page.len(), state.page.as_ref().unwrap().encoded_bytes());
        let at = Location {
            segment: SegmentId::side(1, 0),
            offset: u32::try_from(self.disk.len()).unwrap(),
            stored: u32::try_from(page.len()).unwrap(),
        };
        self.disk.push(page);
        *self.ledger.delta.entry(at.segment).or_default() += i64::from(at.stored);
        state.place = Place::Stored(at);
        state.page.as_mut().unwrap().recharge(false);
    }
}

fn fault(disk: &[Vec<u8>], budget: &Arc<Budget>, miss: &Miss) {
    for slot in &miss.pages {
        let mut state = slot.state.write();
        let at = state.place.stored().unwrap();
        let (page, birth) = Page::decode(&disk[at.offset as usize], budget).unwrap();
        assert_eq!(birth, state.birth);
        state.page = Some(Box::new(page));
    }
}

fn retry<T>(disk: &[Vec<u8>], budget: &Arc<Budget>, f: impl Fn() -> Result<T, Miss>) -> T {
    loop {
        match f() {
            Ok(value) => return value,
            Err(miss) => fault(disk, budget, &miss),
        }
    }
}

/// Every item; bounds, order and page sizes are checked on the way. Counts stored bytes.
fn walk(world: &World, slot: &Arc<PageRef>, out: &mut Model, stored: &mut i64) {
    if slot.state.read().page.is_none() {
        world.fault(&Miss::one(slot));
    }
    let state = slot.state.read();
    if let Some(at) = state.place.stored() {
        *stored += i64::from(at.stored);
    }
    let page = state.page.as_ref().unwrap();
    assert!(page.encoded_bytes() <= 256, "{}", page.encoded_bytes());
    for i in 0..page.cells.len() {
        let key = page.cells.key(i);
        assert!(i == 0 || page.cells.key(i - 1) < key);
        assert!(key >= &page.low[..] && page.high.as_ref().is_none_or(|high| key < &high[..]));
        if page.level == 0 {
            out.insert(key.to_vec(), page.cells.value(i).to_vec());
        }
    }
    for (i, child) in page.children.iter().enumerate() {
        walk(world, child, out, stored);
        let state = child.state.read();
        let below = state.page.as_ref().unwrap();
        assert_eq!(below.level + 1, page.level);
        let low = if i == 0 { &page.low[..] } else { page.cells.key(i - 1) };
        assert_eq!(&below.low[..], low);
        let high =
            if i < page.cells.len() { Some(page.cells.key(i)) } else { page.high.as_deref() };
        assert_eq!(below.high.as_deref(), high);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    DeleteSpan(u16, u16),
    View,
    DropViews,
    Store,
    Evict,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        // Like real ones: a number, a kind, a short rest.
        8 => (0u64..600, 0u8..3, proptest::collection::vec(any::<u8>(), 0..4)).prop_map(
            |(n, kind, rest)| [&n.to_be_bytes()[..], &[kind], &rest[..]].concat()
        ),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        60 => (key(), proptest::collection::vec(any::<u8>(), 0..30))
            .prop_map(|(k, v)| Op::Put(k, v)),
        25 => key().prop_map(Op::Delete),
        4 => (0u16..600, 0u16..200).prop_map(|(a, n)| Op::DeleteSpan(a, n)),
        3 => Just(Op::View),
        2 => Just(Op::DropViews),
        2 => Just(Op::Store),
        3 => Just(Op::Evict),
    ]
}

fn compare(world: &World, root: &Arc<PageRef>, model: &Model, probes: &[(Vec<u8>, Vec<u8>)]) {
    let all: Model = {
        let items = world.retry(|| {
            let mut out = Vec::new();
            range(root, &[], &[0xff; 40], usize::MAX, &mut out).map(|()| out)
        });
        items.into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
    };
    assert_eq!(&all, model);
    for (a, b) in probes {
        assert_eq!(world.retry(|| get(root, a)).map(|v| v.to_vec()), model.get(a).cloned());
        let (from, to) = if a < b { (a, b) } else { (b, a) };
        let expected = model.range(from.clone()..to.clone()).next_back();
        let found = world.retry(|| last(root, from, to));
        assert_eq!(
            found.map(|(k, v)| (k.to_vec(), v.to_vec())),
            expected.map(|(k, v)| (k.clone(), v.clone()))
        );
        let some = world.retry(|| {
            let mut out = Vec::new();
            range(root, from, to, 7, &mut out).map(|()| out)
        });
        let expected: Vec<_> = model.range(from.clone()..to.clone()).take(7).collect();
        assert_eq!(some.len(), expected.len());
        assert!(some.iter().zip(expected).all(|(a, b)| a.0 == b.0 && a.1 == b.1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 4000, ..Default::default() })]

    #[test]
    fn equals_a_map(
        ops in proptest::collection::vec(op(), 1..500),
        probes in proptest::collection::vec((key(), key()), 12),
    ) {
        let mut world = World::new();
        let mut model = Model::new();
        let mut views: Vec<(Arc<PageRef>, Model)> = Vec::new();
        for op in ops {
            match op {
                Op::Put(k, v) => {
                    world.change(&k, Some(&v));
                    model.insert(k, v);
                }
                Op::Delete(k) => {
                    world.change(&k, None);
                    model.remove(&k);
                }
                Op::DeleteSpan(a, n) => {
                    let (from, to) = (u64::from(a), u64::from(a) + u64::from(n));
                    let (from, to) = (from.to_be_bytes().to_vec(), to.to_be_bytes().to_vec());
                    let keys: Vec<_> = model.range(from..to).map(|(k, _)| k.clone()).collect();
                    for k in keys {
                        world.change(&k, None);
                        model.remove(&k);
                    }
                }
                Op::View => views.push((world.root.clone(), model.clone())),
                Op::DropViews => {
                    for (root, model) in views.drain(..) {
                        compare(&world, &root, &model, &probes);
                    }
                }
                Op::Store => world.store(&world.root.clone()),
                Op::Evict => {
                    let root = world.root.clone();
                    world.clock.turn(&root, 1000);
                    world.clock.turn(&root, 1000);
                }
            }
        }
        for (root, model) in &views {
            compare(&world, root, model, &probes);
        }
        drop(views);
        compare(&world, &world.root, &model, &probes);
        let (mut all, mut stored) = (Model::new(), 0);
        walk(&world, &world.root, &mut all, &mut stored);
        prop_assert_eq!(all, model);
        // Invariant 6 for pages: what was stored less what was dropped is what the root holds.
        prop_assert_eq!(world.ledger.delta.values().sum::<i64>(), stored);
        world.store(&world.root.clone());
        prop_assert_eq!(world.budget.dirty(), 0);
        let World { root, budget, .. } = world;
        drop(root);
        prop_assert_eq!((budget.resident(), budget.pages()), (0, 0));
    }

    #[test]
    fn garbage_is_no_page(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let budget = Arc::new(Budget::default());
        let _ = Page::decode(&bytes, &budget);
        prop_assert_eq!(budget.resident(), 0);
    }
}

#[test]
fn a_bent_page_is_refused_or_sound() {
    let mut world = World::new();
    for i in 0..60u64 {
        world.change(&i.to_be_bytes(), Some(&[7; 9]));
    }
    world.store(&world.root.clone());
    let budget = Arc::new(Budget::default());
    for page in &world.disk {
        for at in 0..page.len() {
            let mut bent = page.clone();
            bent[at] ^= 0x10;
            if let Ok((page, _)) = Page::decode(&bent, &budget) {
                for i in 0..page.cells.len() {
                    assert!(page.cells.find(page.cells.key(i)) == Ok(i));
                }
            }
        }
        assert!(Page::decode(&page[..page.len() - 1], &budget).is_err());
    }
}

#[test]
fn an_unobserved_change_copies_nothing() {
    let mut world = World::new();
    for i in 0..2000u64 {
        world.change(&i.to_be_bytes(), Some(b"value"));
    }
    let address = |world: &World| Arc::as_ptr(&world.root);
    let before = address(&world);
    world.change(&77u64.to_be_bytes(), Some(b"other"));
    assert_eq!(before, address(&world));
    let view = world.root.clone();
    world.change(&77u64.to_be_bytes(), Some(b"third"));
    assert_ne!(before, address(&world));
    assert_eq!(get(&view, &77u64.to_be_bytes()).unwrap().unwrap(), &b"other"[..]);
}

#[test]
fn ascending_keys_fill_pages_and_changes_in_place_do_not_cut_them() {
    let mut world = World::new();
    for i in 0..3000u64 {
        world.change(&i.to_be_bytes(), Some(&[1; 8]));
    }
    let pages = world.budget.pages();
    // 9 items to a leaf, 5 or 6 leaves to an inner page.
    assert!(pages < 460, "{pages} pages");
    for i in 0..3000u64 {
        world.change(&i.to_be_bytes(), Some(&[2; 8]));
    }
    assert_eq!(world.budget.pages(), pages);
}

#[test]
fn a_clock_evicts_all_that_is_clean_and_unused() {
    let mut world = World::new();
    for i in 0..3000u64 {
        world.change(&i.to_be_bytes(), Some(b"some value"));
    }
    world.store(&world.root.clone());
    let pages = world.budget.pages();
    let root = world.root.clone();
    for _ in 0..200 {
        world.clock.turn(&root, 64);
    }
    assert!(pages > 100);
    assert_eq!(world.budget.pages(), 1, "only the root stays");
}
