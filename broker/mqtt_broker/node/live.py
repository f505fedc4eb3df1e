"""A session while its node is up: the stored record plus what only the living process knows.

Knows one session's subscriptions, rights, windows and outlet; does not decide who receives or what is stored.
"""

from collections.abc import Callable

from msgspec.structs import replace

from mqtt_api.policy import ClientLimits, Facts, Rights
from mqtt_api.topics import matches
from mqtt_broker.node.outlet import Outlet
from mqtt_broker.session.inflight import InboundIds
from mqtt_broker.session.session import QueueBounds, SessionRecord, Subscription
from mqtt_broker.wire.packets import Will


class LiveSession:
    """One session known to this node: connected here (`outlet` set), to another node (`owner`), or to none."""

    __slots__ = (
        "_resolve",
        "_rights",
        "_shared",
        "bounds",
        "client_id",
        "epoch",
        "expiry_interval_s",
        "facts",
        "has_queue",
        "inbound",
        "incarnation",
        "known_since",
        "limits",
        "outlet",
        "owner",
        "protocol_version",
        "subscriptions",
        "will",
    )

    def __init__(self, record: SessionRecord, resolve: Callable[[Facts], Rights], limits: ClientLimits) -> None:
        """`resolve` is asked for the session's rights when they are first needed: most idle clients never ask."""
        self.client_id = record.facts.client_id  # the same as the record's, and kept once
        self.incarnation = record.incarnation
        self.epoch = record.epoch
        self.facts: Facts = record.facts
        self.protocol_version = record.protocol_version
        self.expiry_interval_s = record.expiry_interval_s
        self.has_queue = record.has_queue
        self.bounds: QueueBounds = record.bounds
        self.will: Will | None = record.will
        self._resolve = resolve
        self._rights: Rights | None = None
        self.limits = limits
        self.subscriptions: dict[tuple[str, str | None], Subscription] = {s.key: s for s in record.subscriptions}
        self._shared = sum(s.group is not None for s in record.subscriptions)
        self.inbound = InboundIds(record.inbound_qos2)
        self.outlet: Outlet | None = None
        self.owner: str | None = None
        self.known_since = 0  # hub.adoptions

    @property
    def rights(self) -> Rights:
        """What it may do under the policy it was last decided by; the same object until `forget_rights`."""
        if self._rights is None:
            self._rights = self._resolve(self.facts)
        return self._rights

    def forget_rights(self) -> None:
        """The facts or the policy changed: resolve anew when asked."""
        self._rights = None

    @property
    def outlives_connection(self) -> bool:
        return self.expiry_interval_s > 0

    @property
    def is_persistent(self) -> bool:
        """True if QoS 1 and 2 for this session wait in the store.

        One that has a queue keeps using it until it ends, or what waits there would be overtaken.
        """
        return self.has_queue or self.expiry_interval_s > 0

    @property
    def has_shared(self) -> bool:
        return self._shared > 0

    def put(self, subscription: Subscription) -> None:
        """Add the subscription, or replace the one of its key."""
        if subscription.group is not None and subscription.key not in self.subscriptions:
            self._shared += 1
        self.subscriptions[subscription.key] = subscription

    def drop(self, key: tuple[str, str | None]) -> bool:
        """Remove a subscription; False if there was none."""
        dropped = self.subscriptions.pop(key, None)
        if dropped is not None and dropped.group is not None:
            self._shared -= 1
        return dropped is not None

    def decided(self, subscription: Subscription) -> Subscription:
        """The subscription as the policy of now has it: QoS, exceptions, and muted if it is not granted."""
        grant = self.rights.may_subscribe(subscription.filter, subscription.requested_qos, subscription.group)
        return replace(
            subscription,
            qos=subscription.qos if grant.qos is None else grant.qos,
            muted=grant.qos is None,
            has_exceptions=grant.has_exceptions,
        )

    def may_still_receive(self, topic: str, qos: int, group: str | None) -> bool:
        """The decision at hand-over: a fitting subscription stands, is not muted, and no rule denies the topic.

        A message whose subscription is gone (UNSUBSCRIBE after it was queued) is decided by the topic alone.
        """
        fitting = [s for s in self.subscriptions.values() if s.group == group and matches(s.filter, topic)]
        if not fitting:
            return self.rights.may_receive(topic, qos, group).allowed
        return any(
            not s.muted and (not s.has_exceptions or self.rights.may_receive(topic, s.qos, group).allowed)
            for s in fitting
        )
