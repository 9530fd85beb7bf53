//! Our bridge: tungstenite on a blocking-style stream over compio, with buffers of a fixed size
//! and with buffers that grow.

use ws::bridge::tungstenite::{Error, Message};
use ws::bridge::{BridgeWebSocket, Capacity};

use super::{Outcome, weir_ws};

pub(super) fn echo_fixed() -> Outcome {
    echo(Capacity::FIXED)
}

pub(super) fn echo_growable() -> Outcome {
    echo(Capacity::GROWABLE)
}

fn echo(capacity: Capacity) -> Outcome {
    weir_ws::serve(move |stream| async move {
        let mut socket = BridgeWebSocket::accept(stream, capacity).await?;
        loop {
            match socket.recv().await {
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                    socket.send(message).await?;
                }
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    })
}
