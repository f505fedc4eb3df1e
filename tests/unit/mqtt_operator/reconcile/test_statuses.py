"""The one writer of statuses: a few at a time, the newest each, and nothing that is so already."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from mqtt_operator.desired.kinds import MQTT_CLIENT, Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import EventType, KubeAwayError, RefusedError
from mqtt_operator.reconcile import statuses
from mqtt_operator.reconcile.keys import ObjectKey
from mqtt_operator.reconcile.seen import Seen, see
from mqtt_operator.reconcile.statuses import StatusWriter, Subject
from unit.mqtt_operator.reconcile.documents import client

PUMP = Subject(MQTT_CLIENT, ObjectKey("mqtt", "pump-7"))


class SlowKube:
    """Answers when it is let; counts how many wait."""

    def __init__(self) -> None:
        self.written: list[tuple[str, Manifest]] = []
        self.events: list[tuple[str, str]] = []
        self.under_way = self.under_way_max = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.problems: list[Exception] = []
        self._versions = itertools.count(2)

    async def event(self, about: Manifest, event_type: EventType, reason: str, message: str) -> None:
        self.events.append((event_type.value, reason))

    async def patch_status(self, kind: Kind, namespace: str, name: str, status: Manifest) -> Manifest | None:
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        await self.may_answer.wait()
        self.under_way -= 1
        if self.problems:
            raise self.problems.pop(0)
        self.written.append((name, status))
        return {"metadata": {"resourceVersion": str(next(self._versions))}}


@pytest.fixture
def kube() -> SlowKube:
    return SlowKube()


@pytest_asyncio.fixture
async def writer(kube: SlowKube) -> AsyncIterator[StatusWriter]:
    writer = StatusWriter(kube, writes_max=3, rest_s=0.0)  # type: ignore[arg-type]
    task = asyncio.create_task(writer.run())
    yield writer
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def seen(name: str = "pump-7", **status: Any) -> Seen[Any]:
    return see({**client(name), "status": status}, None)


def told(word: str, time: str = "2026-01-01T00:00:00Z") -> Manifest:
    condition = {"type": "Ready", "status": "True", "reason": word, "message": "", "lastTransitionTime": time}
    return {"observedGeneration": 1, "conditions": [condition]}


async def settle(writer: StatusWriter) -> None:
    async with asyncio.timeout(5):
        while writer.waiting or writer.events.waiting:  # noqa: ASYNC110 - turns of the loop are all that is waited for
            await asyncio.sleep(0)


async def test_what_is_so_already_is_not_written_whatever_the_time(writer: StatusWriter, kube: SlowKube) -> None:
    writer.want(PUMP, seen(**told("A", "2020-01-01T00:00:00Z")), told("A"))
    await settle(writer)
    assert kube.written == []


async def test_conditions_of_others_are_no_reason_to_write(writer: StatusWriter, kube: SlowKube) -> None:
    foreign = {"type": "example.org/Checked", "status": "True", "reason": "R", "message": "", "lastTransitionTime": ""}
    known = told("A")
    known["conditions"].append(foreign)
    writer.want(PUMP, seen(**known), told("A"))
    await settle(writer)
    assert kube.written == []


async def test_the_newest_wins(writer: StatusWriter, kube: SlowKube) -> None:
    kube.may_answer.clear()
    for word in "ABC":
        writer.want(PUMP, seen(), told(word))
        await asyncio.sleep(0)
    kube.may_answer.set()
    await settle(writer)
    assert [status for _, status in kube.written] == [told("A"), told("C")]


async def test_only_a_few_are_written_at_a_time(writer: StatusWriter, kube: SlowKube) -> None:
    kube.may_answer.clear()
    for number in range(30):
        writer.want(Subject(MQTT_CLIENT, ObjectKey("mqtt", f"c-{number}")), seen(f"c-{number}"), told("A"))
    while kube.under_way < 3:  # noqa: ASYNC110 - turns of the loop are all that is waited for
        await asyncio.sleep(0)
    kube.may_answer.set()
    await settle(writer)
    assert len(kube.written) == 30
    assert kube.under_way_max == 3


async def test_one_object_rests_between_two_writes(kube: SlowKube) -> None:
    writer = StatusWriter(kube, rest_s=3600.0)  # type: ignore[arg-type]
    task = asyncio.create_task(writer.run())
    writer.want(PUMP, seen(), told("A"))
    await settle(writer)
    writer.want(PUMP, seen(), told("B"))
    await asyncio.sleep(0)
    assert [status for _, status in kube.written] == [told("A")]
    assert writer.waiting == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_was_written_is_known_before_the_memory_has_caught_up(writer: StatusWriter, kube: SlowKube) -> None:
    writer.want(PUMP, seen(), told("A"))
    await settle(writer)
    assert writer.known(PUMP, seen()) == told("A")
    writer.want(PUMP, seen(), told("A"))
    await settle(writer)
    assert len(kube.written) == 1
    caught_up = see({**client(metadata__resourceVersion="2"), "status": told("foreign")}, None)
    assert writer.known(PUMP, caught_up) == told("foreign")


async def test_a_namesake_has_a_status_of_its_own(writer: StatusWriter, kube: SlowKube) -> None:
    writer.want(PUMP, seen(), told("A"))
    await settle(writer)
    assert writer.known(PUMP, see({**client(metadata__uid="another"), "status": told("B")}, None)) == told("B")


async def test_an_api_server_that_is_away_is_tried_again(
    writer: StatusWriter, kube: SlowKube, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(statuses, "AGAIN_S", 0.0)
    kube.problems = [KubeAwayError("The API server does not answer.")] * 2
    writer.want(PUMP, seen(), told("A"))
    await settle(writer)
    assert kube.written == [("pump-7", told("A"))]
    assert caplog.text.count("does not answer") == 1


async def test_a_status_that_is_refused_is_not_tried_again(writer: StatusWriter, kube: SlowKube) -> None:
    kube.problems = [RefusedError("The API server refused.", "too long")]
    writer.want(PUMP, seen(), told("A"))
    await settle(writer)
    assert kube.written == []


async def test_whoever_is_gone_is_not_written(writer: StatusWriter, kube: SlowKube) -> None:
    writer.want(PUMP, seen(), told("A"))
    writer.forget(PUMP)
    await settle(writer)
    await asyncio.sleep(0)
    assert kube.written == []


def accepted(status: str, reason: str) -> Manifest:
    """With `Ready` that follows."""
    conditions = [
        {"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": ""}
        for kind in ("Accepted", "Ready")
    ]
    return {"conditions": conditions}


async def test_a_change_that_was_written_is_told_once_and_so_is_its_end(writer: StatusWriter, kube: SlowKube) -> None:
    for status in (accepted("False", "UsernameTaken"), {**accepted("False", "UsernameTaken"), "username": "u"}):
        writer.want(PUMP, seen(), status)
        await settle(writer)
    assert kube.events == [("Warning", "UsernameTaken")]
    writer.want(PUMP, seen(), accepted("True", "Synced"))
    await settle(writer)
    assert kube.events == [("Warning", "UsernameTaken"), ("Normal", "Ready")]


async def test_what_was_wanted_and_never_written_is_not_told(writer: StatusWriter, kube: SlowKube) -> None:
    kube.may_answer.clear()
    for status in (accepted("True", "A"), accepted("False", "UsernameTaken"), accepted("True", "B")):
        writer.want(PUMP, seen(), status)
        await asyncio.sleep(0)
    kube.may_answer.set()
    await settle(writer)
    assert len(kube.written) == 2
    assert kube.events == []


async def test_of_two_changes_at_once_the_second_is_told_of_as_the_first_left_it(
    writer: StatusWriter, kube: SlowKube
) -> None:
    kube.may_answer.clear()
    for status in (accepted("False", "UsernameTaken"), {**accepted("False", "UsernameTaken"), "username": "u"}):
        writer.want(PUMP, seen(), status)
        await asyncio.sleep(0)
    kube.may_answer.set()
    await settle(writer)
    assert kube.events == [("Warning", "UsernameTaken")]


async def test_a_status_that_could_not_be_written_is_not_told_either(writer: StatusWriter, kube: SlowKube) -> None:
    kube.problems = [RefusedError("The API server refused.", "too long")]
    writer.want(PUMP, seen(), accepted("False", "UsernameTaken"))
    await settle(writer)
    assert kube.events == []
