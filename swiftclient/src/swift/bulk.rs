//! Bulk delete: `POST /v1/ACCOUNT?bulk-delete` (middleware `bulk`,
//! <https://docs.openstack.org/swift/latest/middleware.html#module-swift.common.middleware.bulk>).
//! The body is one percent-encoded path a line; the HTTP status is 200 whatever happens, the real
//! one is in the answer.

use std::collections::HashMap;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;

use super::place::Place;
use crate::ErrorKind;

/// Everything but RFC 3986's unreserved characters and `/`.
const QUOTED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'!')
    .add(b'"')
    .add(b'#')
    .add(b'$')
    .add(b'%')
    .add(b'&')
    .add(b'\'')
    .add(b'(')
    .add(b')')
    .add(b'*')
    .add(b'+')
    .add(b',')
    .add(b':')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Percent-encoded for a path or a query; `/` stays.
pub(super) fn quoted(text: &str) -> String {
    utf8_percent_encode(text, QUOTED).to_string()
}

fn path(place: &Place) -> String {
    format!("/{}/{}", place.container, place.object)
}

/// The body that asks for these to be deleted.
pub(super) fn body(places: &[Place]) -> String {
    let mut body = String::new();
    for place in places {
        body.push_str(&quoted(&path(place)));
        body.push('\n');
    }
    body
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Number Deleted")]
    deleted: usize,
    #[serde(rename = "Number Not Found")]
    not_found: usize,
    #[serde(rename = "Response Status")]
    status: String,
    #[serde(rename = "Response Body", default)]
    body: String,
    #[serde(rename = "Errors", default)]
    errors: Vec<(String, String)>,
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Deleted, or it was not there.
    Gone,
    /// Not deleted, with the server's status (`403 Forbidden`).
    Refused(String),
    /// The answer does not say: ask for it alone.
    Open,
    /// There was no answer.
    Failed(ErrorKind, String),
}

/// What an answer says of each of `places`, in order. `None`: this is no answer of the bulk
/// middleware.
pub(super) fn fates(places: &[Place], answer: &[u8]) -> Option<Vec<Fate>> {
    // Whitespace comes first, to keep the connection alive while objects are deleted.
    let answer: Answer = serde_json::from_slice(answer.trim_ascii()).ok()?;
    let mut errors = HashMap::new();
    for (name, status) in answer.errors {
        let name = percent_decode_str(&name).decode_utf8_lossy().into_owned();
        errors.insert(format!("/{}", name.trim_start_matches('/')), status);
    }
    let told = |place: &Place| errors.get(&path(place)).cloned();
    let refused = places.iter().filter(|place| told(place).is_some()).count();
    // It may have stopped half-way (too many failures, a token that expired). Counts that do not
    // add up leave open which names it had come to.
    let all = answer.deleted + answer.not_found + refused == places.len();
    if !all {
        tracing::debug!(status = answer.status, body = answer.body, "an unfinished bulk delete");
    }
    let rest = if all { Fate::Gone } else { Fate::Open };
    Some(places.iter().map(|p| told(p).map_or(rest.clone(), Fate::Refused)).collect())
}

/// What of `/info` matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Info {
    /// Names in one listing, at most.
    pub listing: usize,
    /// Names in one bulk delete, at most; 0: there is none.
    pub deletes: usize,
    /// One storage policy is all there is, so that no object lies in another's ring.
    pub one_policy: bool,
}

#[derive(Deserialize)]
struct InfoDocument {
    #[serde(default)]
    swift: SwiftInfo,
    bulk_delete: Option<BulkInfo>,
}

#[derive(Deserialize, Default)]
struct SwiftInfo {
    container_listing_limit: Option<usize>,
    #[serde(default)]
    policies: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct BulkInfo {
    max_deletes_per_request: Option<usize>,
}

impl Info {
    /// Within what this crate asks for at most. A server that does not say (`expose_info = false`)
    /// is asked for bulk deletes and shows by its answer whether it knows them.
    pub(super) fn read(document: &[u8], most: Self) -> Self {
        let Ok(info) = serde_json::from_slice::<InfoDocument>(document) else { return most };
        let listing = info.swift.container_listing_limit.filter(|&n| n > 0);
        let deletes = match info.bulk_delete {
            None => 0,
            Some(bulk) => bulk.max_deletes_per_request.unwrap_or(most.deletes),
        };
        Self {
            listing: listing.unwrap_or(most.listing).min(most.listing),
            deletes: deletes.min(most.deletes),
            one_policy: info.swift.policies.len() == 1,
        }
    }
}
