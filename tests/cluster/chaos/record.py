"""What was seen from outside: events in the order in which one observer saw them, with one clock.

Knows clients, their connections, messages, faults and samples as plain values; does not know how they came about, and
not what is right. Times are seconds of the observer's monotonic clock. A message is named by its payload: the name of
its publisher, a dot, and a number that grows with each message of that publisher.
"""

import time
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from msgspec import Struct


class Event(Struct, frozen=True, gc=False, tag=True):
    """Something happened at `at`."""

    at: float


# Connections ---------------------------------------------------------------------------------------------------------


class How(StrEnum):
    """How a connection ended, as its client saw it."""

    GOODBYE = "goodbye"  # we sent DISCONNECT
    ABORTED = "aborted"  # we cut it without a word, on purpose
    ABANDONED = "abandoned"  # the peer was silent for too long; our end stays open, to see what still comes
    REPLACED = "replaced"  # we connected a second time with the same client id
    CLOSED = "closed"  # the peer closed it


class Asked(Event, frozen=True, gc=False):
    """CONNECT was sent. What comes of it may stay unknown."""

    client: str
    link: int
    node: str


class Connected(Event, frozen=True, gc=False):
    """CONNACK said yes. `lasts`: the session outlives the connection. `is_resume`: CONNECT asked to go on.

    `stays`: a client that comes back at once whenever it loses its connection.
    """

    client: str
    link: int
    node: str
    asked_at: float
    is_resume: bool
    lasts: bool
    session_present: bool
    stays: bool = True


class Refused(Event, frozen=True, gc=False):
    """CONNACK said no."""

    client: str
    node: str
    reason: int


class Ended(Event, frozen=True, gc=False):
    """A connection is over for its client. `reason` is that of the peer's DISCONNECT, if it said one."""

    client: str
    link: int
    how: How
    reason: int | None = None


class Stray(Event, frozen=True, gc=False):
    """A packet arrived on a connection that its client had done with."""

    client: str
    link: int
    packet: str


# Messages ------------------------------------------------------------------------------------------------------------


class Sent(Event, frozen=True, gc=False):
    """PUBLISH left the publisher. `deletes`: empty payload, retained: it names no message to its receivers."""

    client: str
    link: int
    message: str
    topic: str
    qos: int
    retain: bool = False
    dup: bool = False
    expiry_s: int | None = None
    deletes: bool = False


class Acknowledged(Event, frozen=True, gc=False):
    """PUBACK or PUBREC came, with a reason that may be a refusal."""

    client: str
    message: str
    reason: int


class Received(Event, frozen=True, gc=False):
    """PUBLISH arrived. `is_new`: not a repetition that QoS 2 told the client to hold back."""

    client: str
    link: int
    message: str
    topic: str
    qos: int
    dup: bool
    retain: bool
    is_new: bool


class Subscribed(Event, frozen=True, gc=False):
    """SUBACK came. `granted` is a QoS, or a refusal from 0x80 on."""

    client: str
    link: int
    asked_at: float
    filter: str
    granted: int


class Unsubscribed(Event, frozen=True, gc=False):
    """UNSUBSCRIBE was sent: from here on nothing is owed."""

    client: str
    filter: str


class WillOffered(Event, frozen=True, gc=False):
    """CONNECT with a will was sent. The will is in force if this connection gets its CONNACK."""

    client: str
    link: int
    message: str
    topic: str
    delay_s: int


class Found(Event, frozen=True, gc=False):
    """What a new subscription found retained at a node; "" = nothing. `is_final`: when all was quiet at the end."""

    node: str
    asked_at: float
    topic: str
    message: str
    is_final: bool = False


# The machinery -------------------------------------------------------------------------------------------------------


class FaultBegan(Event, frozen=True, gc=False):
    """`target` is a node, or the store."""

    number: int
    kind: str
    target: str


class FaultEnded(Event, frozen=True, gc=False):
    number: int
    kind: str
    target: str


class Sampled(Event, frozen=True, gc=False):
    """A process that was looked at: a node, or the store (then `rss_bytes` is what it says it uses)."""

    name: str
    rss_bytes: int
    fds: int
    is_final: bool = False


class Misbehaved(Event, frozen=True, gc=False):
    """A process ended that nobody ended, or wrote a traceback."""

    name: str
    what: str


E = TypeVar("E", bound=Event)
Record = list[Event]


class Recorder:
    """Collects events. `now` is the clock of all of them."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.events: Record = []
        self.now: Callable[[], float] = now

    def add(self, event: Event) -> None:
        self.events.append(event)


def only(record: Record, kind: type[E]) -> list[E]:
    """The events of one kind, in order."""
    return [event for event in record if isinstance(event, kind)]


def name_of(publisher: str, number: int) -> str:
    """The name, and the payload, of a publisher's message."""
    return f"{publisher}.{number}"


def publisher_of(message: str) -> tuple[str, int]:
    """Publisher and number of a message. Raises ValueError for a name that nobody gave."""
    publisher, _, number = message.rpartition(".")
    return publisher, int(number)
