//! tokio-websockets with its defaults: frames of at most 4 MiB, messages of at most 64 MiB.

use tokio_websockets::{Message, ServerBuilder};

use super::broadcast::{Hub, subscribe};
use super::{Outcome, on_tokio};

pub(super) fn echo() -> Outcome {
    on_tokio::serve(|stream| async move {
        let (_, socket) = ServerBuilder::new().accept(stream).await?;
        on_tokio::echo(socket, is_data).await
    })
}

pub(super) fn broadcast() -> Outcome {
    let hub = Hub::new();
    on_tokio::serve(move |stream| {
        let hub = hub.clone();
        async move {
            let (_, socket) = ServerBuilder::new().accept(stream).await?;
            subscribe(socket, hub, is_data).await
        }
    })
}

fn is_data(message: &Message) -> bool {
    message.is_binary() || message.is_text()
}
