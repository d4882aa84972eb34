//! Doors for the tests that throw bytes at decoders. Nothing else may use them.

use crate::{config, interval::Interval, keeping::Keeping, size::Size, store_url::StoreUrl};

/// A store's name, and how it is written again.
pub fn store_url(text: &str) -> Option<String> {
    let url: StoreUrl = text.parse().ok()?;
    // Whatever can be named can be decided about.
    let _ = Keeping::decide(&url, Default::default());
    Some(url.to_string())
}

/// A size, in bytes.
pub fn size(text: &str) -> Option<u64> {
    text.parse().ok().map(|Size(bytes)| bytes)
}

/// A span of time.
pub fn interval(text: &str) -> bool {
    text.parse::<Interval>().is_ok()
}

/// A configuration file; true where `serve` would take it.
pub fn settings(text: &str) -> bool {
    config::is_legal(text)
}
