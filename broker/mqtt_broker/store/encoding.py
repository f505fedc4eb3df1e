"""How values lie in the embedded store: MessagePack of the broker's own frozen values.

Knows which value is encoded as what; does not know tables or operations. Names of fields are stored, so that a later
version may add some; one that is unknown is skipped.
"""

from collections.abc import Mapping
from functools import lru_cache

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mqtt_api.policy import Facts
from mqtt_broker.session.message import Message
from mqtt_broker.session.session import QueueBounds, Subscription
from mqtt_broker.store.ports import Result
from mqtt_broker.wire.packets import Will


class Details(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of a session is only read as a whole, never searched or counted by the database."""

    facts: Facts
    protocol_version: int
    bounds: QueueBounds
    will: Will | None = None


SHARED_MAX = 1_000  # values of a kind that are remembered
NO_ATTRIBUTES: Mapping[str, str] = {}  # what most principals have; never changed

encode = msgspec.msgpack.Encoder().encode
decode_message = msgspec.msgpack.Decoder(Message).decode
_decode_details = msgspec.msgpack.Decoder(Details).decode
decode_subscription = msgspec.msgpack.Decoder(Subscription).decode
decode_results = msgspec.msgpack.Decoder(tuple[Result, ...]).decode
decode_identifiers = msgspec.msgpack.Decoder(tuple[int, ...]).decode


def decode_details(value: bytes) -> Details:
    """Details in little memory: what many sessions have in common is the same object in all of them.

    Raises msgspec.MsgspecError.
    """
    told = _decode_details(value)
    facts = replace(
        told.facts,
        source=_shared_name(told.facts.source),
        namespace=_shared_name(told.facts.namespace),
        attributes=told.facts.attributes or NO_ATTRIBUTES,
    )
    return replace(told, facts=facts, bounds=_shared_bounds(told.bounds))


@lru_cache(SHARED_MAX)
def _shared_bounds(bounds: QueueBounds) -> QueueBounds:
    return bounds


@lru_cache(SHARED_MAX)
def _shared_name(name: str) -> str:
    return name


def around_payload(message: Message, payload_bytes: int) -> tuple[bytes, bytes]:
    """What stands before and after the payload where this message is encoded with one of that length."""
    payload = bytes(payload_bytes)
    whole = encode(replace(message, payload=payload))
    # A map of one byte's head, and its first two keys: see Message.
    before = 1 + len(encode("topic") + encode(message.topic) + encode("payload") + encode(payload)) - payload_bytes
    return whole[:before], whole[before + payload_bytes :]
