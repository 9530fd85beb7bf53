//! A server with a certificate: the published clients, the own client and plain HTTP over TLS on
//! both ports, and what is refused.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::Client as OwnClient;
use iggy::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ws::tls::rustls::{ClientConnection, StreamOwned};

use crate::client as published;
use crate::harness::{Driver, PASSWORD, Server, Setup, Transport, USERNAME, matrix, run};
use crate::{own_client, python, raw};

matrix!(published_python_client, published_rust_client);

matrix!(with crate::own_client::run: own_client_produces_and_polls);

/// An authority's certificate, and a server's with its key, in files.
pub(crate) struct Certificates {
    directory: tempfile::TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        std::fs::write(directory.path().join("authority.pem"), authority.pem()).expect("written");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &authority).expect("signed");
        let files = Certificates { directory };
        std::fs::write(files.file("server.pem"), certificate.pem()).expect("written");
        std::fs::write(files.file("key.pem"), key.serialize_pem()).expect("written");
        files
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A server that speaks TLS on these ports.
    pub(crate) fn serve(&self, setup: &mut Setup, listeners: &str) -> Server {
        let shown = |path: &Path| path.display().to_string();
        setup.options.variables.extend([
            ("WEIR_TLS_CERT_FILE", shown(&self.file("server.pem"))),
            ("WEIR_TLS_KEY_FILE", shown(&self.file("key.pem"))),
            ("WEIR_TLS_LISTENERS", listeners.to_owned()),
        ]);
        setup.start()
    }

    /// A connection string of the published clients, which the own client understands too.
    fn connection_string(&self, server: &Server, transport: Transport) -> String {
        let scheme = match transport {
            Transport::Tcp => "tcp",
            Transport::WebSocket => "ws",
        };
        let authority = self.file("authority.pem");
        format!(
            "iggy+{scheme}://{USERNAME}:{PASSWORD}@{}?tls=true&tls_domain=localhost\
             &tls_ca_file={}",
            server.address(transport),
            authority.display()
        )
    }
}

async fn published_python_client(mut setup: Setup) {
    let certificates = Certificates::new();
    let server = certificates.serve(&mut setup, "all");
    let address = certificates.connection_string(&server, setup.transport);
    python::run_at("produce_and_poll.py", &server, &address, &[]);
}

async fn published_rust_client(mut setup: Setup) {
    let certificates = Certificates::new();
    let server = certificates.serve(&mut setup, "all");
    let address = certificates.connection_string(&server, setup.transport);
    let client = IggyClient::from_connection_string(&address).expect("a connection string");
    client.connect().await.expect("connected and logged in");
    published::create_topic(&client, 1).await;
    // Larger than a record, a receive chunk and what is sealed at once.
    let payloads: Vec<String> = (0..3)
        .map(|number| format!("{number} ").repeat(200_000))
        .collect();
    published::send(&client, 0, payloads.clone())
        .await
        .expect("sent");
    let polled = client
        .poll_messages(
            &published::stream(),
            &published::topic(),
            Some(0),
            &published::consumer("reader"),
            &PollingStrategy::first(),
            10,
            false,
        )
        .await
        .expect("polled");
    assert_eq!(polled.messages.len(), payloads.len());
    for (message, payload) in polled.messages.iter().zip(&payloads) {
        assert!(message.payload == payload.as_bytes(), "a payload differs");
    }
}

async fn own_client_produces_and_polls(mut setup: Setup) {
    let certificates = Certificates::new();
    let server = certificates.serve(&mut setup, "all");
    let address = certificates.connection_string(&server, setup.transport);
    let mut client = OwnClient::connect(&address).await.expect("logged in");
    own_client::produce_and_poll(&mut client).await;
    client.close().await.expect("closed");

    // The machine's own store does not know this authority.
    let (untrusted, _) = address.split_once("&tls_ca_file").expect("an option");
    let error = OwnClient::connect(untrusted).await.err();
    assert!(matches!(error, Some(client::Error::Tls(_))), "{error:?}");
    // Without TLS the port does not answer as the protocol does.
    let (plain, _) = address.split_once('?').expect("options");
    OwnClient::connect(plain).await.err().expect("refused");
}

fn pages(driver: Driver) {
    run(Transport::WebSocket, driver, async |mut setup: Setup| {
        let certificates = Certificates::new();
        let server = certificates.serve(&mut setup, "websocket");
        let trusted = ws::tls::client_config_trusting(&certificates.file("authority.pem"))
            .expect("a certificate");
        let get = |path: &str| {
            let stream = TcpStream::connect(server.websocket).expect("connected");
            let name = "localhost".try_into().expect("a name");
            let connection = ClientConnection::new(Arc::clone(&trusted), name).expect("a client");
            let mut stream = StreamOwned::new(connection, stream);
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("sent");
            let mut response = String::new();
            // The end is a clean one, with close_notify, or this fails.
            stream.read_to_string(&mut response).expect("answered");
            response
        };
        assert!(get("/").starts_with("HTTP/1.1 200 "), "no page");
        let health = get("/health");
        assert!(health.contains("\"status\":\"ok\""), "{health}");

        // Plain HTTP is told what this is; the TCP port is the plain one here.
        let mut stream = raw::open(server.websocket);
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("answered");
        assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
        published::connect(&server, Transport::Tcp).await;
    });
}

#[test]
fn pages_over_tls_io_uring() {
    pages(Driver::IoUring);
}

#[test]
fn pages_over_tls_poll() {
    pages(Driver::Poll);
}
