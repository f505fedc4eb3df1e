"""What a well-formed packet may still not say to this server: one function for each packet that has such a rule.

Knows packets and our limits, as pure functions; does not know states, other packets of the connection, or bytes.
Each function returns nothing and raises Violation.
"""

from mqtt_api.node_settings import MQTTSettings
from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.packets import NO_PROPERTIES, Auth, Connect, Disconnect, Publish
from mqtt_broker.wire.reasons import DISCONNECT_REASONS_OF_CLIENT, ReasonCode


def check_publish(packet: Publish, limits: MQTTSettings) -> None:
    """What CONNACK forbade, and what only a server may say."""
    if packet.qos > limits.maximum_qos:  # [MQTT-3.2.2-11]
        raise Violation(ReasonCode.QOS_NOT_SUPPORTED, f"PUBLISH of QoS {packet.qos}")
    if packet.retain and not limits.retain_available:  # [MQTT-3.2.2-14]
        raise Violation(ReasonCode.RETAIN_NOT_SUPPORTED, "PUBLISH that is to be retained")
    if packet.properties is not NO_PROPERTIES and packet.properties.subscription_identifiers:  # [MQTT-3.3.4-6]
        raise Violation(ReasonCode.PROTOCOL_ERROR, "PUBLISH of a client with a subscription identifier")


def check_disconnect(packet: Disconnect, connect: Connect) -> None:
    """What only a server says, and a session that was to end with its connection and is prolonged now."""
    if packet.reason not in DISCONNECT_REASONS_OF_CLIENT:  # [MQTT-3.14.2-1], MQTT 5.0, table 3-10
        raise Violation(ReasonCode.PROTOCOL_ERROR, f"DISCONNECT of a client with reason {packet.reason.name}")
    # MQTT 5.0, 3.14.2.2.2
    if packet.properties.session_expiry_interval and not connect.properties.session_expiry_interval:
        raise Violation(ReasonCode.PROTOCOL_ERROR, "DISCONNECT raises the session expiry from 0")


def check_auth(packet: Auth, connect: Connect, due: ReasonCode | None) -> None:
    """`due`: the one reason that fits where the exchange stands; None = it is the server's turn."""
    method = connect.properties.authentication_method
    if method is None:  # [MQTT-4.12.0-7]
        raise Violation(ReasonCode.PROTOCOL_ERROR, "AUTH on a connection without an authentication method")
    if packet.properties.authentication_method != method:  # [MQTT-4.12.0-5] [MQTT-4.12.1-1]
        raise Violation(ReasonCode.PROTOCOL_ERROR, "AUTH with another authentication method than CONNECT")
    if packet.reason is not due:  # [MQTT-4.12.0-3]
        raise Violation(ReasonCode.PROTOCOL_ERROR, f"AUTH with reason {packet.reason.name} out of turn")
