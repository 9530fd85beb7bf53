//! The WebSocket port answers plain HTTP too: a status page and `/health`.

use std::io::{Read, Write};

use crate::harness::{Driver, Server, Setup, Transport, run};
use crate::raw::open;

pub(crate) fn get(server: &Server, path: &str) -> (String, String) {
    let mut stream = open(server.websocket);
    let request = format!("GET {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut response = String::new();
    stream
        .read_to_string(&mut response)
        .expect("answered and closed");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn status_page_and_health(driver: Driver) {
    run(Transport::WebSocket, driver, async |setup: Setup| {
        let server = setup.start();
        let (head, body) = get(&server, "/");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(
            head.to_lowercase().contains("content-type: text/html"),
            "{head}"
        );
        assert!(body.contains("Weir"), "{body}");

        let (head, body) = get(&server, "/health");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let health: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(health["driver"], driver.name());
        assert_eq!(health["shards"], 2);
        assert_eq!(health["metrics"]["log_syncs_total"], 0);
        // Whichever was measured to be better here.
        let mode = health["write_mode"].as_str().expect("text");
        assert!(["direct", "buffered"].contains(&mode), "{mode}");
        let reason = health["write_mode_reason"].as_str().expect("text");
        assert!(reason.contains("page cache"), "{reason}");
        server.wait_for_log("write mode of the logs");
        assert!(
            health
                .as_object()
                .expect("an object")
                .keys()
                .any(|key| key.contains("uptime"))
        );

        let (head, body) = get(&server, "/metrics");
        assert!(head.contains("application/openmetrics-text"), "{head}");
        assert!(body.contains("\nweir_storage_partitions 0\n"), "{body}");

        let (head, _) = get(&server, "/nothing-here");
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    });
}

#[test]
fn the_write_mode_of_an_operator_is_kept() {
    run(Transport::Tcp, Driver::Poll, async |mut setup: Setup| {
        let variable = ("WEIR_WRITE_MODE", "buffered".to_owned());
        setup.options.variables.push(variable);
        let server = setup.start();
        let (_, body) = get(&server, "/health");
        let health: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(health["write_mode"], "buffered");
        assert_eq!(health["write_mode_reason"], "set by the operator");
    });
}

#[test]
fn status_page_and_health_io_uring() {
    status_page_and_health(Driver::IoUring);
}

#[test]
fn status_page_and_health_poll() {
    status_page_and_health(Driver::Poll);
}

/// The head of the answer to an opening handshake that offers compression.
fn upgrade(server: &Server) -> String {
    let mut stream = open(server.websocket);
    let request = "GET / HTTP/1.1\r\nHost: weir\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("answered");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    head
}

#[test]
fn compression_is_agreed_to_where_an_operator_wants_it() {
    let mut setup = Setup::new(Transport::WebSocket, Driver::IoUring);
    let head = upgrade(&setup.start());
    assert!(!head.contains("permessage-deflate"), "{head}");
    let switch = ("WEIR_WEBSOCKET_DEFLATE", "true".to_owned());
    setup.options.variables.push(switch);
    let head = upgrade(&setup.start());
    assert!(head.contains("permessage-deflate"), "{head}");
}
