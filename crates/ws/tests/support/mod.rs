//! What every driver test needs: both drivers, and futures that are dropped after some polls.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test binary uses its part"
)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use ws::{
    Config, DriverChoice, DriverKind, Error, Incoming, RuntimeOptions, WebSocket, build_runtime,
};

/// Runs `test` once on each driver, each on a runtime of its own.
pub fn on_each_driver<F: Future>(test: impl Fn(DriverKind) -> F) {
    for driver in [DriverChoice::IoUring, DriverChoice::Poll] {
        on_driver(
            &RuntimeOptions {
                driver,
                ..RuntimeOptions::default()
            },
            &test,
        );
    }
}

/// Runs `test` on a runtime built from `options`.
pub fn on_driver<F: Future>(
    options: &RuntimeOptions,
    test: impl FnOnce(DriverKind) -> F,
) -> F::Output {
    let (runtime, kind) = build_runtime(options).expect("the driver starts");
    runtime.block_on(test(kind))
}

/// Polls `future` at most `polls_max` times and drops it then: `None` if it was not ready.
pub async fn poll_at_most<F: Future>(polls_max: usize, future: F) -> Option<F::Output> {
    AtMost {
        polls_left: polls_max,
        future: Box::pin(future),
    }
    .await
}

struct AtMost<F> {
    polls_left: usize,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for AtMost<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls_left == 0 {
            return Poll::Ready(None);
        }
        self.polls_left -= 1;
        match self.future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.polls_left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Lets the runtime turn once.
pub async fn turn() {
    let mut turned = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut turned, true) {
            Poll::Ready(())
        } else {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// Waits for a peer's thread while the runtime goes on.
pub async fn joined<T: Send + 'static>(thread: std::thread::JoinHandle<T>) -> T {
    let joined = compio_runtime::spawn_blocking(|| thread.join()).await;
    joined
        .expect("waits for the thread")
        .expect("the peer's script holds")
}

/// Bytes that show a lost, doubled or swapped byte.
pub fn pattern(seed: usize, bytes: usize) -> Vec<u8> {
    (seed..seed + bytes)
        .map(|index| (index % 251) as u8 ^ (index / 251 % 241) as u8)
        .collect()
}

/// A listener of the runtime under test and its URL.
pub async fn listen() -> (compio_net::TcpListener, String) {
    let listener = compio_net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let url = format!("ws://{}/", listener.local_addr().expect("address"));
    (listener, url)
}

/// The server's end of the next connection.
pub async fn accept(listener: &compio_net::TcpListener, config: &Config) -> WebSocket {
    let (stream, _) = listener.accept().await.expect("accept");
    match ws::accept_with(stream, config).await.expect("handshake") {
        Incoming::WebSocket { socket, .. } => socket,
        Incoming::Http { request, .. } => panic!("no upgrade: {request:?}"),
    }
}

/// Sends every data message back; returns why the connection ended.
pub async fn echo_to_end(socket: &mut WebSocket) -> Error {
    loop {
        match socket.recv().await {
            Ok(message) if message.is_data() => socket.send(message).await.expect("send"),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

/// The peer that nobody here wrote: tokio-tungstenite on a thread of its own.
pub mod tungstenite {
    use std::future::Future;
    use std::net::SocketAddr;
    use std::thread::JoinHandle;

    use futures_util::{SinkExt, StreamExt};
    use tokio::net::{TcpListener, TcpStream};
    pub use tokio_tungstenite::tungstenite::Message;
    pub use tokio_tungstenite::tungstenite::protocol::CloseFrame;
    pub use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
    use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

    pub type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;
    pub type Server = WebSocketStream<TcpStream>;

    pub fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("tokio starts")
            .block_on(future)
    }

    /// Runs `script` as a client of `url`.
    pub fn client<F, T>(
        url: String,
        script: impl FnOnce(Client) -> F + Send + 'static,
    ) -> JoinHandle<T>
    where
        F: Future<Output = T>,
        T: Send + 'static,
    {
        std::thread::spawn(move || {
            block_on(async {
                let (client, _) = tokio_tungstenite::connect_async(url)
                    .await
                    .expect("connect");
                script(client).await
            })
        })
    }

    /// Runs `script` as the server of the next connection; returns its URL.
    pub fn server<F, T>(
        script: impl FnOnce(Server) -> F + Send + 'static,
    ) -> (String, JoinHandle<T>)
    where
        F: Future<Output = T>,
        T: Send + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address: SocketAddr = listener.local_addr().expect("address");
        let thread = std::thread::spawn(move || {
            block_on(async {
                listener.set_nonblocking(true).expect("nonblocking");
                let listener = TcpListener::from_std(listener).expect("listener");
                let (stream, _) = listener.accept().await.expect("accept");
                let server = tokio_tungstenite::accept_async(stream)
                    .await
                    .expect("handshake");
                script(server).await
            })
        });
        (format!("ws://{address}/"), thread)
    }

    /// Sends every data message back until the peer closes.
    pub async fn echo(mut server: Server) {
        while let Some(message) = server.next().await {
            let message = message.expect("message");
            if message.is_text() || message.is_binary() {
                server.send(message).await.expect("send");
            }
        }
    }
}

/// A peer made of bytes: for what no well-behaved library sends.
pub mod raw {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::thread::JoinHandle;

    pub const REQUEST: &str = "GET /path?q=1 HTTP/1.1\r\nHost: example.com\r\n\
        Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// The answer to [`REQUEST`], as in RFC 6455 §1.3.
    pub const RESPONSE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    /// Runs `script` on a connection to `url` in a thread.
    pub fn client<T: Send + 'static>(
        url: &str,
        script: impl FnOnce(TcpStream) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let address = url
            .trim_start_matches("ws://")
            .trim_end_matches('/')
            .to_string();
        std::thread::spawn(move || script(TcpStream::connect(address).expect("connect")))
    }

    /// Runs `script` as [`client`] after the opening handshake.
    pub fn websocket<T: Send + 'static>(
        url: &str,
        script: impl FnOnce(TcpStream) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        client(url, |mut stream| {
            stream.write_all(REQUEST.as_bytes()).expect("write");
            assert_eq!(read_head(&mut stream), RESPONSE);
            script(stream)
        })
    }

    /// Reads a head byte by byte, so that nothing behind it is taken.
    pub fn read_head(stream: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head");
            head.push(byte[0]);
        }
        String::from_utf8(head).expect("text")
    }

    /// Everything up to the end of the stream, which must be a clean one.
    pub fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("a clean end");
        bytes
    }

    /// A frame as a client sends it: `first` is FIN, RSV and opcode.
    pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..126 => frame.push(0x80 | length as u8),
            length @ 126..65_536 => {
                frame.push(0xfe);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(0xff);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&key);
        frame.extend(
            payload
                .iter()
                .zip(key.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
        frame
    }

    /// The Close frame of a server with this code and no reason.
    pub fn close_frame(code: u16) -> Vec<u8> {
        let [high, low] = code.to_be_bytes();
        vec![0x88, 2, high, low]
    }
}
