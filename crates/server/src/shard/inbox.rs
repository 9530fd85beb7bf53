//! The loop of one shard: takes events from the mailbox until it is told to close.
//!
//! The loop itself never waits for I/O or for another shard; whatever waits runs in its own task.
//! That is why sending to a mailbox always ends. An answer that cannot be sent has nobody left who
//! wants it.

use std::rc::Rc;

use async_channel::Receiver;
use wire::Status;

use super::event::{Event, PartitionRequest, ReplyTo};
use super::{Shard, accept, task};
use crate::partition::Partition;
use crate::retention;

/// Runs the loop, then closes the shard's logs.
pub(crate) async fn run(shard: Rc<Shard>, inbox: Receiver<Event>) {
    while let Ok(event) = inbox.recv().await {
        match event {
            Event::Partition { key, request } => match shard.partition(key) {
                Ok(partition) => serve(&shard, partition, request),
                Err(status) => refuse(request, status),
            },
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
            Event::Sizes { topic, reply } => {
                let _ = reply.send(retention::sizes(&shard, topic));
            }
            Event::Room { topic, room_bytes } => retention::set_room(&shard, topic, room_bytes),
            Event::Listen { tcp, websocket } => {
                accept::listen(&shard, tcp, websocket);
                retention::start(&shard);
            }
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

/// Begins a request to a partition of this shard.
fn serve(shard: &Rc<Shard>, partition: Rc<Partition>, request: PartitionRequest) {
    match request {
        // The log fixes the order of appends when the call is made, so it is made here and only
        // its end is waited for in a task.
        PartitionRequest::Append { batch, reply } => {
            answer("append", reply, partition.begin_append(batch));
        }
        PartitionRequest::Poll { request, reply } => {
            answer("poll", reply, async move { partition.poll(request).await });
        }
        PartitionRequest::LoadOffset { consumer, reply } => {
            let _ = reply.send(Ok(partition.load_offset(&consumer)));
        }
        PartitionRequest::StoreOffset {
            consumer,
            offset,
            durable,
            reply,
        } => {
            answer("store offset", reply, async move {
                partition.store_offset(consumer, offset, durable).await
            });
        }
        PartitionRequest::DeleteOffset { consumer, reply } => {
            answer("delete offset", reply, async move {
                partition.delete_offset(&consumer).await
            });
        }
        PartitionRequest::Purge { reply } => {
            answer("purge", reply, async move { partition.purge().await });
        }
        PartitionRequest::RemoveBefore { offset, reply } => {
            let shard = Rc::clone(shard);
            answer("retention", reply, async move {
                retention::remove_before(&shard, &partition, offset).await;
                Ok(())
            });
        }
        PartitionRequest::DeleteSegments {
            segments_count,
            reply,
        } => {
            answer("delete segments", reply, async move {
                partition.delete_segments(segments_count).await
            });
        }
    }
}

/// Answers a request to a partition that is not served here.
fn refuse(request: PartitionRequest, status: Status) {
    match request {
        PartitionRequest::Append { reply, .. } => {
            let _ = reply.send(Err(status));
        }
        PartitionRequest::Poll { reply, .. } => {
            let _ = reply.send(Err(status));
        }
        PartitionRequest::LoadOffset { reply, .. } => {
            let _ = reply.send(Err(status));
        }
        PartitionRequest::StoreOffset { reply, .. }
        | PartitionRequest::DeleteOffset { reply, .. }
        | PartitionRequest::Purge { reply }
        | PartitionRequest::RemoveBefore { reply, .. }
        | PartitionRequest::DeleteSegments { reply, .. } => {
            let _ = reply.send(Err(status));
        }
    }
}

fn answer<T: 'static>(
    name: &'static str,
    reply: ReplyTo<T>,
    result: impl Future<Output = Result<T, Status>> + 'static,
) {
    task::spawn(name, async move {
        let _ = reply.send(result.await);
    });
}
