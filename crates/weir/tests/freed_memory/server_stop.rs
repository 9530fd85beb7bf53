//! A whole server that is stopped in the middle of everything, its patience shorter than its
//! clients' messages.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use client::{Client, Message, Options};
use server::boot::{self, Running};
use server::config::{Config, Driver};
use server::limits::Limits;

use crate::{alone, quarantine};

const ROUNDS: u64 = 3;

fn start(directory: &std::path::Path, driver: Driver) -> Running {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config {
        shards: NonZeroUsize::new(2),
        data_dir: directory.join("data"),
        tcp: loopback,
        websocket: loopback,
        driver,
        root_username: Some("tester".to_owned()),
        root_password: Some("secret of the test".to_owned()),
        ..Config::default()
    };
    let limits = Limits {
        // Nobody finishes in this time.
        drain_timeout: Duration::from_millis(20),
        ..Limits::default()
    };
    boot::start_with(config, limits).expect("the server starts")
}

/// Sends batches until the server is gone; says of each one that it was acknowledged.
fn producer(url: String, begun: mpsc::Sender<()>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let (runtime, _) = ws::build_runtime(&ws::RuntimeOptions::default()).expect("starts");
        runtime.block_on(async {
            let address = client::Address::parse(&url).expect("an address");
            let connected = Client::connect_with(&address, Options::default()).await;
            let mut client = connected.expect("connected");
            let stream = format!("of-{}", url.len());
            // The other producer may have made it.
            let _ = client.create_stream(&stream).await;
            let _ = client.create_topic(stream.as_str(), "t", 4, &[]).await;
            let payload = vec![b'p'; 200_000];
            let messages = [Message {
                payload: &payload,
                ..Message::default()
            }; 4];
            for number in 0.. {
                let sent = client
                    .send(stream.as_str(), "t", number % 4, &messages)
                    .await;
                if sent.is_err() {
                    return;
                }
                // Whoever waited has seen the first ones.
                let _ = begun.send(());
            }
        });
    })
}

/// Begins a WebSocket message that never ends, so that no drain waits long enough for it.
fn endless(address: SocketAddr) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("connected");
        let head = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("sent");
        let mut answer = [0; 64];
        let _ = stream.read(&mut answer);
        let mut frame = vec![0x82, 0x80 | 127];
        frame.extend((60_u64 << 10).to_be_bytes());
        frame.extend([0; 4]);
        let _ = stream.write_all(&frame);
        // A byte now and then, until nobody is there.
        while stream.write_all(b"a").is_ok() {
            std::thread::yield_now();
        }
    })
}

#[test]
fn a_server_stopped_in_the_middle_leaves_no_buffer_to_the_kernel() {
    let _alone = alone();
    for driver in [Driver::IoUring, Driver::Poll] {
        let watch = quarantine::watch();
        for _ in 0..ROUNDS {
            let directory = tempfile::tempdir().expect("a directory");
            let running = start(directory.path(), driver);
            let credentials = "tester:secret%20of%20the%20test";
            let urls = [
                format!("iggy+tcp://{credentials}@{}", running.tcp_address),
                format!("iggy+ws://{credentials}@{}", running.websocket_address),
            ];
            let mut threads = vec![endless(running.websocket_address)];
            let mut producers = Vec::new();
            for url in urls {
                let (sender, begun) = mpsc::channel();
                threads.push(producer(url, sender));
                producers.push(begun);
            }
            for begun in &producers {
                for _ in 0..2 {
                    begun.recv().expect("each producer goes on");
                }
            }
            // In order or not: connections that are given up are not.
            let _ = running.shutdown();
            for thread in threads {
                thread.join().expect("the peer's script holds");
            }
        }
        watch.assert_untouched();
    }
}
