//! Against another implementation of TLS: the `openssl` command as client and as server.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use ws::{Error, Message};

use crate::authority::Authority;
use crate::support::{accept, joined, listen, on_each_driver, raw};

/// Ends the command with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(arguments: &[&str]) -> Option<Running> {
    let child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    match child {
        Ok(child) => Some(Running(child)),
        Err(error) => {
            println!("skipped: the openssl command cannot be started here: {error}");
            None
        }
    }
}

#[test]
fn openssl_opens_a_websocket_and_gets_an_echo_in_each_version() {
    for version in ["-tls1_2", "-tls1_3"] {
        on_each_driver(|_| async move {
            let authority = Authority::new();
            let (listener, url) = listen().await;
            let address = url
                .trim_start_matches("ws://")
                .trim_end_matches('/')
                .to_owned();
            let authority_file = authority.file().display().to_string();
            let Some(mut client) = openssl(&[
                "s_client",
                "-quiet",
                "-connect",
                &address,
                "-servername",
                "localhost",
                "-CAfile",
                &authority_file,
                "-verify_return_error",
                "-alpn",
                "http/1.1",
                version,
            ]) else {
                return;
            };
            let script = std::thread::spawn(move || {
                let mut input = client.0.stdin.take().expect("piped");
                let mut output = client.0.stdout.take().expect("piped");
                input.write_all(raw::REQUEST.as_bytes()).expect("write");
                let mut head = vec![0; raw::RESPONSE.len()];
                output.read_exact(&mut head).expect("read");
                assert_eq!(String::from_utf8_lossy(&head), raw::RESPONSE);
                let payload = vec![b'x'; 50_000];
                input.write_all(&raw::frame(0x82, &payload)).expect("write");
                let mut echo = vec![0; payload.len() + 4];
                output.read_exact(&mut echo).expect("read");
                assert!(echo[4..] == payload, "the echo differs");
                input
                    .write_all(&raw::frame(0x88, &[3, 232]))
                    .expect("write");
                let mut rest = Vec::new();
                output.read_to_end(&mut rest).expect("the end");
                assert_eq!(rest, raw::close_frame(1000));
            });
            let config = authority.identity().server_config();
            let mut socket = accept(&listener, &config).await;
            let message = socket.recv().await.expect("message");
            socket.send(message).await.expect("send");
            assert!(matches!(socket.recv().await, Ok(Message::Close(_))));
            assert!(matches!(socket.recv().await, Err(Error::Closed(_))));
            joined(script).await;
        });
    }
}

/// `s_server` carries what its input says, so the answer to the request is prepared: a client
/// with a key of its own refuses it, after it understood the TLS around it.
#[test]
fn a_client_speaks_tls_with_openssl() {
    on_each_driver(|_| async {
        let authority = Authority::new();
        let identity = authority.identity();
        // A free port: the command cannot take over a listener.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = free.local_addr().expect("address").port().to_string();
        drop(free);
        let (certificate, key) = (
            identity.certificate_file.display().to_string(),
            identity.key_file.display().to_string(),
        );
        let Some(mut server) = openssl(&[
            "s_server",
            "-accept",
            &port,
            "-cert",
            &certificate,
            "-key",
            &key,
            "-www",
        ]) else {
            return;
        };
        // It says ACCEPT when it listens.
        let mut output = server.0.stdout.take().expect("piped");
        let mut seen = Vec::new();
        while !seen.ends_with(b"ACCEPT\n") {
            let mut byte = [0];
            output.read_exact(&mut byte).expect("it starts");
            seen.push(byte[0]);
        }
        let url = format!("wss://localhost:{port}/");
        // With -www it answers every request with a page.
        match ws::connect_with(&url, &authority.client_config()).await {
            Err(Error::Handshake(ws::Handshake::NotUpgraded(response))) => {
                assert_eq!(response.status(), 200);
            }
            Err(Error::Handshake(ws::Handshake::Invalid(error))) => {
                // HTTP/1.0 is no upgrade either.
                println!("refused: {error}");
            }
            other => panic!("{other:?}"),
        }
    });
}
