//! compio-ws: tungstenite over a synchronous stream of compio.

use compio_ws::accept_async;
use compio_ws::tungstenite::{Error, Message};

use super::{Outcome, on_compio};

pub(super) fn echo() -> Outcome {
    on_compio::serve(|stream| async move {
        let mut socket = accept_async(stream).await?;
        loop {
            match socket.read().await {
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
