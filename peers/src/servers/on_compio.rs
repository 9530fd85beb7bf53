//! What the peers on compio share: one thread with the same proactor options as ours, one task
//! per connection.

use std::future::Future;

use compio::driver::ProactorBuilder;
use compio::net::{TcpListener, TcpStream};
use compio::runtime::RuntimeBuilder;

use super::{Failure, Outcome};

pub(super) fn serve<F>(connection: impl Fn(TcpStream) -> F) -> Outcome
where
    F: Future<Output = Outcome> + 'static,
{
    let mut proactor = ProactorBuilder::new();
    proactor
        .capacity(ws::limits::QUEUE_ENTRIES_DEFAULT)
        .cqsize(ws::limits::COMPLETION_ENTRIES_DEFAULT)
        .single_issuer(true)
        .defer_taskrun(true)
        .taskrun_flag(true);
    let runtime = RuntimeBuilder::new().with_proactor(proactor).build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(super::listen()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let connection = connection(stream);
            compio::runtime::spawn(async move {
                if let Err(error) = connection.await {
                    eprintln!("{error}");
                }
            })
            .detach();
        }
        #[expect(unreachable_code, reason = "gives the block its type")]
        Ok::<(), Failure>(())
    })
}
