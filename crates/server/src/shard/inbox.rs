//! The loop of one shard: takes events from the mailbox until it is told to close.
//!
//! The loop itself never waits for I/O or for another shard; whatever waits runs in its own task.
//! That is why sending to a mailbox always ends. An answer that cannot be sent has nobody left who
//! wants it.

use std::rc::Rc;

use async_channel::Receiver;

use super::event::{Event, ReplyTo};
use super::{Shard, accept, task};

/// Runs the loop, then closes the shard's logs.
pub(crate) async fn run(shard: Rc<Shard>, inbox: Receiver<Event>) {
    while let Ok(event) = inbox.recv().await {
        match event {
            Event::Append {
                partition,
                batch,
                reply,
            } => {
                // The log fixes the order of appends when the call is made, so it is made here and
                // only its end is waited for in a task.
                match shard.partition(partition) {
                    Ok(partition) => {
                        let appending = partition.begin_append(batch);
                        answer("append", reply, appending);
                    }
                    Err(status) => {
                        let _ = reply.send(Err(status));
                    }
                }
            }
            Event::Poll {
                partition,
                request,
                reply,
            } => {
                let shard = Rc::clone(&shard);
                answer("poll", reply, async move {
                    shard.partition(partition)?.poll(request).await
                });
            }
            Event::LoadOffset {
                partition,
                consumer,
                reply,
            } => {
                let stored = shard
                    .partition(partition)
                    .map(|found| found.load_offset(&consumer));
                let _ = reply.send(stored);
            }
            Event::StoreOffset {
                partition,
                consumer,
                offset,
                durable,
                reply,
            } => {
                let shard = Rc::clone(&shard);
                answer("store offset", reply, async move {
                    shard
                        .partition(partition)?
                        .store_offset(consumer, offset, durable)
                        .await
                });
            }
            Event::DeleteOffset {
                partition,
                consumer,
                reply,
            } => {
                let shard = Rc::clone(&shard);
                answer("delete offset", reply, async move {
                    shard.partition(partition)?.delete_offset(&consumer).await
                });
            }
            Event::Purge { partition, reply } => {
                let shard = Rc::clone(&shard);
                answer("purge", reply, async move {
                    shard.partition(partition)?.purge().await
                });
            }
            Event::DeleteSegments {
                partition,
                segments_count,
                reply,
            } => {
                let shard = Rc::clone(&shard);
                answer("delete segments", reply, async move {
                    shard
                        .partition(partition)?
                        .delete_segments(segments_count)
                        .await
                });
            }
            Event::Control { request, reply } => {
                let shard = Rc::clone(&shard);
                answer("control", reply, async move {
                    shard.control_request(request).await
                });
            }
            Event::Snapshot { snapshot, done } => {
                let shard = Rc::clone(&shard);
                task::spawn("follow", async move {
                    shard.follow(snapshot).await;
                    let _ = done.send(());
                });
            }
            Event::Report { reply } => {
                let _ = reply.send(shard.report());
            }
            Event::Listen { tcp, websocket } => accept::listen(&shard, tcp, websocket),
            Event::Drain { done } => {
                let shard = Rc::clone(&shard);
                task::spawn("drain", async move {
                    shard.drain().await;
                    let _ = done.send(());
                });
            }
            Event::Close => break,
        }
    }
    shard.close().await;
}

fn answer<T: 'static>(
    name: &'static str,
    reply: ReplyTo<T>,
    result: impl Future<Output = Result<T, wire::Status>> + 'static,
) {
    task::spawn(name, async move {
        let _ = reply.send(result.await);
    });
}
