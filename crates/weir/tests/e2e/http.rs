//! The WebSocket port answers plain HTTP too: a status page and `/health`.

use std::io::{Read, Write};

use crate::harness::{Driver, Server, Setup, Transport, run};
use crate::raw::open;

fn get(server: &Server, path: &str) -> (String, String) {
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
        assert!(
            health
                .as_object()
                .expect("an object")
                .keys()
                .any(|key| key.contains("uptime"))
        );

        let (head, _) = get(&server, "/nothing-here");
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
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
