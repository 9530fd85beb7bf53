//! TCP echo on tokio: what its sockets and scheduler cost without frames.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Outcome, on_tokio};
use crate::limits;

pub(super) fn echo() -> Outcome {
    on_tokio::serve(|mut stream| async move {
        let mut buffer = vec![0; limits::RAW_BUFFER_BYTES];
        loop {
            let read_bytes = stream.read(&mut buffer).await?;
            if read_bytes == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..read_bytes]).await?;
        }
    })
}
