"""The fifteen control packets as frozen values, and the properties they may carry.

Knows the shape of each packet of MQTT 3.1, 3.1.1 and 5.0; does not know bytes (codec.py), sessions, sockets or time.
Reason codes are always the ones of MQTT 5.0: the codec translates at the edge.
"""

from enum import IntEnum

from msgspec import Struct

from mqtt_broker.wire.reasons import ReasonCode


class ProtocolVersion(IntEnum):
    """The protocol level byte of CONNECT."""

    V3_1 = 3
    V3_1_1 = 4
    V5 = 5


class Properties(Struct, frozen=True, omit_defaults=True):
    """Every property of MQTT 5.0, 2.2.2.2. None or an empty tuple means: absent.

    Which packet may carry which property is a table in properties.py. Intervals are seconds, sizes are bytes.
    """

    payload_format_indicator: int | None = None
    message_expiry_interval: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    subscription_identifiers: tuple[int, ...] = ()
    session_expiry_interval: int | None = None
    assigned_client_identifier: str | None = None
    server_keep_alive: int | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    request_problem_information: int | None = None
    will_delay_interval: int | None = None
    request_response_information: int | None = None
    response_information: str | None = None
    server_reference: str | None = None
    reason_string: str | None = None
    receive_maximum: int | None = None
    topic_alias_maximum: int | None = None
    topic_alias: int | None = None
    maximum_qos: int | None = None
    retain_available: int | None = None
    user_properties: tuple[tuple[str, str], ...] = ()
    maximum_packet_size: int | None = None
    wildcard_subscription_available: int | None = None
    subscription_identifiers_available: int | None = None
    shared_subscription_available: int | None = None


NO_PROPERTIES = Properties()


class Will(Struct, frozen=True):
    """The will of a CONNECT (MQTT 5.0, 3.1.2.5)."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties = NO_PROPERTIES


class Connect(Struct, frozen=True):
    """`keep_alive` in seconds, 0 = none. `password` never reaches a log: see __repr__."""

    version: ProtocolVersion
    client_id: str
    clean_start: bool
    keep_alive: int
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None
    properties: Properties = NO_PROPERTIES

    def __repr__(self) -> str:
        return f"Connect(version={self.version!r}, client_id={self.client_id!r}, username={self.username!r})"


class ConnAck(Struct, frozen=True):
    session_present: bool
    reason: ReasonCode
    properties: Properties = NO_PROPERTIES


class Publish(Struct, frozen=True):
    """`topic` is empty only on the wire, when a topic alias stands for it. `packet_id` is 0 at QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties = NO_PROPERTIES


class PubAck(Struct, frozen=True):
    packet_id: int
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


class PubRec(Struct, frozen=True):
    packet_id: int
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


class PubRel(Struct, frozen=True):
    packet_id: int
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


class PubComp(Struct, frozen=True):
    packet_id: int
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


class SubscriptionRequest(Struct, frozen=True):
    """One filter of a SUBSCRIBE with its options (MQTT 5.0, 3.8.3.1). `retain_handling`: 0 send, 1 if new, 2 never."""

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


class Subscribe(Struct, frozen=True):
    packet_id: int
    subscriptions: tuple[SubscriptionRequest, ...]
    properties: Properties = NO_PROPERTIES


class SubAck(Struct, frozen=True):
    packet_id: int
    reasons: tuple[ReasonCode, ...]
    properties: Properties = NO_PROPERTIES


class Unsubscribe(Struct, frozen=True):
    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = NO_PROPERTIES


class UnsubAck(Struct, frozen=True):
    """MQTT 3.1.1 has no reasons here: the codec leaves them out."""

    packet_id: int
    reasons: tuple[ReasonCode, ...]
    properties: Properties = NO_PROPERTIES


class PingReq(Struct, frozen=True):
    pass


class PingResp(Struct, frozen=True):
    pass


class Disconnect(Struct, frozen=True):
    reason: ReasonCode = ReasonCode.NORMAL_DISCONNECTION
    properties: Properties = NO_PROPERTIES


class Auth(Struct, frozen=True):
    reason: ReasonCode
    properties: Properties = NO_PROPERTIES


Packet = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
    | Auth
)
