"""Load and faults by fixed seeds, judged by every invariant; STOA_LONG_TESTS=1 goes on for half an hour.

A seed that fails replays: hack/chaos with the same seed, nodes, durability and faults.
"""

import asyncio
import os
from pathlib import Path

import pytest

from cluster.chaos.faults.catalogue import possible
from cluster.chaos.population import Size, chaos_policy
from cluster.chaos.report import Report, examine, render, total
from cluster.chaos.round import Plan, Round
from cluster.chaos.stores import OneRedis, OwnFile, Place, WatchedRedis
from cluster.chaos.terms import Terms
from cluster.chaos.world import World
from support.redis_server import redis_binary

NODES = ("node-0", "node-1", "node-2")
LONG = os.environ.get("STOA_LONG_TESTS") == "1"
LONG_S = 30 * 60.0
ROUND_S = 60.0
PATIENCE = 3.0  # other tests may run beside this one
SIZE = Size(messages_per_s=150.0)
BROKER_FAULTS = ("kill", "pause", "pause-long", "drain", "rolling", "takeover", "reconnect")
STORE_FAULTS = (
    "store-kill",
    "store-pause",
    "store-slow",
    "store-partition",
    "store-one-way",
    "store-cut",
    "store-lossy",
    "store-oom",
    "store-errors",
    "store-readonly",
    "store-hang",
    "kill",
)
PRIMARY_FAULTS = ("primary-kill", "primary-partition", "primary-pause")

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(redis_binary() is None, reason="redis-server is not installed"),
]


async def run(place: Place, folder: Path, plan: Plan, names: tuple[str, ...] = NODES, *, rounds: int = 1) -> Report:
    world = World(folder, place, names)
    reports = []
    try:
        await asyncio.to_thread(world.start, chaos_policy())
        for number in range(rounds):
            this = Plan(
                seed=f"{plan.seed} {number}",
                prefix=f"r{number}",
                seconds=plan.seconds,
                kinds=plan.kinds,
                size=SIZE,
                terms=plan.terms,
            )
            record = await Round(world, this, print).run()
            reports.append(await asyncio.to_thread(examine, record, this.terms))
    finally:
        await asyncio.to_thread(world.stop)
    return total(reports)


def plan(seed: int, seconds: float, kinds: tuple[str, ...]) -> Plan:
    return Plan(seed=str(seed), prefix="r", seconds=seconds, kinds=kinds, size=SIZE, terms=Terms(patience=PATIENCE))


def assert_clean(report: Report) -> None:
    """No violation; each judge saw the bug planted for it; faults struck while messages were on their way."""
    text = render(report)
    print(text)
    assert report.is_clean, text
    assert not report.untried, text
    assert sum(one.hit for one in report.faults.values()) > 0, text


async def test_nothing_is_lost_when_nodes_are_killed_stopped_and_drained(tmp_path: Path) -> None:
    place = OneRedis(tmp_path / "store", "Disk", NODES)
    assert_clean(await run(place, tmp_path, plan(1, 40.0, BROKER_FAULTS)))


async def test_nothing_is_lost_when_the_store_is_killed_slow_full_or_cut_off(tmp_path: Path) -> None:
    place = OneRedis(tmp_path / "store", "Disk", NODES)
    assert_clean(await run(place, tmp_path, plan(2, 40.0, STORE_FAULTS)))


async def test_nothing_is_lost_when_the_primary_is_replaced(tmp_path: Path) -> None:
    place = WatchedRedis(tmp_path / "store", "Replicated")
    assert_clean(await run(place, tmp_path, plan(3, 30.0, PRIMARY_FAULTS)))


async def test_nothing_is_lost_when_a_node_with_a_file_of_its_own_is_killed(tmp_path: Path) -> None:
    """The driver and the judges prove themselves on the embedded store too."""
    assert_clean(await run(OwnFile(tmp_path), tmp_path, plan(4, 10.0, ("kill", "reconnect")), ("node-0",)))


@pytest.mark.skipif(not LONG, reason="half an hour; STOA_LONG_TESTS=1 asks for it")
@pytest.mark.timeout(2 * LONG_S)
@pytest.mark.parametrize("durability", ["Disk", "Replicated"])
async def test_half_an_hour_of_everything_breaks_nothing(tmp_path: Path, durability: str) -> None:
    place: Place = WatchedRedis(tmp_path / "store", durability)
    if durability == "Disk":
        place = OneRedis(tmp_path / "store", durability, NODES, wants=frozenset({"clock", "tmpfs"}))
    long = plan(5, ROUND_S, possible(place.has))
    assert_clean(await run(place, tmp_path, long, rounds=round(LONG_S / ROUND_S)))
