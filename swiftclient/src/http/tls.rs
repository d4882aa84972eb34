//! Whom to trust: the machine's own certificate authorities and one more file.

use std::{io, path::Path, sync::Arc, sync::OnceLock};

use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{HttpConfig, HttpError, HttpErrorKind, error::chain, wire::Wire};
use crate::StoreError;

/// TLS as a client, by rustls with the ciphers of aws-lc-rs.
pub(super) struct Tls {
    extra: Vec<CertificateDer<'static>>,
    ca_setting: &'static str,
    /// Made at the first connection that wants it: reading the machine's authorities takes some
    /// milliseconds, which a store in the clear need not pay.
    connector: OnceLock<Result<TlsConnector, String>>,
}

impl Tls {
    pub(super) fn new(config: &HttpConfig) -> Result<Self, StoreError> {
        let extra = match &config.extra_ca {
            None => Vec::new(),
            Some(file) => authorities(file).map_err(|reason| StoreError::Invalid {
                what: format!("{} ({})", config.ca_setting, file.display()),
                reason,
            })?,
        };
        Ok(Self { extra, ca_setting: config.ca_setting, connector: OnceLock::new() })
    }

    fn connector(&self) -> Result<&TlsConnector, HttpError> {
        let made = self.connector.get_or_init(|| self.make());
        made.as_ref().map_err(|reason| HttpError::unsent(HttpErrorKind::Refused, reason.clone()))
    }

    fn make(&self) -> Result<TlsConnector, String> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        for problem in &native.errors {
            tracing::warn!(%problem, "a certificate authority of this machine cannot be read");
        }
        roots.add_parsable_certificates(native.certs);
        for certificate in &self.extra {
            let added = roots.add(certificate.clone());
            added.map_err(|e| format!("{}: not a certificate: {e}", self.ca_setting))?;
        }
        if roots.is_empty() {
            return Err(format!(
                "no certificate authority is known on this machine: install its package of CA \
                 certificates, or name a PEM file in {}",
                self.ca_setting
            ));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// The handshake with `host` over `wire`.
    pub(super) async fn secure(
        &self,
        host: &str,
        wire: Wire,
    ) -> Result<TlsStream<Wire>, HttpError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            let reason = format!("{host} is no name that a certificate can have");
            HttpError::unsent(HttpErrorKind::Invalid, reason)
        })?;
        let shaken = self.connector()?.connect(name, wire).await;
        shaken.map_err(|e| self.sorted(host, &e))
    }

    /// True where TLS is spoken there, whatever it says of certificates.
    pub(super) async fn is_spoken(&self, host: &str, wire: Wire) -> bool {
        use rustls::Error::{AlertReceived, InvalidCertificate};
        let (Ok(name), Ok(connector)) = (ServerName::try_from(host.to_owned()), self.connector())
        else {
            return false;
        };
        match connector.connect(name, wire).await {
            Ok(_) => true,
            Err(e) => {
                let tls = e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
                matches!(tls, Some(InvalidCertificate(_) | AlertReceived(_)))
            }
        }
    }

    /// What a failed handshake means. Nothing of a request was sent.
    fn sorted(&self, host: &str, error: &io::Error) -> HttpError {
        use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
        let tls = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
        let refused = |reason: String| HttpError::unsent(HttpErrorKind::Refused, reason);
        match tls {
            Some(InvalidCertificate(CertificateError::UnknownIssuer)) => refused(format!(
                "{host}: its certificate is signed by an authority that is not trusted here: name \
                 a PEM file with the authority's certificate in {}",
                self.ca_setting
            )),
            Some(InvalidCertificate(why)) => {
                let why = rustls::Error::InvalidCertificate(why.clone());
                refused(format!("{host}: its certificate is refused: {why}"))
            }
            Some(InvalidMessage(_)) => refused(no_tls(host)),
            Some(AlertReceived(alert)) => {
                refused(format!("{host}: it refuses the TLS handshake: {alert:?}"))
            }
            _ => HttpError::unsent(
                HttpErrorKind::Connect,
                format!("{host}: the TLS handshake failed: {}", chain(error)),
            ),
        }
    }
}

/// What is wrong where TLS meets a port in the clear.
pub(super) fn no_tls(server: &str) -> String {
    format!(
        "{server}: it does not speak TLS on this port: write http:// in the endpoint, or name the \
         port on which it does"
    )
}

/// The certificates of a PEM file, at least one.
fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let parsed = CertificateDer::pem_file_iter(file).map_err(|e| e.to_string())?;
    let certificates: Vec<_> = parsed.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    if certificates.is_empty() {
        return Err("holds no certificate in PEM form".to_owned());
    }
    let mut trial = RootCertStore::empty();
    for certificate in &certificates {
        trial.add(certificate.clone()).map_err(|e| format!("not a certificate: {e}"))?;
    }
    Ok(certificates)
}
