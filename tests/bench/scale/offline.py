"""Very many offline sessions, each with a filter of its own, and one message that matches all of them.

Knows what is measured and in which order; does not know how a node spreads the message.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import redis

from bench import accounting
from bench.driver import frames
from bench.driver.crowd import Crowd, Member
from bench.driver.link import Link
from bench.nodes import KEYS, NODE_USER, WORLD_ID, ClusterNode, Place, launch_node, start_node
from bench.peers.stoa import policy
from bench.scale import probe
from bench.scale.table import Figure
from bench.workloads.base import TopicsOf, client_id
from bench.world import USERNAME, World
from mqtt_api.policy import Facts, encode_policy
from mqtt_broker.store.redis.store import RedisStore
from support import many_sessions as sessions

TITLE = "{count:,} offline persistent sessions, {count:,} distinct filters, one publish that matches all"
PREFIX = "load-o"
PUBLISHER = "load-all"
FIRST = f"bench/{PUBLISHER}"
SETTLE_S = 2.0
QUIET_S = 5.0  # the same clients with nothing going on: what the machine itself costs
SPREAD_S_MAX = 300.0
LEARN_S_MAX = 300.0
STALL_MS_MAX = 50.0
KEYS_PER_LOOK = 2_000
_MESSAGES = 2  # where a head has the count of its queue


def run(folder: Path, world: World, count: int) -> list[Figure]:
    """Raises BrokenError if the message does not get through, AssertionError if a queue does not have exactly it."""
    with ExitStack() as ends:
        place = ends.enter_context(Place(folder, "Memory"))
        place.write_policy(1, encode_policy(policy(1)))
        there = start_node(0, folder, world, place)
        ends.callback(there.stop)
        empty_kib, empty_bytes = accounting.memory_kib(there.pid), used_bytes(place)
        made_s = _timed(lambda: asyncio.run(_make(place, count)))
        redis_each = (used_bytes(place) - empty_bytes) / count
        told_kib = _settled_kib(there)
        here, ready_s, ready_cpu_s = _started(folder, world, place)
        ends.callback(here.stop)
        loaded_kib = _settled_kib(here)
        figures = [
            Figure("made in the store, by batches", f"{made_s:.1f} s"),
            Figure("Redis, a session (used_memory)", f"{redis_each:,.0f} bytes"),
            Figure("a node that was told by the feed, a session", f"{_each(told_kib - empty_kib, count):,.0f} bytes"),
            Figure("a node that loaded them, a session", f"{_each(loaded_kib - empty_kib, count):,.0f} bytes"),
            Figure("node start to ready", f"{ready_s:.1f} s, {ready_cpu_s:.1f} s of CPU"),
        ]
        return figures + list(_publish(place, here, there, count, loaded_kib))


async def _make(place: Place, count: int) -> None:
    store = await RedisStore.open(place.settings(NODE_USER))
    try:
        identities = [Facts(client_id=f"{PREFIX}{n}", username=USERNAME, source="passwords") for n in range(count)]
        await sessions.make(store, "loader", WORLD_ID, identities, FIRST)
    finally:
        await store.close()


def _started(folder: Path, world: World, place: Place) -> tuple[ClusterNode, float, float]:
    start = time.monotonic()
    node = launch_node(1, folder, world, place)
    node.await_answer()
    return node, time.monotonic() - start, accounting.cpu_seconds(node.pid)


def _publish(place: Place, here: ClusterNode, there: ClusterNode, count: int, loaded_kib: int) -> Iterator[Figure]:
    with Crowd(here.target(tls=False, version=frames.V311), 1, TopicsOf().of) as crowd:
        publisher = crowd.join([Member(PUBLISHER)])[0]
        pings = probe.pings(crowd.join([Member("load-ping")])[0])
        commits = probe.commits(_self_subscribed(crowd, there), TopicsOf().names(0)[0])
        probes = (pings, commits)
        end = time.monotonic() + QUIET_S
        probe.watch(crowd.loop, probes, lambda: time.monotonic() > end, 2 * QUIET_S)
        quiet_pings, quiet_commits = pings.take(), commits.take()
        cpu_s, redis_s = accounting.cpu_seconds(here.pid), accounting.cpu_seconds(place.pid)
        publisher.send(frames.publish(sessions.topic(FIRST), 1, frames.V311, frames.payload(0, 0), 1))
        took_s = probe.watch(crowd.loop, probes, lambda: publisher.scanner.acknowledged == 1, SPREAD_S_MAX)
        busy_pings, busy_commits = pings.take(), commits.take()
    cpu_s, redis_s = accounting.cpu_seconds(here.pid) - cpu_s, accounting.cpu_seconds(place.pid) - redis_s
    assert_exactly_one(place, count)
    peak_kib = accounting.memory_kib(here.pid)
    yield Figure("PUBLISH to PUBACK", f"{took_s:.2f} s ({cpu_s / count * 1e6:.0f} µs of CPU a receiver in the node)")
    yield Figure("Redis meanwhile", f"{redis_s / count * 1e6:.1f} µs of CPU a receiver")
    target = f"<= {STALL_MS_MAX:g} ms"
    yield Figure("PINGREQ of another client of that node", f"{busy_pings}; before: {quiet_pings}", target)
    yield Figure("QoS 1 commits of another node", f"{busy_commits}; before: {quiet_commits}", target)
    yield Figure("queues with exactly that one message", f"{count:,} of {count:,}")
    yield Figure("the node's memory after it", f"{(peak_kib - loaded_kib) / 1024:+.0f} MiB")


def _self_subscribed(crowd: Crowd, node: ClusterNode) -> Link:
    """A persistent client that hears what it publishes: each message is a commit of its node."""
    target = node.target(tls=False, version=frames.V311)
    return crowd.join([Member(client_id(0), TopicsOf().names(0), 1, clean=False)], target)[0]


def assert_exactly_one(place: Place, count: int) -> None:
    """By the queues themselves, and by what their sessions' heads say."""
    with place.server.client() as client:
        for start in range(0, count, KEYS_PER_LOOK):
            numbers = range(start, min(count, start + KEYS_PER_LOOK))
            heads = _heads(client, numbers)
            waiting = client.pipeline(transaction=False)
            for head in heads:
                waiting.hlen(f"{KEYS.data}q:{head[0]}")
            wrong = [
                n
                for n, head, held in zip(numbers, heads, waiting.execute(), strict=True)
                if held != 1 or head[_MESSAGES] != 1
            ]
            assert not wrong, f"{len(wrong)} of {len(numbers)} queues, the first is {PREFIX}{wrong[0]}"


def _heads(client: redis.Redis, numbers: range) -> list[list[int]]:
    asked = client.pipeline(transaction=False)
    for number in numbers:
        asked.hget(f"{KEYS.data}s:{PREFIX}{number}", "h")
    return [msgspec.msgpack.decode(raw) for raw in asked.execute()]


def used_bytes(place: Place) -> int:
    with place.server.client() as client:
        return int(client.info("memory")["used_memory"])


def _settled_kib(node: ClusterNode) -> int:
    """Once nothing is applied any more."""
    deadline = time.monotonic() + LEARN_S_MAX
    used = -1.0
    while (now_used := accounting.cpu_seconds(node.pid)) - used > 0.1 and time.monotonic() < deadline:
        used = now_used
        time.sleep(SETTLE_S)
    return accounting.memory_kib(node.pid)


def _each(kib: int, count: int) -> float:
    return kib * 1024 / count


def _timed(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start
