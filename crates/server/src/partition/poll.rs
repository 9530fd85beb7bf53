//! Where a poll begins: the five strategies, as a pure function.

use wire::iggy::messages::PollingStrategy;

/// What a client asked for, without the names that were already resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PollRequest {
    pub(crate) consumer: super::ConsumerKey,
    pub(crate) strategy: PollingStrategy,
    pub(crate) message_count_max: u32,
    pub(crate) auto_commit: bool,
}

/// What the partition holds when the poll is made. Offsets of durable messages are
/// `first..next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) first: u64,
    pub(crate) next: u64,
}

/// Where to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// From this offset on.
    At(u64),
    /// From the first message that is not older than this.
    Timestamp(u64),
}

/// The first offset that the strategy asks for.
///
/// An offset before the first message (it may have been removed by retention) begins at the
/// first; an offset beyond the last yields nothing. `Next` begins behind the stored offset, or at
/// the first message for a consumer that has stored none.
pub(crate) fn start(request: &PollRequest, stored: Option<u64>, extent: Extent) -> Start {
    let offset = match request.strategy {
        PollingStrategy::Offset(offset) => offset,
        PollingStrategy::Timestamp(timestamp_us) => return Start::Timestamp(timestamp_us),
        PollingStrategy::First => extent.first,
        PollingStrategy::Last => extent
            .next
            .saturating_sub(u64::from(request.message_count_max)),
        PollingStrategy::Next => stored.map_or(extent.first, |offset| offset.saturating_add(1)),
    };
    Start::At(offset.max(extent.first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::ConsumerKey;

    fn check(strategy: PollingStrategy, count: u32, stored: Option<u64>, expected: Start) {
        let request = PollRequest {
            consumer: ConsumerKey::Number(1),
            strategy,
            message_count_max: count,
            auto_commit: false,
        };
        assert_eq!(
            start(
                &request,
                stored,
                Extent {
                    first: 10,
                    next: 20
                }
            ),
            expected
        );
    }

    #[test]
    fn each_strategy_begins_where_it_says() {
        check(PollingStrategy::First, 5, None, Start::At(10));
        check(PollingStrategy::Last, 5, None, Start::At(15));
        check(PollingStrategy::Last, 50, None, Start::At(10));
        check(PollingStrategy::Offset(12), 5, None, Start::At(12));
        check(PollingStrategy::Offset(3), 5, None, Start::At(10));
        check(PollingStrategy::Offset(99), 5, None, Start::At(99));
        check(
            PollingStrategy::Timestamp(77),
            5,
            None,
            Start::Timestamp(77),
        );
        check(PollingStrategy::Next, 5, None, Start::At(10));
        check(PollingStrategy::Next, 5, Some(12), Start::At(13));
        check(PollingStrategy::Next, 5, Some(4), Start::At(10));
        check(
            PollingStrategy::Next,
            5,
            Some(u64::MAX),
            Start::At(u64::MAX),
        );
    }
}
