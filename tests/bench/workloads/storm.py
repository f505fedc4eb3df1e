"""A subscribe storm beside a steady stream: how long does the stream stand still at worst?

Knows the storm and the stream's fixed rate; does not know brokers. The storm comes as fast as its sockets take it, and
goes at once: its clients close their connections, so all it brought has to be forgotten.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.driver import frames
from bench.driver.crowd import FAILURE, SUBACK, Crowd, Member
from bench.driver.link import BrokenError, Link
from bench.figures import Result
from bench.workloads.base import DRAIN_QUIET_S, Broker, Budget, Stopwatch, TopicsOf, client_id, crowd_for
from bench.workloads.sparse import SELECT_STEP_S, Sender

CLIENTS = 10  # brokers bound the subscriptions of one client
RATE_PER_S = 1_000
STORM_S_MAX = 60.0
AFTER_S = 1.0  # of stream, once all is answered, or gone
_LATE_MS_MAX = 10.0  # a driver that gets its core later than that measures itself


class _Stream:
    """One publisher and one subscriber, a message each millisecond; the longest time without a delivery."""

    def __init__(self, crowd: Crowd, sender: Sender, receiver: Link) -> None:
        self.sender = sender
        self.receiver = receiver
        self._crowd = crowd

    def run(self, done: Callable[[float], bool]) -> tuple[float, float]:
        """Send on until `done`, which is asked with the time; the longest gap and how late we were at worst, ms."""
        start = last = time.monotonic()
        number, longest, late = 0, 0.0, 0.0
        seen = self.receiver.scanner.ledger.received
        while not done(now := time.monotonic()):
            due = start + number / RATE_PER_S
            if now >= due:
                late = max(late, now - due)
                self.sender.send()
                number += 1
            early = due - time.monotonic()
            self._crowd.loop.turn(early - SELECT_STEP_S if early > 2 * SELECT_STEP_S else 0)
            received = self.receiver.scanner.ledger.received
            if received != seen:
                arrived = time.monotonic()
                longest, last, seen = max(longest, arrived - last), arrived, received
        return max(longest, time.monotonic() - last) * 1_000, late * 1_000


@dataclass(frozen=True, kw_only=True)
class Storm:
    """`filters` distinct filters over ten clients, `per_packet` of them in each SUBSCRIBE."""

    name: str
    title: str
    filters: int = 10_000
    per_packet: int = 1
    fresh: bool = False

    def run(self, broker: Broker, budget: Budget) -> Result:
        with crowd_for(broker, 1, TopicsOf(), version=budget.version) as crowd:
            receiver = crowd.join([Member("load-s0", TopicsOf().names(0))])[0]
            stormers = crowd.join([Member(f"load-c{number:02d}") for number in range(CLIENTS)])
            sender = Sender(0, crowd.join([Member(client_id(0))])[0], budget.version)
            stream = _Stream(crowd, sender, receiver)
            stream.run(_for(budget.warm_s))
            watch = Stopwatch(broker, crowd)
            watch.start()
            arriving = self._arrive(stream, stormers, budget.version)
            leaving = _leave(stream, stormers)
            watch.stop()
            crowd.drain(lambda: receiver.scanner.ledger.received >= sender.sent, DRAIN_QUIET_S)
            ledger = receiver.scanner.ledger
            stall_ms, late_ms = map(max, arriving, leaving)
            return Result(
                count=watch.count,
                seconds=watch.seconds,
                cpu_s=watch.cpu_s,
                sent=sender.sent,
                lost=ledger.lost({0: sender.sent}),
                duplicated=ledger.duplicated,
                reordered=ledger.reordered,
                corrupt=ledger.corrupt,
                latency_p50_us=watch.latency_us(0.5),
                latency_p99_us=watch.latency_us(0.99),
                stall_ms=stall_ms,
                note=f"driver itself more than {_LATE_MS_MAX:g} ms late at times" if late_ms > _LATE_MS_MAX else None,
            )

    def _arrive(self, stream: _Stream, stormers: Sequence[Link], version: int) -> tuple[float, float]:
        storms = [self._packets(number, version) for number in range(len(stormers))]
        wanted = sum(count for _, count in storms)
        for link, (data, _) in zip(stormers, storms, strict=True):
            link.send(data)
        limit = time.monotonic() + STORM_S_MAX
        calm_from: float | None = None

        def done(now: float) -> bool:
            nonlocal calm_from
            if calm_from is None and sum(len(link.scanner.answers) for link in stormers) >= wanted:
                calm_from = now
            if calm_from is None and now > limit:
                raise BrokenError(f"not all SUBACKs within {STORM_S_MAX:g} s")
            return calm_from is not None and now - calm_from > AFTER_S

        measured = stream.run(done)
        _check(stormers)
        return measured

    def _packets(self, number: int, version: int) -> tuple[bytes, int]:
        """All SUBSCRIBE packets of one client, and how many they are."""
        filters = [f"churn/{number}/{i:05d}/+" for i in range(self.filters // CLIENTS)]
        parts = [filters[i : i + self.per_packet] for i in range(0, len(filters), self.per_packet)]
        packets = [frames.subscribe_all(i, part, version) for i, part in enumerate(parts, 1)]
        return b"".join(packets), len(packets)


def _leave(stream: _Stream, stormers: Sequence[Link]) -> tuple[float, float]:
    for link in stormers:
        link.close()
    return stream.run(_for(AFTER_S))


def _check(stormers: Sequence[Link]) -> None:
    """Every reason code of every SUBACK, which stand at its end. Raises BrokenError if one says no."""
    for link in stormers:
        for answer in link.scanner.answers:
            if answer[0] != SUBACK or max(answer[4:]) >= FAILURE:
                raise BrokenError(f"{link.name} may not subscribe: {answer[:16].hex()}")


def _for(seconds: float) -> Callable[[float], bool]:
    end = time.monotonic() + seconds
    return lambda now: now > end
