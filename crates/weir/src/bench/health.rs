//! What a server counts of itself beyond the protocol: `/health` on its WebSocket port.
//!
//! Weir has it. Of a server that has not, or has another one, nothing is known, and its figures
//! are left out.

use std::time::Duration;

use client::Address;
use compio_net::TcpStream;
use compio_runtime::time::timeout;
use serde_json::Value;
use ws::{ChunkReceiver, ChunkSender, Received};

/// A server that takes longer has none.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// What is longer is another page.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Syncs of all logs since the server started; `address` is that of its WebSocket port.
pub(crate) async fn log_syncs(address: &Address) -> Option<u64> {
    let asking = ask(address);
    let answer = timeout(ANSWER_TIME_MAX, asking).await.ok()?.ok()?;
    syncs_of(&answer)
}

async fn ask(address: &Address) -> Result<Vec<u8>, ws::Error> {
    let (host, port) = (address.host.as_str(), address.port);
    let mut receiver = ChunkReceiver::new(TcpStream::connect((host, port)).await?);
    if let Some(tls) = &address.tls {
        let tls = tls.config()?;
        receiver = ws::tls::connect(receiver, &tls, address.name(), ANSWER_TIME_MAX).await?;
    }
    let name = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let request = format!("GET /health HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    let mut sender = ChunkSender::new(receiver.stream());
    sender.send(vec![request.into()]).await?;
    let mut answer = Vec::new();
    while let Received::Chunk(chunk) = receiver.recv().await? {
        answer.extend_from_slice(&chunk);
        if answer.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(answer)
}

fn syncs_of(answer: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return None;
    }
    let health: Value = serde_json::from_str(body).ok()?;
    health["metrics"]["log_syncs_total"].as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_that_counts_syncs_is_understood() {
        let page = |head: &str, body: &str| syncs_of(format!("{head}\r\n\r\n{body}").as_bytes());
        let health = "{\"metrics\":{\"log_syncs_total\":7}}";
        assert_eq!(page("HTTP/1.1 200 OK\r\nX: y", health), Some(7));
        assert_eq!(page("HTTP/1.1 404 Not Found", health), None);
        assert_eq!(page("HTTP/1.1 200 OK", "{\"status\":\"ok\"}"), None);
        assert_eq!(page("HTTP/1.1 200 OK", "<html>"), None);
        assert_eq!(syncs_of(b"\xff\xff"), None);
    }
}
