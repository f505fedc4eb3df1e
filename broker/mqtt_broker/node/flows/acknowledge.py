"""The story of acknowledgements: what the client answers to our PUBLISH, and its PUBREL to ours."""

from typing import TYPE_CHECKING

from mqtt_broker.node import groups
from mqtt_broker.session.inflight import Answer, PubRecOutcome
from mqtt_broker.store.ports import Received, Release, Result, Stale
from mqtt_broker.wire.reasons import ReasonCode

if TYPE_CHECKING:
    from mqtt_broker.node.client import ClientConnection


def _is_wrong(client: "ClientConnection", packet_id: int, answer: Answer) -> bool:
    """An acknowledgement of another QoS than the message's is a protocol error, and ends the connection.

    One for an id that nothing is on its way under is none: it may answer a message that was given up meanwhile.
    """
    owed = client.outlet.awaits(packet_id)
    if owed in (None, answer) or (owed is Answer.PUBCOMP and answer is Answer.PUBREC):  # a repeated PUBREC
        return False
    assert owed is not None
    client.violated(f"{answer.value} for packet id {packet_id}, which awaits {owed.value}")
    return True


def on_puback(client: "ClientConnection", packet_id: int) -> None:
    if _is_wrong(client, packet_id, Answer.PUBACK):
        return
    client.outlet.puback(packet_id)
    groups.wake_all(client.hub, client.session)


def on_pubrec(client: "ClientConnection", packet_id: int, reason: ReasonCode) -> None:
    """The client has the QoS 2 message: stored before PUBREL is sent, so that PUBLISH never goes out again."""
    if _is_wrong(client, packet_id, Answer.PUBREC):
        return
    if reason.is_error:  # [MQTT-4.4.0-2]
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
    if _is_wrong(client, packet_id, Answer.PUBCOMP):
        return
    client.outlet.pubcomp(packet_id)
    groups.wake_all(client.hub, client.session)


def on_pubrel(client: "ClientConnection", packet_id: int) -> None:
    """The publisher lets go of its QoS 2 id: the removal is durable before PUBCOMP."""
    session = client.session
    if not session.inbound.release(packet_id):  # [MQTT-4.3.3-12], whatever became of the message [MQTT-4.3.3-13]
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
