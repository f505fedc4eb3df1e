"""What outlives a connection: subscriptions, expiry, will, and the numbers that fence old writers out.

Knows one session's shape and its transitions as pure functions; does not know sockets, the store or other sessions.
"""

from msgspec import Struct

from mqtt_api.policy import Facts
from mqtt_broker.wire.packets import Will

NEVER_S = 0xFFFFFFFF  # Session Expiry Interval that means: does not expire (MQTT 5.0, 3.1.2.11.2)


class Subscription(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One subscription of one session. `group` None = not shared; `filter` has no `$share/` prefix.

    `qos` is the granted one. `identifier` 0 = none. `muted`: kept and shown, but left out of plans until the right
    returns. `has_exceptions`: deliveries ask the policy again. `generation` grows with each SUBSCRIBE of the session.
    """

    filter: str
    group: str | None = None
    qos: int = 0
    requested_qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    identifier: int = 0
    muted: bool = False
    has_exceptions: bool = False
    generation: int = 0

    @property
    def identifiers(self) -> tuple[int, ...]:
        """What a copy sent for this subscription alone carries [MQTT-3.3.4-3]."""
        return (self.identifier,) if self.identifier else ()

    @property
    def key(self) -> tuple[str, str | None]:
        """What makes a subscription the same one: SUBSCRIBE with this key again replaces it [MQTT-3.8.4-3]."""
        return (self.filter, self.group)


class QueueBounds(Struct, frozen=True, kw_only=True):
    """How much may wait for one session. `overflow`: DropOldest, DropNewest or Reject."""

    messages_max: int
    bytes_max: int
    overflow: str


class SessionRecord(Struct, frozen=True, kw_only=True):
    """A session as the store keeps it.

    `incarnation` is new with each new session, `epoch` with each claim: that of the claim which makes a session is the
    next number after its incarnation. `owner` is the node's name while connected.
    `facts` are those of the principal that made it: nobody else may resume it. `will_due_at` and `expires_at` are
    store time in seconds; None = not due / connected or never. `sent_up_to` is the mark: queue entries at or below it
    may have been sent and go out again with DUP. `inbound_qos2` are packet ids accepted and not yet released.
    """

    client_id: str
    incarnation: int
    epoch: int
    facts: Facts
    protocol_version: int
    expiry_interval_s: int
    bounds: QueueBounds
    owner: str | None = None
    will: Will | None = None
    will_due_at: float | None = None
    expires_at: float | None = None
    subscriptions: tuple[Subscription, ...] = ()
    sent_up_to: int = 0
    inbound_qos2: tuple[int, ...] = ()

    @property
    def is_persistent(self) -> bool:
        """True if the session outlives its connection: its QoS 1 and 2 messages then wait in the store."""
        return self.expiry_interval_s > 0

    @property
    def has_queue(self) -> bool:
        """True if they do: also for one that was resumed by a client that wants it to end with this connection."""
        return self.is_persistent or self.epoch > self.incarnation + 1
