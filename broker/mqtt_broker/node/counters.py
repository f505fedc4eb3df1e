"""What the node counts, as plain integers: one add per event or run of them, no label, no lock. Others export them.

Bytes are those below TLS and WebSocket; payload bytes those of PUBLISH packets alone, without topic and header.
"""

from collections.abc import Iterable
from typing import Literal, Protocol

from msgspec import Struct

DropReason = Literal[
    "overflow", "expired", "too_large", "revoked", "no_receiver", "rejected", "invalid_payload", "inbox"
]


class Counters:
    """Growing totals since the start of the process.

    `other_packets_*` hold packets other than PUBLISH of connections that ended, and those of the fast lane: what a
    living connection's machine has counted is added when somebody asks, by `all_packets`.
    """

    __slots__ = (
        "auth_failures",
        "bytes_received",
        "bytes_sent",
        "connections_accepted",
        "connections_delayed",
        "connections_opened",
        "connections_refused",
        "connects_received",
        "denials",
        "dropped",
        "messages_received",
        "messages_sent",
        "other_packets_received",
        "other_packets_sent",
        "pauses",
        "payload_bytes_received",
        "payload_bytes_sent",
        "sessions_expired",
        "tls_failures",
        "violations",
    )

    def __init__(self) -> None:
        self.bytes_received = 0
        self.bytes_sent = 0
        self.payload_bytes_received = 0
        self.payload_bytes_sent = 0
        self.connections_opened = 0
        self.connections_delayed = 0
        self.connects_received = 0
        self.connections_accepted = 0
        self.connections_refused = 0
        self.auth_failures = 0
        self.tls_failures = 0
        self.violations = 0
        self.messages_received = 0
        self.messages_sent = 0
        self.other_packets_received = 0
        self.other_packets_sent = 0
        self.denials = 0
        self.sessions_expired = 0
        self.dropped: dict[DropReason, int] = {
            "overflow": 0,
            "expired": 0,
            "too_large": 0,
            "revoked": 0,
            "no_receiver": 0,
            "rejected": 0,
            "invalid_payload": 0,
            "inbox": 0,
        }

        self.pauses = {"rate": 0, "receivers": 0, "order": 0, "turn": 0}  # why a client was not read for a while

    @property
    def messages_dropped(self) -> int:
        return sum(self.dropped.values())


class CountsPackets(Protocol):
    """A connection's machine."""

    @property
    def other_packets_received(self) -> int: ...

    @property
    def other_packets_sent(self) -> int: ...


class Packets(Struct, frozen=True):
    """Packets of every type since the start of the process."""

    received: int
    sent: int


def all_packets(counters: Counters, living: Iterable[CountsPackets]) -> Packets:
    """`living`: the machines of the connections that have not ended; a pass over all of them."""
    received = counters.messages_received + counters.other_packets_received
    sent = counters.messages_sent + counters.other_packets_sent
    for machine in living:
        received += machine.other_packets_received
        sent += machine.other_packets_sent
    return Packets(received, sent)
