"""How values lie in the embedded store: MessagePack of the broker's own frozen values.

Knows which value is encoded as what; does not know tables or operations. Names of fields are stored, so that a later
version may add some; one that is unknown is skipped.
"""

import msgspec
from msgspec import Struct

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


encode = msgspec.msgpack.Encoder().encode
decode_message = msgspec.msgpack.Decoder(Message).decode
decode_details = msgspec.msgpack.Decoder(Details).decode
decode_subscription = msgspec.msgpack.Decoder(Subscription).decode
decode_results = msgspec.msgpack.Decoder(tuple[Result, ...]).decode
decode_identifiers = msgspec.msgpack.Decoder(tuple[int, ...]).decode
