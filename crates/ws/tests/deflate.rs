//! Compression through the driver (RFC 7692), against ourselves: tungstenite has none. The suite
//! `cargo xtask autobahn --profile full` is the second opinion.

mod support;

use support::{accept, listen, on_each_driver, pattern};
use ws::{Config, Error, Message, MessageKind, PreparedMessage, ProtocolError};

async fn pair(server: Config, client: Config) -> (ws::WebSocket, ws::WebSocket) {
    let (listener, url) = listen().await;
    let connect = ws::connect_with(&url, &client);
    let (server, client) = futures_util::join!(accept(&listener, &server), connect);
    (server, client.expect("connect"))
}

fn takeover(config: Config) -> Config {
    config.deflate(|options| {
        options.server_no_context_takeover = false;
        options.client_no_context_takeover = false;
    })
}

#[test]
fn messages_survive_compression_in_every_combination() {
    on_each_driver(|_| async {
        let both = [
            (Config::new(), Config::new()),
            (takeover(Config::new()), takeover(Config::new())),
            (Config::new(), Config::new().uncompressed()),
            (Config::new().uncompressed(), Config::new()),
            (
                Config::new().deflate(|options| options.server_max_window_bits = 9),
                Config::new(),
            ),
        ];
        for (server, client) in both {
            let (mut server, mut client) = pair(server, client).await;
            for size in [0, 20, 5_000, 70_000, 300_000] {
                let text = "the same words again and again, ".repeat(1 + size / 32);
                client.send(text.as_str()).await.expect("send");
                assert!(server.recv().await.expect("text") == Message::text(text.as_str()));
                server.send(pattern(size, size)).await.expect("send");
                assert!(
                    client.recv().await.expect("binary") == Message::binary(pattern(size, size))
                );
            }
        }
    });
}

#[test]
fn fewer_bytes_leave_when_both_agree() {
    on_each_driver(|_| async {
        let (server, mut client) = pair(Config::new(), Config::new()).await;
        let text = "weir ".repeat(10_000);
        server.send(text.as_str()).await.expect("send");
        assert!(
            server.queued_bytes() < 1_000,
            "{} bytes",
            server.queued_bytes()
        );
        assert!(client.recv().await.expect("text") == Message::text(text));
    });
}

#[test]
fn a_message_may_go_as_it_is() {
    on_each_driver(|_| async {
        let (server, mut client) = pair(Config::new(), Config::new()).await;
        let text = "weir ".repeat(10_000);
        let sent = server.send_uncompressed(MessageKind::Text, text.clone());
        sent.await.expect("send");
        assert!(server.queued_bytes() >= text.len(), "it was compressed");
        assert!(client.recv().await.expect("text") == Message::text(text));
    });
}

/// The limit counts what comes out of the inflater, not what was on the wire.
#[test]
fn a_message_that_inflates_beyond_the_limit_is_refused() {
    on_each_driver(|_| async {
        let config = Config::new().message_bytes_max(100_000);
        let (mut server, mut client) = pair(config, Config::new()).await;
        client.send(vec![0; 100_000]).await.expect("send");
        assert!(server.recv().await.expect("on the edge").is_data());
        client.send(vec![0; 100_001]).await.expect("send");
        let error = server.recv().await.expect_err("one past");
        assert!(
            matches!(error, Error::Protocol(ProtocolError::MessageTooBig)),
            "{error:?}"
        );
        let close = client.recv().await.expect("close");
        let Message::Close(Some(frame)) = close else {
            panic!("{close:?}")
        };
        assert_eq!(frame.code, ws::CloseCode::MESSAGE_TOO_BIG);
    });
}

#[test]
fn a_prepared_message_reaches_plain_and_compressed_connections() {
    on_each_driver(|_| async {
        let text = "for everyone ".repeat(1_000);
        let mut options = ws::DeflateOptions::DEFAULT;
        options.level = 6;
        let prepared = PreparedMessage::new(MessageKind::Text, text.clone());
        let prepared = prepared.with_deflate(&options);
        for client in [Config::new(), Config::new().uncompressed()] {
            let (server, mut client) = pair(Config::new(), client).await;
            server.send_prepared(&prepared).await.expect("send");
            server
                .sender()
                .send_prepared(&prepared)
                .await
                .expect("send");
            for _ in 0..2 {
                assert!(client.recv().await.expect("text") == Message::text(text.as_str()));
            }
        }
    });
}
