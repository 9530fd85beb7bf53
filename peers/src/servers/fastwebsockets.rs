//! fastwebsockets behind our own handshake, with the collector that makes messages of frames.

use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket};

use super::{Outcome, handshake, on_tokio};

pub(super) fn echo() -> Outcome {
    on_tokio::serve(|mut stream| async move {
        handshake::answer(&mut stream).await?;
        let mut socket = FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server));
        loop {
            let frame = socket.read_frame().await?;
            match frame.opcode {
                OpCode::Close => return Ok(()),
                OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
                _ => {}
            }
        }
    })
}
