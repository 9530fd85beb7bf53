//! The batches that producers send, built before the clock runs.

use bytes::{Bytes, BytesMut};
use client::{BatchBuilder, Message};

use super::measure::Done;
use super::plan::Plan;

/// How many different batches a producer of varying sizes sends in turn. Fixed sizes need one.
const VARIANTS_COUNT: usize = 16;

/// A batch that is ready to be sent any number of times.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) bytes: Bytes,
    pub(crate) message_count: u32,
    pub(crate) payload_bytes: u64,
}

impl Batch {
    pub(crate) fn done(&self) -> Done {
        Done {
            messages: u64::from(self.message_count),
            payload_bytes: self.payload_bytes,
        }
    }
}

/// The batches of one producer, in the order in which it sends them, again and again.
pub(crate) fn of_producer(plan: &Plan, producer: u32) -> Vec<Batch> {
    let mut random = fastrand::Rng::with_seed(plan.seed.wrapping_add(u64::from(producer)));
    let is_fixed = plan.message_bytes.start() == plan.message_bytes.end();
    let count = if is_fixed { 1 } else { VARIANTS_COUNT };
    let mut payload = vec![0; *plan.message_bytes.end() as usize];
    random.fill(&mut payload);
    (0..count)
        .map(|_| {
            let mut sizes = Vec::with_capacity(plan.messages_per_batch as usize);
            for _ in 0..plan.messages_per_batch {
                sizes.push(random.u32(plan.message_bytes.clone()) as usize);
            }
            build(&payload, &sizes)
        })
        .collect()
}

fn build(payload: &[u8], sizes: &[usize]) -> Batch {
    let payload_bytes: usize = sizes.iter().sum();
    let frame_bytes = wire::batch::FRAME_HEADER_BYTES * sizes.len();
    let mut buffer =
        BytesMut::with_capacity(wire::batch::BATCH_HEADER_BYTES + frame_bytes + payload_bytes);
    let mut builder = BatchBuilder::new(&mut buffer);
    for size in sizes {
        let message = Message {
            payload: &payload[..*size],
            ..Message::default()
        };
        builder
            .push(message)
            .expect("the plan keeps messages within the limits");
    }
    let header = builder
        .finish()
        .expect("the plan has at least one message in a batch");
    Batch {
        bytes: buffer.freeze(),
        message_count: header.message_count,
        payload_bytes: payload_bytes as u64,
    }
}
