"""The story of acknowledgements: what the client answers to our PUBLISH, and its PUBREL to ours."""

from typing import TYPE_CHECKING

from mqtt_broker.node import groups
from mqtt_broker.session.inflight import PubRecOutcome
from mqtt_broker.store.ports import Received, Release, Result, Stale
from mqtt_broker.wire.reasons import ReasonCode

if TYPE_CHECKING:
    from mqtt_broker.node.client import ClientConnection


def on_puback(client: "ClientConnection", packet_id: int) -> None:
    client.outlet.puback(packet_id)
    groups.wake_all(client.hub, client.session)


def on_pubrec(client: "ClientConnection", packet_id: int, reason: ReasonCode) -> None:
    """The client has the QoS 2 message: stored before PUBREL is sent, so that PUBLISH never goes out again."""
    if reason.is_error:
        client.outlet.pubrec_failed(packet_id)
        groups.wake_all(client.hub, client.session)
        return
    outcome, delivery = client.outlet.pubrec(packet_id)
    if delivery is None:
        client.connection.pubrel(packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)  # MQTT 5.0, 4.3.3
        client.wrote()
    elif delivery.sequence and outcome is PubRecOutcome.FIRST:
        session = client.session
        received = Received(client_id=session.client_id, epoch=session.epoch, sequence=delivery.sequence)
        client.hub.pump.submit(received, lambda result: _release(client, packet_id, result))
    else:
        client.send_pubrel(packet_id)  # [MQTT-4.3.3-4]


def _release(client: "ClientConnection", packet_id: int, result: Result) -> None:
    if isinstance(result, Stale):
        client.close_stale()
    elif not client.closed:
        client.send_pubrel(packet_id)  # [MQTT-4.3.3-4]


def on_pubcomp(client: "ClientConnection", packet_id: int) -> None:
    client.outlet.pubcomp(packet_id)
    groups.wake_all(client.hub, client.session)


def on_pubrel(client: "ClientConnection", packet_id: int) -> None:
    """The publisher lets go of its QoS 2 id: the removal is durable before PUBCOMP."""
    session = client.session
    if not session.inbound.release(packet_id):
        client.order.run(lambda: _pubcomp(client, packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND))
    elif session.is_persistent:
        release = Release(client_id=session.client_id, epoch=session.epoch, packet_id=packet_id)
        client.order.commit(release, lambda result: _released(client, packet_id, result))
    else:
        client.order.run(lambda: _pubcomp(client, packet_id, ReasonCode.SUCCESS))


def _released(client: "ClientConnection", packet_id: int, result: Result) -> None:
    if isinstance(result, Stale):
        client.close_stale()
    else:
        _pubcomp(client, packet_id, ReasonCode.SUCCESS)


def _pubcomp(client: "ClientConnection", packet_id: int, reason: ReasonCode) -> None:
    if not client.closed:
        client.connection.pubcomp(packet_id, reason)  # [MQTT-4.3.3-11]
        client.wrote()
