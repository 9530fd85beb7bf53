//! The bridge over an encrypted stream, in both roles, with the native path at the other end.

use std::time::Duration;

use compio_net::TcpStream;
use ws::bridge::tungstenite::{Error as BridgeError, Message as Bridged};
use ws::bridge::{BridgeWebSocket, Capacity};
use ws::{ChunkReceiver, CloseCode, Message};

use crate::authority::Authority;
use crate::support::{accept, echo_to_end, listen, on_each_driver, pattern};

const PATIENCE: Duration = Duration::from_secs(30);
const SIZES: [usize; 6] = [0, 126, 8192, 16_384, 65_536, 1 << 20];

#[test]
fn a_bridge_client_gets_every_size_back() {
    for capacity in [Capacity::FIXED, Capacity::GROWABLE] {
        on_each_driver(|_| async {
            let authority = Authority::new();
            let (listener, url) = listen().await;
            let server_config = authority.identity().server_config();
            let server = async {
                let mut socket = accept(&listener, &server_config).await;
                echo_to_end(&mut socket).await;
            };
            let client = async {
                let address = url.trim_start_matches("ws://").trim_end_matches('/');
                let stream = TcpStream::connect(address).await.expect("connect");
                let tls = authority.client();
                let receiver = ChunkReceiver::new(stream);
                let receiver = ws::tls::connect(receiver, &tls, "localhost", PATIENCE).await;
                let receiver = receiver.expect("TLS");
                let mut socket = BridgeWebSocket::client(&url, receiver, capacity)
                    .await
                    .expect("handshake");
                for size in SIZES {
                    let message = Bridged::binary(pattern(size, size));
                    socket.send(message.clone()).await.expect("send");
                    assert!(socket.recv().await.expect("echo") == message, "{size}");
                }
                socket.close(None).await.expect("closed");
            };
            futures_util::join!(server, client);
        });
    }
}

#[test]
fn a_bridge_server_echoes_every_size() {
    for capacity in [Capacity::FIXED, Capacity::GROWABLE] {
        on_each_driver(|_| async {
            let authority = Authority::new();
            let (listener, url) = listen().await;
            let server = async {
                let (stream, _) = listener.accept().await.expect("accept");
                let tls = authority.identity().server();
                let receiver = ws::tls::accept(ChunkReceiver::new(stream), &tls, PATIENCE).await;
                let mut socket = BridgeWebSocket::accept(receiver.expect("TLS"), capacity)
                    .await
                    .expect("handshake");
                loop {
                    match socket.recv().await {
                        Ok(message) if message.is_binary() => {
                            socket.send(message).await.expect("send");
                        }
                        Ok(_) => {}
                        Err(BridgeError::ConnectionClosed) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            };
            let client = async {
                let url = url.replace("ws://", "wss://");
                let mut socket = ws::connect_with(&url, &authority.client_config())
                    .await
                    .expect("connect");
                for size in SIZES {
                    let bytes = pattern(size, size);
                    socket.send(bytes.clone()).await.expect("send");
                    let echo = socket.recv().await.expect("echo");
                    assert!(echo == Message::binary(bytes), "{size}");
                }
                socket.close(CloseCode::NORMAL, "").await.expect("closed");
            };
            futures_util::join!(server, client);
        });
    }
}
