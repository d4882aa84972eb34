//! The sorted items of one page, searched on their encoded bytes.

/// Bytes before the key of a cell: key length, value length, both u16.
const CELL_HEADER: usize = 4;
/// A heap is compacted once its dead bytes are more than this and more than half of the live ones.
const DEAD_LEAST: usize = 512;

/// One item's place, with the four bytes that follow the page's common prefix: most comparisons
/// of a search end in the slot array and never touch the heap.
#[derive(Clone, Copy)]
struct Slot {
    head: u32,
    at: u16,
}

/// Items in ascending key order. At most 64 KiB of heap: callers split pages long before.
#[derive(Default)]
pub(crate) struct Cells {
    slots: Vec<Slot>,
    heap: Vec<u8>,
    dead: usize,
    /// Length of the common prefix of the first and the last key, hence of all keys between.
    prefix: usize,
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

fn head(tail: &[u8]) -> u32 {
    match tail.first_chunk::<4>() {
        Some(four) => u32::from_be_bytes(*four),
        None => {
            let mut four = [0; 4];
            four[..tail.len()].copy_from_slice(tail);
            u32::from_be_bytes(four)
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // lengths are checked against limits.rs at the door
fn short(n: usize) -> u16 {
    debug_assert!(n <= usize::from(u16::MAX));
    n as u16
}

impl Cells {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of the items' cells, without slots.
    pub fn live_bytes(&self) -> usize {
        self.heap.len() - self.dead
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.heap.capacity() + self.slots.capacity() * size_of::<Slot>()
    }

    fn cell(&self, i: usize) -> (usize, usize, usize) {
        let at = usize::from(self.slots[i].at);
        let h = &self.heap[at..at + CELL_HEADER];
        let key = usize::from(u16::from_le_bytes([h[0], h[1]]));
        let value = usize::from(u16::from_le_bytes([h[2], h[3]]));
        (at + CELL_HEADER, key, value)
    }

    /// Key of item `i`.
    pub fn key(&self, i: usize) -> &[u8] {
        let (at, key, _) = self.cell(i);
        &self.heap[at..at + key]
    }

    /// Value of item `i`.
    pub fn value(&self, i: usize) -> &[u8] {
        let (at, key, value) = self.cell(i);
        &self.heap[at + key..at + key + value]
    }

    /// `Ok(i)`: item `i` has this key. `Err(i)`: it would stand at `i`.
    pub fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let n = self.slots.len();
        if n == 0 {
            return Err(0);
        }
        let p = self.prefix;
        if p > 0 {
            let mine = &self.key(0)[..p];
            match key[..p.min(key.len())].cmp(mine) {
                std::cmp::Ordering::Less => return Err(0),
                std::cmp::Ordering::Greater => return Err(n),
                std::cmp::Ordering::Equal => {}
            }
        }
        let tail = &key[p..];
        let want = head(tail);
        let from = self.slots.partition_point(|s| s.head < want);
        let (mut low, mut high) = (from, n);
        while low < high {
            let middle = low + (high - low) / 2;
            let order = match self.slots[middle].head.cmp(&want) {
                std::cmp::Ordering::Equal => self.key(middle)[p..].cmp(tail),
                other => other,
            };
            match order {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Puts an item at `i`, where [`Cells::find`] said that it belongs.
    pub fn insert(&mut self, i: usize, key: &[u8], value: &[u8]) {
        let at = self.push(key, value);
        let n = self.slots.len();
        let prefix = if n == 0 {
            key.len()
        } else if i == 0 {
            common(key, self.key(n - 1)).min(self.prefix)
        } else if i == n {
            common(key, self.key(0)).min(self.prefix)
        } else {
            self.prefix
        };
        self.slots.insert(i, Slot { head: head(&key[prefix..]), at });
        if prefix != self.prefix && n > 0 {
            self.rehead();
        } else {
            self.prefix = prefix;
        }
    }

    /// Gives item `i` another value.
    pub fn replace(&mut self, i: usize, value: &[u8]) {
        let (at, key, old) = self.cell(i);
        if old == value.len() {
            self.heap[at + key..at + key + old].copy_from_slice(value);
            return;
        }
        let name = self.key(i).to_vec();
        self.remove(i);
        self.insert(i, &name, value);
    }

    /// Removes item `i`.
    pub fn remove(&mut self, i: usize) {
        let (_, key, value) = self.cell(i);
        self.dead += CELL_HEADER + key + value;
        self.slots.remove(i);
    }

    fn push(&mut self, key: &[u8], value: &[u8]) -> u16 {
        let need = CELL_HEADER + key.len() + value.len();
        if self.dead > DEAD_LEAST && self.dead > self.live_bytes() / 2 {
            self.compact();
        }
        if self.heap.len() + need > self.heap.capacity() {
            // Not doubled: the budget counts capacity.
            self.heap.reserve_exact(need.max(self.heap.len() / 4));
        }
        let at = short(self.heap.len());
        self.heap.extend_from_slice(&short(key.len()).to_le_bytes());
        self.heap.extend_from_slice(&short(value.len()).to_le_bytes());
        self.heap.extend_from_slice(key);
        self.heap.extend_from_slice(value);
        at
    }

    fn rehead(&mut self) {
        let n = self.slots.len();
        self.prefix = if n == 0 { 0 } else { common(self.key(0), self.key(n - 1)) };
        for i in 0..n {
            self.slots[i].head = head(&self.key(i)[self.prefix..]);
        }
    }

    fn compact(&mut self) {
        let mut heap = Vec::with_capacity(self.live_bytes() + self.live_bytes() / 4);
        for i in 0..self.slots.len() {
            let (at, key, value) = self.cell(i);
            self.slots[i].at = short(heap.len());
            heap.extend_from_slice(&self.heap[at - CELL_HEADER..at + key + value]);
        }
        self.heap = heap;
        self.dead = 0;
        self.rehead();
    }

    /// Items `from..to` as cells of their own, packed.
    pub fn part(&self, from: usize, to: usize) -> Self {
        let mut part = Self::default();
        let bytes = (from..to).map(|i| self.cell_bytes(i)).sum::<usize>();
        part.heap.reserve(bytes);
        part.slots.reserve(to - from);
        part.append(self, from, to);
        part
    }

    /// Appends items `from..to` of `other`, all greater than ours.
    pub fn append(&mut self, other: &Self, from: usize, to: usize) {
        self.slots.reserve(to - from);
        for i in from..to {
            let at = self.push(other.key(i), other.value(i));
            self.slots.push(Slot { head: 0, at });
        }
        self.rehead();
    }

    /// Bytes of item `i`'s cell.
    pub fn cell_bytes(&self, i: usize) -> usize {
        let (_, key, value) = self.cell(i);
        CELL_HEADER + key + value
    }

    /// The on-disk form: `n` u16 offsets into the heap, then the heap, packed in key order.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut at = 0;
        for i in 0..self.len() {
            out.extend_from_slice(&short(at).to_le_bytes());
            at += self.cell_bytes(i);
        }
        for i in 0..self.len() {
            let (at, key, value) = self.cell(i);
            out.extend_from_slice(&self.heap[at - CELL_HEADER..at + key + value]);
        }
    }

    /// Reads what [`Cells::encode`] wrote. `None` where it is not so: every offset and length is
    /// checked, and that the keys ascend.
    pub fn decode(n: usize, bytes: &[u8]) -> Option<Self> {
        let (offsets, heap) = bytes.split_at_checked(n.checked_mul(2)?)?;
        if heap.len() > usize::from(u16::MAX) {
            return None;
        }
        let mut cells = Self { heap: heap.to_vec(), ..Self::default() };
        cells.slots.reserve_exact(n);
        let mut end = 0;
        for pair in offsets.chunks_exact(2) {
            let at = u16::from_le_bytes([pair[0], pair[1]]);
            let h = heap.get(usize::from(at)..)?.first_chunk::<CELL_HEADER>()?;
            let key = usize::from(u16::from_le_bytes([h[0], h[1]]));
            let value = usize::from(u16::from_le_bytes([h[2], h[3]]));
            if usize::from(at) != end {
                return None;
            }
            end += CELL_HEADER + key + value;
            cells.slots.push(Slot { head: 0, at });
        }
        if end != heap.len() || (1..n).any(|i| cells.key(i - 1) >= cells.key(i)) {
            return None;
        }
        cells.rehead();
        Some(cells)
    }
}

impl Clone for Cells {
    /// A copy is made to be changed: it has room for that.
    fn clone(&self) -> Self {
        let mut heap = Vec::with_capacity(self.heap.len() + self.heap.len() / 8 + 64);
        heap.extend_from_slice(&self.heap);
        let mut slots = Vec::with_capacity(self.slots.len() + self.slots.len() / 8 + 4);
        slots.extend_from_slice(&self.slots);
        Self { slots, heap, dead: self.dead, prefix: self.prefix }
    }
}
