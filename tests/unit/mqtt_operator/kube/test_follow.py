"""Following all objects of one kind: nothing is missed, nothing is told as gone that is not."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from mqtt_operator.desired import kinds
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.errors import ExpectedError
from mqtt_operator.kube.follow import BACKOFF_S_MAX, Following
from mqtt_operator.kube.place import Change, ExpiredError, Page, Place, UnservedError
from mqtt_operator.kube.port import Call, ForbiddenError, KubeAwayError
from mqtt_operator.kube.session import NoAnswerError

PLACE = Place(kinds.MQTT_CLIENT, "mqtt")


def client(name: str, version: str = "1") -> Manifest:
    metadata = {"name": name, "namespace": "mqtt", "uid": f"uid-{name}", "resourceVersion": version}
    return {"apiVersion": "mqtt.stoa.dev/v1alpha1", "kind": "MQTTClient", "metadata": metadata}


def change(kind: str, document: Manifest) -> Change:
    return Change(kind, document)


def bookmark(version: str) -> Change:
    return Change("BOOKMARK", {"metadata": {"resourceVersion": version}})


class DoneError(Exception):
    """The script is at its end."""


class Script:
    """Lists and watches in the order in which they are asked for: a list of documents, or of changes, or an error."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.asked: list[str] = []

    async def pages(self, place: Place) -> AsyncGenerator[Page]:
        self.asked.append("list")
        for document in self._next():
            yield Page("10", [document])

    async def changes(self, place: Place, version: str, *, seconds_max: int) -> AsyncGenerator[Change]:
        self.asked.append(f"watch {version}")
        for step in self._next():
            if isinstance(step, Exception):
                raise step
            yield step

    def _next(self) -> list[Any]:
        if not self.steps:
            raise DoneError
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return list(step)


class Notes:
    """What was told, in order. `waits`: it tells others, and waits until it may be otherwise."""

    def __init__(self) -> None:
        self.waits = False
        self.told: list[str] = []
        self.gone: list[Manifest] = []

    def see(self, document: Manifest) -> None:
        self.told.append(f"+{document['metadata']['name']}")

    def forget(self, document: Manifest) -> None:
        self.gone.append(document)
        self.told.append(f"-{document['metadata']['name']}")

    def complete(self) -> None:
        self.told.append("complete")

    async def fail(self, problem: ExpectedError) -> bool:
        self.told.append(f"failed: {problem.what}")
        return self.waits


class Story:
    def __init__(self, *steps: Any, place: Place = PLACE) -> None:
        self.script, self.notes, self.slept = Script(*steps), Notes(), list[float]()
        self._following = Following(self.script, place, self.notes, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def run(self) -> list[str]:
        with pytest.raises(DoneError):
            await self._following.run()
        return self.notes.told


async def test_all_that_is_there_is_told_before_it_is_called_complete() -> None:
    assert await Story([client("a"), client("b")]).run() == ["+a", "+b", "complete"]


async def test_changes_are_told_as_they_come_and_bookmarks_are_not() -> None:
    changes = [change("ADDED", client("b")), bookmark("12"), change("MODIFIED", client("a"))]
    story = Story([client("a")], [*changes, change("DELETED", client("a", "13"))])
    assert await story.run() == ["+a", "complete", "+b", "+a", "-a"]
    assert story.script.asked == ["list", "watch 10", "watch 13"]


async def test_a_watch_that_ends_goes_on_from_where_it_was() -> None:
    story = Story([client("a")], [bookmark("12")], [], NoAnswerError("reset"), [bookmark("15")])
    assert await story.run() == ["+a", "complete"]
    assert story.script.asked == ["list", "watch 10", "watch 12", "watch 12", "watch 12", "watch 15"]
    assert len(story.slept) == 1  # after the one that broke


async def test_what_is_absent_from_a_new_list_after_a_gap_is_gone() -> None:
    """Its deletion happened while nobody could tell us."""
    story = Story([client("a"), client("b")], ExpiredError(), [client("b")])
    assert await story.run() == ["+a", "+b", "complete", "+b", "-a", "complete"]
    (gone,) = story.notes.gone
    assert (gone["kind"], gone["metadata"]["namespace"], gone["metadata"]["uid"]) == ("MQTTClient", "mqtt", "uid-a")


@pytest.mark.parametrize("gap", [{"code": 410}, {"code": 410, "reason": "Expired"}])
async def test_a_gap_that_is_told_within_the_stream_is_a_gap(gap: Manifest) -> None:
    assert await Story([client("a")], [change("ERROR", gap)], []).run() == ["+a", "complete", "-a", "complete"]


async def test_another_error_in_the_stream_is_a_failure_and_nothing_is_gone() -> None:
    told = await Story([client("a")], [change("ERROR", {"code": 500})], [client("a")]).run()
    assert told == [
        "+a",
        "complete",
        "failed: The API server ended a watch of mqttclients.",
        "+a",
        "complete",
    ]


async def test_a_list_that_fails_takes_nothing_away(caplog: pytest.LogCaptureFixture) -> None:
    forbidden = ForbiddenError(Call("list", "mqtt.stoa.dev", "mqttclients"), "mqtt")
    told = await Story([client("a")], ExpiredError(), forbidden, KubeAwayError("away"), [client("a")]).run()
    assert [each for each in told if each.startswith("-")] == []
    assert told[2].startswith("failed: The operator may not list mqttclients")
    assert "Cannot follow mqttclients" in caplog.text


async def test_what_stays_wrong_is_complained_of_once(caplog: pytest.LogCaptureFixture) -> None:
    forbidden = ForbiddenError(Call("list", "", "secrets"), "mqtt")
    await Story(
        *[forbidden] * 3, *[KubeAwayError("away")] * 2, [client("a")], ExpiredError(), KubeAwayError("away")
    ).run()
    complaints = [record.getMessage().rpartition(": ")[2] for record in caplog.records]
    assert complaints == ["The operator may not list secrets in namespace mqtt.", "away", "away"]


async def test_a_list_that_expires_half_way_is_begun_anew() -> None:
    assert await Story(ExpiredError(), [client("a")]).run() == ["+a", "complete"]


async def test_failures_are_tried_again_ever_later_but_not_for_ever_later() -> None:
    story = Story(*[KubeAwayError("away")] * 12)
    await story.run()
    assert story.slept[0] <= 0.5
    assert BACKOFF_S_MAX / 2 <= story.slept[-1] <= BACKOFF_S_MAX


async def test_a_list_that_works_does_not_shorten_the_pause_after_watches_that_do_not() -> None:
    """A watch that is forbidden while the list is not must not become a loop of lists."""
    refused = ForbiddenError(Call("watch", "", "mqttclients"), "mqtt")
    story = Story(*[[client("a")], refused] * 8)
    await story.run()
    assert story.slept[-1] >= BACKOFF_S_MAX / 2


async def test_a_watch_that_is_forbidden_while_the_list_is_not_is_complained_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused = ForbiddenError(Call("watch", "", "mqttclients"), "mqtt")
    await Story(*[[client("a")], refused] * 3).run()
    assert len(caplog.records) == 1


async def test_what_others_tell_and_wait_for_is_neither_complained_of_nor_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story = Story(ForbiddenError(Call("list", "", "secrets"), "mqtt"), [client("a")])
    story.notes.waits = True
    assert (await story.run())[1:] == ["+a", "complete"]
    assert (story.slept, caplog.records) == ([], [])


async def test_a_kind_of_others_that_is_not_served_has_no_objects_and_is_asked_for_again() -> None:
    place = Place(kinds.CERTIFICATE, "mqtt", optional=True)
    story = Story([client("a")], ExpiredError(), UnservedError(kinds.CERTIFICATE), [client("b")], place=place)
    assert await story.run() == ["+a", "complete", "-a", "complete", "+b", "complete"]
    assert 30 <= story.slept[0] <= 60


async def test_a_kind_of_ours_that_is_not_served_is_a_failure_and_nothing_is_gone() -> None:
    """An API server that is starting does not know it for a moment; that is no order to revoke everything."""
    told = await Story([client("a")], ExpiredError(), UnservedError(kinds.MQTT_CLIENT), [client("a")]).run()
    assert told[2].startswith("failed: The API server does not serve mqttclients")
    assert "-a" not in told


async def test_what_managers_note_about_fields_is_thrown_away() -> None:
    document = client("a")
    document["metadata"]["managedFields"] = [{}]
    await Story([document]).run()
    assert "managedFields" not in document["metadata"]


async def test_it_can_be_cancelled_at_any_moment() -> None:
    class Endless(Script):
        async def changes(self, place: Place, version: str, *, seconds_max: int) -> AsyncGenerator[Change]:
            await asyncio.Event().wait()
            yield bookmark("1")

    task = asyncio.create_task(Following(Endless([client("a")]), PLACE, Notes()).run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
