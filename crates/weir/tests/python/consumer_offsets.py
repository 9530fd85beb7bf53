"""Stores a consumer offset, or checks that it is still there. Arguments: a connection string,
then `store` or `check`."""

import sys

from apache_iggy import AutoCommit, Consumer, IggyClient, PollingStrategy, SendMessage
from running import run

STREAM, TOPIC = "orders", "placed"


async def poll_next(client, count, auto_commit):
    messages = await client.poll_messages(
        STREAM,
        TOPIC,
        consumer=Consumer.Single("reader"),
        polling_strategy=PollingStrategy.Next(),
        count=count,
        auto_commit=auto_commit,
        partition_id=0,
    )
    return [message.payload().decode() for message in messages]


async def store(client) -> None:
    await client.create_stream(STREAM)
    await client.create_topic(STREAM, TOPIC, partitions_count=1)
    batch = [SendMessage(str(number)) for number in range(10)]
    await client.send_messages(STREAM, TOPIC, 0, batch)
    assert await poll_next(client, 4, auto_commit=True) == ["0", "1", "2", "3"]

    group = await client.consumer_group(
        "warehouse", STREAM, TOPIC, partition_id=0, auto_commit=AutoCommit.Disabled()
    )
    await group.store_offset(6, 0)


async def check(client) -> None:
    assert await poll_next(client, 3, auto_commit=False) == ["4", "5", "6"]

    group = await client.consumer_group(
        "warehouse",
        STREAM,
        TOPIC,
        partition_id=0,
        polling_strategy=PollingStrategy.Next(),
        auto_commit=AutoCommit.Disabled(),
    )
    async for message in group.iter_messages():
        assert message.payload() == b"7", message.payload()
        break
    await group.delete_offset(0)


async def main() -> None:
    client = IggyClient.from_connection_string(sys.argv[1])
    await client.connect()
    await {"store": store, "check": check}[sys.argv[2]](client)


run(main)
