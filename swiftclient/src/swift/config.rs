//! Where the volume is and who asks: the variables that every Swift client reads.
//!
//! ```text
//!   OS_AUTH_TOKEN + OS_STORAGE_URL ──► Token      a ready token: cannot be renewed
//!   ST_AUTH ST_USER ST_KEY         ──► V1         tempauth, RGW, SAIO
//!   OS_AUTH_URL + OS_USERNAME …    ──► Keystone   password of a user, scope of a project
//!   OS_AUTH_URL + OS_APPLICATION_CREDENTIAL_…     the same without a password
//! ```
//!
//! Invariants
//! 1. Secrets come from the environment alone, never from a URL or a command line, and `Debug` does
//!    not show them.
//! 2. What is missing is named, with what it would have been for.

use std::{fmt, path::PathBuf, time::Duration};

use url::Url;

use super::place::Layout;
use crate::{StoreError, limits::IDLE_TIMEOUT};

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Something that Keystone knows by id, or by a name within a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// By its id.
    Id(String),
    /// By name, within a domain.
    Name(String, Domain),
}

/// A domain of Keystone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// By id; where nothing was said, `default`.
    Id(String),
    /// By name.
    Name(String),
}

/// What Keystone is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A user's password, for one project.
    Password {
        /// `OS_USER_ID` or `OS_USERNAME`.
        user: Named,
        /// `OS_PASSWORD`.
        password: Secret,
        /// `OS_PROJECT_ID` or `OS_PROJECT_NAME`.
        project: Named,
    },
    /// An application credential, which carries its project.
    ApplicationId {
        /// `OS_APPLICATION_CREDENTIAL_ID`.
        id: String,
        /// `OS_APPLICATION_CREDENTIAL_SECRET`.
        secret: Secret,
    },
    /// The same by name, of a user.
    ApplicationName {
        /// `OS_APPLICATION_CREDENTIAL_NAME`.
        name: String,
        /// Whose it is.
        user: Named,
        /// `OS_APPLICATION_CREDENTIAL_SECRET`.
        secret: Secret,
    },
}

/// How to get a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A ready one.
    Token {
        /// `OS_AUTH_TOKEN`.
        token: Secret,
        /// `OS_STORAGE_URL`.
        storage_url: Url,
    },
    /// Swift's own v1.0 (<https://docs.openstack.org/swift/latest/overview_auth.html>, TempAuth).
    V1 {
        /// `ST_AUTH`, e.g. `https://host/auth/v1.0`.
        url: Url,
        /// `ST_USER`, `account:user`.
        user: String,
        /// `ST_KEY`.
        key: Secret,
    },
    /// Identity API v3.
    Keystone {
        /// `OS_AUTH_URL`, ending in `/v3`.
        url: Url,
        /// What it is shown.
        credential: Credential,
        /// `OS_REGION_NAME`: the catalog's endpoints of this region alone.
        region: Option<String>,
        /// `OS_INTERFACE`: `public`, `internal` or `admin`.
        interface: String,
    },
}

/// Everything that opening a store needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwiftConfig {
    pub(super) layout: Layout,
    /// How to get a token.
    pub auth: Auth,
    /// `OS_STORAGE_URL`: used instead of the one that comes with the token.
    pub storage_url: Option<Url>,
    /// `OS_CACERT`: certificates trusted besides the machine's own.
    pub extra_ca: Option<PathBuf>,
    /// A request on which no byte moves for so long has failed.
    pub idle_timeout: Duration,
}

/// Variables, by name; an empty one counts as not set.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

fn invalid<T>(reason: String) -> Result<T, StoreError> {
    Err(StoreError::Invalid { what: "credentials for Swift".into(), reason })
}

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    fn any(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.get(name))
    }

    fn need(&self, name: &str, why: &str) -> Result<String, StoreError> {
        match self.get(name) {
            Some(value) => Ok(value),
            None => invalid(format!("{name} is not set: {why}")),
        }
    }

    fn url(&self, name: &str) -> Result<Option<Url>, StoreError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match Url::parse(&text) {
            Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => {
                if url.username().is_empty() && url.password().is_none() {
                    return Ok(Some(url));
                }
                invalid(format!("{name} carries a name or password: take them out"))
            }
            Ok(_) => invalid(format!("{name} is no http:// or https:// address")),
            Err(e) => invalid(format!("{name} is no address: {e}")),
        }
    }

    /// By id, or by name within a domain.
    fn named(&self, ids: &[&str], names: &[&str], domain: [&str; 2]) -> Option<Named> {
        if let Some(id) = self.any(ids) {
            return Some(Named::Id(id));
        }
        let [domain_id, domain_name] = domain;
        let domain = match (self.get(domain_id), self.get(domain_name)) {
            (Some(id), _) => Domain::Id(id),
            (None, Some(name)) => Domain::Name(name),
            (None, None) => Domain::Id("default".into()),
        };
        self.any(names).map(|name| Named::Name(name, domain))
    }

    fn user(&self) -> Result<Named, StoreError> {
        let domain = ["OS_USER_DOMAIN_ID", "OS_USER_DOMAIN_NAME"];
        match self.named(&["OS_USER_ID"], &["OS_USERNAME"], domain) {
            Some(user) => Ok(user),
            None => invalid("neither OS_USERNAME nor OS_USER_ID is set".into()),
        }
    }

    fn credential(&self) -> Result<Credential, StoreError> {
        if let Some(secret) = self.get("OS_APPLICATION_CREDENTIAL_SECRET") {
            let secret = Secret(secret);
            if let Some(id) = self.get("OS_APPLICATION_CREDENTIAL_ID") {
                return Ok(Credential::ApplicationId { id, secret });
            }
            let name = self.need(
                "OS_APPLICATION_CREDENTIAL_NAME",
                "OS_APPLICATION_CREDENTIAL_SECRET belongs to an id or a name",
            )?;
            return Ok(Credential::ApplicationName { name, user: self.user()?, secret });
        }
        let user = self.user()?;
        let password = Secret(self.need("OS_PASSWORD", "OS_AUTH_URL asks for a user's password")?);
        let domain = ["OS_PROJECT_DOMAIN_ID", "OS_PROJECT_DOMAIN_NAME"];
        let ids = ["OS_PROJECT_ID", "OS_TENANT_ID"];
        match self.named(&ids, &["OS_PROJECT_NAME", "OS_TENANT_NAME"], domain) {
            Some(project) => Ok(Credential::Password { user, password, project }),
            None => invalid(
                "neither OS_PROJECT_NAME nor OS_PROJECT_ID is set: objects belong to a project"
                    .into(),
            ),
        }
    }

    fn keystone(&self, url: Url) -> Result<Auth, StoreError> {
        let interface =
            self.any(&["OS_INTERFACE", "OS_ENDPOINT_TYPE"]).unwrap_or_else(|| "public".into());
        let interface = interface.trim_end_matches("URL").to_owned();
        if !["public", "internal", "admin"].contains(&interface.as_str()) {
            return invalid(format!("OS_INTERFACE is {interface}: public, internal or admin"));
        }
        Ok(Auth::Keystone {
            url: v3(url)?,
            credential: self.credential()?,
            region: self.get("OS_REGION_NAME"),
            interface,
        })
    }

    fn auth(&self) -> Result<Auth, StoreError> {
        if let Some(token) = self.get("OS_AUTH_TOKEN") {
            let Some(storage_url) = self.url("OS_STORAGE_URL")? else {
                return invalid("OS_AUTH_TOKEN is set and OS_STORAGE_URL is not".into());
            };
            return Ok(Auth::Token { token: Secret(token), storage_url });
        }
        if let Some(url) = self.url("ST_AUTH")? {
            let user = self.need("ST_USER", "ST_AUTH asks for it (account:user)")?;
            let key = Secret(self.need("ST_KEY", "ST_AUTH asks for it")?);
            return Ok(Auth::V1 { url, user, key });
        }
        if let Some(url) = self.url("OS_AUTH_URL")? {
            return self.keystone(url);
        }
        invalid(
            "set ST_AUTH, ST_USER and ST_KEY (v1), or OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and \
             OS_PROJECT_NAME (Keystone), or OS_AUTH_TOKEN and OS_STORAGE_URL"
                .into(),
        )
    }
}

/// The address of Identity v3: often given without its version.
fn v3(mut url: Url) -> Result<Url, StoreError> {
    let path = url.path().trim_end_matches('/').to_owned();
    if path.ends_with("/v2.0") {
        return invalid("OS_AUTH_URL ends in /v2.0: Keystone dropped it; write /v3".into());
    }
    url.set_path(&if path.ends_with("/v3") { path } else { format!("{path}/v3") });
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

impl SwiftConfig {
    /// The volume at `swift://container/prefix`, with credentials from `lookup` (the environment).
    /// `prefix` may be empty. The first of these that is set decides: `OS_AUTH_TOKEN`, `ST_AUTH`,
    /// `OS_AUTH_URL`.
    ///
    /// Errors: `Invalid`, naming the variable and what to do.
    pub fn from_env(
        lookup: impl Fn(&str) -> Option<String>,
        container: &str,
        prefix: &str,
    ) -> Result<Self, StoreError> {
        let variables = Variables(&lookup);
        Ok(Self {
            layout: Layout::new(container, prefix)?,
            auth: variables.auth()?,
            storage_url: variables.url("OS_STORAGE_URL")?,
            extra_ca: variables.get("OS_CACERT").map(PathBuf::from),
            idle_timeout: IDLE_TIMEOUT,
        })
    }
}

impl Auth {
    /// The variable that names whom to ask: for errors that say what to do.
    pub(super) fn setting(&self) -> &'static str {
        match self {
            Self::Token { .. } => "OS_STORAGE_URL",
            Self::V1 { .. } => "ST_AUTH",
            Self::Keystone { .. } => "OS_AUTH_URL",
        }
    }

    /// The variables that hold what is shown there.
    pub(super) fn secrets(&self) -> &'static str {
        match self {
            Self::Token { .. } => "OS_AUTH_TOKEN (a token that has expired cannot be renewed)",
            Self::V1 { .. } => "ST_USER and ST_KEY",
            Self::Keystone { credential: Credential::Password { .. }, .. } => {
                "OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME and their domains"
            }
            Self::Keystone { .. } => "OS_APPLICATION_CREDENTIAL_ID and _SECRET",
        }
    }
}
