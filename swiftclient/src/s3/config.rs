//! Where a bucket is and how it is spoken to, as every S3 tool is told: by the environment.

use std::{collections::HashMap, fmt, path::PathBuf};

use http::{Uri, uri::Authority, uri::Scheme};

use crate::StoreError;

/// How a bucket stands in an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// `https://host/bucket/key`.
    Path,
    /// `https://bucket.host/key`.
    Host,
}

/// A bucket and everything needed to reach it.
#[derive(Clone)]
pub struct S3Config {
    /// Bucket.
    pub bucket: String,
    /// What every key begins with, without a final `/`; may be empty.
    pub prefix: String,
    /// `http(s)://host[:port][/path]` of the store, without the bucket.
    pub endpoint: Uri,
    /// Region that requests are signed for.
    pub region: String,
    /// Where the bucket stands.
    pub addressing: Addressing,
    /// PEM file with further certificate authorities.
    pub extra_ca: Option<PathBuf>,
    /// The variables that name or hold credentials. Secret.
    pub(super) environment: HashMap<String, String>,
    /// Home directory, for the shared files.
    pub(super) home: Option<PathBuf>,
}

/// Variables that the credential providers read.
const CREDENTIAL_VARIABLES: [&str; 24] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_COGNITO_ENDPOINT",
    "AWS_COGNITO_IDENTITY_ID",
    "AWS_COGNITO_IDENTITY_POOL_ID",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_REGION",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EXTERNAL_ID",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_SSO_ENDPOINT",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "HOME",
];

/// Overrides how the bucket is addressed: `path` or `host`.
const ADDRESSING: &str = "ESKER_S3_ADDRESSING";

impl S3Config {
    /// The configuration that an environment gives; `lookup` is `std::env::var(..).ok()` outside
    /// tests.
    ///
    /// `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` (none: AWS itself), `AWS_REGION` or
    /// `AWS_DEFAULT_REGION` (none: us-east-1), `AWS_CA_BUNDLE`, `ESKER_S3_ADDRESSING`; the path
    /// style where an endpoint is given or a dot in the bucket's name would break its certificate.
    ///
    /// Errors: `Invalid`, with the variable that is wrong.
    pub fn from_env(
        lookup: impl Fn(&str) -> Option<String>,
        bucket: &str,
        prefix: &str,
    ) -> Result<Self, StoreError> {
        // An empty variable is as good as none, as in the AWS tools.
        let find = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let first = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| find(name).map(|value| (name, value)))
        };
        let region = first(["AWS_REGION", "AWS_DEFAULT_REGION"]);
        let region = region.map_or_else(|| "us-east-1".to_owned(), |(_, region)| region);
        if !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(invalid("AWS_REGION", "not the name of a region", &region));
        }
        let endpoint = first(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
        let given = endpoint.is_some();
        let endpoint = match endpoint {
            Some((variable, url)) => parsed(variable, &url)?,
            None => {
                let end = if region.starts_with("cn-") { ".cn" } else { "" };
                let url = format!("https://s3.{region}.amazonaws.com{end}");
                parsed("AWS_REGION", &url)?
            }
        };
        let addressing = match find(ADDRESSING).as_deref() {
            Some("path") => Addressing::Path,
            Some("host") => Addressing::Host,
            Some(other) => return Err(invalid(ADDRESSING, "neither path nor host", other)),
            None if given || bucket.contains('.') => Addressing::Path,
            None => Addressing::Host,
        };
        let environment = CREDENTIAL_VARIABLES
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), find(name)?)))
            .collect();
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            endpoint,
            region,
            addressing,
            extra_ca: find("AWS_CA_BUNDLE").map(PathBuf::from),
            environment,
            home: find("HOME").map(PathBuf::from),
        })
    }

    /// Scheme, host and path of the bucket, without a final `/`.
    pub(super) fn base(&self) -> Result<(Scheme, Authority, String), StoreError> {
        let wrong = || invalid("endpoint", "not http(s)://HOST[:PORT]", &self.endpoint.to_string());
        let scheme = self.endpoint.scheme().ok_or_else(wrong)?.clone();
        let authority = self.endpoint.authority().ok_or_else(wrong)?;
        let path = self.endpoint.path().trim_end_matches('/');
        Ok(match self.addressing {
            Addressing::Path => (scheme, authority.clone(), format!("{path}/{}", self.bucket)),
            Addressing::Host => {
                let host = format!("{}.{authority}", self.bucket);
                (scheme, host.parse().map_err(|_| wrong())?, path.to_owned())
            }
        })
    }

    /// The key of an object, or of a prefix of names.
    pub(super) fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }

    /// The name that a key stands for, if it is below the prefix.
    pub(super) fn name<'k>(&self, key: &'k str) -> Option<&'k str> {
        if self.prefix.is_empty() {
            return Some(key);
        }
        key.strip_prefix(&self.prefix)?.strip_prefix('/')
    }
}

fn parsed(variable: &str, url: &str) -> Result<Uri, StoreError> {
    let wrong = || invalid(variable, "not http(s)://HOST[:PORT]", url);
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let scheme = uri.scheme_str().unwrap_or("");
    if !["http", "https"].contains(&scheme) || uri.query().is_some() || uri.host().is_none() {
        return Err(wrong());
    }
    // It would be in every error and log.
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err(StoreError::Invalid {
            what: variable.to_owned(),
            reason: "must not hold a user or password; credentials have variables of their own"
                .to_owned(),
        });
    }
    Ok(uri)
}

fn invalid(what: &str, why: &str, value: &str) -> StoreError {
    StoreError::Invalid { what: what.to_owned(), reason: format!("{value:?} is {why}") }
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Config")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("addressing", &self.addressing)
            .field("extra_ca", &self.extra_ca)
            .finish_non_exhaustive()
    }
}
