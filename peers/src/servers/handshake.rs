//! The server's side of the opening handshake (RFC 6455 §4.2) for libraries that leave it to an
//! HTTP library: just enough to answer the load generator.

use std::io;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::limits;

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_HEADER: &str = "sec-websocket-key:";

/// Reads the request and answers it. The load generator sends nothing before the answer, so
/// nothing follows the request.
pub(super) async fn answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if request.len() > limits::HANDSHAKE_BYTES_MAX || stream.read_buf(&mut request).await? == 0
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let request = String::from_utf8_lossy(&request);
    let key = request
        .lines()
        .find_map(|line| {
            let name = line.get(..KEY_HEADER.len())?;
            name.eq_ignore_ascii_case(KEY_HEADER)
                .then(|| line[KEY_HEADER.len()..].trim())
        })
        .ok_or(io::ErrorKind::InvalidData)?;
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID.as_bytes());
    let accept = BASE64_STANDARD.encode(hash.digest().bytes());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(response.as_bytes()).await
}
