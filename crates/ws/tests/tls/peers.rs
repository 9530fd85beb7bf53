//! Against tokio-tungstenite over tokio-rustls, and both roles of this library with each other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use futures_util::{SinkExt, StreamExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::WebSocketStream;
use ws::tls::rustls::pki_types::ServerName;
use ws::tls::rustls::version::{TLS12, TLS13};
use ws::tls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use ws::{CloseCode, Error, Message, MessageKind, Part, Piece, PreparedMessage};

use crate::authority::Authority;
use crate::support::tungstenite::{Message as Theirs, block_on};
use crate::support::{accept, echo_to_end, joined, on_each_driver, pattern};

/// The length forms of a frame, one TLS record, one chunk, and what is received in pieces.
const SIZES: [usize; 12] = [
    0,
    1,
    126,
    16_370,
    16_384,
    16_390,
    20_000,
    65_535,
    65_536,
    100_000,
    1 << 20,
    16 << 20,
];

/// A listener of the runtime under test and its URL.
async fn listen() -> (compio_net::TcpListener, String) {
    let (listener, url) = crate::support::listen().await;
    (listener, url.replace("ws://", "wss://"))
}

/// A client of tokio-rustls that speaks one version of TLS.
fn their_client_config(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(authority.file()).expect("read");
    use ws::tls::rustls::pki_types::{CertificateDer, pem::PemObject};
    roots
        .add(CertificateDer::from_pem_slice(&pem).expect("a certificate"))
        .expect("added");
    let provider = ws::tls::rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

type TheirClient = WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

fn their_client<F: Future<Output = ()>>(
    url: &str,
    config: Arc<ClientConfig>,
    script: impl FnOnce(TheirClient) -> F + Send + 'static,
) -> JoinHandle<()> {
    let address: SocketAddr = url
        .trim_start_matches("wss://")
        .trim_end_matches('/')
        .parse()
        .expect("an address");
    std::thread::spawn(move || {
        block_on(async {
            let stream = tokio::net::TcpStream::connect(address)
                .await
                .expect("connect");
            let name = ServerName::try_from("localhost").expect("a name");
            let stream = TlsConnector::from(config)
                .connect(name, stream)
                .await
                .expect("TLS");
            let url = format!("wss://{address}/");
            let (client, _) = tokio_tungstenite::client_async(url, stream)
                .await
                .expect("handshake");
            script(client).await;
        })
    })
}

#[test]
fn a_server_echoes_every_size_in_both_versions_of_tls() {
    for version in [&TLS12, &TLS13] {
        on_each_driver(|_| async move {
            let authority = Authority::new();
            let (listener, url) = listen().await;
            let config = their_client_config(&authority, version);
            let client = their_client(&url, config, |mut client| async move {
                for size in SIZES {
                    let bytes = pattern(size, size);
                    client
                        .send(Theirs::binary(bytes.clone()))
                        .await
                        .expect("send");
                    let echo = client.next().await.expect("message").expect("message");
                    assert!(echo == Theirs::binary(bytes), "{size} bytes differ");
                }
                client.close(None).await.expect("close");
                // The end of the stream is a clean one: close_notify came before it.
                while let Some(message) = client.next().await {
                    message.expect("a clean end");
                }
            });
            let config = authority.identity().server_config();
            let error = echo_to_end(&mut accept(&listener, &config).await).await;
            assert!(matches!(error, Error::Closed(_)), "{error}");
            joined(client).await;
        });
    }
}

#[test]
fn a_client_gets_every_size_back() {
    on_each_driver(|_| async {
        let authority = Authority::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let url = format!("wss://{}/", listener.local_addr().expect("address"));
        let tls = authority.identity().server();
        let server = std::thread::spawn(move || {
            block_on(async {
                listener.set_nonblocking(true).expect("nonblocking");
                let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
                let (stream, _) = listener.accept().await.expect("accept");
                let stream = TlsAcceptor::from(tls).accept(stream).await.expect("TLS");
                let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                assert_eq!(alpn.as_deref(), Some(&b"http/1.1"[..]));
                let mut server = tokio_tungstenite::accept_async(stream)
                    .await
                    .expect("handshake");
                while let Some(message) = server.next().await {
                    let message = message.expect("message");
                    if message.is_binary() {
                        server.send(message).await.expect("send");
                    }
                }
            });
        });
        let mut socket = ws::connect_with(&url, &authority.client_config())
            .await
            .expect("connect");
        for size in SIZES {
            let bytes = pattern(size, size);
            socket.send(bytes.clone()).await.expect("send");
            let echo = socket.recv().await.expect("echo");
            assert!(echo == Message::binary(bytes), "{size}");
        }
        socket
            .close(CloseCode::NORMAL, "done")
            .await
            .expect("closes");
        joined(server).await;
    });
}

#[test]
fn many_messages_in_one_write_keep_their_order() {
    const COUNT: usize = 20_000;
    on_each_driver(|_| async {
        let authority = Authority::new();
        let (listener, url) = listen().await;
        let server_config = authority.identity().server_config();
        let server = async { echo_to_end(&mut accept(&listener, &server_config).await).await };
        let client = async {
            let socket = ws::connect_with(&url, &authority.client_config())
                .await
                .expect("connect");
            let (sender, mut receiver) = socket.split();
            let send = async {
                for index in 0..COUNT {
                    let message = pattern(index, index % 60);
                    sender.send(message).await.expect("send");
                }
            };
            let receive = async {
                for index in 0..COUNT {
                    let echo = receiver.recv().await.expect("echo");
                    assert_eq!(echo, Message::binary(pattern(index, index % 60)));
                }
            };
            futures_util::join!(send, receive);
            sender.close(CloseCode::NORMAL, "").await.expect("closes");
        };
        let (error, ()) = futures_util::join!(server, client);
        assert!(matches!(error, Error::Closed(_)), "{error}");
    });
}

#[test]
fn pieces_parts_and_a_broadcast_are_the_same_as_without_tls() {
    on_each_driver(|_| async {
        let authority = Authority::new();
        let (listener, url) = listen().await;
        let server_config = authority.identity().server_config();
        let parts: Vec<bytes::Bytes> = (0..3000).map(|index| pattern(index, 40).into()).collect();
        let whole = parts.concat();
        let server = async {
            let mut socket = accept(&listener, &server_config).await;
            let prepared = PreparedMessage::new(MessageKind::Binary, whole.clone());
            for sender in [socket.sender(), socket.sender()] {
                sender.send_prepared(&prepared).await.expect("send");
            }
            socket
                .send_parts(MessageKind::Binary, parts.clone())
                .await
                .expect("send");
            let mut received = Vec::new();
            loop {
                if let Part::Piece(Piece { payload, last, .. }) =
                    socket.recv_part().await.expect("a part")
                {
                    received.extend_from_slice(&payload);
                    if last {
                        break;
                    }
                }
            }
            assert!(received == pattern(5, 3 << 20), "pieces differ");
            while socket.recv().await.is_ok() {}
        };
        let client = async {
            let mut socket = ws::connect_with(&url, &authority.client_config())
                .await
                .expect("connect");
            for _ in 0..3 {
                assert!(socket.recv().await.expect("message") == Message::binary(whole.clone()));
            }
            let mut writer = socket
                .send_in_pieces(MessageKind::Binary)
                .await
                .expect("turn");
            for piece in pattern(5, 3 << 20).chunks(100_000) {
                writer.write(piece.to_vec()).await.expect("piece");
            }
            writer.finish().await.expect("the end");
            socket.close(CloseCode::NORMAL, "").await.expect("closes");
        };
        futures_util::join!(server, client);
    });
}
