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

/// More actors than this need more than one load process to be honest.
const ACTORS_MAX: u32 = 1_000;
const CONNECTIONS_MAX: u32 = 100_000;
const ROUNDS_MAX: u32 = 100;

/// What a run does. Nothing in it contradicts anything else.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    transport: Transport,
    pub(crate) producers: u32,
    pub(crate) consumers: u32,
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
        let producers = arguments.producers.unwrap_or(1);
        let consumers = arguments.consumers.unwrap_or(1);
        let count = |name, value: u32, max| {
            ensure!(
                (1..=max).contains(&value),
                "--{name} must be from 1 to {max}, not {value}"
            );
            Ok(value)
        };
        count("producers", producers, ACTORS_MAX)?;
        count("consumers", consumers, ACTORS_MAX)?;
        count("rounds", arguments.rounds, ROUNDS_MAX)?;
        count("connections", arguments.connections, CONNECTIONS_MAX)?;
        let messages_max = wire::limits::BATCH_MESSAGE_COUNT_MAX;
        count(
            "messages-per-batch",
            arguments.messages_per_batch,
            messages_max,
        )?;
        ensure!(
            !arguments.kind.has_pairs() || producers == consumers,
            "{producers} producers and {consumers} consumers make no pairs"
        );
        let message_bytes = parse_size(&arguments.message_size)?;
        check_batch_bytes(*message_bytes.end(), arguments.messages_per_batch)?;
        let partitions = arguments.partitions.unwrap_or(match arguments.kind {
            Kind::BalancedProducer => producers,
            Kind::BalancedConsumerGroup => consumers,
            _ => 1,
        });
        count(
            "partitions",
            partitions,
            wire::limits::PARTITIONS_PER_REQUEST_MAX,
        )?;
        let durability = arguments.durability.clone();
        ensure!(
            ["persisted", "replicated"].contains(&durability.as_str()),
            "--durability is persisted or replicated, not {durability}"
        );
        Ok(Plan {
            kind: arguments.kind,
            transport: arguments.transport,
            producers,
            consumers,
            partitions,
            connections: arguments.connections,
            messages_per_batch: arguments.messages_per_batch,
            message_bytes,
            length: length(&arguments)?,
            warm_up: Duration::from_secs(arguments.warm_up),
            rate_bytes: rate(&arguments)?,
            rounds: arguments.rounds,
            durability,
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
        let mut transports = match self.transport {
            Transport::Tcp => vec![TransportKind::Tcp],
            Transport::Websocket => vec![TransportKind::WebSocket],
            Transport::Compare => vec![TransportKind::Tcp, TransportKind::WebSocket],
        };
        if number.is_multiple_of(2) {
            transports.reverse();
        }
        transports
    }

    pub(crate) fn is_comparison(&self) -> bool {
        self.transport == Transport::Compare
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

fn apply_seed_workload(arguments: &mut Arguments) {
    arguments.producers = Some(4);
    arguments.consumers = Some(4);
    arguments.messages_per_batch = 1_000;
    arguments.message_size = "1000".to_owned();
    arguments.batches = 40_000;
    arguments.seconds = None;
    if !arguments.unlimited {
        arguments.rate_limit = Some(100.0);
    }
}

fn length(arguments: &Arguments) -> anyhow::Result<Length> {
    if let Some(seconds) = arguments.seconds {
        ensure!(seconds > 0, "--seconds must be at least 1");
        return Ok(Length::Time(Duration::from_secs(seconds)));
    }
    ensure!(arguments.batches > 0, "--batches must be at least 1");
    Ok(Length::Batches(arguments.batches))
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
