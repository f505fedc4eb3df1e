"""Runs between nodes: the head they travel under, and what this node makes of one that it reads.

Knows the head's layout, and the decisions that a head stands for here; does not know streams, inboxes or how a run is
found. A stream sends the same head again and again: what was decided for it is kept, with the versions it holds under,
as the fast lane keeps its flows.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mqtt_api.policy import Policy
from mqtt_broker.node.forms import Form, forms_of
from mqtt_broker.node.outlet import UNDECIDED, Delivery
from mqtt_broker.node.runs import hand_out
from mqtt_broker.routing.delivery import Receiver
from mqtt_broker.session.message import Message
from mqtt_broker.store.cluster import ForwardedRun
from mqtt_broker.store.ports import StoreMismatch, Target
from mqtt_broker.wire.packets import Publish

if TYPE_CHECKING:
    from mqtt_broker.node.hub import Hub
    from mqtt_broker.node.live import LiveSession

HEADS_MAX = 4_096  # that are remembered
HEADS_BYTES_MAX = 8 * 1024 * 1024  # all of them together: one that names a thousand receivers is some 30 KiB
COPIES_PER_EFFORT = 64  # of `hub.turns`


class _Target(Struct, frozen=True, array_like=True):
    """One receiver. Another incarnation of the session has no part in the run."""

    client_id: str
    incarnation: int
    qos: int
    identifiers: tuple[int, ...] = ()


class _Head(Struct, frozen=True, array_like=True):
    """`message` is each message of the run but for its payload, which is empty. Nothing of a run is retained."""

    message: Message
    targets: tuple[_Target, ...]


_encode: Callable[[_Head], bytes] = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Head).decode


def run_head(message: Message, targets: Iterable[Target]) -> bytes:
    """What the messages of a flow have in common, for the node that these targets are connected to."""
    own = tuple([_Target(each.client_id, each.incarnation, each.qos, each.identifiers) for each in targets])
    return _encode(_Head(message, own))


class _Flow:
    """What a head means here, for as long as `holds`."""

    __slots__ = ("_bucket", "_policy", "_version", "copies", "forms", "message", "refused")

    def __init__(self, hub: "Hub", message: Message) -> None:
        self.message = message
        self.copies = 0
        self.refused: list[tuple[LiveSession, Receiver]] = []  # who may not receive it now
        self.forms: list[Form] = []
        self._policy: Policy | None = hub.policy
        self._bucket = hub.tree.bucket(message.topic)
        self._version = hub.tree.version_at(self._bucket)

    def holds(self, hub: "Hub") -> bool:
        """False as soon as subscriptions or sessions that matter, or the policy, have changed."""
        return self._version == hub.tree.version_at(self._bucket) and self._policy is hub.policy


class ReceivedRuns:
    """Hands runs of other nodes to sessions that are connected here."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._flows: dict[bytes, _Flow] = {}
        self._bytes = 0

    def deliver(self, run: ForwardedRun) -> int:
        """What was decided elsewhere is decided again, under this node's policy [D9]. The effort it took.

        Raises StoreMismatch for a head that this version cannot read.
        """
        hub = self._hub
        flow = self._flows.get(run.head)
        if flow is None or not flow.holds(hub):
            flow = self._learn(run.head)
        payloads = run.payloads
        count, length = len(payloads), len(payloads[0])
        for session, receiver in flow.refused:
            self._offer(session, receiver, flow.message, payloads)
        if flow.copies:
            sent = hand_out(hub, flow.message, flow.forms, payloads)
            hub.counters.messages_sent += sent
            hub.counters.payload_bytes_sent += sent * length
        return 1 + flow.copies * count // COPIES_PER_EFFORT

    def _offer(self, session: "LiveSession", receiver: Receiver, template: Message, payloads: list[bytes]) -> None:
        """What may not be received now: QoS 1 has its turn like any other, and the last word is spoken then."""
        outlet = session.outlet
        if outlet is None:
            return
        if not receiver.qos:
            self._hub.drop("revoked", len(payloads))
            return
        for payload in payloads:
            message = replace(template, payload=payload)
            outlet.offer(Delivery(message, receiver.qos, False, receiver.identifiers, UNDECIDED))  # noqa: FBT003

    def _learn(self, head: bytes) -> _Flow:
        if head not in self._flows:
            if len(self._flows) >= HEADS_MAX or self._bytes + len(head) > HEADS_BYTES_MAX:
                self._flows.clear()
                self._bytes = 0
            self._bytes += len(head)
        flow = self._flows[head] = self._decide(head)
        return flow

    def _decide(self, head: bytes) -> _Flow:
        try:
            told = _decode(head)
        except msgspec.MsgspecError as problem:
            raise StoreMismatch(f"another node forwards what this version does not understand: {problem}") from problem
        message, sessions = told.message, self._hub.sessions
        flow = _Flow(self._hub, message)
        receivers: list[Receiver] = []
        for target in told.targets:
            session = sessions.get(target.client_id)
            if session is None or session.incarnation != target.incarnation or session.owner is not None:
                continue  # not here (any more); one that is about to be connected has no outlet yet
            if session.may_still_receive(message.topic, target.qos, None):
                receivers.append(Receiver(target.client_id, target.qos, identifiers=target.identifiers))
            else:
                flow.refused.append((session, Receiver(target.client_id, target.qos, identifiers=target.identifiers)))
        packet = Publish(topic=message.topic, payload=b"", qos=message.qos, properties=message.properties)
        flow.forms = forms_of(self._hub, packet, b"", receivers)
        flow.copies = len(receivers)
        return flow
