//! The client's opening handshake.

use std::time::Instant;

use bytes::BytesMut;
use compio_net::TcpStream;
use compio_runtime::time::timeout_at;
use ws_proto::Connection;
use ws_proto::handshake::{ClientAccepted, ClientHandshake, ClientOptions, ClientVerdict};

use crate::accept::write;
use crate::config::Config;
use crate::error::{Error, Handshake};
use crate::masking;
use crate::receiver::{ChunkReceiver, Received};
use crate::stream::Stream;
use crate::websocket::WebSocket;
use crate::writer::Writer;

/// Opens a WebSocket to `url`, such as `ws://127.0.0.1:8092/path?query`, with the default options.
///
/// # Errors
/// As [`connect_with`].
pub async fn connect(url: &str) -> Result<WebSocket, Error> {
    connect_with(url, &Config::default()).await
}

/// Opens a WebSocket to `url`, such as `ws://127.0.0.1:8092/path?query`.
///
/// # Errors
/// When the URL is not understood, the server cannot be reached or does not agree, or it takes
/// longer than the handshake limit.
pub async fn connect_with(url: &str, config: &Config) -> Result<WebSocket, Error> {
    let url = Url::parse(url)?;
    let deadline = Instant::now() + config.handshake_time();
    let connected = timeout_at(deadline, TcpStream::connect((url.host_name, url.port))).await;
    let stream = connected.map_err(|_| Handshake::TimedOut)??;
    open(stream.into(), url.host, url.target, config, deadline).await
}

/// Opens a WebSocket as the client of a stream that is connected already. `host` and `target`
/// (path and query) are what the request names.
///
/// # Errors
/// As [`connect_with`].
pub async fn client_with(
    stream: impl Into<Stream>,
    host: &str,
    target: &str,
    config: &Config,
) -> Result<WebSocket, Error> {
    let deadline = Instant::now() + config.handshake_time();
    open(stream.into(), host, target, config, deadline).await
}

async fn open(
    stream: Stream,
    host: &str,
    target: &str,
    config: &Config,
    deadline: Instant,
) -> Result<WebSocket, Error> {
    let mut options = ClientOptions::new(host, target);
    options.subprotocols = config.subprotocols.clone();
    options.headers = config.headers.clone();
    options.limits = config.handshake;
    #[cfg(feature = "deflate")]
    {
        options.deflate = config.deflate;
    }
    let mut nonce = [0; 16];
    masking::fill_random(&mut nonce);
    let mut handshake = ClientHandshake::new(options, nonce).map_err(Handshake::from)?;

    stream.set_no_delay()?;
    let mut receiver = ChunkReceiver::new(stream);
    let mut writer = Writer::new(receiver.stream().shared_fd());
    let time = deadline.saturating_duration_since(Instant::now());
    write(&mut writer, handshake.request().into(), time).await?;

    let mut received = BytesMut::new();
    // The receive lives in the receiver: nothing in flight is dropped with this future.
    let answer = read_answer(&mut receiver, &mut handshake, &mut received);
    let answer = timeout_at(deadline, answer).await;
    let accepted = answer.map_err(|_| Handshake::TimedOut)??;
    let leftover = received.split_off(accepted.response.head_bytes());
    let protocol = config.agreed(
        #[cfg(feature = "deflate")]
        accepted.deflate,
    );
    let core = Connection::client(protocol, masking::masking_key);
    Ok(WebSocket::start(
        core,
        receiver,
        writer,
        leftover,
        accepted.subprotocol,
    ))
}

async fn read_answer(
    receiver: &mut ChunkReceiver,
    handshake: &mut ClientHandshake,
    received: &mut BytesMut,
) -> Result<Box<ClientAccepted>, Error> {
    loop {
        match receiver.recv().await? {
            Received::Chunk(chunk) => received.extend_from_slice(&chunk),
            Received::Buffer { .. } => unreachable!("no buffer was given"),
            Received::End => return Err(Handshake::Ended.into()),
        }
        match handshake.handle_bytes(received).map_err(Handshake::from)? {
            ClientVerdict::Incomplete => {}
            ClientVerdict::Accepted(accepted) => return Ok(accepted),
            ClientVerdict::Refused(response) => {
                return Err(Handshake::NotUpgraded(response).into());
            }
        }
    }
}

/// The parts of a `ws://` URL (RFC 6455 §3).
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    /// As it stands in the URL, with its port if it has one: the value of `Host`.
    host: &'a str,
    /// To be looked up; without the brackets of an IPv6 address.
    host_name: &'a str,
    port: u16,
    target: &'a str,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Result<Self, Handshake> {
        let invalid = Handshake::InvalidUrl;
        let scheme = url
            .get(..5)
            .ok_or(invalid("it does not begin with ws://"))?;
        if !scheme.eq_ignore_ascii_case("ws://") {
            return Err(invalid("it does not begin with ws://"));
        }
        let rest = &url[5..];
        // RFC 6455 §3: a fragment has no meaning and must not be there.
        if rest.contains('#') {
            return Err(invalid("it has a fragment"));
        }
        let host_end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, target) = rest.split_at(host_end);
        let target = match target {
            "" => "/",
            target if target.starts_with('/') => target,
            _ => return Err(invalid("its query has no path before it")),
        };
        if host.contains('@') {
            return Err(invalid(
                "it has a user name, which would be sent in the clear",
            ));
        }
        let (host_name, port) = match host.strip_prefix('[') {
            Some(rest) => {
                let (name, after) = rest
                    .split_once(']')
                    .ok_or(invalid("its bracket is not closed"))?;
                (
                    name,
                    after.strip_prefix(':').or(after.is_empty().then_some("80")),
                )
            }
            None => match host.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (host, Some("80")),
            },
        };
        let port = port.and_then(|port| port.parse().ok());
        let port = port
            .filter(|&port| port > 0)
            .ok_or(invalid("its port is no number"))?;
        if host_name.is_empty() {
            return Err(invalid("it has no host"));
        }
        Ok(Url {
            host,
            host_name,
            port,
            target,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: (&str, &str, u16, &str)) {
        let (host, host_name, port, target) = expected;
        let parsed = Url::parse(url).expect(url);
        assert_eq!(
            parsed,
            Url {
                host,
                host_name,
                port,
                target
            }
        );
    }

    /// RFC 6455 §3.
    #[test]
    fn urls_are_taken_apart() {
        check("ws://example.com", ("example.com", "example.com", 80, "/"));
        check("WS://example.com/", ("example.com", "example.com", 80, "/"));
        check(
            "ws://h:8092/chat?a=b/c",
            ("h:8092", "h", 8092, "/chat?a=b/c"),
        );
        check("ws://[::1]:9001/x", ("[::1]:9001", "::1", 9001, "/x"));
        check("ws://[::1]", ("[::1]", "::1", 80, "/"));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        let wrong = [
            "",
            "ws",
            "ws://",
            "http://h/",
            "ws://h/#x",
            "ws://h:0/",
            "ws://h:65536/",
            "ws://h:x/",
            "ws://:80/",
            "ws://[::1/",
            "ws://[::1]80/",
            "ws://user@h/",
            "ws://h?q",
            "wsé://h",
        ];
        for url in wrong {
            assert!(
                matches!(Url::parse(url), Err(Handshake::InvalidUrl(_))),
                "{url}"
            );
        }
    }
}
