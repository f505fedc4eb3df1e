"""Events about clients and permissions: a few of them, and nobody waits."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mqtt_operator.desired.kinds import MQTT_CLIENT
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import EventType
from mqtt_operator.reconcile.event_writer import BURST_EVENTS_MAX, COMPLAINT_S, EVENT_S, EventWriter
from mqtt_operator.reconcile.events import Said
from mqtt_operator.reconcile.keys import ObjectKey

BAD = Said(EventType.WARNING, "UsernameTaken", "It is another's.")
GOOD = Said(EventType.NORMAL, "PasswordGenerated", "It is made.")


class SlowKube:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.events: list[tuple[Manifest, str]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def event(self, about: Manifest, event_type: EventType, reason: str, message: str) -> None:
        await self.may_answer.wait()
        self.events.append((about, reason))


class Rig:
    def __init__(self) -> None:
        self.kube, self.now = SlowKube(), 0.0
        self.writer = EventWriter(self.kube, clock=lambda: self.now)  # type: ignore[arg-type]

    def tell(self, said: Said, number: int = 7) -> None:
        self.writer.tell(MQTT_CLIENT, ObjectKey("mqtt", f"pump-{number}"), f"uid-{number}", said)

    async def written(self) -> list[tuple[Manifest, str]]:
        """All that were told, once they are written."""
        await self.during(self._nothing_waits)
        return self.kube.events

    async def during(self, wait: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.create_task(self.writer.run())
        async with asyncio.timeout(5):
            await wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _nothing_waits(self) -> None:
        while self.writer.waiting:  # noqa: ASYNC110 - turns of the loop are all that is waited for
            await asyncio.sleep(0)


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_an_event_names_the_very_object(rig: Rig) -> None:
    rig.tell(BAD)
    about = {
        "apiVersion": "mqtt.stoa.dev/v1alpha1",
        "kind": "MQTTClient",
        "metadata": {"namespace": "mqtt", "name": "pump-7", "uid": "uid-7"},
    }
    assert await rig.written() == [(about, "UsernameTaken")]


async def test_ten_thousand_at_once_are_a_few_and_then_one_in_a_while(rig: Rig) -> None:
    for number in range(10_000):
        rig.tell(GOOD, number)
    assert len(await rig.written()) == BURST_EVENTS_MAX
    rig.now += 3 * EVENT_S
    for number in range(10_000):
        rig.tell(GOOD, number)
    assert len(await rig.written()) == BURST_EVENTS_MAX + 3


async def test_what_is_made_leaves_room_for_what_is_wrong(rig: Rig) -> None:
    for number in range(10_000):
        rig.tell(GOOD, number)
    rig.tell(BAD)
    assert (await rig.written())[-1][1] == "UsernameTaken"


async def test_one_line_says_that_events_are_left_out(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(BURST_EVENTS_MAX + 50):
        rig.tell(BAD, number)
    assert caplog.text.count("left out") == 1
    rig.now += COMPLAINT_S
    for number in range(BURST_EVENTS_MAX + 50):
        rig.tell(BAD, number)
    assert caplog.text.count("left out") == 2


async def test_an_api_server_that_does_not_answer_keeps_nobody_waiting_and_little_for_later(rig: Rig) -> None:
    rig.kube.may_answer.clear()
    for second in range(1_000):
        rig.now = second * EVENT_S
        rig.tell(BAD)
    assert rig.writer.waiting == 2 * BURST_EVENTS_MAX


async def test_an_event_that_was_cut_off_is_written_by_whoever_goes_on(rig: Rig) -> None:
    rig.kube.may_answer.clear()
    rig.tell(BAD)
    await rig.during(lambda: asyncio.sleep(0))
    rig.kube.may_answer.set()
    assert len(await rig.written()) == 1
