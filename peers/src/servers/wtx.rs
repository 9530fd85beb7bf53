//! wtx behind our own handshake (its own one needs a cryptography provider), with payloads
//! borrowed from the network buffer.

use wtx::collection::Vector;
use wtx::rng::Xorshift64;
use wtx::web_socket::{Frame, OpCode, WebSocket, WebSocketBuffer, WebSocketPayloadOrigin};

use super::{Outcome, handshake, on_tokio};

pub(super) fn echo() -> Outcome {
    on_tokio::serve(|mut stream| async move {
        handshake::answer(&mut stream).await?;
        // A server masks nothing: the seed is not used.
        let random = Xorshift64::new(1);
        let mut socket: WebSocket<(), _, _, _, false> =
            WebSocket::new((), false, random, stream, WebSocketBuffer::new());
        let mut buffer = Vector::new();
        let (mut common, mut reader, mut writer) = socket.split_mut();
        loop {
            buffer.clear();
            let mut frame = reader
                .read_frame(&mut buffer, &mut common, WebSocketPayloadOrigin::Adaptive)
                .await?;
            match frame.op_code() {
                OpCode::Close => return Ok(()),
                OpCode::Text | OpCode::Binary => {
                    let mut echo = Frame::new_fin(frame.op_code(), &mut **frame.payload_mut());
                    writer.write_frame(&mut common, &mut echo).await?;
                }
                _ => {}
            }
        }
    })
}
