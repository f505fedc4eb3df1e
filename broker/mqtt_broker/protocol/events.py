"""What can happen on one connection, as frozen values that the hub acts on.

Knows outcomes; does not know who is allowed, who receives, or how bytes travel.
"""

from msgspec import Struct

from mqtt_broker.wire.packets import Auth, Connect, Disconnect, Publish, Subscribe, Unsubscribe
from mqtt_broker.wire.reasons import ReasonCode


class ConnectReceived(Struct, frozen=True):
    """The first packet. Nothing more is parsed until the hub calls `accept` or `refuse` (or `challenge`)."""

    packet: Connect


class AuthReceived(Struct, frozen=True):
    packet: Auth


class PublishReceived(Struct, frozen=True):
    """`packet.topic` is the resolved name: a topic alias never leaves the machine."""

    packet: Publish


class PubAckReceived(Struct, frozen=True):
    packet_id: int
    reason: ReasonCode


class PubRecReceived(Struct, frozen=True):
    packet_id: int
    reason: ReasonCode


class PubRelReceived(Struct, frozen=True):
    packet_id: int
    reason: ReasonCode


class PubCompReceived(Struct, frozen=True):
    packet_id: int
    reason: ReasonCode


class SubscribeReceived(Struct, frozen=True):
    packet: Subscribe


class UnsubscribeReceived(Struct, frozen=True):
    packet: Unsubscribe


class DisconnectReceived(Struct, frozen=True):
    """The client said goodbye; the machine is CLOSED and whatever follows is discarded [MQTT-3.14.4-1]."""

    packet: Disconnect


class Violated(Struct, frozen=True):
    """The peer broke the protocol. The answer, where one is due, is in `data_to_send`; then close the transport.

    The connection ended abnormally: the will is due. `detail` is for the log alone.
    """

    reason: ReasonCode
    detail: str


Event = (
    ConnectReceived
    | AuthReceived
    | PublishReceived
    | PubAckReceived
    | PubRecReceived
    | PubRelReceived
    | PubCompReceived
    | SubscribeReceived
    | UnsubscribeReceived
    | DisconnectReceived
    | Violated
)
