"""Produces 10,000 messages of 1 KB, or verifies that they are there. Arguments: a connection
string, then `produce` or `verify`."""

import hashlib
import sys

from apache_iggy import Consumer, IggyClient, PollingStrategy, SendMessage
from running import run

STREAM, TOPIC = "orders", "placed"
MESSAGES, BATCH = 10_000, 1_000


def payload(number: int) -> bytes:
    """1,000 bytes that look random and are the same in every run."""
    return hashlib.shake_128(number.to_bytes(4, "little")).digest(1_000)


async def produce(client: IggyClient) -> None:
    await client.create_stream(STREAM)
    await client.create_topic(STREAM, TOPIC, partitions_count=1)
    for start in range(0, MESSAGES, BATCH):
        batch = [SendMessage(payload(number)) for number in range(start, start + BATCH)]
        await client.send_messages(STREAM, TOPIC, 0, batch)


async def verify(client: IggyClient) -> None:
    number = 0
    while number < MESSAGES:
        messages = await client.poll_messages(
            STREAM,
            TOPIC,
            consumer=Consumer.Single("reader"),
            polling_strategy=PollingStrategy.Next(),
            count=BATCH,
            auto_commit=True,
            partition_id=0,
        )
        assert messages, f"only {number} messages are there"
        for message in messages:
            assert message.offset() == number
            assert message.payload() == payload(number), f"message {number} differs"
            number += 1


async def main() -> None:
    client = IggyClient.from_connection_string(sys.argv[1])
    await client.connect()
    await {"produce": produce, "verify": verify}[sys.argv[2]](client)


run(main)
