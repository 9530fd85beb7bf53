//! A panic on behalf of one connection ends that one and none beside it.

mod support;

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use support::{accept, joined, listen, on_each_driver, raw};
use ws::{CloseCode, Config, Error, Message};

/// A user's waker that panics the first time that it is woken.
#[derive(Default)]
struct Broken {
    wakes_count: AtomicUsize,
}

impl Wake for Broken {
    fn wake(self: Arc<Self>) {
        if self.wakes_count.fetch_add(1, Ordering::Relaxed) == 0 {
            panic!("on purpose: this waker is broken");
        }
    }
}

/// Reads a short frame of a server; a server that has stopped serving is not waited for.
fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let patience = Duration::from_secs(30);
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    let mut header = [0; 2];
    stream.read_exact(&mut header).expect("a frame");
    let mut payload = vec![0; header[1].into()];
    stream.read_exact(&mut payload).expect("its payload");
    (header[0], payload)
}

/// One task looks after all connections of a thread: their clocks, and what was queued without
/// anybody waiting. It wakes users, and their wakers may do anything.
#[test]
fn a_panic_for_one_connection_leaves_the_clocks_and_writes_of_others() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let mute = raw::websocket(&url, |mut stream| {
            // However it ends, it ends.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let idle = Config::new().keep_alive(None, Some(Duration::from_millis(50)));
        let mut failing = accept(&listener, &idle).await;

        let (told, tell) = std::sync::mpsc::channel();
        let lively = raw::websocket(&url, move |mut stream| {
            let late = loop {
                match read_frame(&mut stream) {
                    (0x81, payload) => break payload,
                    (first, _) => assert_eq!(first, 0x89, "neither a ping nor the message"),
                }
            };
            assert_eq!(late, b"late");
            told.send(()).expect("awaited");
            // Each answer is followed by the next ping only if the clock goes on.
            for _ in 0..3 {
                stream.write_all(&raw::frame(0x8a, b"")).expect("write");
                while read_frame(&mut stream).0 != 0x89 {}
            }
            stream
                .write_all(&raw::frame(0x88, &[3, 0xe8]))
                .expect("write");
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let pinging = Config::new().keep_alive(Some(Duration::from_millis(20)), None);
        let mut going_on = accept(&listener, &pinging).await;

        let broken = Arc::new(Broken::default());
        let waker = Waker::from(broken.clone());
        let poll = failing.poll_recv(&mut Context::from_waker(&waker));
        assert!(poll.is_pending(), "{poll:?}");
        poll_fn(|context| {
            // Nothing but the panic tells: look again and again.
            context.waker().wake_by_ref();
            match broken.wakes_count.load(Ordering::Relaxed) {
                0 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await;

        // Nobody waits for this write.
        going_on.send("late").await.expect("queued");
        let written = compio_runtime::spawn_blocking(move || tell.recv());
        written.await.expect("waits").expect("it was written");
        loop {
            match going_on.recv().await {
                Ok(Message::Pong(_)) => {}
                Ok(Message::Close(Some(frame))) => {
                    assert_eq!(frame.code, CloseCode::NORMAL);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        going_on.close(CloseCode::NORMAL, "").await.expect("closed");
        joined(lively).await;

        for _ in 0..2 {
            let error = failing.recv().await.expect_err("it has failed");
            assert!(matches!(error, Error::Io(_)), "{error:?}");
        }
        let error = failing.send("more").await.expect_err("it has failed");
        assert!(error.to_string().contains("panicked"), "{error}");
        failing.close(CloseCode::NORMAL, "").await.expect_err("too");
        joined(mute).await;
    });
}
