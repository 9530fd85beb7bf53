"""Produces and polls by every strategy. Argument: a connection string."""

import sys

from apache_iggy import Consumer, IggyClient, PollingStrategy, SendMessage
from running import run

STREAM, TOPIC = "orders", "placed"


async def main() -> None:
    client = IggyClient.from_connection_string(sys.argv[1])
    await client.connect()
    await client.ping()
    await client.create_stream(STREAM)
    await client.create_topic(STREAM, TOPIC, partitions_count=1)
    topic = await client.get_topic(STREAM, TOPIC)
    assert topic is not None and topic.partitions_count == 1

    texts = [f"message {number}" for number in range(30)]
    for start in range(0, 30, 10):
        batch = [SendMessage(text) for text in texts[start : start + 10]]
        sent = await client.send_messages(STREAM, TOPIC, 0, batch)
        assert sent.confirmations[0].base_offset == start

    async def poll(strategy, count, auto_commit=False):
        return await client.poll_messages(
            STREAM,
            TOPIC,
            consumer=Consumer.Single("reader"),
            polling_strategy=strategy,
            count=count,
            auto_commit=auto_commit,
            partition_id=0,
        )

    def payloads(messages):
        return [message.payload().decode() for message in messages]

    everything = await poll(PollingStrategy.First(), 100)
    assert payloads(everything) == texts
    assert [message.offset() for message in everything] == list(range(30))
    assert payloads(await poll(PollingStrategy.Offset(value=8), 15)) == texts[8:23]
    assert payloads(await poll(PollingStrategy.Last(), 4)) == texts[26:]

    timestamp = everything[15].timestamp()
    later = [message for message in everything if message.timestamp() >= timestamp]
    found = await poll(PollingStrategy.Timestamp(value=timestamp), 100)
    assert payloads(found) == payloads(later)

    for expected in (texts[:12], texts[12:24], texts[24:], []):
        found = await poll(PollingStrategy.Next(), 12, auto_commit=True)
        assert payloads(found) == expected, (payloads(found), expected)

    stats = await client.get_stats()
    assert (stats.streams_count, stats.topics_count, stats.messages_count) == (1, 1, 30)
    await client.delete_topic(STREAM, TOPIC)
    await client.delete_stream(STREAM)
    assert await client.get_streams() == []


run(main)
