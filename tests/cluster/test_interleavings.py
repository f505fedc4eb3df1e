"""The interleavings that a cluster is most likely to get wrong, each on its own, step by step."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from cluster.chaos.device import Device, Spec
from cluster.chaos.record import Acknowledged, Received, Sent, only, publisher_of
from cluster.chaos.stores import OneRedis
from cluster.chaos.world import World
from cluster.conftest import NODES, Stage, StartCluster
from mqtt_api.node_settings import RedisSettings
from support.proxy import Way
from support.redis_server import redis_binary
from support.waiting import eventually

PAST_THE_LEASE_S = 8.0
WITHIN_THE_LEASE_S = 2.0
IN_FLIGHT = 10
RETURN_S_MAX = 30.0
LAST_DUPLICATE_S = 1.0
SMALL_INBOX_BYTES = 16 * 1024
BACKLOG = 400
READERS = 12
QOS_CYCLE = (1, 2)

SetStage = Callable[[World], Stage]
pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(redis_binary() is None, reason="redis-server is not installed"),
]


async def publish(device: Device, count: int, topic: str = "t") -> None:
    for number in range(count):
        await device.publish(topic, QOS_CYCLE[number % len(QOS_CYCLE)])


def is_done(device: Device) -> bool:
    """Everything it sent is acknowledged, and it is connected."""
    return device.is_ready and not device.session.outgoing


def has_all(stage: Stage, client: str) -> bool:
    """It received every message that was acknowledged."""
    events = stage.recorder.events
    acknowledged = {event.message for event in only(events, Acknowledged) if event.reason < 0x80}
    received = {event.message for event in only(events, Received) if event.client == client}
    return acknowledged <= received


async def all_arrives(stage: Stage, publisher: Device, *receivers: Device) -> None:
    """Wait until nothing is under way; then for what should not come at all."""
    await eventually(lambda: is_done(publisher), RETURN_S_MAX, "every message is acknowledged")
    clients = [receiver.spec.client for receiver in receivers]
    await eventually(lambda: all(has_all(stage, client) for client in clients), RETURN_S_MAX, f"{clients} have all")
    await asyncio.sleep(LAST_DUPLICATE_S)
    assert stage.violations() == []


def sent(stage: Stage, client: str) -> int:
    return sum(event.client == client for event in only(stage.recorder.events, Sent))


async def test_a_node_that_sleeps_past_its_lease_and_wakes_up_writes_nothing(
    start_cluster: StartCluster, set_stage: SetStage
) -> None:
    """Its clients went on elsewhere; it still holds their sockets, with messages in them that it never read."""
    world = await asyncio.to_thread(start_cluster)
    stage = set_stage(world)
    receiver = await stage.enter(Spec(client="receiver", subscriptions=(("t", 2),)), "node-0")
    sleeper = await stage.enter(Spec(client="sleeper"), "node-0")
    witness = await stage.enter(Spec(client="witness"), "node-1")
    await publish(sleeper, IN_FLIGHT)
    world.nodes["node-0"].pause()
    await publish(sleeper, IN_FLIGHT)  # into the socket of a node that does not read
    await publish(witness, IN_FLIGHT)  # for a receiver whose node sleeps
    await asyncio.sleep(PAST_THE_LEASE_S)
    await eventually(lambda: receiver.is_ready and sleeper.is_ready, RETURN_S_MAX, "both are connected elsewhere")
    world.nodes["node-0"].resume()
    await publish(sleeper, IN_FLIGHT)
    await all_arrives(stage, sleeper, receiver)
    await eventually(lambda: is_done(witness), RETURN_S_MAX, "the witness is done")


async def test_a_batch_whose_answer_was_lost_is_not_carried_out_twice(
    start_cluster: StartCluster, set_stage: SetStage
) -> None:
    """It reached the store, the store was killed and came back, and the node asks again with the same number."""
    world = await asyncio.to_thread(start_cluster)
    stage = set_stage(world)
    place = world.place
    assert isinstance(place, OneRedis)
    receiver = await stage.enter(Spec(client="receiver", subscriptions=(("t", 2),)), "node-1")
    publisher = await stage.enter(Spec(client="publisher"), "node-0")
    await publish(publisher, IN_FLIGHT)
    await eventually(lambda: is_done(publisher), what="the first messages are acknowledged")
    place.proxies["node-0"].stall(Way.DOWN)
    await publish(publisher, IN_FLIGHT)
    await eventually(lambda: has_reached(stage, "receiver", 2 * IN_FLIGHT - 1), what="the batch took place")
    assert publisher.session.outgoing, "nobody may have been told"
    await asyncio.to_thread(place.kill)
    await asyncio.to_thread(place.restart)
    place.proxies["node-0"].cut()
    place.proxies["node-0"].flow(Way.DOWN)
    await publish(publisher, IN_FLIGHT)
    await all_arrives(stage, publisher, receiver)


def has_reached(stage: Stage, client: str, count: int) -> bool:
    """Some batches may wait behind the one whose answer does not come; the first of them is enough."""
    return sum(event.client == client for event in only(stage.recorder.events, Received)) > count // 2


async def test_a_batch_of_a_node_that_died_before_its_answer_came_is_not_doubled_by_the_clients(
    start_cluster: StartCluster, set_stage: SetStage
) -> None:
    """The store did it, the node was killed before it could say so, the client sends again to another node."""
    world = await asyncio.to_thread(start_cluster)
    stage = set_stage(world)
    place = world.place
    assert isinstance(place, OneRedis)
    receiver = await stage.enter(Spec(client="receiver", subscriptions=(("t", 2),)), "node-1")
    publisher = await stage.enter(Spec(client="publisher"), "node-0")
    place.proxies["node-0"].stall(Way.DOWN)
    await publish(publisher, IN_FLIGHT)
    await eventually(lambda: has_reached(stage, "receiver", 1), what="a batch took place")
    await asyncio.to_thread(world.nodes["node-0"].kill)
    place.proxies["node-0"].heal()
    await asyncio.to_thread(world.nodes["node-0"].start)
    await all_arrives(stage, publisher, receiver)


async def test_a_takeover_with_a_full_inbox_loses_nothing(
    start_cluster: StartCluster, set_stage: SetStage, tmp_path: Path
) -> None:
    """The receiver's node sleeps until its inbox is full; what does not fit must still come from the queue."""

    class SmallInboxes(OneRedis):
        def settings(self, node: str) -> str | RedisSettings:
            settings = super().settings(node)
            assert isinstance(settings, RedisSettings)
            return msgspec.structs.replace(settings, inbox_bytes_max=SMALL_INBOX_BYTES)

    place = SmallInboxes(tmp_path / "store", "Disk", NODES)
    world = await asyncio.to_thread(start_cluster, place)
    stage = set_stage(world)
    receiver = await stage.enter(Spec(client="receiver", subscriptions=(("t", 2),), stays=False), "node-0")
    brief = await stage.enter(Spec(client="brief", lasts=False, subscriptions=(("t", 1),)), "node-0")
    publisher = await stage.enter(Spec(client="publisher"), "node-1")
    world.nodes["node-0"].pause()
    await publish(publisher, BACKLOG)
    await eventually(lambda: is_done(publisher), what="the backlog is acknowledged while node-0 sleeps")
    world.nodes["node-0"].resume()
    await eventually(lambda: receiver.connect("node-2"), what="the takeover")
    await publish(publisher, IN_FLIGHT)
    await all_arrives(stage, publisher, receiver)
    assert not has_all(stage, brief.spec.client), "the inbox was not full: nothing was dropped for a transient session"


async def test_a_retained_value_that_changes_during_subscribe_is_not_missed(
    start_cluster: StartCluster, set_stage: SetStage
) -> None:
    """Every subscriber ends with the last value, and never goes back to an earlier one."""
    world = await asyncio.to_thread(start_cluster)
    stage = set_stage(world)
    writer = await stage.enter(Spec(client="writer", window=1), "node-0")

    async def write() -> None:
        while True:
            await writer.publish("r", 1, retain=True)

    writing = asyncio.create_task(write())
    try:
        for number in range(READERS):
            spec = Spec(client=f"reader-{number}", lasts=number % 2 == 0, subscriptions=(("r", 1),))
            await stage.enter(spec, NODES[number % len(NODES)])
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    await eventually(lambda: is_done(writer), what="the last value is acknowledged")
    last = only(stage.recorder.events, Sent)[-1].message
    readers = [f"reader-{number}" for number in range(READERS)]
    await eventually(lambda: all(values(stage, reader)[-1:] == [last] for reader in readers), what=f"all have {last}")
    await asyncio.sleep(LAST_DUPLICATE_S)
    for reader in readers:
        numbers = [publisher_of(name)[1] for name in values(stage, reader)]
        assert numbers == sorted(set(numbers)), reader
    assert stage.violations() == []


def values(stage: Stage, client: str) -> list[str]:
    """What it received, in order."""
    return [event.message for event in only(stage.recorder.events, Received) if event.client == client]


async def test_qos_1_for_a_lasting_session_survives_the_nodes_of_both_ends(
    start_cluster: StartCluster, set_stage: SetStage
) -> None:
    """The receiver's node dies while it is away, the publisher's in the middle of a burst."""
    world = await asyncio.to_thread(start_cluster)
    stage = set_stage(world)
    receiver = await stage.enter(Spec(client="receiver", subscriptions=(("t", 1),), stays=False), "node-0")
    publisher = await stage.enter(Spec(client="publisher"), "node-1")
    receiver.is_wanted = False
    receiver.cut()
    bursts = asyncio.create_task(publish(publisher, BACKLOG))
    await eventually(lambda: sent(stage, "publisher") > BACKLOG // 4, what="the burst has begun")
    await asyncio.to_thread(world.nodes["node-0"].kill)
    await eventually(lambda: sent(stage, "publisher") > BACKLOG // 2, what="the burst goes on")
    await asyncio.to_thread(world.nodes["node-1"].kill)
    await bursts
    receiver.is_wanted = True
    await all_arrives(stage, publisher, receiver)


async def test_while_the_store_is_away_qos_0_goes_on_and_nothing_is_acknowledged(
    start_cluster: StartCluster, set_stage: SetStage
) -> None:
    """Within the lease, among clients of one node. What was held back completes when the store is there again."""
    world = await asyncio.to_thread(start_cluster)
    stage = set_stage(world)
    place = world.place
    assert isinstance(place, OneRedis)
    receiver = await stage.enter(Spec(client="receiver", subscriptions=(("t", 2),)), "node-0")
    publisher = await stage.enter(Spec(client="publisher"), "node-0")
    place.server.pause()
    try:
        first = await publisher.publish("t", 0)
        await eventually(lambda: first in values(stage, "receiver"), WITHIN_THE_LEASE_S, "QoS 0 arrives")
        await publisher.publish("t", 1)
        await asyncio.sleep(1.0)
        assert not only(stage.recorder.events, Acknowledged), "acknowledged without a store"
    finally:
        place.server.resume()
    await all_arrives(stage, publisher, receiver)


async def test_a_store_that_comes_back_empty_serves_nobody(start_cluster: StartCluster, set_stage: SetStage) -> None:
    """Nobody is told that there are no sessions: everybody is closed out, and nobody gets in."""
    world = await asyncio.to_thread(start_cluster)
    stage = set_stage(world)
    place = world.place
    assert isinstance(place, OneRedis)
    client = await stage.enter(Spec(client="client", subscriptions=(("t", 1),)), "node-0")
    await asyncio.to_thread(place.kill)
    shutil.rmtree(place.server.folder / "appendonlydir")
    await asyncio.to_thread(place.restart)
    await eventually(lambda: client.link is None, RETURN_S_MAX, "the connection is closed")
    client.is_wanted = False
    for node in NODES:
        assert not await client.connect(node), node
