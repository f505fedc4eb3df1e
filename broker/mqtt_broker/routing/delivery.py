"""The plan of one message: who gets it, at which QoS, with which identifiers. Pure.

Knows subscriptions and the rules of overlapping; does not know how a message travels, where it waits, or who is allowed
(it is told through `may_receive`).
"""

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from mqtt_broker.session.message import Message
from mqtt_broker.session.session import Subscription


class Receiver(Struct, frozen=True):
    """One copy for one client. `retain` is the flag of that copy."""

    client_id: str
    qos: int
    retain: bool = False
    identifiers: tuple[int, ...] = ()


class SharedMatch(Struct, frozen=True):
    """One shared subscription that gets the message once. `members` may take it; there is at least one."""

    group: str
    filter: str
    members: tuple[tuple[str, Subscription], ...]


class Plan(Struct, frozen=True):
    """Each client at most once in `receivers`, each (group, filter) at most once in `groups`.

    `as_of` is the planner's own: which sessions it knew. A session that is newer has no part in this plan.
    """

    receivers: tuple[Receiver, ...] = ()
    groups: tuple[SharedMatch, ...] = ()
    as_of: int = 0


def plan(
    message: Message,
    matches: Sequence[tuple[str, Subscription]],
    may_receive: Callable[[str, Subscription], bool],
    as_of: int = 0,
) -> Plan:
    """Turn matching subscriptions into receivers.

    `may_receive` is asked only for a subscription that a deny rule overlaps (`has_exceptions`): the others were decided
    when they were granted. A shared subscription none of whose members may receive is left out.
    """
    if len(matches) == 1:  # most messages have one receiver, or none
        client_id, subscription = matches[0]
        if subscription.group is None and not subscription.no_local and not subscription.has_exceptions:
            return Plan((_receiver(message, client_id, subscription),), as_of=as_of)
    planning = Planning(message, may_receive)
    planning.add(matches)
    return planning.plan(as_of)


class Planning:
    """A plan in the making, for matches that come in slices."""

    def __init__(self, message: Message, may_receive: Callable[[str, Subscription], bool]) -> None:
        self._message = message
        self._may_receive = may_receive
        self._receivers: dict[str, Receiver] = {}
        self._groups: dict[tuple[str, str], list[tuple[str, Subscription]]] = {}

    def add(self, matches: Iterable[tuple[str, Subscription]]) -> None:
        message, receivers = self._message, self._receivers
        for client_id, subscription in matches:
            if subscription.no_local and client_id == message.publisher:  # [MQTT-3.8.3-3]
                continue
            if subscription.has_exceptions and not self._may_receive(client_id, subscription):
                continue
            if subscription.group is not None:
                key = (subscription.group, subscription.filter)
                self._groups.setdefault(key, []).append((client_id, subscription))
                continue
            receiver = _receiver(message, client_id, subscription)
            known = receivers.get(client_id)
            receivers[client_id] = receiver if known is None else _merged(known, receiver)

    def plan(self, as_of: int) -> Plan:
        return Plan(
            as_of=as_of,
            receivers=tuple(self._receivers.values()),
            groups=tuple(SharedMatch(group, name, tuple(members)) for (group, name), members in self._groups.items()),
        )


def _receiver(message: Message, client_id: str, subscription: Subscription) -> Receiver:
    return Receiver(
        client_id=client_id,
        qos=min(message.qos, subscription.qos),  # [MQTT-3.8.4-8]
        retain=message.retain and subscription.retain_as_published,  # [MQTT-3.3.1-12] [MQTT-3.3.1-13]
        identifiers=subscription.identifiers,  # [MQTT-3.3.4-3]
    )


def _merged(one: Receiver, other: Receiver) -> Receiver:
    """One copy for overlapping subscriptions."""
    return Receiver(
        client_id=one.client_id,
        qos=max(one.qos, other.qos),  # [MQTT-3.3.4-2]
        retain=one.retain or other.retain,
        identifiers=one.identifiers + other.identifiers,  # [MQTT-3.3.4-4]
    )
