"""Sessions as they lie in Redis: a head that scripts work on, and details that they only pass on.

Knows the head's layout (scripts/heads.lua) as far as a record needs it; does not know keys, scripts or operations.
"""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from mqtt_broker.session.session import QueueBounds, SessionRecord
from mqtt_broker.store.encoding import decode_details, decode_subscription

OVERFLOWS = ("DropOldest", "DropNewest", "Reject")  # by number


class _Head(Struct, frozen=True, array_like=True):
    """The head's first elements, in order; what follows is for scripts alone. False stands for None."""

    incarnation: int
    last: int
    messages: int
    bytes: int
    first: int
    gap: int
    past: int
    mark: int
    epoch: int
    owner: str
    token: int
    expiry_interval_s: int
    ended: int
    will_delay_s: float | bool
    will_due_at: float | bool
    expires_at: float | bool


_decode_head = msgspec.msgpack.Decoder(_Head).decode


def decode_record(
    client_id: bytes, head: bytes, details: bytes, subscriptions: Iterable[bytes] = (), inbound: Sequence[int] = ()
) -> SessionRecord:
    """A session. Raises msgspec.MsgspecError if a part of it cannot be read."""
    known, told = _decode_head(head), decode_details(details)
    return SessionRecord(
        client_id=client_id.decode(),
        incarnation=known.incarnation,
        epoch=known.epoch,
        facts=told.facts,
        protocol_version=told.protocol_version,
        expiry_interval_s=known.expiry_interval_s,
        bounds=told.bounds,
        owner=known.owner or None,
        will=None if known.will_delay_s is False else told.will,
        will_due_at=_moment(known.will_due_at),
        expires_at=_moment(known.expires_at),
        subscriptions=tuple([decode_subscription(blob) for blob in subscriptions]),
        sent_up_to=0 if known.ended else known.mark,
        inbound_qos2=tuple(inbound),
    )


def overflow_number(bounds: QueueBounds) -> int:
    """How scripts name the policy."""
    return OVERFLOWS.index(bounds.overflow)


def _moment(value: float | bool) -> float | None:
    return None if value is False else float(value)
