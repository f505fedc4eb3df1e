"""Short words for tests of a node in the process: what a client sends, and what it got.

Knows packets of MQTT 5.0 and how to hand them to an InProcessNode; does not know what a right answer is.
"""

import pytest

from mqtt_api.node_settings import AuthenticationSettings
from mqtt_api.policy import Policy
from mqtt_broker.auth.passwords import PasswordVerifier
from mqtt_broker.node import policy_feed
from mqtt_broker.wire import packets as wire
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.reasons import ReasonCode
from support.inprocess import InProcessClient, InProcessNode
from support.policies import PASSWORD

V5 = wire.ProtocolVersion.V5
BY_PASSWORD = (AuthenticationSettings(name="password", type="Password"),)
LASTING_S = 3600
SLOW_TURNS = 3  # what is written is known so many turns later: time for something to happen in between


def believe_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every known user has the right password, at once: threads that compute hashes have a time of their own."""

    async def verify(self: PasswordVerifier, hashes: tuple[str, ...], password: bytes) -> bool:
        return bool(hashes)

    monkeypatch.setattr(PasswordVerifier, "verify", verify)


# What a client sends -------------------------------------------------------------------------------------------------


def connect(
    client_id: str,
    *,
    lasts_s: int = LASTING_S,
    user: str | None = None,
    will: wire.Will | None = None,
    receive_maximum: int | None = None,
) -> bytes:
    return encode(
        wire.Connect(
            V5,
            client_id,
            clean_start=False,
            keep_alive=0,
            will=will,
            username=user,
            password=None if user is None else PASSWORD.encode(),
            properties=wire.Properties(session_expiry_interval=lasts_s, receive_maximum=receive_maximum),
        ),
        V5,
    )


def subscribe(*filters: str, qos: int = 1, packet_id: int = 1) -> bytes:
    return encode(wire.Subscribe(packet_id, tuple(wire.SubscriptionRequest(f, qos) for f in filters)), V5)


def unsubscribe(*filters: str, packet_id: int = 2) -> bytes:
    return encode(wire.Unsubscribe(packet_id, filters), V5)


def publish(topic: str, payload: bytes, *, qos: int = 1, packet_id: int = 1, retain: bool = False) -> bytes:
    return encode(wire.Publish(topic, payload, qos, retain, packet_id=packet_id if qos else 0), V5)


def disconnect(*, lasts_s: int | None = None) -> bytes:
    return encode(wire.Disconnect(properties=wire.Properties(session_expiry_interval=lasts_s)), V5)


def puback(packet_id: int) -> bytes:
    return encode(wire.PubAck(packet_id), V5)


def pubrec(packet_id: int) -> bytes:
    return encode(wire.PubRec(packet_id), V5)


def pubcomp(packet_id: int) -> bytes:
    return encode(wire.PubComp(packet_id), V5)


# Steps of a story ----------------------------------------------------------------------------------------------------


def join(
    node: InProcessNode,
    client_id: str,
    *,
    lasts_s: int = LASTING_S,
    user: str | None = None,
    will: wire.Will | None = None,
    receive_maximum: int | None = None,
) -> InProcessClient:
    """A client whose CONNECT was accepted; what the node sent behind CONNACK is not read yet."""
    client = node.open()
    node.feed(client, connect(client_id, lasts_s=lasts_s, user=user, will=will, receive_maximum=receive_maximum))
    node.settle()
    assert client.connection.session.client_id == client_id
    return client


def tell(node: InProcessNode, client: InProcessClient, data: bytes) -> None:
    """The client sends, and all that follows from it happens; what it is answered is not looked at."""
    node.feed(client, data)
    node.settle()
    node.output(client)


def leave(node: InProcessNode, client: InProcessClient) -> None:
    node.lose(client)
    node.settle()


def slow_store(node: InProcessNode) -> None:
    """From now on a write is done at once, and known to be done some turns later."""
    node.loop.executor_lag_turns = SLOW_TURNS


def apply(node: InProcessNode, policy: Policy) -> None:
    """The policy takes effect now; what it changes is still to be written."""
    node._in_loop(lambda: policy_feed.apply(node.hub, policy))


def received(node: InProcessNode, client: InProcessClient) -> list[bytes]:
    """The payloads that came since the last look, each as often as it came."""
    return [packet.payload for packet in node.output(client) if isinstance(packet, wire.Publish)]


def connack(node: InProcessNode, client: InProcessClient) -> ReasonCode:
    answer = node.output(client)[0]
    assert isinstance(answer, wire.ConnAck)
    return answer.reason


def suback(node: InProcessNode, client: InProcessClient) -> tuple[ReasonCode, ...]:
    (answer,) = (packet for packet in node.output(client) if isinstance(packet, wire.SubAck))
    return answer.reasons


def pubacks(node: InProcessNode, client: InProcessClient) -> list[tuple[int, ReasonCode]]:
    """Packet ids and reasons, in the order in which they came."""
    return [(packet.packet_id, packet.reason) for packet in node.output(client) if isinstance(packet, wire.PubAck)]
