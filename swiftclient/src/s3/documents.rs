//! The XML documents that are read (Amazon S3 API Reference: ErrorDocument, ListObjectsV2,
//! DeleteObjects) and the one that is written.

use serde::Deserialize;

/// What a refusal carries. Stores add fields; each of these may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename = "Error", rename_all = "PascalCase", default)]
pub(super) struct ErrorDocument {
    pub(super) code: String,
    pub(super) message: String,
    /// Where the bucket is, of `AuthorizationHeaderMalformed`.
    pub(super) region: Option<String>,
    /// The store's clock, of `RequestTimeTooSkewed`.
    pub(super) server_time: Option<String>,
}

/// One page of a listing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListBucketResult {
    pub(super) is_truncated: bool,
    #[serde(default)]
    pub(super) encoding_type: String,
    #[serde(default)]
    pub(super) contents: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    pub(super) key: String,
}

/// The keys that were not deleted (asked quietly).
#[derive(Debug, Deserialize)]
pub(super) struct DeleteResult {
    #[serde(default, rename = "Error")]
    pub(super) errors: Vec<Undeleted>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Undeleted {
    pub(super) key: String,
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
}

/// The root element's name and the document, if it is one: serde would take any root.
fn rooted<'d, T: Deserialize<'d>>(root: &str, document: &'d str) -> Result<T, String> {
    let body = document.trim_start_matches('\u{feff}').trim_start();
    let body = match body.strip_prefix("<?xml") {
        Some(rest) => rest.split_once("?>").map_or("", |(_, rest)| rest).trim_start(),
        None => body,
    };
    let named = body.strip_prefix('<').and_then(|b| b.strip_prefix(root));
    if !named.is_some_and(|rest| rest.starts_with([' ', '>', '/', '\t', '\r', '\n'])) {
        let start: String = body.chars().take(40).collect();
        return Err(format!("not a {root} document but {start:?}"));
    }
    quick_xml::de::from_str(document).map_err(|e| format!("a broken {root} document: {e}"))
}

/// An error document; empty fields where it is none.
pub(super) fn error(document: &[u8]) -> ErrorDocument {
    let parsed = std::str::from_utf8(document).ok().map(|d| rooted("Error", d));
    parsed.and_then(Result::ok).unwrap_or_default()
}

/// A page of a listing. Errors: what stands there instead.
pub(super) fn page(document: &[u8]) -> Result<ListBucketResult, String> {
    let text = std::str::from_utf8(document).map_err(|e| e.to_string())?;
    let mut page: ListBucketResult = rooted("ListBucketResult", text)?;
    if page.encoding_type.eq_ignore_ascii_case("url") {
        for listed in &mut page.contents {
            // Form encoding: a blank is a plus.
            let key = listed.key.replace('+', " ");
            let key = percent_encoding::percent_decode_str(&key).decode_utf8();
            listed.key = key.map_err(|e| format!("{}: {e}", listed.key))?.into_owned();
        }
    }
    Ok(page)
}

/// The answer to a deletion of many.
pub(super) fn deleted(document: &[u8]) -> Result<DeleteResult, String> {
    rooted("DeleteResult", std::str::from_utf8(document).map_err(|e| e.to_string())?)
}

/// The request to delete `keys`, answered by the failures alone.
pub(super) fn delete<'k>(keys: impl Iterator<Item = &'k str>) -> String {
    let mut text = String::from(
        r#"<?xml version="1.0" encoding="UTF-8"?><Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>"#,
    );
    for key in keys {
        text.push_str("<Object><Key>");
        text.push_str(&quick_xml::escape::escape(key));
        text.push_str("</Key></Object>");
    }
    text.push_str("</Delete>");
    text
}

/// The body of CreateBucket.
pub(super) fn location(region: &str) -> String {
    format!(
        r#"<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>"#,
        quick_xml::escape::escape(region)
    )
}
