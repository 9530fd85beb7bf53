"""A consumer group of two that rebalances. Argument: a connection string."""

import asyncio
import sys

from apache_iggy import Consumer, IggyClient, PollingStrategy, SendMessage
from running import run

STREAM, TOPIC, GROUP = "orders", "placed", "warehouse"
PARTITIONS = 4


async def connect() -> IggyClient:
    client = IggyClient.from_connection_string(sys.argv[1])
    await client.connect()
    return client


async def produce(client: IggyClient, word: str) -> list[str]:
    texts = [f"{word} {partition}" for partition in range(PARTITIONS)]
    for partition, text in enumerate(texts):
        await client.send_messages(STREAM, TOPIC, partition, [SendMessage(text)])
    return texts


async def consume(client: IggyClient, count: int) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        messages = await client.poll_messages(
            STREAM,
            TOPIC,
            consumer=Consumer.Group(GROUP),
            polling_strategy=PollingStrategy.Next(),
            count=10,
            auto_commit=True,
        )
        found += [message.payload().decode() for message in messages]
    return found


async def main() -> None:
    producer = await connect()
    await producer.create_stream(STREAM)
    await producer.create_topic(STREAM, TOPIC, partitions_count=PARTITIONS)
    await producer.create_consumer_group(STREAM, TOPIC, GROUP)
    first, second = await connect(), await connect()
    await first.join_consumer_group(STREAM, TOPIC, GROUP)
    await second.join_consumer_group(STREAM, TOPIC, GROUP)
    group = await producer.get_consumer_group(STREAM, TOPIC, GROUP)
    assert [member.partitions_count for member in group.members] == [2, 2]

    expected = await produce(producer, "early")
    found = await asyncio.wait_for(consume(first, 2), 30)
    found += await asyncio.wait_for(consume(second, 2), 30)
    assert sorted(found) == expected, found

    await second.leave_consumer_group(STREAM, TOPIC, GROUP)
    expected = await produce(producer, "late")
    found = await asyncio.wait_for(consume(first, 4), 30)
    assert sorted(found) == expected, found


run(main)
