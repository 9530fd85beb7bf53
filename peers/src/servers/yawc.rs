//! yawc behind our own handshake, so that its HTTP library is not in the way.

use futures_util::StreamExt;
use futures_util::stream::Map;
use tokio::net::TcpStream;
use yawc::{Frame, Options, Role, WebSocket, WebSocketError};

use super::{Failure, Outcome, handshake, on_tokio};

/// yawc wants room for a frame's header beside the payload.
const BUFFER_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;
const MESSAGE_BYTES_MAX: usize = 64 << 20;

pub(super) fn echo() -> Outcome {
    on_tokio::serve(|stream| async move { on_tokio::echo(accept(stream).await?, is_data).await })
}

pub(super) fn echo_batch() -> Outcome {
    on_tokio::serve(
        |stream| async move { on_tokio::echo_batch(accept(stream).await?, is_data).await },
    )
}

type Socket = Map<WebSocket<TcpStream>, fn(Frame) -> Result<Frame, WebSocketError>>;

/// Its stream ends with an error instead of giving it.
async fn accept(mut stream: TcpStream) -> Result<Socket, Failure> {
    handshake::answer(&mut stream).await?;
    let options = Options::default().with_limits(MESSAGE_BYTES_MAX, BUFFER_BYTES_MAX);
    let socket = WebSocket::from_stream(stream, Role::Server, options)?;
    Ok(socket.map(Ok))
}

fn is_data(frame: &Frame) -> bool {
    !frame.opcode().is_control()
}
