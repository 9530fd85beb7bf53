//! tokio-tungstenite, with its default read buffer of 128 KiB per connection and with 4 KiB.

use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::broadcast::{Hub, subscribe};
use super::{Outcome, on_tokio};

const SMALL_BUFFER_BYTES: usize = 4096;

pub(super) fn echo() -> Outcome {
    on_tokio::serve(|stream| async move {
        let socket = accept_async_with_config(stream, None).await?;
        on_tokio::echo(socket, is_data).await
    })
}

pub(super) fn echo_small_buffer() -> Outcome {
    on_tokio::serve(|stream| async move {
        let config = WebSocketConfig::default().read_buffer_size(SMALL_BUFFER_BYTES);
        let socket = accept_async_with_config(stream, Some(config)).await?;
        on_tokio::echo(socket, is_data).await
    })
}

pub(super) fn echo_batch() -> Outcome {
    on_tokio::serve(|stream| async move {
        let socket = accept_async_with_config(stream, None).await?;
        on_tokio::echo_batch(socket, is_data).await
    })
}

pub(super) fn broadcast() -> Outcome {
    let hub = Hub::new();
    on_tokio::serve(move |stream| {
        let hub = hub.clone();
        async move {
            let socket = accept_async_with_config(stream, None).await?;
            subscribe(socket, hub, is_data).await
        }
    })
}

fn is_data(message: &Message) -> bool {
    message.is_binary() || message.is_text()
}
