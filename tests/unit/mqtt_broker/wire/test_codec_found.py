"""What random bytes found in the codec."""

from mqtt_broker.wire.codec import decode
from mqtt_broker.wire.packets import ConnAck, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode


def test_reserved_byte_of_a_connack_of_3_1_does_not_mean_session_present() -> None:
    """MQTT 3.1, 3.2: the byte is not used, whatever it holds."""
    decoded = decode(bytes.fromhex("20020100"), 0, ProtocolVersion.V3_1, 1024)
    assert decoded == (ConnAck(session_present=False, reason=ReasonCode.SUCCESS), 4)
