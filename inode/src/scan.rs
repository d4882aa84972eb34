//! Going through all keys of a stretch.

use bytes::Bytes;
use headhunter::{Index, LogError, Lost, View};

use crate::limits::SCAN_KEYS;

/// Gives every item of `from..to`, faulting what is missing; keys in `lost` are passed over.
///
/// Errors: whatever reading pages gave.
pub(crate) async fn scan(
    index: &Index,
    view: &View,
    from: &[u8],
    to: &[u8],
    lost: &[Lost],
    mut each: impl FnMut(&[u8], &Bytes),
) -> Result<(), LogError> {
    let mut from = from.to_vec();
    while &from[..] < to {
        if let Some(lost) = lost.iter().find(|lost| lost.holds(&from)) {
            match &lost.high {
                Some(high) => from.clone_from(high),
                None => return Ok(()),
            }
            continue;
        }
        let next = lost.iter().map(|lost| &lost.low[..]).filter(|low| *low > &from[..]).min();
        let end = next.filter(|next| *next < to).unwrap_or(to);
        let items = match view.range(&from, end, SCAN_KEYS) {
            Ok(items) => items,
            Err(miss) => {
                index.fault(miss).await?;
                continue;
            }
        };
        items.iter().for_each(|(k, v)| each(k, v));
        match items.last() {
            Some((last, _)) if items.len() == SCAN_KEYS => {
                from = last.to_vec();
                from.push(0);
            }
            _ => from = end.to_vec(),
        }
    }
    Ok(())
}
