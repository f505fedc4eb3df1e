"""Clients that ask and wait, over and over: how long others had to wait while something large went on.

Knows one question under way per client; does not know what the large thing is.
"""

import time
from collections.abc import Callable, Sequence

from bench.driver import frames
from bench.driver.link import BrokenError, Link, Loop
from bench.figures import percentile

PINGREQ = b"\xc0\x00"
PAUSE_S = 0.001  # between an answer and the next question
_TOPIC_QOS = 1


class Probe:
    """One client. `ask()` sends the question; `answered()` takes the answer if it is there."""

    def __init__(self, link: Link, question: Callable[[], bytes], answered: Callable[[], bool]) -> None:
        self.waits_s: list[float] = []
        self._link = link
        self._question = question
        self._answered = answered
        self._asked_at: float | None = None
        self._next_at = 0.0

    @property
    def is_waiting(self) -> bool:
        return self._asked_at is not None

    def step(self, *, may_ask: bool = True) -> None:
        now = time.monotonic()
        if self._asked_at is not None and self._answered():
            self.waits_s.append(now - self._asked_at)
            self._asked_at, self._next_at = None, now + PAUSE_S
        if may_ask and self._asked_at is None and now >= self._next_at:
            self._asked_at = now
            self._link.send(self._question())

    def take(self) -> "Waits":
        """What was seen since the last time, with what is still waited for."""
        waits = self.waits_s
        if self._asked_at is not None:
            waits = [*waits, time.monotonic() - self._asked_at]
        self.waits_s = []
        return Waits(waits or [0.0])


class Waits:
    """Times until an answer, in milliseconds."""

    def __init__(self, waits_s: Sequence[float]) -> None:
        self.worst_ms = max(waits_s) * 1_000
        self.p50_ms, self.p99_ms = (percentile(waits_s, share) * 1_000 for share in (0.5, 0.99))
        self.count = len(waits_s)

    def __str__(self) -> str:
        return f"worst {self.worst_ms:.1f} ms, p99 {self.p99_ms:.1f}, p50 {self.p50_ms:.2f}"


def pings(link: Link) -> Probe:
    """PINGREQ: answered by the node alone."""

    def answered() -> bool:
        return bool(link.scanner.answers) and link.scanner.answers.pop() is not None

    return Probe(link, lambda: PINGREQ, answered)


def commits(link: Link, topic: str, version: int = frames.V311) -> Probe:
    """QoS 1 to a persistent session: answered once the store has it."""
    sent = 0

    def question() -> bytes:
        nonlocal sent
        sent += 1
        return frames.publish(topic, _TOPIC_QOS, version, frames.payload(0, sent), frames.packet_id_of(sent))

    return Probe(link, question, lambda: link.scanner.acknowledged >= sent)


class Asker(Probe):
    """Publishes with QoS 1 to nobody: the answer is the decision. MQTT 5 only, for 3.1.1 has no word for a refusal."""

    def __init__(self, link: Link, topic: str) -> None:
        self.turned_at: float | None = None
        self._sent = 0
        self._refused = 0
        self._expected = False
        self._topic = topic
        super().__init__(link, self._ask, self._is_answered)

    def expect(self, *, refused: bool) -> None:
        """From now on note in `turned_at` when the answer was first this one."""
        self._expected, self.turned_at = refused, None

    def _ask(self) -> bytes:
        self._sent += 1
        payload, packet_id = frames.payload(0, self._sent), frames.packet_id_of(self._sent)
        return frames.publish(self._topic, 1, frames.V5, payload, packet_id)

    def _is_answered(self) -> bool:
        scanner = self._link.scanner
        if scanner.acknowledged < self._sent:
            return False
        is_refused, self._refused = scanner.refused > self._refused, scanner.refused
        if is_refused == self._expected and self.turned_at is None:
            self.turned_at = time.monotonic()
        return True


def settle(loop: Loop, probes: Sequence[Probe], seconds_max: float) -> None:
    """Take the answers that are under way and ask nothing new: what the driver does next is nobody's wait."""
    end = time.monotonic() + seconds_max
    while any(probe.is_waiting for probe in probes):
        loop.turn(PAUSE_S)
        for probe in probes:
            probe.step(may_ask=False)
        if time.monotonic() > end:
            raise BrokenError(f"no answer within {seconds_max:g} s")


def watch(loop: Loop, probes: Sequence[Probe], until: Callable[[], bool], seconds_max: float) -> float:
    """Keep asking until the condition holds; how many seconds that took. Raises BrokenError if it never does."""
    start = time.monotonic()
    while not until():
        for probe in probes:
            probe.step()
        loop.turn(PAUSE_S)
        if time.monotonic() - start > seconds_max:
            raise BrokenError(f"not within {seconds_max:g} s")
    return time.monotonic() - start
