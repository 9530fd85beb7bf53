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
/// `wss://` is TLS, where the feature `tls` is enabled.
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
    let receiver = ChunkReceiver::new(stream);
    receiver.stream().set_no_delay()?;
    #[cfg(feature = "tls")]
    let receiver = match url.is_secure {
        true => encrypt(receiver, url.host_name, config, deadline).await?,
        false => receiver,
    };
    open(receiver, url.host, url.target, config, deadline).await
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
    let receiver = ChunkReceiver::new(stream);
    receiver.stream().set_no_delay()?;
    open(receiver, host, target, config, deadline).await
}

/// [`client_with`] over TLS: the server must prove that it is `host`, whose port is left out of
/// that.
///
/// # Errors
/// As [`connect_with`].
#[cfg(feature = "tls")]
pub async fn client_tls_with(
    stream: impl Into<Stream>,
    host: &str,
    target: &str,
    config: &Config,
) -> Result<WebSocket, Error> {
    let deadline = Instant::now() + config.handshake_time();
    let (name, _) = split_host(host, true)?;
    let receiver = ChunkReceiver::new(stream);
    receiver.stream().set_no_delay()?;
    let receiver = encrypt(receiver, name, config, deadline).await?;
    open(receiver, host, target, config, deadline).await
}

#[cfg(feature = "tls")]
async fn encrypt(
    receiver: ChunkReceiver,
    name: &str,
    config: &Config,
    deadline: Instant,
) -> Result<ChunkReceiver, Error> {
    let tls = match &config.tls_client {
        Some(tls) => tls.clone(),
        None => crate::tls::client_config_with_platform_roots()?,
    };
    let alpn = match tls.alpn_protocols.as_slice() {
        // A server for several protocols is told which one this is.
        [] => vec![crate::tls::ALPN_HTTP.to_vec()],
        chosen => chosen.to_vec(),
    };
    crate::tls::connect_until(receiver, &tls, name, alpn, deadline).await
}

async fn open(
    mut receiver: ChunkReceiver,
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

    let mut writer = Writer::new(receiver.stream());
    config
        .zero_copy_bytes_min
        .into_iter()
        .for_each(|bytes_min| writer.set_zero_copy(bytes_min));
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

/// The parts of a `ws://` or `wss://` URL (RFC 6455 §3).
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    is_secure: bool,
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
        let (scheme, rest) = url
            .split_once("://")
            .ok_or(invalid("it does not begin with ws:// or wss://"))?;
        let is_secure = scheme.eq_ignore_ascii_case("wss");
        if !is_secure && !scheme.eq_ignore_ascii_case("ws") {
            return Err(invalid("it does not begin with ws:// or wss://"));
        }
        if is_secure && !cfg!(feature = "tls") {
            return Err(invalid("wss:// needs the feature tls of this library"));
        }
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
            return Err(invalid("it has a user name, which has no meaning here"));
        }
        let (host_name, port) = split_host(host, is_secure)?;
        Ok(Url {
            is_secure,
            host,
            host_name,
            port,
            target,
        })
    }
}

/// Name or address, and port, of what a `Host` header says.
fn split_host(host: &str, is_secure: bool) -> Result<(&str, u16), Handshake> {
    let invalid = Handshake::InvalidUrl;
    let default_port = if is_secure { "443" } else { "80" };
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (name, after) = rest
                .split_once(']')
                .ok_or(invalid("its bracket is not closed"))?;
            let port = after
                .strip_prefix(':')
                .or(after.is_empty().then_some(default_port));
            (name, port)
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, Some(default_port)),
        },
    };
    let port = port.and_then(|port| port.parse().ok());
    let port = port
        .filter(|&port| port > 0)
        .ok_or(invalid("its port is no number"))?;
    if name.is_empty() {
        return Err(invalid("it has no host"));
    }
    Ok((name, port))
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
                is_secure: parsed.is_secure,
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
