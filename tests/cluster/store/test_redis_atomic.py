"""A script that fails has changed nothing: each key that a batch writes is of a wrong type once."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from msgspec.structs import replace

from cluster.store.cluster import Cluster, Peer, peer
from cluster.store.servers import RedisWorld
from mqtt_broker.session.session import NEVER_S, Subscription
from mqtt_broker.store.ports import (
    Accept,
    GroupTarget,
    Marker,
    Operation,
    Part,
    Received,
    Release,
    Result,
    StoreUnavailable,
    Unsubscribe,
)
from support.redis_server import RedisServer
from unit.mqtt_broker.store.harness import (
    SHARED,
    WILL,
    acknowledge,
    claim,
    detach,
    end,
    facts,
    give_back,
    mark,
    message,
    subscribe,
    take,
    to,
    to_crew,
)


class Scene:
    """A world in which one batch writes every kind of key there is."""

    def __init__(self, world: RedisWorld, near: Peer, far: Peer, operations: Sequence[Operation]) -> None:
        self.world = world
        self.near = near
        self.far = far
        self.operations = operations

    async def commit(self) -> tuple[Result, ...]:
        return await self.near.store.commit(self.near.membership, self.near.number + 1, self.operations)


async def scene(world: RedisWorld) -> Scene:
    near, far = await peer(world, "near"), await peer(world, "far")
    a, b, c = [await near.claim(name, will=WILL) for name in "abc"]
    away, moving = await far.claim("away"), await far.claim("moving")
    other = Subscription(filter="other", group="crew")
    leaving = Subscription(filter="leaving", group="crew")
    quiet = Subscription(filter="quiet", group="crew")
    await near.commit(subscribe(a, SHARED, leaving), subscribe(b, SHARED, quiet), subscribe(c, SHARED))
    await near.commit(*to_crew(b"g1", b"g2", b"g3", qos=2))
    await near.publish(a, b"1", b"2", b"3", qos=2)
    await near.commit(take(a, 1), take(b, 1), Received(client_id="a", epoch=a.epoch, sequence=2))
    marker = Marker(client_id="a", epoch=a.epoch, packet_id=1)
    await near.commit(
        Accept(message=message(topic="gone"), retain=True, marker=marker),
        detach(await near.claim("late"), 50),
    )
    whole = Accept(
        message=message(b"m", topic="kept", expires_at=2_000.0),
        targets=(to(a), to(away)),
        groups=(
            GroupTarget(group="crew", filter="work/#", wakes=("far",)),
            GroupTarget(group="crew", filter="quiet"),
        ),
        marker=replace(marker, packet_id=2),
        retain=True,
        forwards=(far.forward(),),
        part=Part(token="m", is_last=False),
    )
    leave = Unsubscribe(client_id="a", incarnation=a.incarnation, epoch=None, keys=(leaving.key,))
    operations = (
        whole,
        Accept(message=message(b"", topic="gone"), retain=True),
        acknowledge(a, 1, 2),
        Received(client_id="a", epoch=a.epoch, sequence=3),
        Release(client_id="a", epoch=a.epoch, packet_id=1),
        mark(a, 3),
        subscribe(a, other),
        leave,
        take(a, 1),
        give_back(b),
        detach(b, 60, 1_030.0),
        end(c),
        claim("new", facts=facts("new"), expiry_interval_s=NEVER_S),
        claim("late"),
        claim("moving"),
    )
    assert moving.epoch
    return Scene(world, near, far, operations)


class TestAtomicity(Cluster):
    async def test_a_batch_that_fails_at_any_key_has_changed_nothing(self, server: RedisServer) -> None:
        async with AsyncExitStack() as opened:
            names = await written_by_a_batch(server, opened)
            kinds = {name.split(":")[0].partition("{")[0] for name in names}
            assert len(kinds) > 20, kinds
            outcomes = {name: await outcome(server, opened, name) for name in sorted(names)}
        # What is only deleted may be of any type.
        assert {name for name, failed in outcomes.items() if not failed} <= {"q:3", "sub:3"}, outcomes


async def written_by_a_batch(server: RedisServer, opened: AsyncExitStack) -> set[str]:
    """Names of the keys, without their common beginning. Numbers in them are the same in each new world."""
    world = RedisWorld(server)
    opened.push_async_callback(world.close)
    found = await scene(world)
    before = world.dump()
    await found.commit()
    after = world.dump()
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


async def outcome(server: RedisServer, opened: AsyncExitStack, name: str) -> bool:
    """Plant a key of a wrong type; True if the batch failed, and then: without a trace, and going well afterwards."""
    world = RedisWorld(server)
    opened.push_async_callback(world.close)
    found = await scene(world)
    key = world.keys.data + name
    original = world.plant(key)
    before = world.dump()
    try:
        await found.commit()
    except StoreUnavailable:
        assert world.dump() == before, name
        world.restore(key, original)
        assert len(await found.commit()) == len(found.operations)
        return True
    return False
