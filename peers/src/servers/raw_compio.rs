//! TCP echo on compio, with the runtime that our library builds: what its operations and
//! scheduler cost without frames.

use compio_buf::{BufResult, IntoInner, IoBufExt};
use compio_io::{AsyncRead, AsyncWriteExt};
use compio_net::{TcpListener, TcpStream};

use super::{Failure, Outcome};
use crate::limits;

pub(super) fn echo() -> Outcome {
    let (runtime, _) = ws::build_runtime(&ws::RuntimeOptions::default())?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(super::listen()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            compio_runtime::spawn(async move {
                if let Err(error) = serve(stream).await {
                    eprintln!("{error}");
                }
            })
            .detach();
        }
        #[expect(unreachable_code, reason = "gives the block its type")]
        Ok::<(), Failure>(())
    })
}

async fn serve(mut stream: TcpStream) -> Outcome {
    let mut buffer = Vec::with_capacity(limits::RAW_BUFFER_BYTES);
    loop {
        buffer.clear();
        let BufResult(read_bytes, filled) = stream.read(buffer).await;
        let read_bytes = read_bytes?;
        if read_bytes == 0 {
            return Ok(());
        }
        let BufResult(written, slice) = stream.write_all(filled.slice(..read_bytes)).await;
        written?;
        buffer = slice.into_inner();
    }
}
