"""When a name may be taken that somebody held before."""

import asyncio
import time
from collections.abc import Iterator
from typing import cast

import pytest

from mqtt_api.node_facts import NodeFacts
from mqtt_broker.node.peers.succession import may_take
from mqtt_broker.store.cluster import ClusterStore, Lease
from mqtt_broker.store.ports import StoreUnavailable
from support.inprocess import VirtualLoop

LEASE_S = 6.0


class FakeStore:
    """The lease that stands, by the loop's time."""

    def __init__(
        self,
        loop: VirtualLoop,
        *,
        ends_at: float = 1e9,
        moves: bool = False,
        away: bool = False,
        fails_over_at: float = 1e9,
    ) -> None:
        self._loop, self._ends_at, self._moves, self._away = loop, ends_at, moves, away
        self._fails_over_at = fails_over_at

    @property
    def connected(self) -> int:
        return 1 if self._loop.time() < self._fails_over_at else 2

    async def standing(self, node: str) -> Lease | None:
        now = self._loop.time()
        if self._away:
            raise StoreUnavailable("away")
        if now >= self._ends_at:
            return None
        return Lease(node=node, token=3, renewals=int(now / 1.5) if self._moves else 7, facts=NodeFacts())


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    monkeypatch.setattr(time, "monotonic", loop.time)
    yield loop
    loop.close()


def waited(loop: VirtualLoop, store: FakeStore, stop_at: float | None = None) -> float:
    """After how long the name may be taken; -1 if not within a minute."""

    async def run() -> None:
        stopped = asyncio.Event()
        if stop_at is not None:
            asyncio.get_running_loop().call_later(stop_at, stopped.set)
        await may_take(cast("ClusterStore", store), "node-0", LEASE_S, stopped)
        took_s.append(loop.time())

    took_s: list[float] = []
    task = loop.create_task(run())
    loop.run_until_idle(60.0)
    assert task.done()
    task.result()
    return took_s[0]


def test_a_silence_that_two_servers_tell_of_is_none(loop: VirtualLoop) -> None:
    """The one that took over may not have the holder's last renewals."""
    assert 4.0 + LEASE_S <= waited(loop, FakeStore(loop, fails_over_at=4.0)) < 4.5 + LEASE_S


def test_a_name_that_nobody_holds_is_free(loop: VirtualLoop) -> None:
    assert waited(loop, FakeStore(loop, ends_at=0.0)) == 0


def test_a_holder_that_died_is_waited_for_until_its_lease_is_over(loop: VirtualLoop) -> None:
    assert LEASE_S <= waited(loop, FakeStore(loop)) < LEASE_S + 0.5


def test_a_holder_that_others_fenced_meanwhile_is_not_waited_for(loop: VirtualLoop) -> None:
    assert 2.0 <= waited(loop, FakeStore(loop, ends_at=2.0)) < 2.5


def test_a_holder_that_lives_is_replaced_at_once(loop: VirtualLoop) -> None:
    assert 1.5 <= waited(loop, FakeStore(loop, moves=True)) < 2.0


def test_who_is_told_to_stop_waits_no_longer(loop: VirtualLoop) -> None:
    assert waited(loop, FakeStore(loop), stop_at=1.0) == pytest.approx(1.0, abs=0.3)


def test_a_store_that_is_away_says_nothing_about_a_holder(loop: VirtualLoop) -> None:
    with pytest.raises(StoreUnavailable):
        waited(loop, FakeStore(loop, away=True))
