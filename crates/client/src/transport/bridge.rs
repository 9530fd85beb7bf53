//! A WebSocket through tungstenite: what the native path is measured against.

use bytes::{Bytes, BytesMut};
use ws::ChunkReceiver;
use ws::bridge::tungstenite::{self, Message};
use ws::bridge::{BridgeWebSocket, Capacity};

use crate::error::Error;

pub(crate) struct Bridge {
    socket: BridgeWebSocket,
}

impl Bridge {
    pub(crate) async fn open(receiver: ChunkReceiver, host: &str) -> Result<Self, Error> {
        // Of the URL only host and path matter: the receiver is encrypted or it is not.
        let url = format!("ws://{host}/");
        let socket = BridgeWebSocket::client(&url, receiver, Capacity::GROWABLE).await;
        Ok(Self {
            socket: socket.map_err(failed)?,
        })
    }

    /// Sends one message; tungstenite takes it as one piece, so head and body are joined.
    pub(crate) async fn send(&mut self, head: Bytes, body: Option<Bytes>) -> Result<(), Error> {
        let message = match body {
            None => head,
            Some(body) => {
                let mut joined = BytesMut::with_capacity(head.len() + body.len());
                joined.extend_from_slice(&head);
                joined.extend_from_slice(&body);
                joined.freeze()
            }
        };
        let sent = self.socket.send(Message::Binary(message)).await;
        sent.map_err(failed)
    }

    pub(crate) async fn recv(&mut self) -> Result<Bytes, Error> {
        loop {
            match self.socket.recv().await.map_err(failed)? {
                Message::Binary(frame) => return Ok(frame),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                Message::Text(_) => return Err(Error::Protocol("a text message")),
                Message::Close(_) => return Err(Error::Closed),
            }
        }
    }

    pub(crate) async fn close(mut self) -> Result<(), Error> {
        self.socket.close(None).await.map_err(failed)
    }
}

fn failed(error: tungstenite::Error) -> Error {
    match error {
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => Error::Closed,
        tungstenite::Error::Io(error) => Error::Io(error),
        error => Error::Io(std::io::Error::other(error)),
    }
}
