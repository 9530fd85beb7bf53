//! Every example frame of RFC 6455 §5.7, read and written.

use bytes::Bytes;
use ws_proto::testing::{Seen, drain, feed, test_masking_key};
use ws_proto::{Config, Connection, Limits, MessageKind};

fn golden(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/../../testdata/rfc6455/{name}.hex",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).expect("the golden file exists");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits"))
        .collect()
}

fn client() -> Connection {
    Connection::client(Config::default(), test_masking_key)
}

fn server() -> Connection {
    Connection::server(Config::default())
}

#[test]
fn single_unmasked_text() {
    let wire = golden("single_unmasked_text");
    assert_eq!(feed(&mut client(), &wire), [Seen::Text("Hello".into())]);
    let mut server = server();
    server.send_copied(MessageKind::Text, b"Hello").unwrap();
    assert_eq!(drain(&mut server), wire);
}

/// The example's masking key is that of `test_masking_key`.
#[test]
fn single_masked_text() {
    let wire = golden("single_masked_text");
    assert_eq!(feed(&mut server(), &wire), [Seen::Text("Hello".into())]);
    let mut client = client();
    client
        .send(MessageKind::Text, Bytes::from_static(b"Hello"))
        .unwrap();
    assert_eq!(drain(&mut client), wire);
}

#[test]
fn fragmented_unmasked_text() {
    let wire = golden("fragmented_unmasked_text");
    assert_eq!(feed(&mut client(), &wire), [Seen::Text("Hello".into())]);
    let mut limits = Limits::DEFAULT;
    limits.send_frame_bytes_max = 3;
    let mut server = Connection::server(Config::new(limits));
    server
        .send(MessageKind::Text, Bytes::from_static(b"Hello"))
        .unwrap();
    assert_eq!(drain(&mut server), wire);
}

#[test]
fn unmasked_ping_and_masked_pong() {
    let ping = golden("unmasked_ping");
    let mut client = client();
    assert_eq!(feed(&mut client, &ping), [Seen::Ping(b"Hello".to_vec())]);
    let pong = golden("masked_pong");
    assert_eq!(drain(&mut client), pong);

    let mut server = server();
    server.send_ping(b"Hello").unwrap();
    assert_eq!(drain(&mut server), ping);
    assert_eq!(feed(&mut server, &pong), [Seen::Pong(b"Hello".to_vec())]);
}

#[test]
fn binary_with_a_long_length() {
    for (name, length) in [("binary_256_header", 256), ("binary_65536_header", 65_536)] {
        let payload: Vec<u8> = (0..length).map(|index| (index % 253) as u8).collect();
        let wire = [golden(name), payload.clone()].concat();
        assert_eq!(feed(&mut client(), &wire), [Seen::Binary(payload.clone())]);
        let mut server = server();
        server
            .send(MessageKind::Binary, Bytes::from(payload))
            .unwrap();
        assert_eq!(drain(&mut server), wire);
    }
}
