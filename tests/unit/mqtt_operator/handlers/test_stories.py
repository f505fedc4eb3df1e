"""Which story is run for which broker, and by what it is woken."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from mqtt_operator.desired import kinds
from mqtt_operator.handlers.stories import Runner, Served, Stories, Strays
from mqtt_operator.reconcile.exchange import EmbeddedPlace, Exchange, PolicyReport
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.loop import Outcome
from mqtt_operator.reconcile.registry import Registry, Scope
from unit.mqtt_operator.reconcile.documents import broker, client, permission

PLANT = BrokerKey("mqtt", "plant")
OTHER = BrokerKey("mqtt", "other")


class Story:
    def __init__(self) -> None:
        self.passes: list[BrokerKey] = []
        self.is_over = False
        self.may_pass = asyncio.Event()
        self.may_pass.set()
        self.under_way = self.most = 0
        self.forgotten: list[BrokerKey] = []

    async def reconcile(self, key: BrokerKey) -> Outcome:
        self.passes.append(key)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.may_pass.wait()
        self.under_way -= 1
        return Outcome("done", is_over=self.is_over)

    def forget(self, key: BrokerKey) -> None:
        self.forgotten.append(key)


class Meter:
    def passed(self, story: str, result: str, seconds: float) -> None:
        assert story in ("broker", "policy")

    def policy_propagated(self, seconds: float) -> None:
        raise AssertionError


class World:
    def __init__(self) -> None:
        self.broker, self.policy, self.exchange, self.registry = Story(), Story(), Exchange(), Registry()
        for kind in (kinds.MQTT_BROKER, kinds.MQTT_CLIENT, kinds.TOPIC_PERMISSION):
            self.registry.expect(Scope(kind, "mqtt"))
            self.registry.complete(Scope(kind, "mqtt"))
        self.runner = Runner(Stories(self.broker, self.policy, self.exchange), self.registry, Meter())

    def passes(self) -> tuple[int, int]:
        """Of the broker's story and of the policy's, since it was asked last."""
        found = len(self.broker.passes), len(self.policy.passes)
        self.broker.passes.clear()
        self.policy.passes.clear()
        return found


@asynccontextmanager
async def running(work: Coroutine[None, None, None]) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(work)
    await turns()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def turns(seconds: float = 0.0) -> None:
    for _ in range(20):
        await asyncio.sleep(seconds)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("mqtt_operator.handlers.stories.SETTLE_S", 0.0)
    return World()


async def test_a_broker_has_both_its_stories(world: World) -> None:
    async with running(world.runner.serve(PLANT)):
        assert world.passes() == (1, 1)


async def test_each_story_is_woken_by_what_concerns_it(world: World) -> None:
    world.registry.see(broker())
    async with running(world.runner.serve(PLANT)):
        world.passes()
        world.registry.see(permission())
        await turns()
        assert world.passes() == (0, 1)
        world.registry.see(broker(metadata__generation=2))
        await turns()
        assert world.passes() == (1, 1)
        world.registry.see(broker(status={"readyReplicas": 1}, metadata__generation=2))
        await turns()
        assert world.passes() == (0, 0)


async def test_each_story_is_woken_by_what_the_other_one_tells_it(world: World) -> None:
    async with running(world.runner.serve(PLANT)):
        world.passes()
        world.exchange.tell_place(PLANT, EmbeddedPlace(world="1"))
        await turns()
        assert world.passes() == (0, 1)
        world.exchange.tell_report(PLANT, PolicyReport(revision=1))
        await turns()
        assert world.passes() == (1, 0)


async def test_who_is_no_longer_served_is_no_longer_woken(world: World) -> None:
    async with running(world.runner.serve(PLANT)):
        pass
    world.passes()
    world.registry.see(broker())
    world.exchange.tell_report(PLANT, PolicyReport(revision=1))
    await turns()
    assert world.passes() == (0, 0)


async def test_the_end_of_a_broker_is_its_own_story_alone_until_that_is_over(world: World) -> None:
    async with running(world.runner.end(PLANT)) as ending:
        assert world.passes() == (1, 0)
        assert not ending.done()
        world.broker.is_over = True
        world.registry.see(broker())
        await turns()
        assert ending.done()
        assert world.passes() == (1, 0)


async def test_one_story_of_one_broker_never_passes_twice_at_a_time(world: World) -> None:
    """The end begins while the loop before it may still be in a pass."""
    world.broker.may_pass.clear()
    async with running(world.runner.serve(PLANT)), running(world.runner.end(PLANT)), running(world.runner.end(OTHER)):
        assert sorted(set(world.broker.passes)) == [OTHER, PLANT]
        assert len(world.broker.passes) == 2
        world.broker.may_pass.set()
        await turns()
        assert world.broker.passes.count(PLANT) == 2


async def test_a_broker_is_served_from_when_it_is_seen_until_it_is_gone_and_then_forgotten(world: World) -> None:
    async with running(Served(world.registry, world.runner).run()):
        assert world.passes() == (0, 0)
        world.registry.see(broker())
        await turns()
        assert world.passes() == (1, 1)
        world.registry.see(broker(metadata__labels={"a": "b"}))
        await turns()
        assert world.passes() == (1, 1)
        assert world.broker.forgotten == []
        world.registry.forget(broker())
        await turns()
        assert world.broker.forgotten == [PLANT]
        world.passes()
        world.registry.see(broker("other"))
        await turns()
        assert set(world.broker.passes) == {OTHER}


async def test_a_broker_on_its_way_out_is_served_no_more_and_remembered_until_it_is_gone(world: World) -> None:
    """Kubernetes removes what it owns: whoever goes on would make it anew."""
    gone: list[BrokerKey] = []
    world.exchange.on_forget(gone.append)
    world.registry.see(broker())
    async with running(Served(world.registry, world.runner).run()):
        world.registry.see(broker(metadata__deletionTimestamp="2026-01-31T12:00:00Z"))
        await turns()
        world.passes()
        assert gone == [PLANT]
        world.registry.see(permission())
        world.registry.see(broker(metadata__deletionTimestamp="2026-01-31T12:00:00Z", metadata__labels={"a": "b"}))
        await turns()
        assert world.passes() == (0, 0)
        assert world.broker.forgotten == []
        world.registry.forget(broker())
        await turns()
        assert world.broker.forgotten == [PLANT]


async def test_another_broker_of_the_same_name_is_another_story(world: World) -> None:
    """A list after a gap tells of the second one alone."""
    world.registry.see(broker())
    async with running(Served(world.registry, world.runner).run()):
        world.registry.see(broker(metadata__uid="uid-another"))
        await turns()
        assert world.broker.forgotten == [PLANT]
        world.passes()
        world.registry.see(permission())
        await turns()
        assert world.passes() == (0, 1)


@pytest.mark.parametrize(
    ("store", "policy", "is_held"),
    [
        ({"redis": {"addresses": ["redis:6379"]}}, "Delete", True),
        ({"redis": {"addresses": ["redis:6379"]}}, "Retain", False),
        ({"managed": {}}, "Delete", False),
        ({"embedded": {}}, "Delete", False),
        (None, "Delete", False),
        ("nonsense", "Delete", False),
    ],
)
async def test_a_finalizer_holds_only_brokers_that_leave_something_where_nothing_of_theirs_goes(
    store: object, policy: str, is_held: bool, world: World
) -> None:
    assert world.runner.holds("mqtt", {"sessionStore": store, "deletionPolicy": policy}) is is_held


async def test_no_finalizer_holds_a_broker_in_a_namespace_that_is_being_deleted(world: World) -> None:
    spec = {"sessionStore": {"redis": {"addresses": ["redis:6379"]}}, "deletionPolicy": "Delete"}
    world.registry.see_ending({"mqtt": datetime.now(UTC)})
    assert not world.runner.holds("mqtt", spec)
    assert world.runner.holds("team", spec)


async def test_strays_have_their_policy_story_as_long_as_they_are_strays(world: World) -> None:
    async with running(Strays(world.registry, world.runner.serve_stray).run()):
        assert world.passes() == (0, 0)
        world.registry.see(client())
        await turns()
        assert world.policy.passes == [PLANT]
        assert world.broker.passes == []
        world.passes()
        world.registry.see(broker())
        await turns()
        world.registry.see(permission())
        await turns()
        assert world.passes() == (0, 0)
        world.registry.forget(broker())
        await turns()
        assert world.policy.passes == [PLANT]


async def test_until_all_is_known_nobody_is_a_stray() -> None:
    registry = Registry()
    registry.expect(Scope(kinds.MQTT_BROKER, "mqtt"))
    registry.see(client())
    story = Story()

    async def serve(key: BrokerKey) -> None:
        await story.reconcile(key)

    async with running(Strays(registry, serve).run()):
        assert story.passes == []
        registry.complete(Scope(kinds.MQTT_BROKER, "mqtt"))
        await turns()
        assert story.passes == [PLANT]
