//! Handshakes that never end, and requests that mean two things.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use ws::{Config, Error, Handshake, Message, Refusal};

use crate::harness::{Memory, Server, alone_on_each_driver, attacker, echoes, patient};
use crate::support::{joined, raw};

/// Writes the request byte by byte and begins again with endless headers, until an answer comes.
fn drip(mut stream: TcpStream) -> String {
    let pause = Some(Duration::from_millis(2));
    stream.set_read_timeout(pause).expect("a time limit");
    let request = "GET / HTTP/1.1\r\nHost: a\r\n".bytes();
    let mut answer = [0; 1000];
    for byte in request.chain("X: y\r\n".bytes().cycle()) {
        // An answer may have come in between; then writing is an error.
        let written = stream.write_all(&[byte]);
        match stream.read(&mut answer) {
            Ok(bytes) => return String::from_utf8_lossy(&answer[..bytes]).into_owned(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => written.expect("write"),
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("the request has no end")
}

/// A byte now and then does not prolong the time for the handshake.
#[test]
fn drips_are_cut_while_good_clients_work() {
    const COUNT: usize = 50;
    alone_on_each_driver(|| async {
        let config = Config::new().handshake_timeout(Duration::from_secs(1));
        let server = Server::start(config).await;
        let mut good = server.good_client().await;
        let drips: Vec<_> = (0..COUNT).map(|_| attacker(&server.url, drip)).collect();
        while drips.iter().any(|drip| !drip.is_finished()) {
            echoes(&mut good, Message::text("served")).await;
        }
        for drip in drips {
            let answer = drip.join().expect("the script holds");
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        }
        server.ended(COUNT).await;
        server.count(|connections| {
            for ending in &connections.endings {
                let refusal = Handshake::Refused(Refusal::RequestTimeout);
                assert_eq!(ending.to_string(), Error::from(refusal).to_string());
            }
        });
        echoes(&mut good, Message::text("still served")).await;
    });
}

/// Descriptors for both ends of so many connections, as far as the system allows.
fn raise_descriptors(connections_count: usize) -> usize {
    const OTHERS_COUNT: u64 = 200;
    let limit = getrlimit(Resource::Nofile);
    let wanted = connections_count as u64 * 2 + OTHERS_COUNT;
    let maximum = limit.maximum.unwrap_or(u64::MAX);
    let current = limit.current.unwrap_or(u64::MAX).max(wanted.min(maximum));
    let raised = Rlimit {
        current: Some(current),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("up to the maximum is allowed");
    connections_count.min((current.saturating_sub(OTHERS_COUNT) / 2) as usize)
}

/// Nine thousand handshakes that are begun and stay open: each is small, and good clients come
/// and go among them.
#[test]
fn thousands_of_open_handshakes_while_good_clients_work() {
    const WANTED_COUNT: usize = 9_000;
    const HANDSHAKE_BYTES_MAX: isize = 4 << 10;
    // Fewer than the listener's queue holds: a full one makes clients try again a second later.
    const WAVE_COUNT: usize = 100;
    let count = raise_descriptors(WANTED_COUNT) / WAVE_COUNT * WAVE_COUNT;
    println!("{count} open handshakes");
    assert!(count >= WAVE_COUNT, "too few descriptors for an attack");
    alone_on_each_driver(|| async {
        let config = Config::new().handshake_timeout(Duration::from_secs(600));
        let server = Server::start(config).await;
        let mut good = server.good_client().await;
        let memory = Memory::start();
        let mut drips = Vec::with_capacity(count);
        let waves_count = count / WAVE_COUNT;
        for number in 1..=waves_count {
            let url = server.url.clone();
            let wave = std::thread::spawn(move || {
                let begin = |_| {
                    let address = url.trim_start_matches("ws://").trim_end_matches('/');
                    let mut stream = patient(TcpStream::connect(address).expect("connect"));
                    stream.write_all(b"GET / HTTP/1.1\r\nHo").expect("write");
                    stream
                };
                (0..WAVE_COUNT).map(begin).collect::<Vec<_>>()
            });
            drips.extend(joined(wave).await);
            echoes(&mut good, Message::text("an old client")).await;
            let mut young = server.good_client().await;
            echoes(&mut young, Message::text("a new client")).await;
            let again = number % 10 == 0;
            for stream in drips.iter_mut().filter(|_| again) {
                stream.write_all(b"s").expect("nobody is cut yet");
            }
        }
        // With the first and the old client, and a new one for each wave.
        let accepted_count = count + waves_count + 2;
        while server.count(|connections| connections.accepted_count) < accepted_count {
            echoes(&mut good, Message::text("in between")).await;
        }
        let bytes = memory.sample();
        println!("{} bytes for each", bytes / count as isize);
        assert!(
            bytes <= HANDSHAKE_BYTES_MAX * count as isize,
            "{bytes} bytes"
        );
        // The new clients have gone, and nobody else.
        server.ended(waves_count).await;
        assert_eq!(
            server.count(|connections| connections.endings.len()),
            waves_count
        );
        drop(drips);
        server.ended(waves_count + count).await;
        echoes(&mut good, Message::text("still served")).await;
    });
}

/// Whatever a proxy in front may have taken for a second request is never looked at.
#[test]
fn requests_that_two_readers_cut_differently() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n";
    let lengths = format!("Content-Length: {}\r\n", smuggled.len());
    let shapes = [
        lengths.clone(),
        format!("{lengths}Transfer-Encoding: chunked\r\n"),
        format!("{lengths}Content-Length: 0\r\n"),
        "Content-Length: +1\r\n".into(),
        "Content-Length : 1\r\n".into(),
        "Transfer-Encoding : chunked\r\n".into(),
        "Transfer-Encoding: xchunked\r\n".into(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".into(),
        "X: y\nContent-Length: 1\r\n".into(),
        "X: y\rContent-Length: 1\r\n".into(),
        "X: y\r\n Content-Length: 1\r\n".into(),
        "X: a\0b\r\n".into(),
        "Host: another\r\n".into(),
    ];
    alone_on_each_driver(|| async {
        let server = Server::start(Config::new()).await;
        for (index, lines) in shapes.iter().enumerate() {
            let upgrade = raw::REQUEST.replace("Host: ", &format!("{lines}Host: "));
            let attacker = attacker(&server.url, move |mut stream| {
                let bytes = upgrade + smuggled + smuggled;
                stream.write_all(bytes.as_bytes()).expect("write");
                String::from_utf8(raw::read_to_end(&mut stream)).expect("text")
            });
            let answer = joined(attacker).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{lines:?}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{lines:?}: {answer}");
            server.ended(index + 1).await;
        }
    });
}
