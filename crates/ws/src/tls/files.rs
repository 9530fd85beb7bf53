//! Configurations from files in PEM and from the certificates that the machine trusts.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::TlsError;

/// The one application protocol under a WebSocket (RFC 6455 §1.7 with RFC 7301).
pub(crate) const ALPN_HTTP: &[u8] = b"http/1.1";

/// A server's configuration: its certificate first, then those that lead to the root, and the key
/// of its certificate. TLS 1.3 and 1.2; of application protocols `http/1.1`.
///
/// # Errors
/// [`TlsError::Setup`] if the key is of no use or not the certificate's.
pub fn server_config_of(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Protocol)?
        .with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        TlsError::Setup(match error {
            rustls::Error::InconsistentKeys(_) => {
                "the key does not belong to the certificate".to_owned()
            }
            error => format!("the certificate or its key cannot be used: {error}"),
        })
    })?;
    config.alpn_protocols = vec![ALPN_HTTP.to_vec()];
    Ok(Arc::new(config))
}

/// [`server_config_of`] what stands in two files in PEM, which may be the same.
///
/// # Errors
/// [`TlsError::Setup`] that names the file and what is wrong with it.
pub fn server_config_from_files(
    certificate: &Path,
    key: &Path,
) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(certificate)?;
    let key_der =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("key", key, &error))?;
    server_config_of(chain, key_der).map_err(|error| {
        TlsError::Setup(format!(
            "certificate file {} with key file {}: {error}",
            certificate.display(),
            key.display()
        ))
    })
}

/// A client's configuration that trusts what the machine trusts: its certificate store, or the
/// files that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. Read once by a process.
///
/// # Errors
/// [`TlsError::Setup`] if there is no certificate at all.
pub fn client_config_with_platform_roots() -> Result<Arc<ClientConfig>, TlsError> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A machine's store may hold certificates that nobody can use any more.
    let (added_count, _) = roots.add_parsable_certificates(found.certs);
    if added_count == 0 {
        let reason = found
            .errors
            .first()
            .map_or_else(|| "it is empty".to_owned(), ToString::to_string);
        return Err(TlsError::Setup(format!(
            "this machine has no certificate store to trust a server by: {reason}"
        )));
    }
    let config = client_config(roots)?;
    Ok(CONFIG.get_or_init(|| config).clone())
}

/// A client's configuration that trusts the certificates in a PEM file and no other.
///
/// # Errors
/// [`TlsError::Setup`] that says what is wrong with the file.
pub fn client_config_trusting(certificates_file: &Path) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(certificates_file)? {
        roots.add(certificate).map_err(|error| {
            TlsError::Setup(format!(
                "certificate file {}: {error}",
                certificates_file.display()
            ))
        })?;
    }
    client_config(roots)
}

pub(super) fn client_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Protocol)?;
    Ok(Arc::new(
        builder.with_root_certificates(roots).with_no_client_auth(),
    ))
}

/// Named here and not found by features: another crate of the program may enable a second one.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_file_iter(file)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|error| unreadable("certificate", file, &error))?;
    if chain.is_empty() {
        return Err(unreadable("certificate", file, &pem::Error::NoItemsFound));
    }
    Ok(chain)
}

fn unreadable(what: &str, file: &Path, error: &pem::Error) -> TlsError {
    let file = file.display();
    TlsError::Setup(match error {
        pem::Error::Io(error) => format!("cannot read the {what} file {file}: {error}"),
        pem::Error::NoItemsFound => format!("the {what} file {file} holds no {what} in PEM"),
        error => format!("the {what} file {file} is not valid PEM: {error}"),
    })
}
