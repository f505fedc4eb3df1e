"""A node's process is kept alive, told apart from one that never worked, and stopped for certain."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from mqtt_operator.errors import NodeFailedError
from mqtt_operator.local import supervisor as supervision
from mqtt_operator.local.node_events import NodeEvent, parse_line
from mqtt_operator.local.supervisor import BACKOFF_S_MAX, BACKOFF_S_MIN, HEALTHY_S_MIN, NodeProcess, Supervisor

READY = (
    b'{"ts":"2026-01-01T00:00:00Z","level":"info","event":"node.ready","message":"ready","listeners":{"mqtts":8883}}\n'
)


class FakeProcess:
    """Says its lines; then it ends with `code`, or lives until it is told to end."""

    def __init__(self, *lines: bytes, code: int | None = None, stubborn: bool = False) -> None:
        self._lines = lines
        self._stubborn = stubborn
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._code = code
        self.signals: list[str] = []

    async def lines(self) -> AsyncIterator[bytes]:
        for line in self._lines:
            yield line
        if self._code is not None:
            self._end(self._code)
        await asyncio.shield(self._ended)

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def terminate(self) -> None:
        self.signals.append("TERM")
        if not self._stubborn:
            self._end(0)

    def kill(self) -> None:
        self.signals.append("KILL")
        self._end(-9)

    def _end(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)


class World:
    """A supervisor over a script of processes, with a clock that only sleeping and `ages` move."""

    def __init__(self, *script: Callable[[], FakeProcess | OSError], lifetime_s: float = 0.0) -> None:
        self._script = list(script)
        self._lifetime_s = lifetime_s
        self.now = 0.0
        self.slept: list[float] = []
        self.events: list[NodeEvent] = []
        self.processes: list[FakeProcess] = []
        self.supervisor = Supervisor(
            "plant-0", self._launch, self.events.append, clock=lambda: self.now, sleep=self._sleep
        )

    async def _launch(self) -> NodeProcess:
        made = self._script.pop(0)()
        if isinstance(made, OSError):
            raise made
        self.processes.append(made)
        self.now += self._lifetime_s
        return made

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def said(self, event: str) -> list[str]:
        return [each.message for each in self.events if each.event == event]


async def turns_until(condition: Callable[[], bool]) -> None:
    """Let the loop turn, without time passing."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


async def test_a_node_is_ready_when_it_says_so() -> None:
    world = World(lambda: FakeProcess(READY))
    running = asyncio.create_task(world.supervisor.run())
    event = await world.supervisor.wait_ready()
    assert event.fields["listeners"] == {"mqtts": 8883}
    await world.supervisor.stop()
    await running
    assert world.processes[0].signals == ["TERM"]


async def test_a_node_that_dies_before_it_was_ready_is_not_started_again_and_says_why() -> None:
    complaint = b'{"level":"critical","event":"node.failed","message":"port 8883 is in use"}\n'
    world = World(lambda: FakeProcess(b'{"level":"info","message":"starting"}\n', complaint, code=1))
    await world.supervisor.run()
    with pytest.raises(NodeFailedError) as failed:
        await world.supervisor.wait_ready()
    assert failed.value.what == "plant-0 ended before it was ready (exit code 1)."
    assert failed.value.where == "port 8883 is in use"
    assert len(world.processes) == 1


async def test_a_process_that_cannot_be_made_is_told() -> None:
    world = World(lambda: OSError("Too many open files"))
    await world.supervisor.run()
    with pytest.raises(NodeFailedError, match="ended before it was ready") as failed:
        await world.supervisor.wait_ready()
    assert "Too many open files" in failed.value.where


async def test_silence_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "READY_S_MAX", 0.0)
    world = World(lambda: FakeProcess(b"still thinking\n"))
    running = asyncio.create_task(world.supervisor.run())
    with pytest.raises(NodeFailedError, match="did not become ready"):
        await world.supervisor.wait_ready()
    await world.supervisor.stop()
    await running


async def test_a_node_that_dies_later_is_started_again_with_growing_pauses() -> None:
    deaths = [lambda: FakeProcess(READY, code=-9) for _ in range(9)]
    world = World(*deaths, lambda: FakeProcess(READY))
    running = asyncio.create_task(world.supervisor.run())
    await turns_until(lambda: len(world.processes) == 10)
    await world.supervisor.stop()
    await running
    assert world.slept == [min(BACKOFF_S_MIN * 2**n, BACKOFF_S_MAX) for n in range(9)]
    assert world.said("node.died")[0] == "plant-0 ended (signal 9); starting it again in 0.5 s."


STOPPED = b'{"level":"info","event":"node.stopped","message":"stopped"}\n'


async def test_a_node_that_left_in_good_order_is_not_started_again() -> None:
    world = World(lambda: FakeProcess(READY, STOPPED, code=0))
    await world.supervisor.run()
    assert len(world.processes) == 1
    assert world.said("node.left") == ["plant-0 has left; it is back when `stoa up` is started again."]


@pytest.mark.parametrize("last_life", [(READY, 0), (READY + STOPPED, 1)])
async def test_a_node_that_only_seems_to_have_left_is_started_again(last_life: tuple[bytes, int]) -> None:
    """Without its word, or with an exit code that says otherwise: it was fenced, or it crashed."""
    lines, code = last_life
    world = World(lambda: FakeProcess(*lines.splitlines(), code=code), lambda: FakeProcess(READY))
    running = asyncio.create_task(world.supervisor.run())
    await turns_until(lambda: len(world.processes) == 2)
    await world.supervisor.stop()
    await running
    assert len(world.said("node.died")) == 1


async def test_another_program_says_in_its_own_way_that_it_is_ready() -> None:
    world = World(lambda: FakeProcess(b"here we are\n"))
    supervisor = Supervisor(
        "the store server",
        world._launch,
        world.events.append,
        clock=lambda: 0.0,
        parse=lambda line: NodeEvent(event=line.decode().strip()),
        ready_event="here we are",
    )
    running = asyncio.create_task(supervisor.run())
    assert (await supervisor.wait_ready()).event == "here we are"
    await supervisor.stop()
    await running


async def test_a_healthy_life_starts_the_pauses_anew() -> None:
    deaths = [lambda: FakeProcess(READY, code=1) for _ in range(3)]
    world = World(*deaths, lambda: FakeProcess(READY), lifetime_s=HEALTHY_S_MIN)
    running = asyncio.create_task(world.supervisor.run())
    await turns_until(lambda: len(world.processes) == 4)
    await world.supervisor.stop()
    await running
    assert world.slept == [BACKOFF_S_MIN] * 3


async def test_stopping_during_a_pause_starts_nothing_more() -> None:
    world = World(lambda: FakeProcess(READY, code=1))
    never = asyncio.get_running_loop().create_future()
    world.supervisor._sleep = lambda _: asyncio.shield(never)
    running = asyncio.create_task(world.supervisor.run())
    await turns_until(lambda: bool(world.said("node.died")))
    await world.supervisor.stop()
    await running
    assert len(world.processes) == 1
    never.cancel()


async def test_a_node_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "STOP_S_MAX", 0.0)
    world = World(lambda: FakeProcess(READY, stubborn=True))
    running = asyncio.create_task(world.supervisor.run())
    await world.supervisor.wait_ready()
    await world.supervisor.stop()
    await running
    assert world.processes[0].signals == ["TERM", "KILL"]
    assert len(world.said("node.killed")) == 1


async def test_stopping_before_anything_started_is_nothing() -> None:
    world = World()
    await world.supervisor.stop()
    await world.supervisor.run()
    assert world.processes == []


def test_a_line_of_json_is_an_event_with_its_fields() -> None:
    line = b'{"ts":"t","level":"info","event":"authz.denied","message":"DENIED x","topic":"a/b","qos":1}\n'
    event = parse_line(line)
    assert event == NodeEvent(
        ts="t", level="info", event="authz.denied", message="DENIED x", fields={"topic": "a/b", "qos": 1}
    )
    assert event.is_refusal
    assert not event.is_failure


@pytest.mark.parametrize("line", [b"Traceback (most recent call last):\n", b"[1]\n", b"{\n", b"\xff\n"])
def test_a_line_that_is_no_json_is_a_failure_in_its_own_words(line: bytes) -> None:
    event = parse_line(line)
    assert event is not None
    assert event.is_failure
    assert event.event == "node.stderr"


def test_an_empty_line_is_nothing() -> None:
    assert parse_line(b" \n") is None


def test_no_line_steers_the_terminal() -> None:
    event = parse_line(b'{"message":"a\\u001b[2Jb\\nc"}')
    assert event is not None
    assert event.message == "a?[2Jb?c"
    event = parse_line(b"\x1b[31mred")
    assert event is not None
    assert event.message == "?[31mred"
