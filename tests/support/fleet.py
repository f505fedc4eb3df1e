"""Many clients with sessions that last, and traffic between them, while a test does something to the cluster.

Every client goes on as the standard has it: it comes back when it loses its connection, and resends. All that was sent,
acknowledged and received is recorded, and judged at the end. Knows doors and topics; does not know Kubernetes.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Self

from cluster.chaos.checker import judge, owed
from cluster.chaos.device import Device, Scene, Spec
from cluster.chaos.link import Door
from cluster.chaos.record import Acknowledged, Connected, Ended, Received, Recorder, only
from cluster.chaos.terms import Terms
from support.waiting import eventually

JUDGED = ("I0", "I1", "I2", "I3", "I4")
SESSIONS_PER_TOPIC = 2
PUBLISHERS = 10
ENTRY_AT_ONCE = 20
ENTRY_S_MAX = 120.0
DRAIN_S_MAX = 60.0
DRAIN_INTERVAL_S = 0.5  # each look goes through the whole record


class Member(Device):
    """A client that looks at its connection less often, for there are hundreds of them."""

    watch_interval_s = 1.0
    ping_after_s = 5.0
    silence_s_max = 8.0


@dataclass(frozen=True)
class Report:
    """What came of it. `gaps_s`: how long clients were without a connection, once for each time.

    `wills` are those of connections that were there: who gives up waiting for CONNACK, and is let in too late, has one.
    """

    sessions: int
    seconds: float
    acknowledged: int
    received: int
    repeated: int
    violations: Sequence[str]
    wills: int
    sessions_lost: int
    dropped: int
    gaps_s: Sequence[float]

    def __str__(self) -> str:
        longest_s = max(self.gaps_s, default=0.0)
        messages = f"{self.acknowledged} acknowledged, {self.received} received, {self.repeated} of them again"
        broken = f"promises broken {len(self.violations)}, wills {self.wills}, sessions lost {self.sessions_lost}"
        connections = f"connections dropped {self.dropped}, longest gap {longest_s:.2f} s"
        return f"{self.sessions} sessions, {self.seconds:.1f} s: {messages}; {broken}; {connections}"

    def assert_nothing_lost(self) -> None:
        assert not self.violations, "\n".join(self.violations[:5])
        assert self.wills == 0
        assert self.sessions_lost == 0
        assert self.acknowledged > 0
        assert self.received >= self.acknowledged


class Fleet:
    """Use as `async with`: inside, all are connected and subscribed, and publishers publish `per_s` messages."""

    def __init__(
        self,
        doors: Mapping[str, Door],
        prefix: str,
        *,
        sessions: int,
        per_s: float,
        will_delay_s: int = 0,
        log_in: tuple[str, bytes] | None = None,
    ) -> None:
        """`log_in`: user name and password of all of them."""
        self._log_in = log_in
        self.recorder = Recorder()
        self.scene = Scene(doors, self.recorder, random.Random(prefix))
        self.prefix = prefix
        self.topics = [f"{prefix}/t/{number}" for number in range(max(1, sessions // SESSIONS_PER_TOPIC))]
        self._will_delay_s = will_delay_s
        self.members = [Member(self._member(number), self.scene) for number in range(sessions)]
        self.publishers = [Member(self._spec(f"p{number}"), self.scene) for number in range(PUBLISHERS)]
        self.watcher = Member(self._spec("w", subscriptions=((f"{prefix}/wills/#", 1),)), self.scene)
        self._per_s = per_s
        self._stays: list[asyncio.Task[None]] = []
        self._work: list[asyncio.Task[None]] = []
        self._began_at = self._ended_at = 0.0

    async def __aenter__(self) -> Self:
        try:
            await self._enter([self.watcher, *self.publishers, *self.members])
        except BaseException:
            await self._leave()
            raise
        self._began_at = self.recorder.now()
        self._work = [asyncio.create_task(self._publish(one, number)) for number, one in enumerate(self.publishers)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    @property
    def connected(self) -> int:
        """How many sessions have a connection."""
        return sum(member.is_ready for member in self.members)

    async def acknowledged(self, more: int) -> None:
        """Until so many more messages were acknowledged: traffic flows."""
        events = self.recorder.events
        start = len(events)
        await eventually(
            lambda: sum(isinstance(event, Acknowledged) for event in events[start:]) >= more,
            ENTRY_S_MAX,
            f"{more} messages are acknowledged",
        )

    async def calm(self, for_s: float) -> int:
        """Until no connection has ended for so long. Returns how many have until now."""
        while True:
            before = self.dropped
            await asyncio.sleep(for_s)
            if self.dropped == before:
                return before

    @property
    def dropped(self) -> int:
        """How many connections have ended."""
        return len(only(self.recorder.events, Ended))

    async def rest(self) -> Report:
        """Publish no more, wait until all that was promised has arrived, and judge."""
        await self._stop_publishing()
        self._ended_at = self.recorder.now()
        await eventually(lambda: self.connected == len(self.members), ENTRY_S_MAX, "all sessions are connected")
        await self._drain()
        findings = judge(self.recorder.events, Terms(), JUDGED)
        return self._report([str(one) for finding in findings for one in finding.violations])

    async def _drain(self) -> None:
        """Until nothing is owed, or for long enough: then the judges say what is missing."""
        for _ in range(int(DRAIN_S_MAX / DRAIN_INTERVAL_S)):
            outgoing = sum(len(one.session.outgoing) for one in self.publishers)
            if not outgoing and not owed(self.recorder.events, Terms()):
                return
            await asyncio.sleep(DRAIN_INTERVAL_S)

    def _report(self, violations: list[str]) -> Report:
        record = self.recorder.events
        heard = only(record, Received)
        names = {member.spec.client for member in self.members}
        return Report(
            sessions=len(self.members),
            seconds=self._ended_at - self._began_at,
            acknowledged=len(only(record, Acknowledged)),
            received=sum(one.client in names and one.is_new for one in heard),
            repeated=sum(one.dup for one in heard),
            violations=violations,
            wills=_wills([one for one in heard if one.client == self.watcher.spec.client], only(record, Connected)),
            sessions_lost=_sessions_lost(only(record, Connected)),
            dropped=sum(ended.at < self._ended_at for ended in only(record, Ended)),
            gaps_s=_gaps(record, self._ended_at),
        )

    def _member(self, number: int) -> Spec:
        topic = self.topics[number % len(self.topics)]
        return self._spec(
            str(number),
            subscriptions=((topic, 1),),
            will_topic=f"{self.prefix}/wills/{self.prefix}-{number}",
            will_delay_s=self._will_delay_s,
        )

    def _spec(self, name: str, **more: Any) -> Spec:
        username, password = (None, None) if self._log_in is None else self._log_in
        return Spec(client=f"{self.prefix}-{name}", username=username, password=password, **more)

    async def _enter(self, devices: Sequence[Member]) -> None:
        turns = asyncio.Semaphore(ENTRY_AT_ONCE)

        async def enter(one: Member) -> None:
            async with turns:
                await eventually(one.connect, ENTRY_S_MAX, f"{one.spec.client} is let in")
                await eventually(lambda: one.is_ready, ENTRY_S_MAX, f"{one.spec.client} is subscribed")
            self._stays.append(asyncio.create_task(one.stay()))

        async with asyncio.TaskGroup() as tasks:
            for one in devices:
                tasks.create_task(enter(one))

    async def _publish(self, publisher: Member, number: int) -> None:
        topics = self.topics[number::PUBLISHERS] or self.topics
        pause_s = len(self.publishers) / self._per_s
        for turn in count():
            await publisher.publish(topics[turn % len(topics)], 1)
            await asyncio.sleep(self.scene.chance.uniform(0.5, 1.5) * pause_s)

    async def _stop_publishing(self) -> None:
        for task in self._work:
            task.cancel()
        failures = [e for e in await asyncio.gather(*self._work, return_exceptions=True) if isinstance(e, Exception)]
        self._work = []
        assert not failures, failures

    async def _leave(self) -> None:
        """All say goodbye, so that no will fires into another test."""
        everybody = [self.watcher, *self.publishers, *self.members]
        for task in (*self._work, *self._stays):
            task.cancel()
        await asyncio.gather(*self._work, *self._stays, return_exceptions=True)
        await asyncio.gather(*(one.leave() for one in everybody), return_exceptions=True)
        for one in everybody:
            one.close()


def _wills(heard: Sequence[Received], connections: Sequence[Connected]) -> int:
    """A will is named after the connection that brought it."""
    links = {connection.link for connection in connections}
    return sum(int(one.message.rpartition(".")[2]) in links for one in heard)


def _sessions_lost(connections: Sequence[Connected]) -> int:
    seen: set[str] = set()
    lost = 0
    for connection in connections:
        lost += connection.client in seen and not connection.session_present
        seen.add(connection.client)
    return lost


def _gaps(record: Sequence[object], until: float) -> list[float]:
    gone: dict[str, float] = {}
    gaps = []
    for event in record:
        if isinstance(event, Ended) and event.at < until:
            gone[event.client] = event.at
        elif isinstance(event, Connected) and event.client in gone:
            gaps.append(event.at - gone.pop(event.client))
    return gaps
