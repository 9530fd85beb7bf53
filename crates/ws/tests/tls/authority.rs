//! Certificates of a certificate authority that lives as long as a test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use ws::Config;
use ws::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use ws::tls::rustls::{ClientConfig, ServerConfig};

/// The authority, its certificate in a file as clients want it.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

/// A server's certificate and key, in memory and in files.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) certificate_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "Test authority");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("authority.pem"), issuer.pem()).expect("written");
        Authority { issuer, directory }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("authority.pem")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// For `localhost` and 127.0.0.1.
    pub(crate) fn identity(&self) -> Identity {
        self.identity_with("localhost", |_| {})
    }

    pub(crate) fn identity_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names = vec![name.to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let file = |kind: &str| self.directory.path().join(format!("{name}-{kind}.pem"));
        let (certificate_file, key_file) = (file("certificate"), file("key"));
        std::fs::write(&certificate_file, certificate.pem()).expect("written");
        std::fs::write(&key_file, key.serialize_pem()).expect("written");
        Identity {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            certificate_file,
            key_file,
        }
    }

    /// Whose time is over.
    pub(crate) fn expired_identity(&self) -> Identity {
        self.identity_with("localhost", |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        })
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        ws::tls::client_config_trusting(&self.file()).expect("a certificate")
    }

    /// A client's options that trust this authority and no other.
    pub(crate) fn client_config(&self) -> Config {
        Config::new().tls_client(self.client())
    }
}

impl Identity {
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let chain = vec![self.certificate.clone()];
        ws::tls::server_config_of(chain, self.key.clone_key()).expect("they fit")
    }

    pub(crate) fn server_config(&self) -> Config {
        Config::new().tls_server(self.server())
    }
}
