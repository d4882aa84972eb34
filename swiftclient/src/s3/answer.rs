//! What a refusal means, sorted by what the caller must do (Amazon S3 API Reference, "Error
//! responses", and what the other stores say instead).

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::{S3Config, documents, request::Ask};
use crate::{StoreError, Verb, limits::RETRY_AFTER_MOST};

/// An answer that is not 2xx.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The store's word for it; empty where it sent no error document.
    pub(super) code: String,
    message: String,
    region: Option<String>,
    server_time: Option<String>,
    retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let document = documents::error(body);
        let header = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
        let mut message = document.message;
        if document.code.is_empty() {
            // What a proxy or a foreign server says, for a person to read.
            let text = String::from_utf8_lossy(body);
            message = text.chars().filter(|c| !c.is_control()).take(200).collect();
        }
        let seconds = |value: String| {
            let seconds = value.trim().parse().ok()?;
            Some(Duration::from_secs(seconds).min(RETRY_AFTER_MOST))
        };
        Self {
            status,
            code: document.code,
            message,
            region: header("x-amz-bucket-region").or(document.region),
            server_time: document.server_time.or_else(|| header(header::DATE.as_str())),
            retry_after: header(header::RETRY_AFTER.as_str()).and_then(seconds),
        }
    }

    /// One key's outcome in the answer to a deletion of many.
    pub(super) fn of_key(code: String, message: String) -> Self {
        let status = match code.as_str() {
            "AccessDenied" => StatusCode::FORBIDDEN,
            "NoSuchKey" => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let (region, server_time, retry_after) = (None, None, None);
        Self { status, code, message, region, server_time, retry_after }
    }

    /// The credentials were good once.
    pub(super) fn expired(&self) -> bool {
        let codes = ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"];
        codes.contains(&self.code.as_str()) || self.code == "RequestExpired"
    }

    fn seen(&self) -> String {
        let space = if self.code.is_empty() { "" } else { " " };
        let colon = if self.message.is_empty() { "" } else { ": " };
        format!("{}{space}{}{colon}{}", self.status.as_u16(), self.code, self.message)
    }

    /// The refusal of `ask` in the words of a store.
    pub(super) fn sorted(&self, ask: &Ask, config: &S3Config) -> StoreError {
        let (what, seen) = (ask.what(), self.seen());
        if let Some(advice) = self.advice(ask, config) {
            return StoreError::Denied { what, reason: format!("{advice} ({seen})") };
        }
        if self.full() {
            return StoreError::Full { what, reason: seen };
        }
        let unavailable = |reason| StoreError::Unavailable {
            what: ask.what(),
            reason,
            retry_after: self.retry_after,
        };
        match self.code.as_str() {
            // To a put that is no answer: it is another request's, and ours is still to come.
            "NoSuchKey" | "NoSuchVersion" if ask.verb == Verb::Put => {
                return StoreError::Unknown { what, reason: seen };
            }
            "NoSuchKey" | "NoSuchVersion" => {
                return StoreError::NotFound { name: ask.name.clone() };
            }
            "PreconditionFailed" => return StoreError::Exists { name: ask.name.clone() },
            // The store itself says that it did nothing.
            "SlowDown"
            | "TooManyRequests"
            | "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "ConditionalRequestConflict"
            | "OperationAborted"
            | "RequestTimeout"
            | "TemporaryRedirect" => return unavailable(seen),
            // What came was not what we sent, and was not kept.
            "BadDigest"
            | "XAmzContentChecksumMismatch"
            | "XAmzContentSHA256Mismatch"
            | "IncompleteBody"
            | "InvalidDigest" => {
                return unavailable(format!("damaged on its way to the store ({seen})"));
            }
            _ => {}
        }
        match self.status {
            StatusCode::PRECONDITION_FAILED => StoreError::Exists { name: ask.name.clone() },
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT => {
                unavailable(seen)
            }
            StatusCode::NOT_IMPLEMENTED => StoreError::Invalid {
                what,
                reason: format!("the store cannot do what is needed here ({seen})"),
            },
            status if status.is_server_error() && ask.changes() => {
                StoreError::Unknown { what, reason: seen }
            }
            status if status.is_server_error() => unavailable(seen),
            StatusCode::NOT_FOUND => StoreError::Denied {
                what,
                reason: format!(
                    "{} does not answer as an S3 store does: correct the endpoint \
                     (AWS_ENDPOINT_URL) ({seen})",
                    config.endpoint
                ),
            },
            _ => StoreError::Invalid { what, reason: seen },
        }
    }

    /// No room, in the words of AWS, Ceph (`QuotaExceeded`), MinIO (`XMinio…`) and Swift (413: far
    /// from the 5 GiB of one PUT, its quota says so).
    fn full(&self) -> bool {
        let code = self.code.as_str();
        let said = code.contains("QuotaExceeded")
            || code.contains("StorageFull")
            || ["InsufficientCapacity", "EntityTooLarge", "NotEnoughSpace"].contains(&code);
        let status = [StatusCode::INSUFFICIENT_STORAGE, StatusCode::PAYLOAD_TOO_LARGE];
        said || status.contains(&self.status)
    }

    /// What an operator has to do, where it is for an operator.
    fn advice(&self, ask: &Ask, config: &S3Config) -> Option<String> {
        let bucket = &config.bucket;
        let here = &config.region;
        Some(match self.code.as_str() {
            "NoSuchBucket" => format!(
                "there is no bucket {bucket} at {}: create it, or correct the volume's URL or the \
                 endpoint",
                config.endpoint
            ),
            "InvalidBucketName" => format!("{bucket} is no legal name of a bucket"),
            "InvalidAccessKeyId" => "the store does not know this access key: correct \
                                     AWS_ACCESS_KEY_ID or AWS_PROFILE"
                .to_owned(),
            "SignatureDoesNotMatch" => "the secret key is wrong: correct AWS_SECRET_ACCESS_KEY or \
                                        AWS_PROFILE; or a proxy changes requests"
                .to_owned(),
            "RequestTimeTooSkewed" => {
                let theirs = self.server_time.as_deref().unwrap_or("another one");
                format!("this machine's clock is wrong, the store's says {theirs}: set it (NTP)")
            }
            "InvalidToken" => {
                "the session token is not valid: correct AWS_SESSION_TOKEN, or leave \
                               it away with a permanent key"
                    .to_owned()
            }
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "InvalidRegion"
            | "IllegalLocationConstraintException" => self.region_advice(bucket, here),
            _ if self.expired() => "the credentials have expired and could not be renewed: give \
                                    new ones, or a source that renews them (a role, a profile)"
                .to_owned(),
            _ if self.status == StatusCode::MOVED_PERMANENTLY => self.region_advice(bucket, here),
            _ if self.status == StatusCode::BAD_REQUEST && self.asks_for_tls() => format!(
                "{} speaks TLS on this port: write https:// in AWS_ENDPOINT_URL",
                config.endpoint
            ),
            _ if self.full() => return None,
            // A bare 400 to a HEAD is how AWS answers a wrong region.
            _ if self.status == StatusCode::BAD_REQUEST
                && self.region.as_ref().is_some_and(|r| r != here) =>
            {
                self.region_advice(bucket, here)
            }
            _ if [StatusCode::FORBIDDEN, StatusCode::UNAUTHORIZED].contains(&self.status) => {
                rights(ask.verb, bucket)
            }
            _ => return None,
        })
    }

    fn region_advice(&self, bucket: &str, here: &str) -> String {
        match &self.region {
            Some(region) => format!(
                "the bucket {bucket} is in the region {region}, requests were signed for {here}: \
                 set AWS_REGION={region}"
            ),
            None => format!("the bucket {bucket} is in another region than {here}: set AWS_REGION"),
        }
    }

    /// Go's server, nginx and HAProxy say so in the clear.
    fn asks_for_tls(&self) -> bool {
        let said = self.message.to_ascii_lowercase();
        self.code.is_empty() && said.contains("http request") && said.contains("https")
    }
}

/// The right that is missing.
fn rights(verb: Verb, bucket: &str) -> String {
    let right = match verb {
        Verb::List => "s3:ListBucket on the bucket",
        Verb::Delete => "s3:DeleteObject on its objects",
        Verb::Get | Verb::Head => {
            "s3:GetObject on its objects and s3:ListBucket on the bucket (without the latter an \
             absent object is answered by 403 too, and nothing can be concluded)"
        }
        _ => "s3:PutObject on its objects",
    };
    format!("the credentials may not do this in the bucket {bucket}: grant {right}")
}
