"""QoS 0 for other nodes: in order, gathered while the store is asked, and never more than so much of it."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from mqtt_broker.node.peers import posting as posting_module
from mqtt_broker.node.peers.posting import Posting
from mqtt_broker.session.message import Message
from mqtt_broker.store.cluster import ClusterStore, Post, PostRun
from mqtt_broker.store.ports import Forward, Membership, RunForward, StoreUnavailable, Target

ME = Membership(node="a", token=1)
ONE = RunForward(node="b", token=2, head=b"one", receivers=1)
TWO = RunForward(node="b", token=2, head=b"two", receivers=2)


class Store:
    """Takes a lot each time `answer` is set; raises `problem` if there is one."""

    def __init__(self) -> None:
        self.lots: list[list[Post | PostRun]] = []
        self.problem: Exception | None = None
        self.answer = asyncio.Event()

    async def post(self, membership: Membership, posts: Sequence[Post | PostRun]) -> None:
        self.lots.append(list(posts))
        await self.answer.wait()
        if self.problem is not None:
            raise self.problem


class Rig:
    def __init__(self) -> None:
        self.store = Store()
        self.dropped: list[int] = []
        self.posting = Posting(cast("ClusterStore", self.store), ME, self.dropped.append)

    async def under_way(self) -> None:
        """Something that the store does not answer yet: what comes now is gathered."""
        self.posting.add_run(ONE, [b"first"])
        await asyncio.sleep(0)
        assert len(self.store.lots) == 1

    async def rest(self) -> list[Post | PostRun]:
        """What went after that."""
        self.store.answer.set()
        if self.posting._running is not None:
            await self.posting._running
        return [post for lot in self.store.lots[1:] for post in lot]


@pytest.fixture
async def rig() -> Rig:
    return Rig()


def post(payload: bytes = b"x") -> Post:
    targets = tuple(Target(client_id=name, incarnation=1, qos=0) for name in "cd")
    return Post(Message(topic="t", payload=payload, qos=0), Forward(node="b", token=2, targets=targets))


async def test_messages_of_one_flow_become_one_run_and_others_keep_their_place(rig: Rig) -> None:
    """[MQTT-4.6.0-6]"""
    await rig.under_way()
    rig.posting.add_run(ONE, [b"1", b"2"])
    rig.posting.add_run(ONE, [b"3"])
    rig.posting.add_run(TWO, [b"4"])
    rig.posting.add(post())
    rig.posting.add_run(ONE, [b"5"])
    rig.posting.add_run(ONE, [b"66"])  # of another length
    assert await rig.rest() == [
        PostRun((b"1", b"2", b"3"), ONE),
        PostRun((b"4",), TWO),
        post(),
        PostRun((b"5",), ONE),
        PostRun((b"66",), ONE),
    ]
    assert rig.dropped == []


async def test_a_run_grows_up_to_its_bound(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting_module, "RUN_BYTES_MAX", 20)
    await rig.under_way()
    for _ in range(5):
        rig.posting.add_run(ONE, [b"12345678"])
    assert [len(each.payloads) for each in await rig.rest() if isinstance(each, PostRun)] == [2, 2, 1]


async def test_no_more_messages_wait_than_may(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting_module, "WAITING_MESSAGES_MAX", 4)
    await rig.under_way()
    rig.posting.add_run(TWO, [b"1", b"2", b"3"])
    rig.posting.add_run(TWO, [b"4", b"5", b"6"])
    rig.posting.add(post())
    assert rig.dropped == [4, 2]  # copies: two receivers each
    assert await rig.rest() == [PostRun((b"1", b"2", b"3", b"4"), TWO)]
    rig.posting.add(post())  # there is room again
    assert (await rig.rest())[-1] == post()


async def test_no_more_bytes_wait_than_may(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting_module, "WAITING_BYTES_MAX", 100)
    await rig.under_way()
    rig.posting.add(post(b"x" * 60))
    rig.posting.add(post(b"x" * 60))
    rig.posting.add_run(ONE, [b"x" * 15] * 4)
    rig.posting.add_run(ONE, [b""] * 3)
    assert rig.dropped == [2, 2]
    assert [len(each.payloads) for each in await rig.rest() if isinstance(each, PostRun)] == [2, 3]


async def test_a_message_larger_than_all_that_may_wait_goes_alone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting_module, "WAITING_BYTES_MAX", 10)
    rig.posting.add(post(b"x" * 60))
    rig.posting.add(post(b"x" * 60))
    assert rig.dropped == [2]
    await asyncio.sleep(0)
    assert rig.store.lots == [[post(b"x" * 60)]]
    await rig.rest()


async def test_what_the_store_does_not_take_is_dropped_with_all_that_waits_and_counted(rig: Rig) -> None:
    """Newer messages of the same publishers may overtake it."""
    await rig.under_way()
    rig.posting.add_run(TWO, [b"1", b"2"])
    rig.posting.add(post())
    rig.store.problem = StoreUnavailable("away")
    assert await rig.rest() == []
    assert rig.dropped == [1 + 4 + 2]
    rig.store.problem = None
    rig.posting.add_run(ONE, [b"after"])
    assert await rig.rest() == [PostRun((b"after",), ONE)]
