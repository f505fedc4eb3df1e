"""A process that commits one message after the other and says so; a test kills it, or takes its disk away.

Usage: durable_writer.py URL [FILE_BYTES_MAX]. Prints the number of each batch once `commit` has returned. With a limit
on the size of files: prints `refused` when the store has no room, lifts the limit, and commits the same batch again.
"""

import asyncio
import resource
import sys

from mqtt_api.policy import Facts
from mqtt_broker.session.message import Message
from mqtt_broker.session.session import QueueBounds
from mqtt_broker.store.embedded import EmbeddedStore
from mqtt_broker.store.ports import Accept, Claim, Claimed, StoreUnavailable, Target


def limit_files(size: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


async def main(url: str, file_bytes_max: int | None) -> None:
    store = await EmbeddedStore.open(url)
    membership = await store.join("node-0", "world-1")
    bounds = QueueBounds(messages_max=1_000_000, bytes_max=1 << 40, overflow="Reject")
    facts = Facts(client_id="a", username="user")
    claim = Claim(
        client_id="a",
        facts=facts,
        protocol_version=5,
        clean_start=False,
        expiry_interval_s=100,
        will=None,
        bounds=bounds,
    )
    (claimed,) = await store.commit(membership, 1, [claim])
    if not isinstance(claimed, Claimed):
        raise AssertionError(claimed)
    if file_bytes_max is not None:
        limit_files(file_bytes_max)
    number = 1
    while True:
        number += 1
        target = Target(client_id="a", incarnation=claimed.record.incarnation, qos=1)
        message = Message(topic="t", payload=str(number).encode() * 100, qos=1)
        accept = Accept(message=message, targets=(target,))
        try:
            await store.commit(membership, number, [accept])
        except StoreUnavailable as error:
            print("refused", error, flush=True)
            limit_files(resource.RLIM_INFINITY)
            print(*await store.commit(membership, number, [accept]), flush=True)
            await store.close()
            return
        print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None))
