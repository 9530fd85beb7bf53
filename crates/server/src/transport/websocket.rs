//! WebSocket: one binary message carries whole frames, a frame never straddles two messages.

use bytes::{Bytes, BytesMut};
use wire::iggy::frame::FrameStart;
use ws::{CloseCode, Message, MessageKind, WebSocket};

use super::{Ending, TransportError};

pub(crate) struct WebSocketTransport {
    socket: WebSocket,
    /// Frames of the last message that were not handed out yet.
    pending: BytesMut,
}

impl WebSocketTransport {
    pub(crate) fn new(socket: WebSocket) -> Self {
        Self {
            socket,
            pending: BytesMut::new(),
        }
    }

    pub(crate) async fn recv(
        &mut self,
        frame_bytes_max: usize,
    ) -> Result<BytesMut, TransportError> {
        while self.pending.is_empty() {
            match self.socket.recv().await? {
                Message::Binary(payload) => self.pending = payload.into_bytes_mut(),
                Message::Text(_) => return Err(TransportError::NotBinary),
                // The library answers pings and closes by itself.
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(_) => return Err(TransportError::Closed),
            }
        }
        match FrameStart::detect(&self.pending, frame_bytes_max) {
            FrameStart::Frame { frame_bytes } if frame_bytes == self.pending.len() => {
                Ok(std::mem::take(&mut self.pending))
            }
            FrameStart::Frame { frame_bytes } if frame_bytes < self.pending.len() => {
                Ok(self.pending.split_to(frame_bytes))
            }
            FrameStart::Frame { .. } | FrameStart::Incomplete { .. } => {
                Err(TransportError::Straddles)
            }
            FrameStart::Legacy => Err(TransportError::Legacy),
            FrameStart::Invalid(error) => Err(TransportError::Malformed(error)),
        }
    }

    pub(crate) async fn send(&mut self, parts: Vec<Bytes>) -> Result<(), TransportError> {
        Ok(self.socket.send_parts(MessageKind::Binary, parts).await?)
    }

    pub(crate) async fn close(mut self, ending: Ending) {
        let (code, reason) = match ending {
            Ending::Normal => (CloseCode::NORMAL, "session over"),
            Ending::GoingAway => (CloseCode::GOING_AWAY, "server stops"),
            Ending::ProtocolError => (CloseCode::POLICY_VIOLATION, "not a frame of the protocol"),
            // RFC 6455 §7.4.1: data of a kind that this endpoint cannot accept.
            Ending::NotBinary => (CloseCode::UNSUPPORTED_DATA, "frames are binary"),
        };
        if let Err(error) = self.socket.close(code, reason).await {
            tracing::debug!(%error, "a WebSocket did not close in order");
        }
    }
}
