"""What CONNECT and CONNACK agree on: the version to answer in, the keep-alive, and the limits we announce.

Knows the two packets and our settings, as pure functions; does not know states, buffers, time, or who is allowed.
"""

from mqtt_api.node_settings import MQTTSettings
from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.packets import Connect, Properties, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode

RECEIVE_MAXIMUM_DEFAULT = 65_535  # packets; what an absent property means (MQTT 5.0, 3.1.2.11.3 and 3.2.2.3.3)
QOS_HIGHEST = 2
VERSION_FIELD_BYTES = 7  # protocol name "MQTT" with its length, and the level
_NAME = b"\x00\x04MQTT"
_NAME_3_1 = b"\x00\x06MQIsdp"


def version_of_answer(connect_body: bytes) -> ProtocolVersion | None:
    """The version whose CONNACK the sender of a bad CONNECT understands; None = it is to be closed without a word.

    `connect_body`: the first VERSION_FIELD_BYTES, or more, of the packet after its fixed header. Levels above 5
    are answered in the form of 5.0, older ones in that of 3.1.1 [MQTT-3.1.2-2].
    """
    if connect_body.startswith(_NAME) and len(connect_body) > len(_NAME):
        return ProtocolVersion.V5 if connect_body[len(_NAME)] >= ProtocolVersion.V5 else ProtocolVersion.V3_1_1
    if connect_body.startswith(_NAME_3_1):
        return ProtocolVersion.V3_1
    return None


def check_connect(packet: Connect, limits: MQTTSettings) -> None:
    """Refuse what is well-formed and still not possible here. Raises Violation with the reason for CONNACK."""
    if not packet.client_id and not _may_be_unnamed(packet):
        # [3.1.1 MQTT-3.1.3-8]: answered with return code 2, then closed.
        raise Violation(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "an empty client id with a session to be kept")
    if packet.will is None:
        return
    if packet.will.qos > limits.maximum_qos:  # [MQTT-3.2.2-12]
        raise Violation(ReasonCode.QOS_NOT_SUPPORTED, f"a will of QoS {packet.will.qos}")
    if packet.will.retain and not limits.retain_available:  # [MQTT-3.2.2-13]
        raise Violation(ReasonCode.RETAIN_NOT_SUPPORTED, "a will that is to be retained")


def _may_be_unnamed(packet: Connect) -> bool:
    if packet.version is ProtocolVersion.V5:
        return True  # the server assigns one [MQTT-3.1.3-6]
    return packet.version is ProtocolVersion.V3_1_1 and packet.clean_start  # [3.1.1 MQTT-3.1.3-6..7]


def effective_keep_alive_s(packet: Connect, keep_alive_s_max: int) -> int:
    """The keep-alive we enforce, in seconds: what was asked, capped; a client that asks for none gets the cap.

    `keep_alive_s_max` 0 = no cap. A client of 5.0 is told [MQTT-3.2.2-21]; 3.1.1 has no word for it.
    """
    asked = packet.keep_alive
    if keep_alive_s_max and not 0 < asked <= keep_alive_s_max:
        return keep_alive_s_max
    return asked  # [MQTT-3.2.2-22]


def asked_expiry_s(packet: Connect) -> int:
    """The session expiry the client asked for, in seconds; absent means 0 (MQTT 5.0, 3.1.2.11.2)."""
    return packet.properties.session_expiry_interval or 0


def announced_limits(packet: Connect, limits: MQTTSettings, keep_alive_s: int) -> Properties:
    """The properties of a CONNACK that tell our limits; what equals the protocol's default is left out."""
    return Properties(
        receive_maximum=limits.receive_maximum if limits.receive_maximum != RECEIVE_MAXIMUM_DEFAULT else None,
        maximum_qos=limits.maximum_qos if limits.maximum_qos < QOS_HIGHEST else None,  # [MQTT-3.2.2-9]
        retain_available=None if limits.retain_available else 0,
        maximum_packet_size=limits.packet_bytes_max,
        topic_alias_maximum=limits.topic_alias_maximum or None,
        wildcard_subscription_available=None if limits.wildcard_subscription_available else 0,
        shared_subscription_available=None if limits.shared_subscription_available else 0,
        server_keep_alive=keep_alive_s if keep_alive_s != packet.keep_alive else None,  # [MQTT-3.2.2-21]
    )
