//! TCP echo on tokio: what its sockets and scheduler cost without frames.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Outcome, on_tokio};
use crate::limits;

pub(super) fn echo() -> Outcome {
    on_tokio::serve(|mut stream| async move {
        // Not zeroed: pages that nothing was received into cost no memory.
        let mut buffer = Vec::with_capacity(limits::RAW_BUFFER_BYTES);
        loop {
            buffer.clear();
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            stream.write_all(&buffer).await?;
        }
    })
}
