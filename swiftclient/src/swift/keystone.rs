//! Identity API v3: what is sent to `POST /v3/auth/tokens`, and what its answer says
//! (<https://docs.openstack.org/api-ref/identity/v3/>, "Password authentication with scoped
//! authorization", "Authenticating with an Application Credential").

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::config::{Credential, Domain, Named};

#[derive(Serialize)]
struct Request<'a> {
    auth: Auth<'a>,
}

#[derive(Serialize)]
struct Auth<'a> {
    identity: Identity<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<Scope<'a>>,
}

#[derive(Serialize)]
struct Identity<'a> {
    methods: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<Password<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_credential: Option<Application<'a>>,
}

#[derive(Serialize)]
struct Password<'a> {
    user: Entity<'a>,
}

#[derive(Serialize)]
struct Application<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Entity<'a>>,
    secret: &'a str,
}

#[derive(Serialize)]
struct Scope<'a> {
    project: Entity<'a>,
}

/// A user or a project.
#[derive(Serialize, Default)]
struct Entity<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<DomainRef<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum DomainRef<'a> {
    Id(&'a str),
    Name(&'a str),
}

impl<'a> From<&'a Named> for Entity<'a> {
    fn from(named: &'a Named) -> Self {
        match named {
            Named::Id(id) => Self { id: Some(id), ..Self::default() },
            Named::Name(name, domain) => {
                let domain = match domain {
                    Domain::Id(id) => DomainRef::Id(id),
                    Domain::Name(name) => DomainRef::Name(name),
                };
                Self { name: Some(name), domain: Some(domain), ..Self::default() }
            }
        }
    }
}

/// The document that asks for a token.
pub(super) fn request(credential: &Credential) -> Result<Vec<u8>, serde_json::Error> {
    let application = |id, name, user, secret| Auth {
        identity: Identity {
            methods: ["application_credential"],
            password: None,
            application_credential: Some(Application { id, name, user, secret }),
        },
        // It carries its project; Keystone refuses another scope.
        scope: None,
    };
    let auth = match credential {
        Credential::Password { user, password, project } => Auth {
            identity: Identity {
                methods: ["password"],
                password: Some(Password {
                    user: Entity { password: Some(&password.0), ..user.into() },
                }),
                application_credential: None,
            },
            scope: Some(Scope { project: project.into() }),
        },
        Credential::ApplicationId { id, secret } => application(Some(id), None, None, &secret.0),
        Credential::ApplicationName { name, user, secret } => {
            application(None, Some(name), Some(user.into()), &secret.0)
        }
    };
    serde_json::to_vec(&Request { auth })
}

#[derive(Deserialize)]
struct Answer {
    token: Token,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    issued_at: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    catalog: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    interface: String,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    region_id: Option<String>,
    url: String,
}

/// What a token's document says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub storage_url: Option<Url>,
    /// Between issue and expiry: whatever this machine's clock says.
    pub life: Option<Duration>,
}

/// Reads the answer's body: the object store of that interface and region. The error says what was
/// there instead.
pub(super) fn granted(
    body: &[u8],
    interface: &str,
    region: Option<&str>,
) -> Result<Granted, String> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|e| format!("what Keystone answered is no token document: {e}"))?;
    let token = answer.token;
    let life = match (token.issued_at.as_deref(), token.expires_at.as_deref()) {
        (Some(issued), Some(expires)) => seconds(expires)
            .zip(seconds(issued))
            .and_then(|(expires, issued)| expires.checked_sub(issued))
            .map(Duration::from_secs),
        _ => None,
    };
    let mut others = Vec::new();
    for endpoint in token.catalog.iter().filter(|s| s.kind == "object-store") {
        for e in &endpoint.endpoints {
            let here = e.region_id.as_deref().or(e.region.as_deref());
            if e.interface == interface && (region.is_none() || region == here) {
                let url = e.url.parse().map_err(|_| format!("the catalog's {:?}", e.url))?;
                return Ok(Granted { storage_url: Some(url), life });
            }
            others.push(format!("{} in {}", e.interface, here.unwrap_or("no region")));
        }
    }
    if others.is_empty() {
        return Ok(Granted { storage_url: None, life });
    }
    let region = region.map(|r| format!(" in region {r}")).unwrap_or_default();
    Err(format!(
        "the catalog has no {interface} endpoint of an object-store{region}, only {}: change \
         OS_INTERFACE or OS_REGION_NAME",
        others.join(", ")
    ))
}

/// Seconds since 1970 of `YYYY-MM-DDThh:mm:ss[.ffffff]Z`, as Keystone writes times.
fn seconds(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let part = |text: &str, at: usize, sep: char| text.split(sep).nth(at)?.parse::<u64>().ok();
    let (year, month, day) = (part(date, 0, '-')?, part(date, 1, '-')?, part(date, 2, '-')?);
    let time = time.split('.').next()?;
    let (h, m, s) = (part(time, 0, ':')?, part(time, 1, ':')?, part(time, 2, ':')?);
    let legal = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && h < 24
        && m < 60
        && s <= 60;
    // Days from civil (Hinnant, "chrono-compatible low-level date algorithms"): years begin in March.
    let (y, shifted) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * shifted + 2) / 5 + day - 1;
    legal.then(|| (days - 719_468) * 86_400 + h * 3600 + m * 60 + s)
}
