//! Ours, with the defaults of the library, as its echo example has them.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use compio_net::{TcpListener, TcpStream};
use ws::{Error, Message, MessageKind, PreparedMessage, Sender, WebSocket};

use super::{Failure, Outcome};

const ZERO_COPY_BYTES_MIN: usize = 4096;

pub(super) fn echo() -> Outcome {
    serve(|stream| async move {
        let mut socket = ws::accept(stream).await?;
        loop {
            match socket.recv().await {
                Ok(message) if message.is_data() => socket.send(message).await?,
                Ok(_) => {}
                Err(Error::Closed(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    })
}

/// Without copying into the kernel. The payload leaves the chunk that brought it, because a chunk
/// is not lent for as long as the peer takes to confirm.
pub(super) fn echo_zero_copy() -> Outcome {
    let config = Rc::new(ws::Config::new().zero_copy(ZERO_COPY_BYTES_MIN));
    serve(move |stream| {
        let config = config.clone();
        async move {
            let ws::Incoming::WebSocket { mut socket, .. } =
                ws::accept_with(stream, &config).await?
            else {
                return Err("no WebSocket".into());
            };
            loop {
                match socket.recv().await {
                    Ok(Message::Binary(payload)) => socket.send(payload.into_bytes()).await?,
                    Ok(_) => {}
                    Err(Error::Closed(_)) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    })
}

pub(super) fn broadcast() -> Outcome {
    let hub = Rc::new(RefCell::new(Vec::new()));
    serve(move |stream| {
        let hub = hub.clone();
        async move { subscribe(ws::accept(stream).await?, hub).await }
    })
}

async fn subscribe(mut socket: WebSocket, hub: Rc<RefCell<Vec<Sender>>>) -> Outcome {
    hub.borrow_mut().push(socket.sender());
    loop {
        match socket.recv().await {
            Ok(Message::Binary(payload)) => {
                let message = PreparedMessage::new(MessageKind::Binary, payload.into_bytes());
                // Nobody joins while a message is on its way: sending may wait.
                let subscribers = hub.take();
                for subscriber in &subscribers {
                    subscriber.send_prepared(&message).await?;
                }
                hub.borrow_mut().extend(subscribers);
            }
            Ok(_) => {}
            Err(Error::Closed(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

pub(super) fn serve<F>(connection: impl Fn(TcpStream) -> F) -> Outcome
where
    F: Future<Output = Outcome> + 'static,
{
    let (runtime, _) = ws::build_runtime(&ws::RuntimeOptions::default())?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(super::listen()?)?;
        loop {
            // Accepting is never cancelled: a dropped accept could swallow a connection.
            let (stream, _) = listener.accept().await?;
            let connection = connection(stream);
            compio_runtime::spawn(async move {
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
