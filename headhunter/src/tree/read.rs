//! Looking into a root.

use std::sync::Arc;

use bytes::Bytes;

use super::{Item, Miss, PageRef, page::Page};
use crate::limits::PREFETCH_PAGES;

/// Value of `key`.
pub(crate) fn get(slot: &Arc<PageRef>, key: &[u8]) -> Result<Option<Bytes>, Miss> {
    let state = slot.look();
    let Some(page) = &state.page else { return Err(Miss::one(slot)) };
    if page.level > 0 {
        return get(&page.children[page.child_for(key)], key);
    }
    let found = page.cells.find(key).ok();
    Ok(found.map(|i| Bytes::copy_from_slice(page.cells.value(i))))
}

/// Whether the whole path to `key` is in memory.
pub(crate) fn resident(slot: &Arc<PageRef>, key: &[u8]) -> Result<(), Miss> {
    let state = slot.look();
    let Some(page) = &state.page else { return Err(Miss::one(slot)) };
    if page.level > 0 {
        return resident(&page.children[page.child_for(key)], key);
    }
    Ok(())
}

/// Up to `limit` items with `from` <= key < `to`, ascending, appended to `out`.
pub(crate) fn range(
    slot: &Arc<PageRef>,
    from: &[u8],
    to: &[u8],
    limit: usize,
    out: &mut Vec<Item>,
) -> Result<(), Miss> {
    if from >= to || out.len() >= limit {
        return Ok(());
    }
    let state = slot.look();
    let Some(page) = &state.page else { return Err(Miss::one(slot)) };
    if page.level == 0 {
        let first = page.cells.find(from).unwrap_or_else(|i| i);
        for i in first..page.cells.len() {
            let key = page.cells.key(i);
            if key >= to || out.len() >= limit {
                break;
            }
            let value = Bytes::copy_from_slice(page.cells.value(i));
            out.push((Bytes::copy_from_slice(key), value));
        }
        return Ok(());
    }
    for i in page.child_for(from)..page.children.len() {
        if out.len() >= limit || (i > 0 && page.cells.key(i - 1) >= to) {
            break;
        }
        range(&page.children[i], from, to, limit, out)
            .map_err(|miss| with_siblings(miss, page, i, to))?;
    }
    Ok(())
}

/// A scan that misses child `i` will miss its neighbours next: ask for them at once.
fn with_siblings(mut miss: Miss, page: &Page, i: usize, to: &[u8]) -> Miss {
    let ours = miss.pages.first().is_some_and(|first| Arc::ptr_eq(first, &page.children[i]));
    if !ours {
        return miss;
    }
    for (child, separator) in page.children[i + 1..].iter().zip(i..) {
        if miss.pages.len() >= PREFETCH_PAGES || page.cells.key(separator) >= to {
            break;
        }
        if child.state.read().page.is_none() {
            miss.pages.push(child.clone());
        }
    }
    miss
}

/// The last item with `from` <= key < `to`.
pub(crate) fn last(slot: &Arc<PageRef>, from: &[u8], to: &[u8]) -> Result<Option<Item>, Miss> {
    if from >= to {
        return Ok(None);
    }
    let state = slot.look();
    let Some(page) = &state.page else { return Err(Miss::one(slot)) };
    let end = page.cells.find(to).unwrap_or_else(|i| i);
    if page.level == 0 {
        let Some(i) = end.checked_sub(1) else { return Ok(None) };
        let key = page.cells.key(i);
        if key < from {
            return Ok(None);
        }
        let value = Bytes::copy_from_slice(page.cells.value(i));
        return Ok(Some((Bytes::copy_from_slice(key), value)));
    }
    // `end` separators are below `to`, so child `end` is the last that can hold such a key.
    for i in (0..=end).rev() {
        if let Some(item) = last(&page.children[i], from, to)? {
            return Ok(Some(item));
        }
        if i == 0 || page.cells.key(i - 1) <= from {
            break;
        }
    }
    Ok(None)
}
