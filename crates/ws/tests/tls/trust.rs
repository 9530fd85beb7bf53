//! Who is trusted, and what is said about who is not.

use std::sync::Arc;

use ws::tls::rustls::server::WebPkiClientVerifier;
use ws::tls::rustls::{self, RootCertStore};
use ws::{Config, Error, Incoming, TlsError};

use crate::authority::{Authority, Identity};
use crate::support::{listen, on_each_driver};

/// What both ends say about a handshake with these.
async fn handshake(server: Config, client: Config, host: &str) -> (Error, Error) {
    let (listener, url) = listen().await;
    let url = url.replace("ws://", "wss://").replace("127.0.0.1", host);
    let accept = async {
        let (stream, _) = listener.accept().await.expect("accept");
        match ws::accept_with(stream, &server).await {
            Ok(Incoming::WebSocket { mut socket, .. }) => {
                socket.recv().await.expect_err("the client is not there")
            }
            Ok(Incoming::Http { .. }) => panic!("no request was to come"),
            Err(error) => error,
        }
    };
    let connect = async {
        match ws::connect_with(&url, &client).await {
            Ok(mut socket) => socket.recv().await.expect_err("the server refuses"),
            Err(error) => error,
        }
    };
    futures_util::join!(accept, connect)
}

#[track_caller]
fn check_tls(error: &Error, text: &str) {
    let shown = error.to_string();
    assert!(matches!(error, Error::Tls(_)), "{error:?}");
    assert!(
        shown.starts_with("TLS failed: ") && shown.contains(text),
        "{shown}"
    );
}

#[test]
fn a_certificate_of_another_authority_is_refused_and_both_ends_say_so() {
    on_each_driver(|_| async {
        let (authority, other) = (Authority::new(), Authority::new());
        let server = authority.identity().server_config();
        let (accepting, connecting) = handshake(server, other.client_config(), "localhost").await;
        check_tls(&connecting, "invalid peer certificate");
        check_tls(&accepting, "received fatal alert");
    });
}

#[test]
fn an_expired_certificate_is_refused() {
    on_each_driver(|_| async {
        let authority = Authority::new();
        let server = authority.expired_identity().server_config();
        let (accepting, connecting) =
            handshake(server, authority.client_config(), "localhost").await;
        check_tls(&connecting, "expired");
        check_tls(&accepting, "received fatal alert");
    });
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    on_each_driver(|_| async {
        let authority = Authority::new();
        let server = authority.identity_with("elsewhere.example", |_| {});
        let server = server.server_config();
        let (_, connecting) = handshake(server, authority.client_config(), "localhost").await;
        check_tls(&connecting, "not valid for name");
    });
}

/// The machine's own store does not know the authority of this test.
#[test]
fn without_a_configuration_a_client_trusts_what_the_machine_trusts() {
    on_each_driver(|_| async {
        let authority = Authority::new();
        let server = authority.identity().server_config();
        let (_, connecting) = handshake(server, Config::new(), "localhost").await;
        // Either it has a store, and the authority is not in it, or it says that it has none.
        assert!(matches!(connecting, Error::Tls(_)), "{connecting:?}");
    });
}

#[test]
fn a_server_may_ask_for_a_certificate_of_the_client() {
    on_each_driver(|_| async {
        let authority = Authority::new();
        let Identity {
            certificate, key, ..
        } = authority.identity();
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read(authority.file()).expect("read");
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        roots
            .add(CertificateDer::from_pem_slice(&pem).expect("a certificate"))
            .expect("added");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .expect("a verifier");
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate], key)
            .expect("they fit");
        let server = Config::new().tls_server(Arc::new(server));
        let (accepting, connecting) =
            handshake(server, authority.client_config(), "localhost").await;
        check_tls(&accepting, "peer sent no certificates");
        check_tls(&connecting, "received fatal alert");
    });
}

#[test]
fn no_application_protocol_in_common_is_refused() {
    on_each_driver(|_| async {
        let authority = Authority::new();
        let mut client = (*authority.client()).clone();
        client.alpn_protocols = vec![b"h2".to_vec()];
        let client = Config::new().tls_client(Arc::new(client));
        let server = authority.identity().server_config();
        let (_, connecting) = handshake(server, client, "localhost").await;
        check_tls(&connecting, "received fatal alert");
    });
}

#[test]
fn files_that_are_no_certificates_or_keys_are_named() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.identity();
    let stranger = other.identity();
    let missing = authority.directory().join("missing.pem");
    let empty = authority.directory().join("empty.pem");
    std::fs::write(&empty, "").expect("written");
    let broken = authority.directory().join("broken.pem");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\n!\n").expect("written");
    let cases = [
        (&missing, &good.key_file, "cannot read the certificate file"),
        (&empty, &good.key_file, "holds no certificate in PEM"),
        (&broken, &good.key_file, "is not valid PEM"),
        (
            &good.key_file,
            &good.key_file,
            "holds no certificate in PEM",
        ),
        (&good.certificate_file, &missing, "cannot read the key file"),
        (&good.certificate_file, &empty, "holds no key in PEM"),
        (
            &good.certificate_file,
            &stranger.key_file,
            "the key does not belong to the certificate",
        ),
    ];
    for (certificate, key, text) in cases {
        let error = ws::tls::server_config_from_files(certificate, key).expect_err(text);
        let shown = error.to_string();
        assert!(matches!(error, TlsError::Setup(_)), "{shown}");
        assert!(shown.contains(text), "{shown} does not say: {text}");
        assert!(!shown.contains('\n'), "{shown}");
    }
    ws::tls::server_config_from_files(&good.certificate_file, &good.key_file).expect("good files");
    ws::tls::client_config_trusting(&missing).expect_err("missing");
}
