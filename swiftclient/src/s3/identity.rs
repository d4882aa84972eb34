//! Who we are to the store: credentials found as every S3 tool finds them, renewed before they
//! expire, and signatures (AWS Signature Version 4).

use std::{io, time::Duration};

use bytes::Bytes;
use http::request::Parts;
use reqsign_aws_v4::{
    AssumeRoleWithWebIdentityCredentialProvider, Credential, ECSCredentialProvider,
    EnvCredentialProvider, IMDSv2CredentialProvider, ProfileCredentialProvider, RequestSigner,
    SSOCredentialProvider,
};
use reqsign_core::{
    Context, Error, FileRead, HttpSend, ProvideCredentialDyn, SignRequest, SigningCredential,
    StaticEnv, time::Timestamp,
};
use tokio::sync::Mutex;

use super::S3Config;
use crate::{
    StoreError,
    http::{Body, HttpClient, HttpConfig},
    limits::{CREDENTIAL_BYTES, CREDENTIAL_TIMEOUT, RENEWAL_LEAD, RENEWAL_PAUSE},
};

/// Finds, keeps and renews credentials, and signs with them.
pub(super) struct Identity {
    context: Context,
    sources: Vec<Box<dyn ProvideCredentialDyn<Credential = Credential>>>,
    signer: RequestSigner,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    credential: Option<Credential>,
    /// Renewals so far: who was refused with an older one need not renew again.
    generation: u64,
    /// A renewal failed: what is held still serves, and the source is left alone until then.
    pause: Option<Timestamp>,
}

/// How long a credential must hold when a request is signed with it.
const HEADROOM: Duration = Duration::from_secs(10);

impl Identity {
    /// Credentials as `config`'s environment says; nothing is read or asked yet.
    pub(super) fn new(config: &S3Config) -> Result<Self, StoreError> {
        let http = HttpClient::new(&HttpConfig {
            extra_ca: config.extra_ca.clone(),
            ca_setting: "AWS_CA_BUNDLE",
            connect_timeout: CREDENTIAL_TIMEOUT,
            idle_timeout: CREDENTIAL_TIMEOUT,
            ..HttpConfig::default()
        })?;
        let env = StaticEnv { home_dir: config.home.clone(), envs: config.environment.clone() };
        let context =
            Context::new().with_file_read(Files).with_http_send(Sender(http)).with_env(env);
        // The order of the AWS tools: what is nearest first.
        let sources: Vec<Box<dyn ProvideCredentialDyn<Credential = Credential>>> = vec![
            Box::new(EnvCredentialProvider::new()),
            Box::new(ProfileCredentialProvider::new()),
            Box::new(SSOCredentialProvider::default()),
            Box::new(AssumeRoleWithWebIdentityCredentialProvider::new()),
            Box::new(ECSCredentialProvider::new()),
            Box::new(IMDSv2CredentialProvider::new()),
        ];
        let signer = RequestSigner::new("s3", &config.region);
        Ok(Self { context, sources, signer, held: Mutex::default() })
    }

    /// Adds date, payload mark and signature to a request. Gives the generation of the credentials
    /// used. Errors: `Denied` without credentials, `Unavailable` while their source is away.
    pub(super) async fn sign(&self, what: &str, head: &mut Parts) -> Result<u64, StoreError> {
        let (credential, generation) = self.credential(what).await?;
        let signed = self.signer.sign_request(&self.context, head, Some(&credential), None).await;
        signed.map_err(|e| StoreError::Denied {
            what: what.to_owned(),
            reason: format!("the request cannot be signed: {}", told(&e)),
        })?;
        Ok(generation)
    }

    /// Forgets the credentials of `generation`: the store says that they have expired.
    pub(super) async fn renew(&self, generation: u64) {
        let mut held = self.held.lock().await;
        if held.generation == generation {
            held.credential = None;
        }
    }

    async fn credential(&self, what: &str) -> Result<(Credential, u64), StoreError> {
        let mut held = self.held.lock().await;
        let now = Timestamp::now();
        let paused = held.pause.is_some_and(|until| now < until);
        let lead = if paused { HEADROOM } else { RENEWAL_LEAD };
        if let Some(credential) = held.credential.as_ref().filter(|c| c.is_valid_at(now + lead)) {
            return Ok((credential.clone(), held.generation));
        }
        match self.find(what).await {
            Ok(found) => {
                held.generation += 1;
                held.pause = None;
                held.credential = Some(found.clone());
                Ok((found, held.generation))
            }
            // Renewal is early: while it fails, what is held still serves to its end.
            Err(e) => match held.credential.as_ref().filter(|c| c.is_valid_at(now + HEADROOM)) {
                Some(old) => {
                    tracing::warn!(error = %e, "credentials cannot be renewed yet");
                    let old = (old.clone(), held.generation);
                    held.pause = Some(now + RENEWAL_PAUSE);
                    Ok(old)
                }
                // They were there before: their source is away, not missing.
                None if held.generation > 0 => Err(StoreError::Unavailable {
                    what: what.to_owned(),
                    reason: e.to_string(),
                    retry_after: None,
                }),
                None => Err(e),
            },
        }
    }

    /// The first source that has credentials.
    async fn find(&self, what: &str) -> Result<Credential, StoreError> {
        let mut failed: Vec<String> = Vec::new();
        for source in &self.sources {
            match source.provide_credential_dyn(&self.context).await {
                Ok(Some(found)) if found.is_valid_at(Timestamp::now() + HEADROOM) => {
                    return Ok(found);
                }
                Ok(Some(_)) => failed.push("credentials that have expired".to_owned()),
                Ok(None) => {}
                Err(e) => failed.push(told(&e)),
            }
        }
        let mut reason = "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                          AWS_PROFILE for one in the shared credentials file, or give this machine \
                          or container a role"
            .to_owned();
        if !failed.is_empty() {
            reason.push_str(&format!(" (tried: {})", failed.join("; ")));
        }
        Err(StoreError::Denied { what: what.to_owned(), reason })
    }
}

/// An error with the context that the library keeps beside it. It holds no secrets.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    for more in error.context() {
        text.push_str(", ");
        text.push_str(more);
    }
    if let Some(cause) = std::error::Error::source(error) {
        text.push_str(&format!(": {cause}"));
    }
    text
}

/// Credential files: small, local, read once in a while.
#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        let read = || -> io::Result<Vec<u8>> {
            let length = std::fs::metadata(path)?.len();
            if length > CREDENTIAL_BYTES as u64 {
                return Err(io::Error::other(format!("{length} bytes long")));
            }
            std::fs::read(path)
        };
        read().map_err(|e| Error::config_invalid(format!("{path}: {e}")).with_source(e))
    }
}

/// Requests to the services that hand out credentials.
#[derive(Debug)]
struct Sender(HttpClient);

impl HttpSend for Sender {
    async fn http_send(
        &self,
        request: http::Request<Bytes>,
    ) -> reqsign_core::Result<http::Response<Bytes>> {
        let sent = self.0.call(request.map(Body::from), CREDENTIAL_BYTES).await;
        sent.map_err(|e| Error::unexpected(e.reason.clone()).with_source(e).set_retryable(true))
    }
}
