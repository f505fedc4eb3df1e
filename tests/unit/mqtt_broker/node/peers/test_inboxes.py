"""Whom publishers wait for while the inbox of another node is crowded, and how long."""

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from mqtt_broker.node.hub import Hub
from mqtt_broker.node.outlet import Awaited, Sink
from mqtt_broker.node.peers.inboxes import LOOK_S, STILL_S_MAX, Inboxes
from mqtt_broker.store.cluster import InboxLevel
from mqtt_broker.store.ports import StoreUnavailable
from support.inprocess import VirtualLoop

BOUND = 1_000


class Publisher:
    """A sink that waits."""

    def __init__(self) -> None:
        self.ready: list[Awaited] = []

    def receiver_ready(self, receiver: Awaited) -> None:
        self.ready.append(receiver)


class FakeHub:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.congested: dict[Awaited, None] = {}


class Rig:
    """`levels` by node: what the store says, or its error. `takes`: bytes that each look finds taken out."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.hub = FakeHub(self.loop)
        self.levels: dict[str, InboxLevel | Exception] = {}
        self.takes = 0
        self.asked = 0
        self.inboxes = Inboxes(cast("Hub", self.hub), self._read, BOUND)
        self._watching = self.loop.create_task(self.inboxes.watch())

    async def _read(self, node: str) -> InboxLevel:
        self.asked += 1
        level = self.levels[node]
        if isinstance(level, Exception):
            raise level
        self.levels[node] = InboxLevel(level.waiting, level.taken + self.takes)
        return level

    def hold(self, node: str, publisher: Publisher) -> bool:
        """What becomes of a publisher that sends there."""
        self.hub.congested.clear()
        self.inboxes.press(node)
        return any(inbox.hold(cast("Sink", publisher)) for inbox in self.hub.congested)

    def crowd(self, node: str = "b", waiting: int = 600) -> None:
        self.levels[node] = InboxLevel(waiting, 0)
        self.inboxes.note([node])

    def after(self, seconds: float) -> None:
        self.loop.run_until_idle(seconds)

    def close(self) -> None:
        self._watching.cancel()
        self.loop.run_until_complete(asyncio.gather(self._watching, return_exceptions=True))
        self.loop.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def test_nobody_waits_and_nobody_asks_while_no_inbox_is_crowded(rig: Rig) -> None:
    assert not rig.inboxes.are_crowded
    assert not rig.hold("b", Publisher())
    rig.after(10.0)
    assert not rig.asked


def test_a_publisher_waits_until_three_quarters_of_the_inbox_are_free(rig: Rig) -> None:
    publisher = Publisher()
    rig.takes = 1
    rig.crowd()
    assert rig.hold("b", publisher)
    rig.after(10 * LOOK_S)
    assert not publisher.ready
    rig.levels["b"] = InboxLevel(BOUND // 4, 400)
    rig.after(2 * LOOK_S)
    assert len(publisher.ready) == 1
    assert not rig.inboxes.are_crowded
    asked = rig.asked
    rig.after(1.0)
    assert rig.asked == asked


def test_only_who_sends_to_the_crowded_inbox_waits(rig: Rig) -> None:
    rig.crowd()
    assert not rig.hold("c", Publisher())
    assert rig.hold("b", Publisher())


def test_an_inbox_that_nothing_is_taken_out_of_is_not_waited_for_until_it_moves(rig: Rig) -> None:
    """Its node hangs: what finds no room there is dropped, and nobody else's messages wait for that."""
    publisher = Publisher()
    rig.crowd()
    assert rig.hold("b", publisher)
    rig.after(STILL_S_MAX / 2)
    assert not publisher.ready
    rig.after(STILL_S_MAX)
    assert len(publisher.ready) == 1
    assert not rig.hold("b", publisher)
    rig.takes = 1
    rig.after(3 * LOOK_S)
    assert rig.hold("b", publisher)


def test_a_store_that_does_not_answer_keeps_nobody_waiting(rig: Rig) -> None:
    publisher = Publisher()
    rig.crowd()
    rig.levels["b"] = StoreUnavailable("it is away")
    assert rig.hold("b", publisher)
    rig.after(2 * STILL_S_MAX)
    assert len(publisher.ready) == 1


def test_a_node_that_is_gone_keeps_nobody_waiting(rig: Rig) -> None:
    publisher = Publisher()
    rig.crowd()
    assert rig.hold("b", publisher)
    rig.inboxes.forget("b")
    assert len(publisher.ready) == 1
    assert not rig.hold("b", publisher)
    rig.inboxes.forget("b")
    rig.after(2 * LOOK_S)


def test_a_publisher_that_waited_long_enough_or_is_gone_is_not_told(rig: Rig) -> None:
    publishers = [Publisher(), Publisher()]
    rig.crowd()
    for publisher in publishers:
        assert rig.hold("b", publisher)
    (inbox,) = rig.hub.congested
    inbox.excuse(cast("Sink", publishers[0]))
    inbox.release(cast("Sink", publishers[1]))
    rig.inboxes.forget("b")
    assert not publishers[0].ready
    assert not publishers[1].ready


def test_an_inbox_is_crowded_anew_after_it_was_not(rig: Rig) -> None:
    rig.crowd(waiting=0)
    rig.after(2 * LOOK_S)
    assert not rig.inboxes.are_crowded
    rig.crowd()
    rig.after(2 * LOOK_S)
    assert rig.inboxes.are_crowded
