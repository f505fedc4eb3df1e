"""How many PUBLISH packets of QoS 1 and 2 the client may have open towards us: our Receive Maximum.

Knows packet ids of one connection; does not know packets, sessions, or whether an id was seen on an earlier connection:
the count starts anew with each one (MQTT 5.0, 4.9).
"""

from collections.abc import Iterable

from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.reasons import ReasonCode


class ReceiveWindow:
    """The packet ids received and not yet completed by us. Holds at most `receive_maximum` of them."""

    __slots__ = ("_open", "_receive_maximum")

    def __init__(self, receive_maximum: int) -> None:
        self._receive_maximum = receive_maximum
        self._open: set[int] = set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def room(self) -> int:
        """How many PUBLISH more the client may open, whatever their ids."""
        return self._receive_maximum - len(self._open)

    def open_all(self, packet_ids: Iterable[int]) -> None:
        """As `open`, for no more than there is `room` for."""
        self._open.update(packet_ids)

    def complete_all(self, packet_ids: Iterable[int]) -> None:
        """As `complete`, for each of them."""
        self._open.difference_update(packet_ids)

    def open(self, packet_id: int) -> None:
        """Count a received PUBLISH, an id that is open already once. Raises Violation (0x93) beyond the maximum."""
        ids = self._open
        if packet_id in ids:
            return
        if len(ids) >= self._receive_maximum:  # [MQTT-3.3.4-7]
            raise Violation(ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, f"more than {self._receive_maximum} PUBLISH open")
        ids.add(packet_id)

    def complete(self, packet_id: int) -> None:
        """PUBACK, PUBCOMP, or PUBREC with an error was sent: the id is free. Unknown ids are ignored."""
        self._open.discard(packet_id)
