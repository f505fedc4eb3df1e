"""What is published: the value that travels from an accepted PUBLISH or will to every queue and receiver.

Knows a message; does not know packets of one connection (ids, aliases, DUP), sockets or the store.
"""

from msgspec import Struct

from mqtt_api.policy import Facts
from mqtt_broker.wire.packets import NO_PROPERTIES, Properties, Publish, Will

UTF_8 = 1  # the payload format indicator


class Origin(Struct, frozen=True, omit_defaults=True):
    """How the publisher of a retained message proved who it is: what else its right may depend on.

    `source` is the authentication entry that accepted it.
    """

    source: str = ""
    certificate_cn: str = ""
    certificate_san_dns: str = ""


class Message(Struct, frozen=True, omit_defaults=True):
    """One application message.

    `properties` holds only what MQTT 5.0 forwards (3.3.2.3): payload format, content type, response topic,
    correlation data, user properties. Expiry is a moment of the store's clock in seconds, so that the interval
    sent on is what is left of it. `publisher` is the client id, for No Local and for the audit line; `username` is the
    principal whose right to retain is checked again at delivery, and `origin`, of retained messages only, is for that.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    properties: Properties = NO_PROPERTIES
    expires_at: float | None = None
    publisher: str = ""
    username: str = ""
    origin: Origin | None = None

    @property
    def size(self) -> int:
        """Bytes that a queue's bound counts: topic, payload and properties of variable length."""
        properties = self.properties
        user = sum(len(key) + len(value) for key, value in properties.user_properties)
        return len(self.topic) + len(self.payload) + user + len(properties.correlation_data or b"")


def has_its_format(payload: bytes, properties: Properties) -> bool:
    """False if the payload says that it is UTF-8 and is not (MQTT 5.0, 3.3.2.3.2). Takes time in its length."""
    if properties.payload_format_indicator != UTF_8:
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_expired(message: Message, now: float) -> bool:
    """True if the message's lifetime has passed [MQTT-3.3.2-5]."""
    return message.expires_at is not None and message.expires_at <= now


def _forwarded(properties: Properties) -> Properties:
    """The properties a server passes on unaltered (MQTT 5.0, 3.3.2.3); aliases, intervals and identifiers are not."""
    if properties is NO_PROPERTIES:
        return NO_PROPERTIES
    return Properties(
        payload_format_indicator=properties.payload_format_indicator,  # [MQTT-3.3.2-4]
        content_type=properties.content_type,  # [MQTT-3.3.2-20]
        response_topic=properties.response_topic,  # [MQTT-3.3.2-15]
        correlation_data=properties.correlation_data,  # [MQTT-3.3.2-16]
        user_properties=properties.user_properties,  # [MQTT-3.3.2-17] [MQTT-3.3.2-18]
    )


def _expiry(interval: int | None, now: float, expiry_s_max: int) -> float | None:
    if interval is None:
        return None
    return now + min(interval, expiry_s_max)


def _origin(facts: Facts, retain: bool) -> Origin | None:
    if not retain or facts.anonymous:
        return None
    return Origin(facts.source, facts.certificate_cn, facts.certificate_san_dns)


def publisher_of(message: Message) -> Facts:
    """What is known of whoever published a retained message, but for what the policy says of its principal."""
    origin = message.origin or Origin()
    return Facts(
        client_id=message.publisher,
        username=message.username,
        anonymous=not message.username,
        source=origin.source,
        certificate_cn=origin.certificate_cn,
        certificate_san_dns=origin.certificate_san_dns,
    )


def from_publish(publish: Publish, facts: Facts, now: float, expiry_s_max: int) -> Message:
    """The message in a PUBLISH whose topic alias is resolved. `facts`: the publisher's. `now`: store clock, seconds."""
    return Message(
        topic=publish.topic,
        payload=publish.payload,
        qos=publish.qos,
        retain=publish.retain,
        properties=_forwarded(publish.properties),
        expires_at=_expiry(publish.properties.message_expiry_interval, now, expiry_s_max),
        publisher=facts.client_id,
        username=facts.username,
        origin=_origin(facts, publish.retain),
    )


def from_will(will: Will, facts: Facts, now: float, expiry_s_max: int) -> Message:
    """The message in a will, as of the moment it is published: its lifetime starts now (MQTT 5.0, 3.1.3.2.4)."""
    return Message(
        topic=will.topic,
        payload=will.payload,
        qos=will.qos,
        retain=will.retain,  # [MQTT-3.1.2-14] [MQTT-3.1.2-15]
        properties=_forwarded(will.properties),  # [MQTT-3.1.3-10]
        expires_at=_expiry(will.properties.message_expiry_interval, now, expiry_s_max),
        publisher=facts.client_id,
        username=facts.username,
        origin=_origin(facts, will.retain),
    )
