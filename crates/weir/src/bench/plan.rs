//! The arguments, checked against each other: what a run will do.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, ensure};
use client::TransportKind;

use super::arguments::{Arguments, Kind, Transport};
use super::process;

/// A rate that a laptop's disk keeps up with when each batch is synced.
const RATE_LIMIT_DEFAULT_MB: f64 = 20.0;
const MEGABYTE: f64 = 1_000_000.0;
const BATCHES_DEFAULT: u64 = 1_000;

/// Payload bytes that are put before consumers in all; they read them again and again.
const FILL_BYTES_MAX: f64 = 256_000_000.0;
/// Batches for each partition at least, whatever they weigh.
const FILL_BATCHES_MIN: u64 = 16;

/// Actors of the first published comparison, with a stream each.
const SEED_ACTORS: u32 = 4;
/// Batches of all its actors: 40,000,000 messages, 40 GB.
pub(crate) const SEED_BATCHES_ALL: u64 = 40_000;
const SEED_RATE_MB: f64 = 100.0;

/// More actors than this need more than one load process to be honest.
const ACTORS_MAX: u32 = 1_000;
const CONNECTIONS_MAX: u32 = 100_000;
const ROUNDS_MAX: u32 = 100;

/// What a run does. Nothing in it contradicts anything else.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    /// In the order of a table; the first is what the others are compared with.
    pub(crate) transports: Vec<TransportKind>,
    pub(crate) producers: u32,
    pub(crate) consumers: u32,
    /// Of the pinned kinds; the balanced ones have one.
    pub(crate) streams: u32,
    pub(crate) partitions: u32,
    pub(crate) connections: u32,
    pub(crate) messages_per_batch: u32,
    pub(crate) message_bytes: RangeInclusive<u32>,
    pub(crate) length: Length,
    pub(crate) warm_up: Duration,
    /// Payload bytes a second of each actor; `None` is as fast as it can.
    pub(crate) rate_bytes: Option<f64>,
    pub(crate) rounds: u32,
    pub(crate) durability: String,
    pub(crate) deflate: bool,
    pub(crate) tls: bool,
    pub(crate) seed_workload: bool,
    /// The server is one that keeps nothing: nothing has to be prepared there.
    pub(crate) self_test: bool,
    pub(crate) seed: u64,
    pub(crate) driver: ws::DriverChoice,
    pub(crate) client_cores: Vec<usize>,
}

/// When the measured part of a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// After so many batches of each actor.
    Batches(u64),
    /// After so much time.
    Time(Duration),
}

impl Plan {
    pub(crate) fn new(arguments: &Arguments) -> anyhow::Result<Plan> {
        let mut arguments = arguments.clone();
        if arguments.seed_workload {
            apply_seed_workload(&mut arguments);
        }
        ensure!(
            !arguments.self_test || arguments.kind != Kind::IdleConnections,
            "--self-test measures load, and idle-connections has none"
        );
        let actors = Actors::new(&arguments)?;
        check_counts(&arguments)?;
        let message_bytes = parse_size(&arguments.message_size)?;
        check_batch_bytes(*message_bytes.end(), arguments.messages_per_batch)?;
        let transports = transports(&arguments)?;
        ensure!(
            !arguments.deflate || transports.contains(&TransportKind::WebSocket),
            "--deflate compresses over WebSocket, which is not among the transports"
        );
        Ok(Plan {
            kind: arguments.kind,
            transports,
            producers: actors.producers,
            consumers: actors.consumers,
            streams: actors.streams,
            partitions: actors.partitions,
            connections: arguments.connections,
            messages_per_batch: arguments.messages_per_batch,
            message_bytes,
            length: length(&arguments)?,
            warm_up: Duration::from_secs(arguments.warm_up),
            rate_bytes: rate(&arguments)?,
            rounds: arguments.rounds,
            durability: arguments.durability.clone(),
            deflate: arguments.deflate,
            tls: arguments.tls,
            seed_workload: arguments.seed_workload,
            self_test: arguments.self_test,
            seed: arguments.seed,
            driver: arguments.driver.parse().map_err(|_| {
                anyhow::anyhow!(
                    "--driver is auto, io-uring or poll, not {}",
                    arguments.driver
                )
            })?,
            client_cores: process::client_cores(&arguments)?,
        })
    }

    /// The order changes from round to round, so that neither side always runs on a fresh disk.
    pub(crate) fn transports_of_round(&self, number: u32) -> Vec<TransportKind> {
        let mut transports = self.transports.clone();
        if number.is_multiple_of(2) {
            transports.reverse();
        }
        transports
    }

    /// Partitions that each stream's topic has.
    pub(crate) fn partitions_of_stream(&self) -> u32 {
        if self.kind.is_balanced() {
            self.partitions
        } else {
            1
        }
    }

    /// Batches that are put into each partition before consumers read them.
    pub(crate) fn fill_batches(&self) -> u64 {
        let wanted = match self.length {
            Length::Batches(count) => count,
            // As many as a rate lets one read.
            Length::Time(time) => self.interval().map_or(u64::MAX, |interval| {
                let time = self.warm_up + time;
                time.div_duration_f64(interval).ceil() as u64
            }),
        };
        if !self.reads_again() {
            return wanted.max(FILL_BATCHES_MIN);
        }
        let places = f64::from(self.streams) * f64::from(self.partitions_of_stream());
        let fitting = FILL_BYTES_MAX / self.batch_payload_bytes() / places;
        wanted.min(fitting as u64).max(FILL_BATCHES_MIN)
    }

    /// Whether consumers read what is there again and again. With the seed workload nothing is read
    /// twice, as there, and most comes from the disk.
    pub(crate) fn reads_again(&self) -> bool {
        !self.seed_workload || matches!(self.length, Length::Time(_))
    }

    /// Batches of all measured actors in one round, where that is what ends it.
    pub(crate) fn batches_of_round(&self) -> Option<u64> {
        let Length::Batches(count) = self.length else {
            return None;
        };
        Some(count * u64::from(self.actors()))
    }

    /// Actors that a rate limit and a number of batches count for.
    pub(crate) fn actors(&self) -> u32 {
        match self.kind {
            Kind::PinnedConsumer | Kind::BalancedConsumerGroup => self.consumers,
            _ => self.producers,
        }
    }

    /// Payload bytes of an average batch.
    pub(crate) fn batch_payload_bytes(&self) -> f64 {
        let bytes = f64::from(*self.message_bytes.start()) + f64::from(*self.message_bytes.end());
        bytes / 2.0 * f64::from(self.messages_per_batch)
    }

    /// Time from one intended start to the next, of one actor.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.rate_bytes
            .map(|rate| Duration::from_secs_f64(self.batch_payload_bytes() / rate))
    }
}

impl Kind {
    /// Whether each producer has a consumer.
    pub(crate) fn has_pairs(self) -> bool {
        matches!(
            self,
            Kind::PinnedProducerAndConsumer | Kind::EndToEndLatency
        )
    }

    /// Whether all actors work on the partitions of one topic.
    pub(crate) fn is_balanced(self) -> bool {
        matches!(self, Kind::BalancedProducer | Kind::BalancedConsumerGroup)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::PinnedProducer => "pinned-producer",
            Kind::PinnedConsumer => "pinned-consumer",
            Kind::PinnedProducerAndConsumer => "pinned-producer-and-consumer",
            Kind::BalancedProducer => "balanced-producer",
            Kind::BalancedConsumerGroup => "balanced-consumer-group",
            Kind::EndToEndLatency => "end-to-end-latency",
            Kind::IdleConnections => "idle-connections",
        }
    }
}

/// Who works on what.
struct Actors {
    producers: u32,
    consumers: u32,
    streams: u32,
    partitions: u32,
}

impl Actors {
    fn new(arguments: &Arguments) -> anyhow::Result<Actors> {
        let producers = arguments.producers.unwrap_or(1);
        let consumers = arguments.consumers.unwrap_or(1);
        check_count("producers", producers, ACTORS_MAX)?;
        check_count("consumers", consumers, ACTORS_MAX)?;
        ensure!(
            !arguments.kind.has_pairs() || producers == consumers,
            "{producers} producers and {consumers} consumers make no pairs"
        );
        let actors = match arguments.kind {
            Kind::PinnedConsumer | Kind::BalancedConsumerGroup => consumers,
            _ => producers,
        };
        let is_balanced = arguments.kind.is_balanced();
        let streams = arguments.streams.unwrap_or(actors);
        check_streams(arguments.kind, streams, actors, arguments.streams.is_some())?;
        let partitions = arguments
            .partitions
            .unwrap_or(if is_balanced { actors } else { 1 });
        let partitions_max = wire::limits::PARTITIONS_PER_REQUEST_MAX;
        check_count("partitions", partitions, partitions_max)?;
        Ok(Actors {
            producers,
            consumers,
            streams: if is_balanced { 1 } else { streams },
            partitions,
        })
    }
}

fn check_counts(arguments: &Arguments) -> anyhow::Result<()> {
    check_count("rounds", arguments.rounds, ROUNDS_MAX)?;
    check_count("connections", arguments.connections, CONNECTIONS_MAX)?;
    let messages_max = wire::limits::BATCH_MESSAGE_COUNT_MAX;
    check_count(
        "messages-per-batch",
        arguments.messages_per_batch,
        messages_max,
    )
}

fn check_count(name: &str, value: u32, max: u32) -> anyhow::Result<()> {
    ensure!(
        (1..=max).contains(&value),
        "--{name} must be from 1 to {max}, not {value}"
    );
    Ok(())
}

fn apply_seed_workload(arguments: &mut Arguments) {
    arguments.producers = Some(SEED_ACTORS);
    arguments.consumers = Some(SEED_ACTORS);
    arguments.messages_per_batch = 1_000;
    arguments.message_size = "1000".to_owned();
    if arguments.seconds.is_none() {
        arguments.batches = arguments
            .batches
            .or(Some(SEED_BATCHES_ALL / u64::from(SEED_ACTORS)));
    }
    if !arguments.unlimited {
        arguments.rate_limit = Some(SEED_RATE_MB);
    }
}

fn transports(arguments: &Arguments) -> anyhow::Result<Vec<TransportKind>> {
    let mut transports = match arguments.transport {
        Transport::Tcp => vec![TransportKind::Tcp],
        Transport::Websocket => vec![TransportKind::WebSocket],
        Transport::WebsocketBridge => vec![TransportKind::WebSocketBridge],
        Transport::Compare => vec![TransportKind::Tcp, TransportKind::WebSocket],
    };
    if arguments.bridge {
        ensure!(
            arguments.transport == Transport::Compare,
            "--bridge adds rounds to compare; alone it is the transport websocket-bridge"
        );
        transports.push(TransportKind::WebSocketBridge);
    }
    Ok(transports)
}

fn check_streams(kind: Kind, streams: u32, actors: u32, is_given: bool) -> anyhow::Result<()> {
    ensure!(
        !is_given || !kind.is_balanced(),
        "--streams is for the pinned kinds; the balanced ones share one, see --partitions"
    );
    ensure!(
        (1..=actors).contains(&streams),
        "--streams must be from 1 to {actors}, one for each actor, not {streams}"
    );
    ensure!(
        !kind.has_pairs() || streams == actors,
        "each pair has a stream of its own: --streams must be {actors}"
    );
    Ok(())
}

fn length(arguments: &Arguments) -> anyhow::Result<Length> {
    if let Some(seconds) = arguments.seconds {
        ensure!(seconds > 0, "--seconds must be at least 1");
        return Ok(Length::Time(Duration::from_secs(seconds)));
    }
    let batches = arguments.batches.unwrap_or(BATCHES_DEFAULT);
    ensure!(batches > 0, "--batches must be at least 1");
    Ok(Length::Batches(batches))
}

fn rate(arguments: &Arguments) -> anyhow::Result<Option<f64>> {
    if arguments.unlimited {
        return Ok(None);
    }
    let megabytes = arguments.rate_limit.unwrap_or(RATE_LIMIT_DEFAULT_MB);
    ensure!(
        megabytes.is_finite() && megabytes > 0.0,
        "--rate-limit must be more than 0 MB/s; --unlimited is without limit"
    );
    Ok(Some(megabytes * MEGABYTE))
}

fn parse_size(text: &str) -> anyhow::Result<RangeInclusive<u32>> {
    let number = |text: &str| {
        text.parse::<u32>()
            .ok()
            .filter(|bytes| (1..=wire::limits::PAYLOAD_BYTES_MAX).contains(bytes))
            .with_context(|| {
                let max = wire::limits::PAYLOAD_BYTES_MAX;
                format!("--message-size is 1 to {max} bytes or a range like 200..1000, not {text}")
            })
    };
    let (start, end) = match text.split_once("..") {
        Some((start, end)) => (number(start)?, number(end)?),
        None => (number(text)?, number(text)?),
    };
    ensure!(start <= end, "--message-size {text} starts behind its end");
    Ok(start..=end)
}

fn check_batch_bytes(message_bytes_max: u32, messages_per_batch: u32) -> anyhow::Result<()> {
    let message_bytes = u64::from(message_bytes_max) + wire::batch::FRAME_HEADER_BYTES as u64;
    let batch_bytes = message_bytes.saturating_mul(u64::from(messages_per_batch));
    let heads = (2 * 256 + wire::limits::SEND_ROUTING_BYTES_MAX) as u64;
    let max = wire::limits::FRAME_BYTES_MAX as u64 - heads;
    ensure!(
        batch_bytes <= max,
        "a batch of {messages_per_batch} messages of {message_bytes_max} bytes is larger than a \
         frame of 64 MiB"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_or_ranges() {
        assert_eq!(parse_size("1000").unwrap(), 1_000..=1_000);
        assert_eq!(parse_size("200..1000").unwrap(), 200..=1_000);
        assert_eq!(parse_size("64000000").unwrap(), 64_000_000..=64_000_000);
        for text in ["", "0", "64000001", "9..8", "1..", "..1", "1kb", "-1"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn batches_fit_a_frame() {
        check_batch_bytes(64_000_000, 1).expect("the largest message");
        check_batch_bytes(1_000, 63_000).expect("many messages");
        assert!(check_batch_bytes(1_000, 65_000).is_err());
        assert!(check_batch_bytes(u32::MAX, u32::MAX).is_err());
    }
}
