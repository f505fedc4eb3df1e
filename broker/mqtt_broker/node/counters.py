"""What the node counts, as plain integers: one add per event, no label, no lock. admin.py exports them when asked."""

from typing import Literal

DropReason = Literal["overflow", "expired", "too_large", "revoked", "no_receiver", "rejected"]


class Counters:
    """Growing totals since the start of the process."""

    __slots__ = (
        "auth_failures",
        "bytes_received",
        "bytes_sent",
        "connections_accepted",
        "connections_refused",
        "denials",
        "dropped",
        "messages_received",
        "messages_sent",
        "sessions_expired",
        "tls_failures",
        "violations",
    )

    def __init__(self) -> None:
        self.bytes_received = 0
        self.bytes_sent = 0
        self.connections_accepted = 0
        self.connections_refused = 0
        self.auth_failures = 0
        self.tls_failures = 0
        self.violations = 0
        self.messages_received = 0
        self.messages_sent = 0
        self.denials = 0
        self.sessions_expired = 0
        self.dropped: dict[DropReason, int] = {
            "overflow": 0,
            "expired": 0,
            "too_large": 0,
            "revoked": 0,
            "no_receiver": 0,
            "rejected": 0,
        }

    @property
    def messages_dropped(self) -> int:
        return sum(self.dropped.values())
