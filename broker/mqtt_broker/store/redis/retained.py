"""Retained messages as they lie in Redis: what stands before the message (scripts/retained.lua).

Knows two numbers and the message; does not know topics, keys or scripts.
"""

import math
import struct

from mqtt_broker.store.ports import RetainedMessage, StoreUnavailable
from mqtt_broker.store.redis.entries import decode_body

_HEADER = struct.Struct(">dd")  # the feed position its receivers were planned at, and the moment it expires


def header(planned_at: int, expires_at: float | None) -> bytes:
    """What stands before the message."""
    return _HEADER.pack(planned_at, math.inf if expires_at is None else expires_at)


def decode_retained(value: bytes) -> RetainedMessage:
    """A stored value. Raises StoreUnavailable if it is none."""
    try:
        planned_at, _ = _HEADER.unpack_from(value)
        return RetainedMessage(decode_body(value[_HEADER.size :]), int(planned_at))
    except (struct.error, ValueError, OverflowError) as problem:
        raise StoreUnavailable(f"the store holds a retained message that cannot be read: {problem}") from problem
