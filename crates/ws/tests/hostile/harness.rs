//! An echo server under attack, the attackers' sockets, and the memory that all of it takes.

use std::alloc::System;
use std::cell::RefCell;
use std::future::Future;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use ws::{Config, Error, Incoming, Message, WebSocket};

use crate::support::{self, listen, raw, turn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Memory that an attack may take beside the limit that bounds it.
pub(crate) const SLACK_BYTES: isize = 256 << 10;

/// After this long without progress a test has failed. Never the bound of an attack.
pub(crate) const HANG_TIME: Duration = Duration::from_secs(120);

/// Runs `test` on each driver while no other test of this binary counts memory.
pub(crate) fn alone_on_each_driver<F: Future>(test: impl Fn() -> F) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _guard: MutexGuard<'_, ()> = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    support::on_each_driver(|_| within(test()));
}

/// The result of `future`, which does not hang.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    let timed = compio_runtime::time::timeout(HANG_TIME, future);
    timed.await.expect("something hangs")
}

/// Heap bytes of the process above those at the start.
#[derive(Clone)]
pub(crate) struct Memory {
    before: isize,
    peak: Arc<AtomicIsize>,
}

impl Memory {
    pub(crate) fn start() -> Self {
        Memory {
            before: live_bytes(),
            peak: Arc::default(),
        }
    }

    /// Looks at the memory now; attackers do it after every write.
    pub(crate) fn sample(&self) -> isize {
        let bytes = live_bytes() - self.before;
        self.peak.fetch_max(bytes, Ordering::Relaxed);
        bytes
    }

    pub(crate) fn check_peak(&self, bytes_max: isize) {
        let peak = self.peak.load(Ordering::Relaxed);
        println!("peak of {peak} bytes, {bytes_max} allowed");
        assert!(peak <= bytes_max, "{peak} bytes, {bytes_max} allowed");
    }

    /// Waits until what is above the start is at most this; turns of the runtime bring it there.
    pub(crate) async fn settles_at(&self, bytes_max: isize) {
        let settled = async {
            while self.sample() > bytes_max {
                // Lets the runtime look at the sockets, not only at its tasks.
                compio_runtime::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let timed = compio_runtime::time::timeout(HANG_TIME / 4, settled).await;
        assert!(timed.is_ok(), "{} bytes do not go away", self.sample());
    }
}

fn live_bytes() -> isize {
    let stats = ALLOCATOR.stats();
    // What a reallocation adds or takes is counted in both sums already.
    stats.bytes_allocated as isize - stats.bytes_deallocated as isize
}

/// A server that echoes every message of every connection.
pub(crate) struct Server {
    pub(crate) url: String,
    connections: Rc<RefCell<Connections>>,
}

#[derive(Default)]
pub(crate) struct Connections {
    /// Accepted, whether or not their handshake is done.
    pub(crate) accepted_count: usize,
    /// Messages that were received and queued to be sent back.
    pub(crate) echoed_count: usize,
    /// Largest queue of a connection.
    pub(crate) queued_bytes_max: usize,
    /// Why each connection ended, in that order.
    pub(crate) endings: Vec<Error>,
}

impl Server {
    pub(crate) async fn start(config: Config) -> Self {
        let (listener, url) = listen().await;
        let connections = Rc::new(RefCell::new(Connections::default()));
        let shared = connections.clone();
        compio_runtime::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                shared.borrow_mut().accepted_count += 1;
                let (config, shared) = (config.clone(), shared.clone());
                compio_runtime::spawn(async move {
                    let error = echo(stream, &config, &shared).await;
                    shared.borrow_mut().endings.push(error);
                })
                .detach();
            }
        })
        .detach();
        let server = Server { url, connections };
        // The first connection fills what a thread keeps for all.
        let mut first = server.good_client().await;
        let bytes = vec![7; 40_000];
        for _ in 0..3 {
            echoes(&mut first, Message::binary(bytes.clone())).await;
        }
        first
            .close(ws::CloseCode::NORMAL, "")
            .await
            .expect("closes");
        server.ended(1).await;
        server.connections.borrow_mut().endings.clear();
        server
    }

    /// A client of the library, whose handshake has to succeed now.
    pub(crate) async fn good_client(&self) -> WebSocket {
        let client = ws::connect(&self.url).await;
        client.expect("a good client is served")
    }

    pub(crate) fn count<T>(&self, count: impl FnOnce(&Connections) -> T) -> T {
        count(&self.connections.borrow())
    }

    /// Waits until so many connections have ended.
    pub(crate) async fn ended(&self, count: usize) {
        while self.count(|connections| connections.endings.len()) < count {
            turn().await;
        }
    }
}

async fn echo(
    stream: compio_net::TcpStream,
    config: &Config,
    shared: &RefCell<Connections>,
) -> Error {
    let mut socket = match ws::accept_with(stream, config).await {
        Ok(Incoming::WebSocket { socket, .. }) => socket,
        Ok(Incoming::Http { request, .. }) => panic!("these tests send no {request:?}"),
        Err(error) => return error,
    };
    loop {
        match socket.recv().await {
            Ok(message) if message.is_data() => {
                if let Err(error) = socket.send(message).await {
                    return error;
                }
                let shared = &mut *shared.borrow_mut();
                shared.echoed_count += 1;
                shared.queued_bytes_max = shared.queued_bytes_max.max(socket.queued_bytes());
            }
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

/// A good client gets its message back.
pub(crate) async fn echoes(client: &mut WebSocket, message: Message) {
    client.send(message.clone()).await.expect("send");
    assert_eq!(client.recv().await.expect("echo"), message);
}

/// Runs `script` in a thread on a socket to `url` that never blocks for ever.
pub(crate) fn attacker<T: Send + 'static>(
    url: &str,
    script: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    raw::client(url, move |stream| script(patient(stream)))
}

/// [`attacker`] behind the opening handshake.
pub(crate) fn websocket<T: Send + 'static>(
    url: &str,
    script: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    raw::websocket(url, move |stream| script(patient(stream)))
}

/// A socket that waits for a generous time only.
pub(crate) fn patient(stream: TcpStream) -> TcpStream {
    let time = Some(HANG_TIME / 2);
    stream.set_read_timeout(time).expect("a time limit");
    stream.set_write_timeout(time).expect("a time limit");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// Everything up to the end of the stream or a reset: the kernel delivers what came before it.
pub(crate) fn read_to_end_or_reset(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => bytes,
    }
}
