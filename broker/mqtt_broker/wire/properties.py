"""Properties: which there are, where they may stand, how often, and with which values.

Knows MQTT 5.0, 2.2.2, as one table; does not know what a property is good for.
"""

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct, to_builtins

from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.header import PacketType
from mqtt_broker.wire.packets import NO_PROPERTIES, Properties
from mqtt_broker.wire.primitives import (
    Reader,
    encode_binary,
    encode_byte,
    encode_four_byte_integer,
    encode_string,
    encode_string_pair,
    encode_two_byte_integer,
    encode_variable_byte_integer,
    malformed,
    protocol_error,
)
from mqtt_broker.wire.reasons import ReasonCode

USER_PROPERTIES_MAX: Final = 64  # a packet; each costs a peer 5 bytes and us two strings and a pair
SUBSCRIPTION_IDENTIFIERS_MAX: Final = 1_024  # a PUBLISH; as many overlapping subscriptions may say that they matched

WILL: Final = 0
"""The will's place in the table: it has properties of its own, and no packet has type 0."""


class _DataType(Struct, frozen=True):
    read: Callable[[Reader, str], Any]
    encode: Callable[[Any], bytes]


_BYTE: Final = _DataType(Reader.byte, encode_byte)
_TWO_BYTES: Final = _DataType(Reader.two_byte_integer, encode_two_byte_integer)
_FOUR_BYTES: Final = _DataType(Reader.four_byte_integer, encode_four_byte_integer)
_VARIABLE: Final = _DataType(Reader.variable_byte_integer, encode_variable_byte_integer)
_STRING: Final = _DataType(Reader.string, encode_string)
_BINARY: Final = _DataType(Reader.binary, encode_binary)
_PAIR: Final = _DataType(Reader.string_pair, encode_string_pair)


def _zero_or_one(value: int) -> ReasonCode | None:
    return None if value <= 1 else ReasonCode.PROTOCOL_ERROR


def _not_zero(value: int) -> ReasonCode | None:
    return None if value else ReasonCode.PROTOCOL_ERROR


def _topic_alias(value: int) -> ReasonCode | None:
    return None if value else ReasonCode.TOPIC_ALIAS_INVALID  # [MQTT-3.3.2-8]


def _topic_name(value: str) -> ReasonCode | None:
    # A response topic is a topic name: no wildcards [MQTT-3.3.2-14], at least one character [MQTT-4.7.3-1].
    return ReasonCode.PROTOCOL_ERROR if not value or "+" in value or "#" in value else None


class _Property(Struct, frozen=True):
    """`carriers`: packet types (or WILL) -> how many one may carry; 0 = one, as a value and not as a tuple of values.

    `refusal`: the reason to refuse a value with, or None.
    """

    identifier: int
    field: str
    data_type: _DataType
    carriers: dict[int, int]
    refusal: Callable[[Any], ReasonCode | None] | None = None


def _once(*carriers: int) -> dict[int, int]:
    return dict.fromkeys(carriers, 0)


_PUBLICATION: Final = (PacketType.PUBLISH, WILL)
_HANDSHAKE: Final = (PacketType.CONNECT, PacketType.CONNACK)
_AUTHENTICATION: Final = (PacketType.CONNECT, PacketType.CONNACK, PacketType.AUTH)
_ANSWERS: Final = (
    PacketType.CONNACK,
    PacketType.PUBACK,
    PacketType.PUBREC,
    PacketType.PUBREL,
    PacketType.PUBCOMP,
    PacketType.SUBACK,
    PacketType.UNSUBACK,
    PacketType.DISCONNECT,
    PacketType.AUTH,
)
_EVERYWHERE: Final = (WILL, *(kind for kind in PacketType if kind not in (PacketType.PINGREQ, PacketType.PINGRESP)))

# MQTT 5.0, table 2-4. The fields stand in `Properties` under the same names.
_PROPERTIES: Final = (
    _Property(0x01, "payload_format_indicator", _BYTE, _once(*_PUBLICATION), _zero_or_one),
    _Property(0x02, "message_expiry_interval", _FOUR_BYTES, _once(*_PUBLICATION)),
    _Property(0x03, "content_type", _STRING, _once(*_PUBLICATION)),  # [MQTT-3.3.2-19]
    _Property(0x08, "response_topic", _STRING, _once(*_PUBLICATION), _topic_name),  # [MQTT-3.3.2-13]
    _Property(0x09, "correlation_data", _BINARY, _once(*_PUBLICATION)),
    _Property(
        0x0B,
        "subscription_identifiers",
        _VARIABLE,
        {PacketType.PUBLISH: SUBSCRIPTION_IDENTIFIERS_MAX, PacketType.SUBSCRIBE: 1},
        _not_zero,
    ),
    _Property(0x11, "session_expiry_interval", _FOUR_BYTES, _once(*_HANDSHAKE, PacketType.DISCONNECT)),
    _Property(0x12, "assigned_client_identifier", _STRING, _once(PacketType.CONNACK)),
    _Property(0x13, "server_keep_alive", _TWO_BYTES, _once(PacketType.CONNACK)),
    _Property(0x15, "authentication_method", _STRING, _once(*_AUTHENTICATION)),
    _Property(0x16, "authentication_data", _BINARY, _once(*_AUTHENTICATION)),
    _Property(0x17, "request_problem_information", _BYTE, _once(PacketType.CONNECT), _zero_or_one),
    _Property(0x18, "will_delay_interval", _FOUR_BYTES, _once(WILL)),
    _Property(0x19, "request_response_information", _BYTE, _once(PacketType.CONNECT), _zero_or_one),
    _Property(0x1A, "response_information", _STRING, _once(PacketType.CONNACK)),
    _Property(0x1C, "server_reference", _STRING, _once(PacketType.CONNACK, PacketType.DISCONNECT)),
    _Property(0x1F, "reason_string", _STRING, _once(*_ANSWERS)),
    _Property(0x21, "receive_maximum", _TWO_BYTES, _once(*_HANDSHAKE), _not_zero),
    _Property(0x22, "topic_alias_maximum", _TWO_BYTES, _once(*_HANDSHAKE)),
    _Property(0x23, "topic_alias", _TWO_BYTES, _once(PacketType.PUBLISH), _topic_alias),
    _Property(0x24, "maximum_qos", _BYTE, _once(PacketType.CONNACK), _zero_or_one),
    _Property(0x25, "retain_available", _BYTE, _once(PacketType.CONNACK), _zero_or_one),
    _Property(0x26, "user_properties", _PAIR, dict.fromkeys(_EVERYWHERE, USER_PROPERTIES_MAX)),
    _Property(0x27, "maximum_packet_size", _FOUR_BYTES, _once(*_HANDSHAKE), _not_zero),
    _Property(0x28, "wildcard_subscription_available", _BYTE, _once(PacketType.CONNACK), _zero_or_one),
    _Property(0x29, "subscription_identifiers_available", _BYTE, _once(PacketType.CONNACK), _zero_or_one),
    _Property(0x2A, "shared_subscription_available", _BYTE, _once(PacketType.CONNACK), _zero_or_one),
)

_BY_IDENTIFIER: Final = {
    carrier: {law.identifier: law for law in _PROPERTIES if carrier in law.carriers} for carrier in _EVERYWHERE
}
_BY_FIELD: Final = {
    carrier: {law.field: law for law in _PROPERTIES if carrier in law.carriers} for carrier in _EVERYWHERE
}


def decode_properties(reader: Reader, carrier: int) -> Properties:
    """The properties block at the reader: its length, then that many bytes. `carrier` is a PacketType or WILL.

    Raises Violation: 0x81 for an identifier that does not belong here and for a block that is cut off, 0x82 for a
    repetition, the code that the standard names for a forbidden value, 0x95 past one of our bounds.
    """
    length = reader.variable_byte_integer("property length")
    if length == 0:
        return NO_PROPERTIES
    block = reader.part(length, "property block")
    laws = _BY_IDENTIFIER[carrier]
    values: dict[str, Any] = {}
    repeated: dict[str, list[Any]] = {}
    while block.remaining_bytes:
        identifier = block.variable_byte_integer("property identifier")
        law = laws.get(identifier)
        if law is None:
            raise malformed(f"property {identifier:#04x} does not belong here")  # MQTT 5.0, 2.2.2.2
        value = law.data_type.read(block, law.field)
        if law.refusal is not None and (reason := law.refusal(value)) is not None:
            raise Violation(reason, f"{law.field} is {value!r:.40}")
        if count_max := law.carriers[carrier]:
            _append(repeated.setdefault(law.field, []), value, count_max, law.field)
        elif law.field in values:
            raise protocol_error(f"{law.field} is there twice")
        else:
            values[law.field] = value
    for field, items in repeated.items():
        values[field] = tuple(items)
    if "authentication_data" in values and "authentication_method" not in values:
        raise protocol_error("authentication_data without authentication_method")  # MQTT 5.0, 3.1.2.11.10
    return Properties(**values)


def _append(items: list[Any], value: Any, count_max: int, field: str) -> None:
    """Refuse what is too many as soon as it is seen: the rest of the packet must not cost anything (MQTT 5.0, 4.13)."""
    if len(items) < count_max:
        items.append(value)
    elif count_max == 1:
        raise protocol_error(f"{field} is there twice")
    else:
        raise Violation(ReasonCode.PACKET_TOO_LARGE, f"more than {count_max} {field}")


def encode_properties(properties: Properties, carrier: int) -> bytes:
    """The block with its length; what is absent is not written.

    Raises ValueError for a property that `carrier` may not carry and for a value that may not be sent.
    """
    if properties is NO_PROPERTIES:
        return b"\x00"
    present: dict[str, Any] = to_builtins(properties, builtin_types=(bytes,))
    laws = _BY_FIELD[carrier]
    block = bytearray()
    for field, value in present.items():
        law = laws.get(field)
        if law is None:
            raise ValueError(f"{field} does not belong here")
        count_max = law.carriers[carrier]
        items = value if count_max else (value,)
        if len(items) > (count_max or 1):
            raise ValueError(f"more than {count_max} {field}")
        identifier, encode, refusal = law.identifier, law.data_type.encode, law.refusal
        for item in items:
            if refusal is not None and refusal(item) is not None:
                raise ValueError(f"{field} may not be {item!r}")
            block.append(identifier)
            block += encode(item)
    return encode_variable_byte_integer(len(block)) + block  # [MQTT-2.2.2-1]
