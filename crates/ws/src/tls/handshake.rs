//! The TLS handshake over a receiver and its stream.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use compio_runtime::time::timeout_at;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};

use super::{Filter, TlsError};
use crate::accept::{close_slowly, write};
use crate::error::{Error, Handshake};
use crate::limits;
use crate::receiver::{ChunkReceiver, Received};
use crate::writer::Writer;

/// What a client that spoke HTTP is told, in its own words.
const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nContent-Length: 39\r\n\r\n\
    this port speaks TLS: use https or wss\n";

/// Bytes by which an HTTP request is told from TLS, whose first byte is 22.
const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"CONNECT ",
    b"PATCH ",
    b"PRI ",
];

/// Makes the stream of `receiver` encrypted, as its server, within `time`.
///
/// # Errors
/// When the client does not agree in time. It was told why by an alert; the stream closes in the
/// background.
pub async fn accept(
    receiver: ChunkReceiver,
    config: &Arc<ServerConfig>,
    time: Duration,
) -> Result<ChunkReceiver, Error> {
    let connection = UnbufferedServerConnection::new(config.clone()).map_err(TlsError::Protocol)?;
    shake_hands(receiver, Filter::server(connection), Instant::now() + time).await
}

/// Makes the stream of `receiver` encrypted, as a client that wants to speak to `host` (a name or
/// an address, without port), within `time`.
///
/// # Errors
/// When the server does not agree in time or cannot prove that it is `host`.
pub async fn connect(
    receiver: ChunkReceiver,
    config: &Arc<ClientConfig>,
    host: &str,
    time: Duration,
) -> Result<ChunkReceiver, Error> {
    let alpn = config.alpn_protocols.clone();
    connect_until(receiver, config, host, alpn, Instant::now() + time).await
}

pub(crate) async fn accept_until(
    receiver: ChunkReceiver,
    config: &Arc<ServerConfig>,
    deadline: Instant,
) -> Result<ChunkReceiver, Error> {
    let connection = UnbufferedServerConnection::new(config.clone()).map_err(TlsError::Protocol)?;
    shake_hands(receiver, Filter::server(connection), deadline).await
}

pub(crate) async fn connect_until(
    receiver: ChunkReceiver,
    config: &Arc<ClientConfig>,
    host: &str,
    alpn: Vec<Vec<u8>>,
    deadline: Instant,
) -> Result<ChunkReceiver, Error> {
    let name = server_name(host)?;
    let connection = UnbufferedClientConnection::new_with_alpn(config.clone(), name, alpn)
        .map_err(TlsError::Protocol)?;
    shake_hands(receiver, Filter::client(connection), deadline).await
}

fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .filter(|host| host.parse::<Ipv6Addr>().is_ok())
        .unwrap_or(host);
    ServerName::try_from(host.to_owned())
        .map_err(|_| TlsError::Setup(format!("{host} is no name that a certificate can prove")))
}

async fn shake_hands(
    mut receiver: ChunkReceiver,
    filter: Filter,
    deadline: Instant,
) -> Result<ChunkReceiver, Error> {
    // The receive lives in the receiver: nothing in flight is dropped with this future.
    let result = match timeout_at(deadline, exchange(&mut receiver, &filter, deadline)).await {
        Ok(result) => result,
        Err(_) => Err(Handshake::TimedOut.into()),
    };
    match result {
        Ok(()) => {
            receiver.encrypt(filter);
            Ok(receiver)
        }
        Err(error) => {
            say_why(&receiver, &filter, &error).await;
            close_slowly(receiver);
            Err(error)
        }
    }
}

async fn exchange(
    receiver: &mut ChunkReceiver,
    filter: &Filter,
    deadline: Instant,
) -> Result<(), Error> {
    let mut writer = Writer::plain(receiver.stream());
    let mut first_bytes = true;
    filter.begin();
    loop {
        while let Some(sealed) = filter.seal()? {
            let left = deadline.saturating_duration_since(Instant::now());
            write(&mut writer, sealed, left).await?;
        }
        if let Some(failure) = filter.failure() {
            return Err(failure.into());
        }
        if filter.is_established() {
            return Ok(());
        }
        match receiver.recv_plain().await? {
            Received::Chunk(chunk) if first_bytes && filter.is_server() && is_http(&chunk) => {
                return Err(TlsError::PlainHttp.into());
            }
            Received::Chunk(mut chunk) => filter.open(&mut chunk),
            Received::Buffer { .. } => unreachable!("no buffer was given"),
            Received::End => filter.end(),
        }
        first_bytes = false;
    }
}

fn is_http(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| bytes.starts_with(method))
}

/// Sends the alert of a failed handshake, or its counterpart in HTTP.
async fn say_why(receiver: &ChunkReceiver, filter: &Filter, error: &Error) {
    let bytes = match error {
        Error::Tls(TlsError::PlainHttp) => BytesMut::from(PLAIN_HTTP_ANSWER),
        _ => match filter.seal() {
            Ok(Some(alert)) => alert,
            _ => return,
        },
    };
    let mut writer = Writer::plain(receiver.stream());
    // The peer may be gone; there is nobody to tell.
    let _ = write(&mut writer, bytes, limits::REFUSAL_TIME_MAX).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_has_the_length_that_it_announces() {
        let text = String::from_utf8_lossy(PLAIN_HTTP_ANSWER);
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(
            head.ends_with(&format!("Content-Length: {}", body.len())),
            "{text}"
        );
    }

    #[test]
    fn names_and_addresses_can_be_proved_and_nothing_else() {
        for host in ["localhost", "a.example", "127.0.0.1", "::1", "[::1]"] {
            assert!(server_name(host).is_ok(), "{host}");
        }
        for host in ["", "a b", "[localhost]", "a..b"] {
            assert!(
                matches!(server_name(host), Err(TlsError::Setup(_))),
                "{host}"
            );
        }
    }
}
