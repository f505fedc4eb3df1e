"""Persistent sessions made by the hundred in the store itself, offline, each with a filter of its own.

Knows the store's operations; does not know nodes or clients. All filters match one topic.
"""

import asyncio
from collections.abc import Iterator, Sequence

from mqtt_api.policy import Facts
from mqtt_broker.session.session import NEVER_S, QueueBounds, Subscription
from mqtt_broker.store.ports import (
    Claim,
    Claimed,
    Detach,
    Membership,
    Operation,
    Result,
    StoreUnavailable,
    Subscribe,
)
from mqtt_broker.store.redis.store import RedisStore

LEVELS = 17  # 2 ** 17 filters, each level as it is or "+"
LEVEL_NAMES = tuple(f"level-{number:02d}" for number in range(LEVELS))
SESSIONS_PER_BATCH = 250  # some 30 ms of Redis
RETRY_S = 0.2
BOUNDS = QueueBounds(messages_max=1_000, bytes_max=16 * 1024 * 1024, overflow="DropOldest")


def topic(first: str) -> str:
    """What all the filters match. `first`: the levels before."""
    return "/".join((first, *LEVEL_NAMES))


def topic_filter(number: int, first: str) -> str:
    """The filter of session `number`, distinct from every other's."""
    return "/".join((first, *("+" if number >> place & 1 else name for place, name in enumerate(LEVEL_NAMES))))


async def make(store: RedisStore, node: str, world: str, identities: Sequence[Facts], first: str) -> None:
    """Claim, subscribe and detach a session for each identity as `node`, which has left when this returns."""
    membership = await store.join(node, world)
    number = 0
    for start in range(0, len(identities), SESSIONS_PER_BATCH):
        claims = [_claim(facts) for facts in identities[start : start + SESSIONS_PER_BATCH]]
        results = await _commit(store, membership, number + 1, claims)
        claimed = [result for result in results if isinstance(result, Claimed)]
        assert len(claimed) == len(claims), "a client id is taken"
        await _commit(store, membership, number + 2, list(_rest(claimed, start, first)))
        number += 2
    await store.leave(membership)


async def _commit(
    store: RedisStore, membership: Membership, number: int, operations: Sequence[Operation]
) -> tuple[Result, ...]:
    """As often as it takes on a busy machine: the same number again is the same batch."""
    while True:
        try:
            return await store.commit(membership, number, operations)
        except StoreUnavailable:
            await asyncio.sleep(RETRY_S)


def _claim(facts: Facts) -> Claim:
    return Claim(
        client_id=facts.client_id,
        facts=facts,
        protocol_version=4,
        clean_start=False,
        expiry_interval_s=NEVER_S,
        will=None,
        bounds=BOUNDS,
    )


def _rest(claimed: Sequence[Claimed], start: int, first: str) -> Iterator[Operation]:
    for number, one in enumerate(claimed, start):
        record = one.record
        subscription = Subscription(filter=topic_filter(number, first), qos=1, requested_qos=1, generation=1)
        yield Subscribe(
            client_id=record.client_id,
            incarnation=record.incarnation,
            epoch=record.epoch,
            subscriptions=(subscription,),
        )
        yield Detach(client_id=record.client_id, epoch=record.epoch, expiry_interval_s=NEVER_S, will_due_at=None)
