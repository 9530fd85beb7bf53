//! The batch record against the published codec, against a naive model, and at its limits.

use bytes::BytesMut;
use wire::batch::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchError, BatchHeader, BatchView, Batches, Message, Stamp,
    stamp,
};
use wire::iggy::messages::SendMessages;
use wire::iggy::published::batch::{decode_batch_slice, verify_and_recompute_batch_checksum};
use wire::iggy::published::requests::messages::{RawMessage, SendMessagesEncoder};
use wire::iggy::published::{WireIdentifier, WirePartitioning};
use wire::testing::{Random, produced_batch};
use wire::{Status, limits};

const PLACE: Stamp = Stamp {
    partition_id: 3,
    base_offset: 1_000,
    base_timestamp: 77,
};

fn small(message_count: u32) -> BytesMut {
    produced_batch(&mut Random::new(5), message_count, 30)
}

#[test]
fn builder_writes_what_the_published_encoder_writes() {
    let payloads: Vec<Vec<u8>> = (0..50).map(|index| vec![index as u8; index * 7]).collect();
    let headers = [9; 33];
    let raw: Vec<RawMessage<'_>> = payloads
        .iter()
        .zip(0u32..)
        .map(|(payload, index)| RawMessage {
            id: u128::from(index) << 70,
            origin_timestamp: 5_000 + u64::from(index),
            headers: index.is_multiple_of(3).then_some(&headers[..]),
            payload,
        })
        .collect();
    let mut theirs = BytesMut::new();
    SendMessagesEncoder::encode(
        &mut theirs,
        &WireIdentifier::numeric(1),
        &WireIdentifier::numeric(2),
        &WirePartitioning::PartitionId(0),
        &raw,
    )
    .unwrap();
    let sent = SendMessages::parse(&theirs).unwrap();
    assert_eq!(sent.message_count, 50);

    let mut ours = BytesMut::from(&b"before"[..]);
    let mut builder = BatchBuilder::new(&mut ours);
    for message in &raw {
        let message = Message {
            id: message.id,
            origin_timestamp: message.origin_timestamp,
            payload: message.payload,
            user_headers: message.headers.unwrap_or_default(),
        };
        builder.push(message).unwrap();
    }
    assert_eq!(builder.message_count(), 50);
    builder.finish().unwrap();
    assert_eq!(ours[6..], theirs[sent.batch.clone()]);
    SendMessages::verify_batch(&ours[6..], 50).unwrap();
    let miscounted = SendMessages::verify_batch(&ours[6..], 49);
    assert_eq!(miscounted.map(|_| ()), Err(BatchError::MessageCount));
}

#[test]
fn stamped_batch_differs_only_in_the_stamped_fields_and_verifies_elsewhere() {
    let produced = small(20);
    let mut stored = produced.clone();
    let header = stamp(&mut stored, PLACE).unwrap();
    assert_eq!(produced[24..40], stored[24..40]);
    assert_eq!(produced[48..], stored[48..]);
    assert_eq!(header.next_offset(), 1_020);
    assert_eq!((header.partition_id, header.base_timestamp), (3, 77));
    let view = BatchView::parse(&stored).unwrap();
    assert_eq!(view.header(), header);

    let published = decode_batch_slice(&stored).expect("checksums of the published code");
    assert_eq!(
        verify_and_recompute_batch_checksum(&published),
        Ok(header.batch_checksum)
    );
    assert_eq!(published.header.base_offset, 1_000);
    for (ours, theirs) in view.frames().zip(published.iter()) {
        assert_eq!(ours.payload(), theirs.payload);
        assert_eq!(ours.user_headers(), theirs.user_headers);
        assert_eq!(ours.id(), theirs.header.id);
        assert_eq!(ours.offset(), 1_000 + u64::from(theirs.header.offset_delta));
        assert_eq!(ours.computed_checksum(), theirs.header.checksum);
    }
}

#[test]
fn stamped_fields_of_a_producer_are_overwritten() {
    let mut first = small(3);
    let mut second = first.clone();
    stamp(
        &mut first,
        Stamp {
            partition_id: 9,
            base_offset: 9,
            base_timestamp: 9,
        },
    )
    .unwrap();
    BatchView::parse_produced(&first).expect("any stamped fields are accepted");
    stamp(&mut first, PLACE).unwrap();
    stamp(&mut second, PLACE).unwrap();
    assert_eq!(first, second);
}

#[test]
fn offsets_that_do_not_fit_are_refused_before_anything_is_written() {
    let mut batch = small(3);
    let before = batch.clone();
    let place = |base_offset| Stamp {
        base_offset,
        ..PLACE
    };
    assert_eq!(
        stamp(&mut batch, place(u64::MAX - 2)),
        Err(BatchError::Offset)
    );
    assert_eq!(batch, before);
    stamp(&mut batch, place(u64::MAX - 3)).unwrap();
    assert_eq!(BatchView::parse(&batch).unwrap().next_offset(), u64::MAX);
    batch[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(
        BatchView::parse_layout(&batch).map(|_| ()),
        Err(BatchError::Offset)
    );
}

#[test]
fn every_prefix_is_incomplete_and_says_how_much_is_needed() {
    let batch = small(3);
    for count in 0..batch.len() {
        let needed = if count < BATCH_HEADER_BYTES {
            BATCH_HEADER_BYTES
        } else {
            batch.len()
        };
        let expected = BatchError::Incomplete {
            needed_bytes: needed as u64,
        };
        assert_eq!(
            BatchView::parse(&batch[..count]).map(|_| ()),
            Err(expected),
            "{count}"
        );
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let mut batch = small(3);
    stamp(&mut batch, PLACE).unwrap();
    for position in 0..batch.len() {
        for bit in 0..8 {
            batch[position] ^= 1 << bit;
            assert!(
                BatchView::parse(&batch).is_err(),
                "byte {position} bit {bit}"
            );
            batch[position] ^= 1 << bit;
        }
    }
    BatchView::parse(&batch).expect("restored");
}

/// A batch with one field of its header or first frame overwritten.
fn with(field_at: usize, value: &[u8]) -> Result<(), BatchError> {
    let mut batch = small(3);
    batch[field_at..field_at + value.len()].copy_from_slice(value);
    BatchView::parse_produced(&batch).map(|_| ())
}

#[test]
fn each_field_has_its_own_error_and_status() {
    let frame = BATCH_HEADER_BYTES;
    let length = small(3).len() as u64;
    let cases: [(usize, &[u8], BatchError, Status); 9] = [
        (
            32,
            &255u64.to_le_bytes(),
            BatchError::BatchLength,
            Status::INVALID_MESSAGES_SIZE,
        ),
        (
            32,
            &256u64.to_le_bytes(),
            BatchError::TrailingBytes,
            Status::INVALID_MESSAGES_SIZE,
        ),
        (
            32,
            &(length - 1).to_le_bytes(),
            BatchError::BatchLength,
            Status::INVALID_MESSAGES_SIZE,
        ),
        (
            48,
            &2u32.to_le_bytes(),
            BatchError::MessageCount,
            Status::INVALID_MESSAGES_COUNT,
        ),
        (
            52,
            &[1],
            BatchError::ReservedNotZero,
            Status::INVALID_RESERVED_FIELD,
        ),
        (
            40,
            &[0; 8],
            BatchError::BatchChecksum,
            Status::INVALID_BATCH_CHECKSUM,
        ),
        (
            frame + 24,
            &[1],
            BatchError::OffsetDelta,
            Status::INVALID_OFFSET,
        ),
        (
            frame + 40,
            &[1],
            BatchError::ReservedNotZero,
            Status::INVALID_RESERVED_FIELD,
        ),
        (
            frame,
            &[0; 8],
            BatchError::MessageChecksum { message_index: 0 },
            Status::INVALID_MESSAGE_CHECKSUM,
        ),
    ];
    for (field_at, value, error, status) in cases {
        let found = with(field_at, value).expect_err("a changed field");
        let found = match (found, error) {
            // A length of the header alone leaves no frames, which is noticed first.
            (BatchError::MessageCount, BatchError::TrailingBytes) => error,
            (found, _) => found,
        };
        assert_eq!(found, error, "field at {field_at}");
        assert_eq!(error.status(), status);
    }
}

#[test]
fn bytes_after_a_produced_batch_are_refused_and_after_a_stored_one_left() {
    let mut batch = small(3);
    let length = batch.len();
    batch.extend_from_slice(b"more");
    let produced = BatchView::parse_produced(&batch).map(|_| ());
    assert_eq!(produced, Err(BatchError::TrailingBytes));
    assert_eq!(BatchView::parse(&batch).unwrap().bytes().len(), length);
    assert_eq!(stamp(&mut batch, PLACE), Err(BatchError::TrailingBytes));
}

#[test]
fn batch_without_messages_is_none() {
    let header = BatchHeader {
        partition_id: 0,
        base_offset: 0,
        base_timestamp: 0,
        origin_timestamp: 0,
        batch_length: BATCH_HEADER_BYTES as u64,
        batch_checksum: 0,
        message_count: 0,
    };
    let parsed = BatchView::parse_layout(&header.encode()).map(|_| ());
    assert_eq!(parsed, Err(BatchError::MessageCount));
    let mut buffer = BytesMut::new();
    assert_eq!(
        BatchBuilder::new(&mut buffer).finish(),
        Err(BatchError::MessageCount)
    );
}

#[test]
fn batches_in_a_row_are_walked_up_to_the_first_error() {
    let mut bytes = small(3);
    bytes.extend_from_slice(&small(2));
    let whole = bytes.len();
    bytes.extend_from_slice(&small(1)[..300]);
    let counts: Vec<_> = Batches::new(&bytes)
        .map(|batch| batch.map(|view| view.message_count()))
        .collect();
    assert!(
        matches!(
            counts[..],
            [Ok(3), Ok(2), Err(BatchError::Incomplete { .. })]
        ),
        "{counts:?}"
    );
    assert_eq!(Batches::new(&bytes[..whole]).count(), 2);
    assert_eq!(Batches::new(&[]).count(), 0);
}

/// Slicing by copying: decode all, keep what qualifies, encode anew.
fn naive_slice(
    view: &BatchView<'_>,
    start_offset: u64,
    message_count_max: u32,
    record_bytes_max: u64,
) -> Option<Vec<u8>> {
    let mut record = vec![0; BATCH_HEADER_BYTES];
    let mut message_count = 0;
    for frame in view.frames().filter(|frame| frame.offset() >= start_offset) {
        let fits = (record.len() + frame.bytes().len()) as u64 <= record_bytes_max;
        if message_count == message_count_max || !fits {
            break;
        }
        record.extend_from_slice(frame.bytes());
        message_count += 1;
    }
    let mut header = wire::iggy::published::batch::BatchHeader::new(
        view.header().partition_id,
        view.header().origin_timestamp,
        record.len() as u64,
        message_count,
    );
    header.base_offset = view.header().base_offset;
    header.base_timestamp = view.header().base_timestamp;
    header.batch_checksum = header.checksum_for_blob(&record[BATCH_HEADER_BYTES..]);
    header.encode_into(&mut record);
    (message_count > 0).then_some(record)
}

#[test]
fn slices_are_those_of_a_naive_model() {
    let mut random = Random::new(11);
    for _ in 0..2_000 {
        let message_count = 1 + random.below(20) as u32;
        let mut batch = produced_batch(&mut random, message_count, 60);
        let base_offset = random.below(1_000);
        stamp(
            &mut batch,
            Stamp {
                base_offset,
                ..PLACE
            },
        )
        .unwrap();
        let view = BatchView::parse(&batch).unwrap();
        let start = (base_offset + random.below(25)).saturating_sub(3);
        let count_max = random.below(25) as u32;
        let bytes_max = 200 + random.below(3_000);
        let slice = view.slice(start, count_max, bytes_max);
        let record = slice.as_ref().map(|slice| {
            let mut record = slice.header.encode().to_vec();
            record.extend_from_slice(&batch[slice.frames.clone()]);
            record
        });
        assert_eq!(record, naive_slice(&view, start, count_max, bytes_max));
        let (Some(slice), Some(record)) = (slice, record) else {
            continue;
        };
        let again = BatchView::parse(&record).expect("a slice has correct checksums");
        assert_eq!(again.first_offset(), slice.first_offset);
        assert_eq!(again.next_offset(), slice.next_offset());
        assert_eq!(slice.is_whole(&view), record == batch);
        assert_eq!(
            again.starts_at_base_offset(),
            slice.first_offset == base_offset
        );
        decode_batch_slice(&record).expect("the published code accepts the slice");
        slice_of_a_slice(&view, &again);
    }
}

/// A slice can be sliced again: the offsets stay those of the stored batch.
fn slice_of_a_slice(stored: &BatchView<'_>, sliced: &BatchView<'_>) {
    let last = sliced.next_offset() - 1;
    let from_slice = sliced.slice(last, 1, u64::MAX).unwrap();
    let from_stored = stored.slice(last, 1, u64::MAX).unwrap();
    assert_eq!(from_slice.header, from_stored.header);
    assert_eq!(
        sliced.bytes()[from_slice.frames],
        stored.bytes()[from_stored.frames]
    );
}

#[test]
fn slice_of_a_slice_is_no_produced_batch() {
    let mut batch = small(5);
    stamp(&mut batch, PLACE).unwrap();
    let slice = BatchView::parse(&batch)
        .unwrap()
        .slice(1_002, 2, u64::MAX)
        .unwrap();
    let mut record = slice.header.encode().to_vec();
    record.extend_from_slice(&batch[slice.frames]);
    let produced = BatchView::parse_produced(&record).map(|_| ());
    assert_eq!(produced, Err(BatchError::OffsetDelta));
}

#[test]
fn payload_and_user_headers_are_accepted_at_their_limit_and_refused_one_past() {
    let payload = vec![0; limits::PAYLOAD_BYTES_MAX as usize + 1];
    let user_headers = vec![0; limits::USER_HEADERS_BYTES_MAX as usize + 1];
    let mut buffer = BytesMut::new();
    let mut builder = BatchBuilder::new(&mut buffer);
    let largest = Message {
        payload: &payload[1..],
        user_headers: &user_headers[1..],
        ..Message::default()
    };
    let error = builder.push(Message {
        payload: &payload,
        ..largest
    });
    assert_eq!(error, Err(BatchError::PayloadTooBig));
    let error = builder.push(Message {
        user_headers: &user_headers,
        ..largest
    });
    assert_eq!(error, Err(BatchError::UserHeadersTooBig));
    builder.push(largest).unwrap();
    builder.finish().unwrap();
    BatchView::parse_produced(&buffer).expect("at the limit");

    // One past, as a producer with another encoder would send it.
    for (payload, user_headers, error) in [
        (&payload[..], &[][..], BatchError::PayloadTooBig),
        (&[][..], &user_headers[..], BatchError::UserHeadersTooBig),
    ] {
        let raw = RawMessage {
            id: 0,
            origin_timestamp: 0,
            headers: Some(user_headers),
            payload,
        };
        let id = WireIdentifier::numeric(1);
        let mut body = BytesMut::new();
        SendMessagesEncoder::encode(&mut body, &id, &id, &WirePartitioning::Balanced, &[raw])
            .unwrap();
        let batch = SendMessages::parse(&body).unwrap().batch;
        assert_eq!(
            BatchView::parse_produced(&body[batch]).map(|_| ()),
            Err(error)
        );
    }
}

#[test]
fn message_times_reach_u32_microseconds_after_the_first_and_not_before_it() {
    let mut buffer = BytesMut::new();
    let mut builder = BatchBuilder::new(&mut buffer);
    let at = |origin_timestamp| Message {
        origin_timestamp,
        ..Message::default()
    };
    builder.push(at(1_000)).unwrap();
    builder.push(at(1_000 + u64::from(u32::MAX))).unwrap();
    assert_eq!(
        builder.push(at(1_001 + u64::from(u32::MAX))),
        Err(BatchError::TimestampDelta)
    );
    assert_eq!(builder.push(at(999)), Err(BatchError::TimestampDelta));
    assert_eq!(builder.message_count(), 2);
    builder.finish().unwrap();
    let view = BatchView::parse_produced(&buffer).unwrap();
    let times: Vec<_> = view
        .frames()
        .map(|frame| frame.origin_timestamp())
        .collect();
    assert_eq!(times, [1_000, 1_000 + u64::from(u32::MAX)]);
}

#[test]
fn errors_of_the_batch_are_the_numbers_of_the_published_table() {
    let published = |error: iggy_common::IggyError| Status(error.as_code());
    assert_eq!(
        BatchError::PayloadTooBig.status(),
        published(iggy_common::IggyError::TooBigMessagePayload)
    );
    assert_eq!(
        BatchError::UserHeadersTooBig.status(),
        published(iggy_common::IggyError::TooBigUserHeaders)
    );
    assert_eq!(
        BatchError::MessageCount.status(),
        published(iggy_common::IggyError::InvalidMessagesCount)
    );
}
