"""The fifteen packets from frozen values to bytes, in the shortest form that says the same.

Knows what each version of MQTT can say, and leaves out what it cannot; does not know what should be said.
Whatever may not be sent at all is a ValueError: the value is ours, and so is the bug.
"""

from collections.abc import Callable
from typing import Any, Final

from mqtt_broker.wire.header import PacketType
from mqtt_broker.wire.packets import (
    NO_PROPERTIES,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    Properties,
    ProtocolVersion,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
    Will,
)
from mqtt_broker.wire.primitives import (
    TWO_BYTE_INTEGER_MAX,
    encode_binary,
    encode_string,
    encode_two_byte_integer,
    encode_variable_byte_integer,
)
from mqtt_broker.wire.properties import WILL, encode_properties
from mqtt_broker.wire.reasons import (
    AUTH_REASONS,
    CONNACK_REASONS,
    DISCONNECT_REASONS,
    PUBACK_REASONS,
    PUBCOMP_REASONS,
    PUBREC_REASONS,
    PUBREL_REASONS,
    SUBACK_FAILURE,
    SUBACK_REASONS,
    UNSUBACK_REASONS,
    ReasonCode,
    ReasonTable,
    return_code_of,
)

_V5: Final = ProtocolVersion.V5
_PROTOCOL_NAMES: Final = {
    ProtocolVersion.V3_1: b"\x00\x06MQIsdp\x03",
    ProtocolVersion.V3_1_1: b"\x00\x04MQTT\x04",
    ProtocolVersion.V5: b"\x00\x04MQTT\x05",
}


def _frame(first: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes((first,)) + encode_variable_byte_integer(len(body)) + body


def _properties(properties: Properties, version: ProtocolVersion, carrier: int) -> bytes:
    """The block, or nothing: MQTT 3 has no properties."""
    return encode_properties(properties, carrier) if version == _V5 else b""


def _packet_id(packet_id: int) -> bytes:
    if not 0 < packet_id <= TWO_BYTE_INTEGER_MAX:
        raise ValueError(f"{packet_id} is no packet identifier")  # [MQTT-2.2.1-3], [MQTT-2.2.1-4]
    return packet_id.to_bytes(2)


def _reason(reason: ReasonCode, reasons: ReasonTable, packet: str) -> int:
    if reason not in reasons:
        raise ValueError(f"{packet} cannot say {reason!r}")
    return int(reason)


def _check_qos(qos: int) -> None:
    if not 0 <= qos <= 2:
        raise ValueError(f"there is no QoS {qos}")  # [MQTT-3.3.1-4]


def _encode_will(will: Will, version: ProtocolVersion) -> bytes:
    return b"".join(
        (_properties(will.properties, version, WILL), encode_string(will.topic), encode_binary(will.payload))
    )


def _connect_flags(packet: Connect) -> int:
    flags = packet.clean_start << 1
    if packet.will is not None:
        _check_qos(packet.will.qos)
        flags |= 0x04 | packet.will.qos << 3 | packet.will.retain << 5
    if packet.password is not None:
        if packet.username is None and packet.version != _V5:
            raise ValueError("password without user name")  # [3.1.1 MQTT-3.1.2-22]
        flags |= 0x40
    if packet.username is not None:
        flags |= 0x80
    return flags


def _encode_connect(packet: Connect, version: ProtocolVersion) -> bytes:
    if packet.version != version:
        raise ValueError("CONNECT of another version than the connection's")
    return _frame(
        PacketType.CONNECT << 4,
        _PROTOCOL_NAMES[version],
        bytes((_connect_flags(packet),)),
        encode_two_byte_integer(packet.keep_alive),
        _properties(packet.properties, version, PacketType.CONNECT),
        encode_string(packet.client_id),
        b"" if packet.will is None else _encode_will(packet.will, version),
        b"" if packet.username is None else encode_string(packet.username),
        b"" if packet.password is None else encode_binary(packet.password),
    )


def _encode_connack(packet: ConnAck, version: ProtocolVersion) -> bytes:
    if packet.session_present and packet.reason:
        raise ValueError("CONNACK refuses and has a session present")  # [MQTT-3.2.2-6], [3.1.1 MQTT-3.2.2-4]
    if version == _V5:
        code = _reason(packet.reason, CONNACK_REASONS, "CONNACK")  # [MQTT-3.2.2-8]
    else:
        return_code = return_code_of(packet.reason)
        if return_code is None:
            # [3.1.1 MQTT-3.2.2-6]: the server closes without a word, which only the caller can do.
            raise ValueError(f"CONNACK of MQTT 3 cannot say {packet.reason!r}")
        code = return_code
    # MQTT 3.1 reserves the first byte.
    flags = packet.session_present and version != ProtocolVersion.V3_1
    return _frame(
        PacketType.CONNACK << 4,
        bytes((flags, code)),
        _properties(packet.properties, version, PacketType.CONNACK),
    )


def _encode_publish(packet: Publish, version: ProtocolVersion) -> bytes:
    qos, topic, packet_id, properties = packet.qos, packet.topic, packet.packet_id, packet.properties
    _check_qos(qos)
    if qos == 0 and (packet.dup or packet_id):
        raise ValueError("QoS 0 with DUP or a packet identifier")  # [MQTT-3.3.1-2], [MQTT-2.2.1-2]
    if not topic and (version != _V5 or properties.topic_alias is None):
        raise ValueError("PUBLISH without a topic name or alias")  # [MQTT-4.7.3-1]
    head = encode_string(topic)
    if qos:
        head += _packet_id(packet_id)
    if version == _V5:
        head += encode_properties(properties, PacketType.PUBLISH)
    first = PacketType.PUBLISH << 4 | packet.dup << 3 | qos << 1 | packet.retain
    return b"".join(
        (bytes((first,)), encode_variable_byte_integer(len(head) + len(packet.payload)), head, packet.payload)
    )


def _acknowledgement(
    first: int, packet_type: PacketType, reasons: ReasonTable
) -> Callable[[Any, ProtocolVersion], bytes]:
    """The four share one body (MQTT 5.0, 3.4.2): Success and empty properties are left out from the end."""
    success = bytes((first, 2))

    def encode(packet: PubAck | PubRec | PubRel | PubComp, version: ProtocolVersion) -> bytes:
        packet_id = _packet_id(packet.packet_id)
        reason = _reason(packet.reason, reasons, packet_type.name)
        if version != _V5:
            return success + packet_id
        properties = encode_properties(packet.properties, packet_type)
        if properties != b"\x00":
            return _frame(first, packet_id, bytes((reason,)), properties)
        if reason:
            return _frame(first, packet_id, bytes((reason,)))
        return success + packet_id

    return encode


def _encode_request(request: SubscriptionRequest, version: ProtocolVersion) -> bytes:
    if not request.filter:
        raise ValueError("topic filter is empty")  # [MQTT-4.7.3-1]
    _check_qos(request.qos)
    options = request.qos
    if version == _V5:
        if not 0 <= request.retain_handling <= 2:
            raise ValueError(f"there is no retain handling {request.retain_handling}")
        options |= request.no_local << 2 | request.retain_as_published << 3 | request.retain_handling << 4
    return encode_string(request.filter) + bytes((options,))


def _encode_subscribe(packet: Subscribe, version: ProtocolVersion) -> bytes:
    if not packet.subscriptions:
        raise ValueError("SUBSCRIBE without a topic filter")  # [MQTT-3.8.3-2]
    return _frame(
        PacketType.SUBSCRIBE << 4 | 0b0010,
        _packet_id(packet.packet_id),
        _properties(packet.properties, version, PacketType.SUBSCRIBE),
        *(_encode_request(request, version) for request in packet.subscriptions),
    )


def _encode_suback(packet: SubAck, version: ProtocolVersion) -> bytes:
    if not packet.reasons:
        raise ValueError("SUBACK without a reason code")  # [MQTT-3.8.4-6]
    codes = bytes(_reason(reason, SUBACK_REASONS, "SUBACK") for reason in packet.reasons)  # [MQTT-3.9.3-2]
    if version != _V5:
        codes = bytes(min(code, SUBACK_FAILURE) for code in codes)  # [3.1.1 MQTT-3.9.3-2]
    return _frame(
        PacketType.SUBACK << 4,
        _packet_id(packet.packet_id),
        _properties(packet.properties, version, PacketType.SUBACK),
        codes,
    )


def _encode_unsubscribe(packet: Unsubscribe, version: ProtocolVersion) -> bytes:
    if not packet.filters or not all(packet.filters):
        raise ValueError("UNSUBSCRIBE without a topic filter, or with an empty one")  # [MQTT-3.10.3-2], [MQTT-4.7.3-1]
    return _frame(
        PacketType.UNSUBSCRIBE << 4 | 0b0010,
        _packet_id(packet.packet_id),
        _properties(packet.properties, version, PacketType.UNSUBSCRIBE),
        *(encode_string(topic_filter) for topic_filter in packet.filters),
    )


def _encode_unsuback(packet: UnsubAck, version: ProtocolVersion) -> bytes:
    packet_id = _packet_id(packet.packet_id)
    if version != _V5:
        return _frame(PacketType.UNSUBACK << 4, packet_id)  # MQTT 3.1.1, 3.11.3: no payload
    if not packet.reasons:
        raise ValueError("UNSUBACK without a reason code")  # MQTT 5.0, 3.11.3
    return _frame(
        PacketType.UNSUBACK << 4,
        packet_id,
        encode_properties(packet.properties, PacketType.UNSUBACK),
        bytes(_reason(reason, UNSUBACK_REASONS, "UNSUBACK") for reason in packet.reasons),  # [MQTT-3.11.3-2]
    )


def _encode_pingreq(_packet: PingReq, _version: ProtocolVersion) -> bytes:
    return b"\xc0\x00"


def _encode_pingresp(_packet: PingResp, _version: ProtocolVersion) -> bytes:
    return b"\xd0\x00"


def _encode_disconnect(packet: Disconnect, version: ProtocolVersion) -> bytes:
    reason = _reason(packet.reason, DISCONNECT_REASONS, "DISCONNECT")  # [MQTT-3.14.2-1]
    if version != _V5:
        return b"\xe0\x00"
    properties = encode_properties(packet.properties, PacketType.DISCONNECT)
    if properties != b"\x00":
        return _frame(PacketType.DISCONNECT << 4, bytes((reason,)), properties)
    return _frame(PacketType.DISCONNECT << 4, bytes((reason,)) if reason else b"")


def _encode_auth(packet: Auth, version: ProtocolVersion) -> bytes:
    if version != _V5:
        raise ValueError("MQTT 3 has no AUTH")
    reason = _reason(packet.reason, AUTH_REASONS, "AUTH")  # [MQTT-3.15.2-1]
    if packet.reason == ReasonCode.SUCCESS and packet.properties == NO_PROPERTIES:
        return b"\xf0\x00"  # MQTT 5.0, 3.15.2.1
    if packet.properties.authentication_method is None:
        raise ValueError("AUTH without an authentication method")  # MQTT 5.0, 3.15.2.2.2
    return _frame(PacketType.AUTH << 4, bytes((reason,)), encode_properties(packet.properties, PacketType.AUTH))


ENCODERS: Final[dict[type, Callable[[Any, ProtocolVersion], bytes]]] = {
    Connect: _encode_connect,
    ConnAck: _encode_connack,
    Publish: _encode_publish,
    PubAck: _acknowledgement(0x40, PacketType.PUBACK, PUBACK_REASONS),  # [MQTT-3.4.2-1]
    PubRec: _acknowledgement(0x50, PacketType.PUBREC, PUBREC_REASONS),  # [MQTT-3.5.2-1]
    PubRel: _acknowledgement(0x62, PacketType.PUBREL, PUBREL_REASONS),  # [MQTT-3.6.1-1], [MQTT-3.6.2-1]
    PubComp: _acknowledgement(0x70, PacketType.PUBCOMP, PUBCOMP_REASONS),  # [MQTT-3.7.2-1]
    Subscribe: _encode_subscribe,
    SubAck: _encode_suback,
    Unsubscribe: _encode_unsubscribe,
    UnsubAck: _encode_unsuback,
    PingReq: _encode_pingreq,
    PingResp: _encode_pingresp,
    Disconnect: _encode_disconnect,
    Auth: _encode_auth,
}
