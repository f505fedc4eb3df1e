"""The lease of a node: renewed, run out, given up, taken; and what becomes of others who fall silent."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest
from msgspec.structs import replace

from mqtt_api.node_facts import NodeFacts
from mqtt_api.node_settings import RedisSettings
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.peers import keeper as keeper_module
from mqtt_broker.node.peers.keeper import REAP_AT_ONCE, LeaseKeeper
from mqtt_broker.store.cluster import ClusterStore, Lease
from mqtt_broker.store.ports import Fenced, Membership, StoreMismatch, StoreUnavailable
from support.inprocess import VirtualLoop

ME = Membership(node="node-0", token=1)
OTHER = Lease(node="node-1", token=2, renewals=7, facts=NodeFacts())
SETTINGS = RedisSettings(addresses=("nowhere:1",), key_prefix="x", lease_s=6.0, outage_s_max=10.0)


class Turns:
    async def next(self) -> None:
        await asyncio.sleep(0)


class FakeHub:
    """What a keeper asks of a hub, written down."""

    def __init__(self) -> None:
        self.loop = asyncio.get_event_loop_policy().get_event_loop()
        self.lease_ends_at = 0.0
        self.is_frozen = False
        self.all_connections: Sequence[object] = (object(), object())
        self.turns = Turns()
        self.due_changed = asyncio.Event()
        self.said: list[str] = []

    def freeze(self) -> None:
        if not self.is_frozen:
            self.said.append("freeze")
        self.is_frozen = True

    def thaw(self) -> None:
        self.is_frozen = False
        self.said.append("thaw")

    def fence(self, why: str) -> None:
        self.said.append(f"fence: {why}")

    def abort_all(self, why: str) -> None:
        self.said.append("abort all")


class FakeStore:
    """Renewals raise `problem` if there is one. `left` is how many sessions of lost nodes there are to reap."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.problem: Exception | None = None
        self.connected = 1
        self.others: tuple[Lease, ...] = ()
        self.renewed_at: list[float] = []
        self.fenced: list[Lease] = []
        self.may_fence = True
        self.left = 0
        self.reaps = 0
        self.reap_s = 0.0

    async def renew(self, membership: Membership, facts: NodeFacts) -> tuple[Lease, ...]:
        if self.problem is not None:
            raise self.problem
        self.renewed_at.append(self._loop.time())
        return (Lease(node=ME.node, token=ME.token, renewals=len(self.renewed_at), facts=facts), *self.others)

    async def fence(self, membership: Membership, lease: Lease) -> bool:
        self.fenced.append(lease)
        self.others = ()
        return self.may_fence

    async def reap(self, membership: Membership, sessions_max: int) -> int:
        await asyncio.sleep(self.reap_s)
        self.reaps += 1
        reaped = min(self.left, sessions_max)
        self.left -= reaped
        return reaped


class Bench:
    """A keeper at work in a loop whose time moves only by `after`."""

    def __init__(self, *, is_elder: bool = False) -> None:
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.hub = FakeHub()
        self.store = FakeStore(self.loop)
        self.is_elder = is_elder
        self.keeper = LeaseKeeper(
            cast("Hub", self.hub),
            cast("ClusterStore", self.store),
            ME,
            SETTINGS,
            NodeFacts,
            lambda _: None,
            lambda: self.is_elder,
        )
        self.loop.run_until_complete(self.keeper.begin())
        work: list[Callable[[], Any]] = [self.keeper.keep, self.keeper.watch_end, self.keeper.look_after]
        self.tasks = [self.loop.create_task(each()) for each in work]

    def after(self, seconds: float) -> None:
        self.loop.run_until_idle(seconds)

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*self.tasks, return_exceptions=True))
        self.loop.close()
        asyncio.set_event_loop(None)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    loops: list[VirtualLoop] = []
    monkeypatch.setattr(keeper_module, "boottime", lambda: loops[0].time() if loops else 0.0)
    monkeypatch.setattr(time, "monotonic", lambda: loops[0].time() if loops else 0.0)
    bench = Bench()
    loops.append(bench.loop)
    yield bench
    bench.close()


def test_a_lease_is_renewed_long_before_it_ends(bench: Bench) -> None:
    bench.after(30.0)
    assert len(bench.store.renewed_at) >= 20
    assert bench.hub.said == []
    assert bench.hub.lease_ends_at > bench.loop.time() + 3


def test_a_node_whose_store_is_away_freezes_when_its_lease_ends_and_goes_on_when_it_is_back(bench: Bench) -> None:
    bench.store.problem = StoreUnavailable("away")
    bench.after(4.5)
    assert bench.hub.said == []
    assert not bench.keeper.answers
    bench.after(1.0)
    assert bench.hub.said == ["freeze"]
    bench.store.problem = None
    bench.after(0.5)
    assert bench.hub.said == ["freeze", "thaw"]
    assert bench.keeper.answers


def test_who_is_frozen_for_too_long_closes_all_connections_once_and_is_still_there_later(bench: Bench) -> None:
    bench.store.problem = StoreUnavailable("away")
    bench.after(60.0)
    assert bench.hub.said == ["freeze", "abort all"]
    bench.store.problem = None
    bench.after(1.0)
    assert bench.hub.said == ["freeze", "abort all", "thaw"]
    bench.store.problem = StoreUnavailable("away")
    bench.after(60.0)
    assert bench.hub.said[3:] == ["freeze", "abort all"], "and the next time anew"


@pytest.mark.parametrize("problem", [Fenced("over"), StoreMismatch("another world")])
def test_a_store_that_refuses_the_node_ends_it(bench: Bench, problem: Exception) -> None:
    bench.store.problem = problem
    bench.after(3.0)
    assert bench.hub.said == [f"fence: {problem}"]


def test_who_has_news_of_itself_renews_at_once(bench: Bench) -> None:
    bench.after(0.5)
    before = len(bench.store.renewed_at)
    told = bench.loop.create_task(bench.keeper.announce())
    bench.after(0.0)
    assert told.done()
    assert len(bench.store.renewed_at) == before + 1


def test_who_cannot_tell_the_others_does_not_wait_long(bench: Bench) -> None:
    bench.store.problem = StoreUnavailable("away")
    told = bench.loop.create_task(bench.keeper.announce())
    bench.after(0.4)
    assert not told.done()
    bench.after(0.2)
    assert told.done()
    bench.store.problem = None
    bench.after(1.0)


def test_a_silent_node_is_fenced_and_what_it_held_is_let_go_by_whoever_fenced_it(bench: Bench) -> None:
    bench.store.others = (OTHER,)
    bench.store.left = 3 * REAP_AT_ONCE
    bench.after(5.9)
    assert bench.store.fenced == []
    bench.after(2.0)
    assert bench.store.fenced == [OTHER]
    assert bench.store.left == 0
    assert bench.keeper.fenced_others == 1
    assert bench.hub.due_changed.is_set(), "wills are due now"


def test_who_came_second_to_fence_a_node_leaves_the_rest_to_the_first(bench: Bench) -> None:
    bench.store.others, bench.store.may_fence, bench.store.left = (OTHER,), False, 1
    bench.after(10.0)
    assert bench.store.fenced == [OTHER]
    assert (bench.store.reaps, bench.keeper.fenced_others) == (0, 0)


def test_a_node_whose_counter_moves_is_left_alone(bench: Bench) -> None:
    for renewals in range(20):
        bench.store.others = (replace(OTHER, renewals=renewals),)
        bench.after(1.5)
    assert bench.store.fenced == []


def test_nobody_is_fenced_for_a_silence_in_which_the_store_was_away(bench: Bench) -> None:
    bench.store.others = (OTHER,)
    bench.after(3.0)
    bench.store.problem = StoreUnavailable("away")
    bench.after(2.0)
    bench.store.problem = None
    bench.after(5.0)
    assert bench.store.fenced == []


def test_nobody_is_fenced_for_a_silence_that_two_servers_tell_of(bench: Bench) -> None:
    """A replica that took over may never have heard of the last renewals."""
    bench.store.others = (OTHER,)
    bench.after(4.0)
    bench.store.connected += 1
    bench.after(6.0)
    assert bench.store.fenced == []
    bench.after(3.0)
    assert bench.store.fenced == [OTHER]


def test_to_let_go_of_very_many_sessions_does_not_cost_the_own_lease(bench: Bench) -> None:
    bench.is_elder = True
    bench.store.left, bench.store.reap_s = 100_000, 0.05
    bench.after(20.0)
    assert 0 < bench.store.left < 100_000
    assert bench.hub.said == []


def test_a_node_that_is_gone_is_not_shown_until_the_next_renewal(bench: Bench) -> None:
    bench.store.others = (OTHER,)
    bench.after(2.0)
    assert bench.keeper.others == [OTHER]
    bench.keeper.forget(OTHER.node, OTHER.token)
    assert bench.keeper.others == []
