//! A server that answers at once and keeps nothing: what is measured against it is the load.
//!
//! It takes frames of the protocol on both ports, knows three commands (log in, send, poll) and
//! answers everything else with an empty success. A poll gets the last batch that was sent to its
//! partition, up to as many messages as were sent there.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use clap::Args;
use compio_net::{TcpListener, TcpStream};
use compio_runtime::spawn;
use wire::iggy::frame::{FrameStart, HEADER_BYTES, RequestHeader};
use wire::iggy::identifier::{Identifier, Partitioning};
use wire::iggy::messages::{PollMessages, PollingStrategy, SendMessages};
use wire::iggy::published::codes;
use wire::iggy::{operation, reply};
use wire::{Status, batch, limits};
use ws::tls::rustls::ServerConfig;
use ws::tls::server_config_from_files;
use ws::{ChunkReceiver, ChunkSender, Message, MessageKind, Received};

/// What is missing of a frame is received into the frame's own buffer from here on.
const DIRECT_BYTES_MIN: usize = 16 * 1024;
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// At once for a frame that has announced its size; larger ones grow as they come.
const RESERVE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The server of --self-test.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Kernel interface.
    #[arg(long, value_name = "DRIVER", default_value = "auto")]
    driver: String,
    /// Its certificate: then it speaks TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// The key of the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    tls_key_file: Option<PathBuf>,
}

type Tls = Option<Arc<ServerConfig>>;

/// Serves until SIGTERM.
///
/// # Errors
/// One line that says what the system refused.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    end_with_signal()?;
    let driver = arguments.driver.parse().context("a kernel interface")?;
    let (runtime, driver) = ws::build_runtime(&ws::RuntimeOptions {
        driver,
        ..ws::RuntimeOptions::default()
    })?;
    let files = arguments
        .tls_cert_file
        .as_ref()
        .zip(arguments.tls_key_file.as_ref());
    let tls = files.map(|(certificate, key)| server_config_from_files(certificate, key));
    let tls = tls.transpose()?;
    runtime.block_on(async {
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let websocket = TcpListener::bind("127.0.0.1:0").await?;
        let (tcp_address, websocket_address) = (tcp.local_addr()?, websocket.local_addr()?);
        let mut output = std::io::stdout().lock();
        writeln!(
            output,
            "weir ready tcp={tcp_address} websocket={websocket_address} driver={driver} shards=1"
        )?;
        output.flush()?;
        let shelf = Rc::new(Shelf::default());
        let websockets = accept(websocket, shelf.clone(), tls.clone(), serve_websocket);
        let websockets = spawn(websockets);
        accept(tcp, shelf, tls, serve_tcp).await?;
        websockets
            .await
            .map_err(|_| anyhow::anyhow!("accepting ended"))?
    })
}

/// The default action of the signal would be an exit with failure.
fn end_with_signal() -> anyhow::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM])?;
    let thread = std::thread::Builder::new().name("weir-null-signals".to_owned());
    thread.spawn(move || {
        if signals.forever().next().is_some() {
            std::process::exit(0);
        }
    })?;
    Ok(())
}

async fn accept<F>(
    listener: TcpListener,
    shelf: Rc<Shelf>,
    tls: Tls,
    serve: impl Fn(TcpStream, Rc<Shelf>, Tls) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let serving = serve(stream, shelf.clone(), tls.clone());
        spawn(async move {
            // A connection that ends is no more than that; the load says what went wrong.
            let _ = serving.await;
        })
        .detach();
    }
}

async fn serve_tcp(stream: TcpStream, shelf: Rc<Shelf>, tls: Tls) -> anyhow::Result<()> {
    let mut receiver = ChunkReceiver::new(stream);
    if let Some(tls) = tls {
        receiver = ws::tls::accept(receiver, &tls, HANDSHAKE_TIME_MAX).await?;
    }
    let mut sender = ChunkSender::new(receiver.stream());
    let mut pending = BytesMut::new();
    loop {
        while let Some(frame) = next_frame(&mut pending)? {
            let parts = shelf.answer(frame.freeze());
            sender.send(parts).await?;
        }
        let missing_bytes = match FrameStart::detect(&pending, limits::FRAME_BYTES_MAX) {
            FrameStart::Frame { frame_bytes } => frame_bytes - pending.len(),
            _ => 1,
        };
        if missing_bytes >= DIRECT_BYTES_MIN && !receiver.is_armed() {
            let mut buffer = std::mem::take(&mut pending);
            buffer.reserve(missing_bytes.min(RESERVE_BYTES_MAX.max(buffer.len())));
            receiver.arm_into(buffer, missing_bytes);
        }
        match receiver.recv().await? {
            Received::Chunk(chunk) if pending.is_empty() => pending = chunk.into_bytes_mut(),
            Received::Chunk(chunk) => pending.extend_from_slice(&chunk),
            Received::Buffer { buffer, .. } => pending = buffer,
            Received::End => return Ok(()),
        }
    }
}

/// Takes a whole frame from the front, if there is one.
fn next_frame(pending: &mut BytesMut) -> anyhow::Result<Option<BytesMut>> {
    match FrameStart::detect(pending, limits::FRAME_BYTES_MAX) {
        FrameStart::Frame { frame_bytes } if frame_bytes == pending.len() => {
            Ok(Some(std::mem::take(pending)))
        }
        FrameStart::Frame { frame_bytes } if frame_bytes < pending.len() => {
            Ok(Some(pending.split_to(frame_bytes)))
        }
        FrameStart::Frame { .. } | FrameStart::Incomplete { .. } => Ok(None),
        FrameStart::Legacy | FrameStart::Invalid(_) => anyhow::bail!("not the protocol"),
    }
}

async fn serve_websocket(stream: TcpStream, shelf: Rc<Shelf>, tls: Tls) -> anyhow::Result<()> {
    let mut config = ws::Config::new()
        .limits(|limits| limits.frame_bytes_max = wire::limits::FRAME_BYTES_MAX as u64)
        .message_bytes_max(wire::limits::FRAME_BYTES_MAX as u64);
    if let Some(tls) = tls {
        config = config.tls_server(tls);
    }
    let ws::Incoming::WebSocket { mut socket, .. } = ws::accept_with(stream, &config).await? else {
        anyhow::bail!("not a WebSocket");
    };
    loop {
        match socket.recv().await? {
            Message::Binary(payload) => {
                let parts = shelf.answer(payload.into_bytes());
                socket.send_parts(MessageKind::Binary, parts).await?;
            }
            Message::Close(_) => return Ok(()),
            _ => {}
        }
    }
}

/// A partition as this server knows it.
#[derive(Default)]
struct Partition {
    message_count: u64,
    /// The last batch that was sent.
    last: Bytes,
}

#[derive(Default)]
struct Shelf {
    partitions: RefCell<HashMap<(Bytes, u32), Partition>>,
}

impl Shelf {
    /// The parts of the reply to a whole frame.
    fn answer(&self, frame: Bytes) -> Vec<Bytes> {
        let Some((head, body)) = frame.split_first_chunk::<HEADER_BYTES>() else {
            return Vec::new();
        };
        let request = match RequestHeader::parse(head) {
            Ok(request) => request,
            Err((request, error)) => return vec![reply::failure(&request, error.status())],
        };
        let is_poll = request.operation == operation::NON_REPLICATED
            && request.code == codes::POLL_MESSAGES_CODE;
        let answered = match request.operation {
            operation::REGISTER => Ok(vec![reply::login(&request, 1, 1, "null")]),
            operation::SEND_MESSAGES => self.take(&request, &frame, body),
            _ if is_poll => self.serve(&request, &frame, body),
            _ => Ok(vec![reply::empty(&request)]),
        };
        answered.unwrap_or_else(|status| vec![reply::failure(&request, status)])
    }

    fn take(
        &self,
        request: &RequestHeader,
        frame: &Bytes,
        body: &[u8],
    ) -> Result<Vec<Bytes>, Status> {
        let sent = SendMessages::parse(body)?;
        let partition = match sent.partitioning {
            Partitioning::Partition(partition) => partition,
            _ => return Err(Status::PARTITION_NOT_FOUND),
        };
        let mut partitions = self.partitions.borrow_mut();
        let key = (name_of(frame, sent.stream)?, partition);
        if !partitions.contains_key(&key) {
            // Not a slice: it would keep the whole frame.
            let key = (Bytes::copy_from_slice(&key.0), partition);
            partitions.insert(key, Partition::default());
        }
        let place = partitions.get_mut(&key).ok_or(Status::ERROR)?;
        let base_offset = place.message_count;
        place.message_count += u64::from(sent.message_count);
        place.last = frame.slice(HEADER_BYTES + sent.batch.start..HEADER_BYTES + sent.batch.end);
        let reply = reply::send_messages(request, 0, 0, partition, base_offset);
        Ok(vec![Bytes::copy_from_slice(&reply)])
    }

    fn serve(
        &self,
        request: &RequestHeader,
        frame: &Bytes,
        body: &[u8],
    ) -> Result<Vec<Bytes>, Status> {
        let poll = PollMessages::parse(body)?;
        let partition = poll.partition.unwrap_or(0);
        let PollingStrategy::Offset(offset) = poll.strategy else {
            return Err(Status::FEATURE_UNAVAILABLE);
        };
        let partitions = self.partitions.borrow();
        let place = partitions.get(&(name_of(frame, poll.stream)?, partition));
        let Some(place) = place.filter(|place| offset < place.message_count) else {
            let head = reply::poll_messages_head(request, partition, 0, 0, 0);
            return Ok(vec![Bytes::copy_from_slice(&head)]);
        };
        let header =
            batch::BatchHeader::parse(&place.last).map_err(|_| Status::CANNOT_READ_MESSAGE)?;
        let current_offset = place.message_count - 1;
        let head = reply::poll_messages_head(
            request,
            partition,
            current_offset,
            header.message_count,
            place.last.len(),
        );
        let stamped = batch::BatchHeader {
            base_offset: offset,
            ..header
        };
        let mut front = BytesMut::with_capacity(head.len() + batch::BATCH_HEADER_BYTES);
        front.extend_from_slice(&head);
        front.extend_from_slice(&stamped.encode());
        Ok(vec![
            front.freeze(),
            place.last.slice(batch::BATCH_HEADER_BYTES..),
        ])
    }
}

/// The stream's name where it stands in the frame; the load names its streams.
fn name_of(frame: &Bytes, stream: Identifier<'_>) -> Result<Bytes, Status> {
    match stream {
        Identifier::Name(name) => Ok(frame.slice_ref(name.as_bytes())),
        Identifier::Number(_) => Err(Status::STREAM_ID_NOT_FOUND),
    }
}
