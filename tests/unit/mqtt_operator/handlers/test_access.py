"""Whether we may look into the namespaces that are watched: found out, told once, and found out again."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mqtt_operator.desired import kinds
from mqtt_operator.handlers.access import AGAIN_S_MAX, Access, Accesses
from mqtt_operator.kube.place import Change, ExpiredError, Page, Place
from mqtt_operator.kube.port import Call, ForbiddenError, KubeAwayError


class Cluster:
    """`problems` of the next lists, the last one for ever; None = it may be listed."""

    def __init__(self, *problems: Exception | None) -> None:
        self.problems = list(problems)
        self.asked: list[Place] = []
        self.slept: list[float] = []

    async def pages(self, place: Place) -> AsyncGenerator[Page]:
        self.asked.append(place)
        problem = self.problems.pop(0) if len(self.problems) > 1 else self.problems[0]
        if problem is not None:
            raise problem
        yield Page("1", [])

    async def changes(self, place: Place, version: str, *, seconds_max: int) -> AsyncGenerator[Change]:
        if problem := self.problems[0]:
            raise problem
        yield Change("BOOKMARK", {})

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


def forbidden(kind: kinds.Kind = kinds.MQTT_BROKER, namespace: str = "team") -> ForbiddenError:
    return ForbiddenError(Call("list", "mqtt.stoa.dev", kind.plural), namespace)


@asynccontextmanager
async def running(access: Access | Accesses) -> AsyncIterator[None]:
    task = asyncio.create_task(access.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_nothing_is_asked_for_until_somebody_was_refused() -> None:
    cluster = Cluster(None)
    async with running(Access(cluster, "team", lambda: None, sleep=cluster.sleep)):
        await asyncio.sleep(0)
        assert cluster.asked == []


async def test_a_refusal_that_is_about_one_kind_only_says_nothing_about_the_namespace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = Cluster(None)
    access = Access(cluster, "team", lambda: None, sleep=cluster.sleep)
    async with running(access):
        assert not await access.regained()
    assert (access.problem, caplog.records) == (None, [])
    assert {place.kind for place in cluster.asked} == {kinds.MQTT_BROKER, kinds.MQTT_CLIENT, kinds.TOPIC_PERMISSION}


@pytest.mark.parametrize("allowed_before", [0, 1, 2])
async def test_all_who_were_refused_wait_until_we_may_look_and_it_is_told_once(
    allowed_before: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One of the kinds that people declare is enough: without it nobody knows who may what."""
    caplog.set_level("INFO")
    changes = list[bool]()
    cluster = Cluster(*[None] * allowed_before, *[forbidden()] * 12, None)
    access = Access(cluster, "team", lambda: changes.append(access.problem is not None), sleep=cluster.sleep)
    async with running(access):
        assert await asyncio.gather(*(access.regained() for _ in range(9))) == [True] * 9
    assert changes == [True, False]
    warning, info = caplog.records
    assert warning.getMessage().startswith("Namespace team is not served: The operator may not list mqttbrokers")
    assert "`helm upgrade`" in warning.getMessage()
    assert info.getMessage() == "Namespace team is served again."
    assert AGAIN_S_MAX / 2 <= cluster.slept[-1] <= AGAIN_S_MAX
    assert cluster.slept[0] <= 1.0


@pytest.mark.parametrize("problem", [KubeAwayError("away"), ExpiredError()])
async def test_an_api_server_without_an_answer_changes_nothing(problem: Exception) -> None:
    allowed, refused = Cluster(problem), Cluster(forbidden(), problem, problem, None)
    first = Access(allowed, "team", lambda: None, sleep=allowed.sleep)
    second = Access(refused, "team", lambda: None, sleep=refused.sleep)
    async with running(first), running(second):
        assert not await first.regained()
        assert await second.regained()
    assert len(refused.slept) == 3  # after the refusal, and after each that was none


async def test_whoever_gives_up_waiting_harms_nobody() -> None:
    cluster = Cluster(forbidden(), forbidden(), None)
    access = Access(cluster, "team", lambda: None, sleep=cluster.sleep)
    waiting = asyncio.create_task(access.regained())
    await asyncio.sleep(0)
    waiting.cancel()
    async with running(access):
        assert await access.regained()


async def test_of_several_namespaces_those_that_may_be_looked_into_are_served() -> None:
    cluster = Cluster(forbidden())
    heard = list[tuple[str, ...]]()
    accesses = Accesses(cluster, ("mqtt", "team"), sleep=cluster.sleep)
    accesses.observe(lambda: heard.append(accesses.served))
    team = accesses.of("team")
    assert team is not None
    async with running(accesses):
        waiting = asyncio.create_task(team.regained())
        for _ in range(5):
            await asyncio.sleep(0)
        assert (accesses.served, heard) == (("mqtt",), [("mqtt",)])
        assert accesses.counts() == {"served": 1, "forbidden": 1}
        assert [sentence.partition(":")[0] for sentence in accesses.sentences] == ["Namespace team is not served"]
        cluster.problems = [None]
        assert await waiting
        assert heard == [("mqtt",), ("mqtt", "team")]
        assert (accesses.sentences, accesses.counts()) == ([], {"served": 2, "forbidden": 0})
    assert accesses.of("elsewhere") is None


async def test_a_doubt_is_about_all_of_them() -> None:
    cluster = Cluster(None)
    accesses = Accesses(cluster, ("mqtt", "team"), sleep=cluster.sleep)
    accesses.doubt()
    async with running(accesses):
        for _ in range(5):
            await asyncio.sleep(0)
    assert {place.namespace for place in cluster.asked} == {"mqtt", "team"}


async def test_an_operator_of_the_whole_cluster_has_one_access_to_all_of_it() -> None:
    cluster = Cluster(forbidden(namespace=""))
    accesses = Accesses(cluster, (), sleep=cluster.sleep)
    accesses.doubt()
    async with running(accesses):
        for _ in range(5):
            await asyncio.sleep(0)
        assert accesses.served == ()
        (sentence,) = accesses.sentences
    assert sentence.startswith("The operator may not list mqttbrokers.mqtt.stoa.dev in the whole cluster.")
    assert accesses.of("mqtt") is None
