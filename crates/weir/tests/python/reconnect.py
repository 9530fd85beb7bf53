"""One client that lives through a restart of the server. Argument: a connection string.

Says `sent`, waits for a line, and goes on."""

import asyncio
import sys

from apache_iggy import Consumer, IggyClient, PollingStrategy, SendMessage
from running import run

STREAM, TOPIC = "orders", "placed"


async def main() -> None:
    client = IggyClient.from_connection_string(sys.argv[1])
    await client.connect()
    await client.create_stream(STREAM)
    await client.create_topic(STREAM, TOPIC, partitions_count=1)
    await client.send_messages(STREAM, TOPIC, 0, [SendMessage("before")])
    print("sent", flush=True)
    await asyncio.to_thread(sys.stdin.readline)

    # A read is repeated by the client itself once it has connected and logged in again.
    assert len(await client.get_streams()) == 1
    await client.send_messages(STREAM, TOPIC, 0, [SendMessage("after")])
    messages = await client.poll_messages(
        STREAM,
        TOPIC,
        consumer=Consumer.Single("reader"),
        polling_strategy=PollingStrategy.First(),
        count=10,
        auto_commit=False,
        partition_id=0,
    )
    assert [message.payload() for message in messages] == [b"before", b"after"]


run(main)
