"""The bodies of the fifteen packets: from bytes to frozen values.

Knows what each body holds and which of it is refused with which reason; does not know the fixed header (its flags are
judged before), whether a packet is expected now, who sent it, or what a topic filter means.
"""

from collections.abc import Callable
from typing import Final

from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.header import PacketType
from mqtt_broker.wire.packets import (
    NO_PROPERTIES,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
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
from mqtt_broker.wire.primitives import Reader, decode_string, malformed, protocol_error
from mqtt_broker.wire.properties import USER_PROPERTIES_MAX, WILL, decode_properties
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
    reason_of_return_code,
)

FILTERS_MAX: Final = 10_000  # a SUBSCRIBE or UNSUBSCRIBE; a packet of 1 MiB could name a quarter of a million

_V5: Final = ProtocolVersion.V5
_VERSIONS: Final = {
    ("MQIsdp", 3): ProtocolVersion.V3_1,
    ("MQTT", 4): ProtocolVersion.V3_1_1,
    ("MQTT", 5): ProtocolVersion.V5,
}

# Connect flags (MQTT 5.0, 3.1.2.3).
_RESERVED: Final = 0x01
_CLEAN_START: Final = 0x02
_WILL_FLAG: Final = 0x04
_WILL_RETAIN: Final = 0x20
_PASSWORD: Final = 0x40
_USER_NAME: Final = 0x80

# Subscription options (MQTT 5.0, 3.8.3.1).
_NO_LOCAL: Final = 0x04
_RETAIN_AS_PUBLISHED: Final = 0x08
_OPTIONS_RESERVED: Final = 0xC0


def _properties(reader: Reader, version: ProtocolVersion, carrier: int) -> Properties:
    return decode_properties(reader, carrier) if version == _V5 else NO_PROPERTIES


def _reason(code: int, reasons: ReasonTable, packet: str) -> ReasonCode:
    reason = reasons.get(code)
    if reason is None:
        raise protocol_error(f"{packet} with reason code {code:#04x}")
    return reason


def _topic_name_invalid(detail: str) -> Violation:
    return Violation(ReasonCode.TOPIC_NAME_INVALID, detail)


# CONNECT


def _protocol_version(reader: Reader) -> ProtocolVersion:
    name = reader.string("protocol name")
    version = _VERSIONS.get((name, reader.byte("protocol level")))
    if version is None:
        # [MQTT-3.1.2-1], [MQTT-3.1.2-2]
        raise Violation(ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, f"unknown protocol name or level, name {name[:8]!r}")
    return version


def _check_connect_flags(flags: int, version: ProtocolVersion) -> None:
    will_qos = flags >> 3 & 3
    if flags & _RESERVED:
        raise malformed("reserved connect flag is set")  # [MQTT-3.1.2-3]
    if flags & _WILL_FLAG:
        if will_qos == 3:
            raise malformed("will QoS is 3")  # [MQTT-3.1.2-12], [3.1.1 MQTT-3.1.2-14]
    elif will_qos or flags & _WILL_RETAIN:
        # [MQTT-3.1.2-11], [MQTT-3.1.2-13], [3.1.1 MQTT-3.1.2-11], [3.1.1 MQTT-3.1.2-13], [3.1.1 MQTT-3.1.2-15]
        raise malformed("will QoS or will retain without a will")
    if flags & _PASSWORD and not flags & _USER_NAME and version != _V5:
        raise malformed("password without user name")  # [3.1.1 MQTT-3.1.2-22]; MQTT 5.0 allows it


def _will(reader: Reader, flags: int, version: ProtocolVersion) -> Will | None:
    if not flags & _WILL_FLAG:
        return None
    properties = _properties(reader, version, WILL)
    topic = reader.string("will topic")  # [MQTT-3.1.3-11]
    if not topic:
        raise _topic_name_invalid("will topic is empty")  # [MQTT-4.7.3-1]
    if "+" in topic or "#" in topic:
        raise _topic_name_invalid("will topic holds a wildcard")  # [MQTT-4.7.0-1]
    payload = reader.binary("will payload")
    return Will(topic, payload, flags >> 3 & 3, bool(flags & _WILL_RETAIN), properties)


def _decode_connect(reader: Reader, _: ProtocolVersion) -> Connect:
    version = _protocol_version(reader)
    flags = reader.byte("connect flags")
    _check_connect_flags(flags, version)
    keep_alive = reader.two_byte_integer("keep alive")
    properties = _properties(reader, version, PacketType.CONNECT)
    client_id = reader.string("client identifier")  # the order of what follows: [MQTT-3.1.3-1]
    will = _will(reader, flags, version)
    if will and len(properties.user_properties) + len(will.properties.user_properties) > USER_PROPERTIES_MAX:
        raise Violation(ReasonCode.PACKET_TOO_LARGE, f"more than {USER_PROPERTIES_MAX} user_properties")

    def present(flag: int) -> bool:
        # In MQTT 3.1 the remaining length outranks both flags: a promised field may be missing (MQTT 3.1, 3.1).
        return bool(flags & flag) and (version != ProtocolVersion.V3_1 or reader.remaining_bytes > 0)

    username = reader.string("user name") if present(_USER_NAME) else None  # [MQTT-3.1.2-17], [MQTT-3.1.3-12]
    password = reader.binary("password") if present(_PASSWORD) else None  # [MQTT-3.1.2-19]
    return Connect(version, client_id, bool(flags & _CLEAN_START), keep_alive, will, username, password, properties)


def _decode_connack(reader: Reader, version: ProtocolVersion) -> ConnAck:
    flags = reader.byte("connect acknowledge flags")
    if flags > 1:
        raise malformed("reserved connect acknowledge flag is set")  # [MQTT-3.2.2-1]
    code = reader.byte("connect reason code")
    if version == _V5:
        reason = _reason(code, CONNACK_REASONS, "CONNACK")  # [MQTT-3.2.2-8]
    else:
        meaning = reason_of_return_code(code)
        if meaning is None:
            raise protocol_error(f"CONNACK with return code {code}")
        reason = meaning
    if reason and flags:
        raise protocol_error("CONNACK refuses and has a session present")  # [MQTT-3.2.2-6], [3.1.1 MQTT-3.2.2-4]
    session_present = bool(flags) and version != ProtocolVersion.V3_1  # MQTT 3.1 reserves the byte
    return ConnAck(session_present, reason, _properties(reader, version, PacketType.CONNACK))


# PUBLISH and its acknowledgements

_PUBLISH_FLAGS: Final = tuple((flags >> 1 & 3, bool(flags & 1), bool(flags & 8)) for flags in range(16))


def decode_publish(data: bytes, flags: int, index: int, end: int, version: ProtocolVersion) -> Publish:
    """The PUBLISH whose body is `data[index:end]`. By hand and without a Reader: this is most of the traffic.

    The flags must be lawful. Raises Violation.
    """
    if end - index < 2:
        raise malformed("PUBLISH ends before its topic name")
    topic_start = index + 2
    index = topic_start + (data[index] << 8 | data[index + 1])
    if index > end:
        raise malformed("topic name reaches beyond its packet")
    topic = decode_string(data[topic_start:index], "topic name")  # [MQTT-3.3.2-1]
    if "+" in topic or "#" in topic:
        raise _topic_name_invalid("topic name holds a wildcard")  # [MQTT-3.3.2-2]
    qos, retain, dup = _PUBLISH_FLAGS[flags]
    packet_id = 0
    if qos:  # [MQTT-2.2.1-2]
        if end - index < 2:
            raise malformed("PUBLISH ends before its packet identifier")
        packet_id = data[index] << 8 | data[index + 1]
        if packet_id == 0:
            raise protocol_error("packet identifier is zero")  # [MQTT-2.2.1-3], [3.1.1 MQTT-2.3.1-1]
        index += 2
    properties = NO_PROPERTIES
    if version == _V5:
        if index < end and data[index] == 0:
            index += 1
        else:
            reader = Reader(data, index, end)
            properties = decode_properties(reader, PacketType.PUBLISH)
            index = end - reader.remaining_bytes
    if not topic:
        _check_empty_topic_name(version, properties)
    return Publish(topic, data[index:end], qos, retain, dup, packet_id, properties)


def _check_empty_topic_name(version: ProtocolVersion, properties: Properties) -> None:
    if version != _V5:
        raise malformed("topic name is empty")  # [MQTT-4.7.3-1] [3.1.1 MQTT-4.7.3-1]
    if properties.topic_alias is None:
        raise protocol_error("topic name is empty and there is no topic alias")  # MQTT 5.0, 3.3.2.1


_Acknowledgement = PubAck | PubRec | PubRel | PubComp


def _acknowledgement(
    packet: type[_Acknowledgement], packet_type: PacketType, reasons: ReasonTable
) -> Callable[[Reader, ProtocolVersion], _Acknowledgement]:
    """The four share one body (MQTT 5.0, 3.4.2): what is Success, or empty, may be left out from the end."""

    def decode(reader: Reader, version: ProtocolVersion) -> _Acknowledgement:
        packet_id = reader.packet_id()
        if version != _V5 or not reader.remaining_bytes:
            return packet(packet_id)
        reason = _reason(reader.byte("reason code"), reasons, packet_type.name)
        if not reader.remaining_bytes:
            return packet(packet_id, reason)
        return packet(packet_id, reason, decode_properties(reader, packet_type))

    return decode


# SUBSCRIBE, UNSUBSCRIBE and their acknowledgements


def _topic_filter(reader: Reader) -> str:
    topic_filter = reader.string("topic filter")  # [MQTT-3.8.3-1], [MQTT-3.10.3-1]
    if not topic_filter:
        raise malformed("topic filter is empty")  # [MQTT-4.7.3-1] [3.1.1 MQTT-4.7.3-1]
    return topic_filter


def _check_filter_count(count: int) -> None:
    if count >= FILTERS_MAX:
        raise Violation(ReasonCode.QUOTA_EXCEEDED, f"more than {FILTERS_MAX} topic filters")


def _check_subscription_options(options: int, topic_filter: str, version: ProtocolVersion) -> None:
    if version != _V5:
        if options > 2:
            raise malformed(f"requested QoS byte is {options:#04x}")  # [3.1.1 MQTT-3.8.3-4]
        return
    if options & _OPTIONS_RESERVED:
        raise malformed("reserved subscription option is set")  # [MQTT-3.8.3-5]
    if options & 3 == 3:
        raise protocol_error("requested QoS is 3")  # MQTT 5.0, 3.8.3.1
    if options >> 4 == 3:
        raise protocol_error("retain handling is 3")  # MQTT 5.0, 3.8.3.1
    if options & _NO_LOCAL and topic_filter.startswith("$share/"):
        raise protocol_error("no local on a shared subscription")  # [MQTT-3.8.3-4]


def _decode_subscribe(reader: Reader, version: ProtocolVersion) -> Subscribe:
    packet_id = reader.packet_id()
    properties = _properties(reader, version, PacketType.SUBSCRIBE)
    requests: list[SubscriptionRequest] = []
    while reader.remaining_bytes:
        _check_filter_count(len(requests))
        topic_filter = _topic_filter(reader)
        options = reader.byte("subscription options")
        _check_subscription_options(options, topic_filter, version)
        requests.append(
            SubscriptionRequest(
                topic_filter,
                qos=options & 3,
                no_local=bool(options & _NO_LOCAL),
                retain_as_published=bool(options & _RETAIN_AS_PUBLISHED),
                retain_handling=options >> 4,
            )
        )
    if not requests:
        raise protocol_error("SUBSCRIBE without a topic filter")  # [MQTT-3.8.3-2], [3.1.1 MQTT-3.8.3-3]
    return Subscribe(packet_id, tuple(requests), properties)


def _suback_reason_of_v3(code: int) -> ReasonCode:
    if code != SUBACK_FAILURE and code > ReasonCode.GRANTED_QOS_2:
        raise protocol_error(f"SUBACK with return code {code:#04x}")  # [3.1.1 MQTT-3.9.3-2]
    return SUBACK_REASONS[code]


def _decode_suback(reader: Reader, version: ProtocolVersion) -> SubAck:
    packet_id = reader.packet_id()
    properties = _properties(reader, version, PacketType.SUBACK)
    codes = reader.rest()
    if not codes:
        raise protocol_error("SUBACK without a reason code")  # [MQTT-3.8.4-6]
    if version == _V5:
        reasons = tuple(_reason(code, SUBACK_REASONS, "SUBACK") for code in codes)  # [MQTT-3.9.3-2]
    else:
        reasons = tuple(_suback_reason_of_v3(code) for code in codes)
    return SubAck(packet_id, reasons, properties)


def _decode_unsubscribe(reader: Reader, version: ProtocolVersion) -> Unsubscribe:
    packet_id = reader.packet_id()
    properties = _properties(reader, version, PacketType.UNSUBSCRIBE)
    filters: list[str] = []
    while reader.remaining_bytes:
        _check_filter_count(len(filters))
        filters.append(_topic_filter(reader))
    if not filters:
        raise protocol_error("UNSUBSCRIBE without a topic filter")  # [MQTT-3.10.3-2]
    return Unsubscribe(packet_id, tuple(filters), properties)


def _decode_unsuback(reader: Reader, version: ProtocolVersion) -> UnsubAck:
    packet_id = reader.packet_id()
    if version != _V5:
        return UnsubAck(packet_id, ())
    properties = decode_properties(reader, PacketType.UNSUBACK)
    codes = reader.rest()
    if not codes:
        raise protocol_error("UNSUBACK without a reason code")  # MQTT 5.0, 3.11.3
    reasons = tuple(_reason(code, UNSUBACK_REASONS, "UNSUBACK") for code in codes)  # [MQTT-3.11.3-2]
    return UnsubAck(packet_id, reasons, properties)


# PINGREQ, PINGRESP, DISCONNECT, AUTH


def _decode_pingreq(_reader: Reader, _version: ProtocolVersion) -> PingReq:
    return PingReq()


def _decode_pingresp(_reader: Reader, _version: ProtocolVersion) -> PingResp:
    return PingResp()


def _decode_disconnect(reader: Reader, version: ProtocolVersion) -> Disconnect:
    if version != _V5 or not reader.remaining_bytes:
        return Disconnect()
    reason = _reason(reader.byte("reason code"), DISCONNECT_REASONS, "DISCONNECT")  # [MQTT-3.14.2-1]
    if not reader.remaining_bytes:
        return Disconnect(reason)
    return Disconnect(reason, decode_properties(reader, PacketType.DISCONNECT))


def _decode_auth(reader: Reader, _: ProtocolVersion) -> Auth:
    if not reader.remaining_bytes:
        return Auth(ReasonCode.SUCCESS)  # MQTT 5.0, 3.15.2.1: the one short form
    reason = _reason(reader.byte("reason code"), AUTH_REASONS, "AUTH")  # [MQTT-3.15.2-1]
    properties = decode_properties(reader, PacketType.AUTH)
    if properties.authentication_method is None:
        raise protocol_error("AUTH without an authentication method")  # MQTT 5.0, 3.15.2.2.2
    return Auth(reason, properties)


DECODERS: Final[dict[int, Callable[[Reader, ProtocolVersion], Packet]]] = {
    PacketType.CONNECT: _decode_connect,
    PacketType.CONNACK: _decode_connack,
    PacketType.PUBACK: _acknowledgement(PubAck, PacketType.PUBACK, PUBACK_REASONS),  # [MQTT-3.4.2-1]
    PacketType.PUBREC: _acknowledgement(PubRec, PacketType.PUBREC, PUBREC_REASONS),  # [MQTT-3.5.2-1]
    PacketType.PUBREL: _acknowledgement(PubRel, PacketType.PUBREL, PUBREL_REASONS),  # [MQTT-3.6.2-1]
    PacketType.PUBCOMP: _acknowledgement(PubComp, PacketType.PUBCOMP, PUBCOMP_REASONS),  # [MQTT-3.7.2-1]
    PacketType.SUBSCRIBE: _decode_subscribe,
    PacketType.SUBACK: _decode_suback,
    PacketType.UNSUBSCRIBE: _decode_unsubscribe,
    PacketType.UNSUBACK: _decode_unsuback,
    PacketType.PINGREQ: _decode_pingreq,
    PacketType.PINGRESP: _decode_pingresp,
    PacketType.DISCONNECT: _decode_disconnect,
    PacketType.AUTH: _decode_auth,
}
"""Every packet but PUBLISH. A decoder may leave bytes over: the caller must look for them."""
