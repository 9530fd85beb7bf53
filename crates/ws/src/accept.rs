//! The server's opening handshake.

use std::future::poll_fn;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use compio_runtime::time::{timeout, timeout_at};
use ws_proto::handshake::{
    Accepted, Refusal, Request, ServerHandshake, ServerVerdict, UpgradeRequest,
};
use ws_proto::{Connection, Transmit};

use crate::config::Config;
use crate::error::{Error, Handshake};
use crate::limits;
use crate::receiver::{ChunkReceiver, Received};
use crate::stream::Stream;
use crate::websocket::WebSocket;
use crate::writer::Writer;

/// What a client wanted.
#[derive(Debug)]
pub enum Incoming {
    /// A WebSocket, which is open now.
    WebSocket {
        /// The connection.
        socket: WebSocket,
        /// The request that opened it, for its path and headers.
        request: Box<Request>,
    },
    /// Something else: the caller answers it and closes the stream.
    Http {
        /// The request.
        request: Box<Request>,
        /// The stream, with the receive that may be on its way.
        receiver: ChunkReceiver,
        /// What was received behind the request's head.
        leftover: BytesMut,
    },
}

/// Opens a WebSocket as the server of `stream`, with the default options.
///
/// # Errors
/// As [`accept_with`]; a request for anything but a WebSocket is refused, too.
pub async fn accept(stream: impl Into<Stream>) -> Result<WebSocket, Error> {
    let stream = stream.into();
    // Boxed, as below: a task keeps the room of everything that it ever awaits.
    Box::pin(async {
        match shake_hands(stream, &Config::default()).await? {
            Incoming::WebSocket { socket, .. } => Ok(socket),
            Incoming::Http { receiver, .. } => {
                Err(refuse(receiver, Refusal::UpgradeRequired, limits::REFUSAL_TIME_MAX).await)
            }
        }
    })
    .await
}

/// Reads the request on `stream` and opens a WebSocket if it asks for one.
///
/// # Errors
/// When the request is refused (the client was told why by its HTTP status), when it does not
/// arrive within the limits, or when the socket fails.
pub async fn accept_with(stream: impl Into<Stream>, config: &Config) -> Result<Incoming, Error> {
    // Boxed: the handshake is over soon, the connection's task may live for days.
    Box::pin(shake_hands(stream.into(), config)).await
}

async fn shake_hands(stream: Stream, config: &Config) -> Result<Incoming, Error> {
    let deadline = Instant::now() + config.handshake_time();
    stream.set_no_delay()?;
    let mut receiver = ChunkReceiver::new(stream);
    #[cfg(feature = "tls")]
    if let Some(tls) = &config.tls_server {
        receiver = crate::tls::accept_until(receiver, tls, deadline).await?;
    }
    let mut received = BytesMut::new();
    // The receive lives in the receiver: nothing in flight is dropped with this future.
    let head = read_head(&mut receiver, config, &mut received);
    let verdict = match timeout_at(deadline, head).await {
        Ok(verdict) => verdict?,
        Err(_) => ServerVerdict::Refuse(Refusal::RequestTimeout),
    };
    let left = || {
        deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1))
    };
    match verdict {
        ServerVerdict::Upgrade(upgrade) => {
            match open(&mut receiver, config, &upgrade, left()).await? {
                Ok((writer, accepted)) => {
                    let request = Box::new(upgrade.into_request());
                    let leftover = received.split_off(request.head_bytes());
                    let protocol = config.agreed(
                        #[cfg(feature = "deflate")]
                        accepted.deflate,
                    );
                    let core = Connection::server(protocol);
                    let subprotocol = accepted.subprotocol;
                    let socket = WebSocket::start(core, receiver, writer, leftover, subprotocol);
                    Ok(Incoming::WebSocket { socket, request })
                }
                Err(refusal) => Err(refuse(receiver, refusal, left()).await),
            }
        }
        ServerVerdict::NotUpgrade(request) => {
            let leftover = received.split_off(request.head_bytes());
            Ok(Incoming::Http {
                request,
                receiver,
                leftover,
            })
        }
        ServerVerdict::Refuse(refusal) => Err(refuse(receiver, refusal, left()).await),
        ServerVerdict::Incomplete => Err(Handshake::Ended.into()),
    }
}

/// Reads until there is a verdict; `Incomplete` if the stream ends before.
async fn read_head(
    receiver: &mut ChunkReceiver,
    config: &Config,
    received: &mut BytesMut,
) -> Result<ServerVerdict, Error> {
    let mut handshake = ServerHandshake::new(config.handshake);
    loop {
        match receiver.recv().await? {
            Received::Chunk(chunk) => received.extend_from_slice(&chunk),
            Received::Buffer { .. } => unreachable!("no buffer was given"),
            Received::End => return Ok(ServerVerdict::Incomplete),
        }
        match handshake.handle_bytes(received) {
            ServerVerdict::Incomplete => {}
            verdict => return Ok(verdict),
        }
    }
}

/// Writes the server's consent; returns what was agreed on.
async fn open(
    receiver: &mut ChunkReceiver,
    config: &Config,
    upgrade: &UpgradeRequest,
    time: Duration,
) -> Result<Result<(Writer, Accepted), Refusal>, Error> {
    let admitted = config
        .admission
        .as_ref()
        .map_or(Ok(()), |admit| admit(upgrade.request()));
    let accepted = match admitted.and_then(|()| upgrade.accept(&config.server_options())) {
        Ok(accepted) => accepted,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut writer = Writer::new(receiver.stream());
    config
        .zero_copy_bytes_min
        .into_iter()
        .for_each(|bytes_min| writer.set_zero_copy(bytes_min));
    write(&mut writer, accepted.response.clone().into(), time).await?;
    Ok(Ok((writer, accepted)))
}

/// Writes all of `bytes`, or fails when it takes longer than `time`.
pub(crate) async fn write(
    writer: &mut Writer,
    bytes: BytesMut,
    time: Duration,
) -> Result<(), Error> {
    writer.start(Transmit::Contiguous(bytes));
    match timeout(time, poll_fn(|context| writer.poll(context))).await {
        Ok(result) => Ok(result.map(drop)?),
        Err(_) => Err(Handshake::TimedOut.into()),
    }
}

/// Answers with `refusal` and closes the stream in the background.
async fn refuse(receiver: ChunkReceiver, refusal: Refusal, time: Duration) -> Error {
    let mut writer = Writer::new(receiver.stream());
    let time = time.max(limits::REFUSAL_TIME_MAX);
    if let Err(error) = write(&mut writer, refusal.encode().into(), time).await {
        return error;
    }
    close_slowly(receiver);
    Handshake::Refused(refusal).into()
}

/// Closes the sending direction, then discards what still arrives, so that the answer is not
/// destroyed by a reset; both within limits and in the background.
pub fn close_slowly(mut receiver: ChunkReceiver) {
    let close = async move {
        if receiver.stream().close_session() {
            let mut writer = Writer::new(receiver.stream());
            writer.start_pending();
            if poll_fn(|context| writer.poll(context)).await.is_err() {
                return;
            }
        }
        if receiver.stream().shutdown(Shutdown::Write).is_err() {
            return;
        }
        let mut discarded_bytes = 0;
        while let Ok(Received::Chunk(chunk)) = receiver.recv().await {
            discarded_bytes += chunk.len() as u64;
            if discarded_bytes > limits::DISCARDED_BYTES_MAX {
                return;
            }
        }
    };
    compio_runtime::spawn(async move {
        // The deadline drops the receiver and with it the socket: that is the end it is for.
        let _ = timeout(limits::REFUSAL_TIME_MAX, close).await;
    })
    .detach();
}
