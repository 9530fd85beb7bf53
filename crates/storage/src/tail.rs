//! The last batches of a log, in memory, shared by all who read them.

use std::{cell::Cell, collections::VecDeque, rc::Rc};

use bytes::Bytes;

use crate::limits;

/// A durable batch as it is on disk.
#[derive(Debug, Clone)]
pub(crate) struct TailBatch {
    pub(crate) base_offset: u64,
    pub(crate) next_offset: u64,
    pub(crate) record: Bytes,
}

/// Bounded by bytes and by count; the oldest batch goes first.
#[derive(Debug)]
pub(crate) struct Tail {
    batches: VecDeque<TailBatch>,
    bytes: usize,
    bytes_max: usize,
    /// Bytes of all tails that share a budget.
    total_bytes: Rc<Cell<usize>>,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize, total_bytes: Rc<Cell<usize>>) -> Self {
        Self {
            batches: VecDeque::new(),
            bytes: 0,
            bytes_max,
            total_bytes,
        }
    }

    fn set_bytes(&mut self, bytes: usize) {
        let total = self.total_bytes.get() - self.bytes + bytes;
        self.total_bytes.set(total);
        self.bytes = bytes;
    }

    /// Forgets everything, the room for it too.
    pub(crate) fn clear(&mut self) {
        self.batches = VecDeque::new();
        self.set_bytes(0);
    }

    pub(crate) fn push(&mut self, batch: TailBatch) {
        if let Some(last) = self.batches.back() {
            assert_eq!(last.next_offset, batch.base_offset, "the tail has no holes");
        }
        let mut bytes = self.bytes + batch.record.len();
        self.batches.push_back(batch);
        while bytes > self.bytes_max || self.batches.len() > limits::TAIL_BATCHES_MAX {
            let Some(oldest) = self.batches.pop_front() else {
                break;
            };
            bytes -= oldest.record.len();
        }
        self.set_bytes(bytes);
    }

    /// The batches from the one that holds `offset` on; empty when that one is not in memory.
    pub(crate) fn batches_from(&self, offset: u64) -> impl Iterator<Item = &TailBatch> {
        let covered = self
            .batches
            .front()
            .is_some_and(|first| first.base_offset <= offset);
        let first = if covered {
            self.batches
                .partition_point(|batch| batch.next_offset <= offset)
        } else {
            self.batches.len()
        };
        self.batches.range(first..)
    }

    /// Forgets the batches that lie wholly before `offset`.
    pub(crate) fn forget_before(&mut self, offset: u64) {
        let count = self
            .batches
            .partition_point(|batch| batch.next_offset <= offset);
        let forgotten = self.batches.drain(..count);
        let bytes: usize = forgotten.map(|batch| batch.record.len()).sum();
        self.set_bytes(self.bytes - bytes);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.set_bytes(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(base_offset: u64, bytes: usize) -> TailBatch {
        let record = Bytes::from(vec![0; bytes]);
        TailBatch {
            base_offset,
            next_offset: base_offset + 2,
            record,
        }
    }

    fn offsets(tail: &Tail, offset: u64) -> Vec<u64> {
        tail.batches_from(offset)
            .map(|batch| batch.base_offset)
            .collect()
    }

    #[test]
    fn the_oldest_go_when_bytes_run_out() {
        let mut tail = Tail::new(100, Rc::default());
        (0..5).for_each(|number| tail.push(batch(number * 2, 25)));
        assert_eq!((tail.bytes(), offsets(&tail, 2)), (100, vec![2, 4, 6, 8]));
        assert_eq!(offsets(&tail, 1), [], "behind the tail");
        assert_eq!(offsets(&tail, 5), [4, 6, 8]);
        assert_eq!(offsets(&tail, 10), [], "not there yet");
        tail.push(batch(10, 101));
        assert_eq!(
            (tail.bytes(), offsets(&tail, 10)),
            (0, vec![]),
            "larger than the tail"
        );
    }

    #[test]
    fn what_was_removed_is_forgotten() {
        let mut tail = Tail::new(100, Rc::default());
        (0..4).for_each(|number| tail.push(batch(number * 2, 25)));
        tail.forget_before(4);
        assert_eq!((tail.bytes(), offsets(&tail, 4)), (50, vec![4, 6]));
        tail.forget_before(100);
        assert_eq!((tail.bytes(), offsets(&tail, 4)), (0, vec![]));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut tail = Tail::new(usize::MAX, Rc::default());
        let count = limits::TAIL_BATCHES_MAX as u64;
        (0..count).for_each(|number| tail.push(batch(number * 2, 1)));
        assert_eq!(offsets(&tail, 0).len(), limits::TAIL_BATCHES_MAX);
        tail.push(batch(count * 2, 1));
        assert_eq!(offsets(&tail, 0).len(), 0);
        assert_eq!(offsets(&tail, 2).len(), limits::TAIL_BATCHES_MAX);
    }
}
