//! What a status other than success means, sorted by what the caller must do.

use std::time::Duration;

use bytes::Bytes;
use http::Response;

use crate::{StoreError, limits::RETRY_AFTER_MOST};

/// Whether the request, had it been carried out, would have changed the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Reading,
    Writing,
}

/// Bytes of an error page that are shown.
const SHOWN: usize = 200;

/// What the server wrote, in one line and without its tags, as ` (…)`; empty where it wrote nothing.
pub(super) fn said(body: &[u8]) -> String {
    let (mut text, mut inside) = (String::new(), false);
    for c in String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN)]).chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                text.push(' ');
            }
            _ if inside => {}
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().take(SHOWN).collect();
    if line.is_empty() { line } else { format!(" ({line})") }
}

/// The store's own wish, where it named one in seconds.
fn retry_after(reply: &Response<Bytes>) -> Option<Duration> {
    let seconds = reply.headers().get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse();
    seconds.ok().map(|s| Duration::from_secs(s).min(RETRY_AFTER_MOST))
}

/// The error behind a status that is no success. Never `NotFound` or `Exists`: who asked knows
/// whether it was the object, the container or the account that was missing.
pub(super) fn sorted(what: String, doing: Doing, reply: &Response<Bytes>) -> StoreError {
    let status = reply.status().as_u16();
    let reason = format!("{status}{}", said(reply.body()));
    let quota = reply.body().to_ascii_lowercase().windows(5).any(|w| w == b"quota");
    let writing = doing == Doing::Writing;
    let wish = retry_after(reply);
    match status {
        401 => StoreError::Denied { what, reason: format!("{reason}: the token was not taken") },
        403 | 413 if quota => StoreError::Full { what, reason },
        403 => StoreError::Denied {
            what,
            reason: format!(
                "{reason}: this user may not do that: give it a role that may (swiftoperator, \
                 member) or the container an ACL"
            ),
        },
        507 if writing => StoreError::Full { what, reason },
        // What came was not what its ETag header said: damaged on the way; nothing was stored.
        422 => StoreError::Unavailable { what, reason, retry_after: None },
        // Asked to come back later, before anything was done.
        503 if wish.is_some() => StoreError::Unavailable { what, reason, retry_after: wish },
        // A time-out, a broken-off body, a conflict with a newer version, a server's fault, or 503
        // for want of a quorum: some replicas may hold it, and it may yet appear. 202 is Swift's
        // answer to a PUT for which it found a newer version.
        202 | 408 | 409 | 499 | 500..=599 if writing => StoreError::Unknown { what, reason },
        // The last three are Swift's own rate limits, which refuse before anything is done.
        408 | 409 | 499 | 500..=599 | 429 | 497 | 498 => {
            StoreError::Unavailable { what, reason, retry_after: wish }
        }
        300..=399 => {
            let to = reply.headers().get(http::header::LOCATION).and_then(|v| v.to_str().ok());
            let to = to.map(|to| format!(" to {to}")).unwrap_or_default();
            StoreError::Invalid { what, reason: format!("{reason}: redirected{to}") }
        }
        _ => StoreError::Invalid { what, reason },
    }
}
