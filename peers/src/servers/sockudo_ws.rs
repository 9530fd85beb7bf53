//! sockudo-ws with its native methods for compio.

use sockudo_ws::compio::accept_async;
use sockudo_ws::{Config, Message};

use super::{Outcome, on_compio};

pub(super) fn echo() -> Outcome {
    on_compio::serve(|stream| async move {
        let (mut socket, _) = accept_async(stream, Config::default()).await?;
        while let Some(message) = socket.next().await {
            match message? {
                message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await?,
                Message::Close(_) => return Ok(()),
                _ => {}
            }
        }
        Ok(())
    })
}
