"""Many clients of one run: connected, subscribed, and counted together.

Knows how a client gets ready and what all of them received; does not know what is published when.
"""

import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from bench.driver import frames
from bench.driver.ledger import Ledger
from bench.driver.link import BrokenError, Link, Loop
from bench.driver.scanner import CONNACK, Scanner, TopicOf

CONNECTING_MAX = 16  # at a time: a broker may bound how many passwords it verifies at once
READY_S_MAX = 60.0
SUBACK = 0x90
UNSUBACK = 0xB0
FAILURE = 0x80


@dataclass(frozen=True)
class Target:
    """Where a broker listens, and how load clients prove who they are."""

    host: str
    port: int
    username: str
    password: str
    tls: ssl.SSLContext | None = None
    version: int = frames.V311


@dataclass(frozen=True)
class Member:
    """One client to be. `filters` are subscribed to with `qos`. `username` None: the account of the target."""

    client_id: str
    filters: Sequence[str] = ()
    qos: int = 0
    clean: bool = True
    username: str | None = None


def no_topic(_stream: int, _sequence: int) -> bytes:
    """For clients that should receive nothing: no topic is right."""
    return b""


class Crowd:
    """The clients of one run. Use as a context manager: leaving it closes every connection."""

    def __init__(self, target: Target, streams: int, topic_of: TopicOf = no_topic) -> None:
        self.loop = Loop()
        self.links: list[Link] = []
        self._target = target
        self._streams = streams
        self._topic_of = topic_of

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.close()

    def join(self, members: Sequence[Member], elsewhere: Target | None = None) -> list[Link]:
        """Connect, then subscribe. Returns when every CONNACK and SUBACK said yes; raises BrokenError else.

        `elsewhere`: another node of the same broker.
        """
        joined: list[Link] = []
        waiting: list[Link] = []
        for member in members:
            self.loop.run_until(lambda: _still(waiting) < CONNECTING_MAX, READY_S_MAX, "CONNACK")
            waiting.append(self.connect(member, elsewhere))
            joined.append(waiting[-1])
        self.loop.run_until(lambda: not _still(waiting), READY_S_MAX, "CONNACK")
        for link, member in zip(joined, members, strict=True):
            for number, topic_filter in enumerate(member.filters, 1):
                link.send(frames.subscribe(number, topic_filter, member.qos, self._target.version))
        for link, member in zip(joined, members, strict=True):
            self._await_subacks(link, len(member.filters))
        self.links += joined
        return joined

    def connect(self, member: Member, elsewhere: Target | None = None) -> Link:
        """Begin a connection; `accepted(link)` tells when it stands."""
        target = elsewhere or self._target
        scanner = Scanner(target.version, Ledger(self._streams), self._topic_of)
        link = Link(self.loop, (target.host, target.port), member.client_id, scanner, target.tls)
        username = member.username or target.username
        link.send(frames.connect(member.client_id, username, target.password, target.version, clean=member.clean))
        return link

    def _await_subacks(self, link: Link, wanted: int) -> None:
        self.loop.run_until(lambda: len(link.scanner.answers) >= wanted, READY_S_MAX, "SUBACK")
        check_subacks(link)

    def delivered(self) -> int:
        return sum(link.scanner.ledger.received for link in self.links)

    def drain(self, complete: Callable[[], bool], quiet_s: float) -> None:
        """Read on until all is here, or nothing more came for so long."""
        last, since = self.delivered(), time.monotonic()
        while not complete() and time.monotonic() - since < quiet_s:
            self.loop.turn()
            if self.delivered() != last:
                last, since = self.delivered(), time.monotonic()


def _still(waiting: list[Link]) -> int:
    """How many still wait for their CONNACK; those that have it leave the list. Raises BrokenError if refused."""
    waiting[:] = [link for link in waiting if not accepted(link)]
    return len(waiting)


def accepted(link: Link) -> bool:
    """Whether CONNACK is here. Raises BrokenError if it says no."""
    if not link.scanner.answers:
        return False
    connack = link.scanner.answers.pop(0)
    if connack[0] != CONNACK or connack[3]:
        raise BrokenError(f"{link.name} was refused: {connack.hex()}")
    link.receive_maximum = frames.receive_maximum(connack)
    return True


def check_subacks(link: Link) -> None:
    """Take the answers to SUBSCRIBE and UNSUBSCRIBE. Raises BrokenError if one says no."""
    for answer in link.scanner.answers:
        if answer[0] not in (SUBACK, UNSUBACK) or (answer[-1] >= FAILURE and answer[0] == SUBACK):
            raise BrokenError(f"{link.name} may not subscribe: {answer.hex()}")
    link.scanner.answers.clear()
