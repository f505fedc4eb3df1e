"""The fast lane's way through the store: runs of QoS 1 messages for receivers whose sessions outlive their connections.

Knows what becomes of a run: one operation of the store, one place in the publisher's order, all its acknowledgements at
once, and one write to each receiver that is idle. Whatever cannot be done so is done message by message, by the slow
road's parts. Does not know how a run is found, or whether its flow still holds: that is fastlane.py's.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mqtt_broker.node.accepting import hand_over, relax, target_of
from mqtt_broker.node.forms import Form
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.live import LiveSession
from mqtt_broker.node.outlet import Outlet
from mqtt_broker.routing.delivery import Plan, Receiver
from mqtt_broker.session.message import Message
from mqtt_broker.store.ports import Accept, Accepted, AcceptedRun, AcceptRun, Result
from mqtt_broker.wire.packets import ProtocolVersion
from mqtt_broker.wire.primitives import two_byte_integers
from mqtt_broker.wire.reasons import ReasonCode

if TYPE_CHECKING:
    from mqtt_broker.node.client import ClientConnection

RUN_MESSAGES_MAX = 500  # of one operation: done by the store, and handed over, within a few milliseconds
RUN_COPIES_MAX = 2_000
PUBACK_HEAD = b"\x40\x02"


class Kept:
    """One receiver whose copies lie in the store."""

    __slots__ = ("form", "receiver", "session")

    def __init__(self, receiver: Receiver, session: LiveSession, form: Form) -> None:
        self.receiver = receiver
        self.session = session
        self.form = form


class StoredFlow:
    """A flow of which receivers `kept` have their copies in the store; `others` get theirs when it has them."""

    __slots__ = ("hub", "kept", "message", "others", "plan")

    def __init__(self, hub: Hub, message: Message, plan: Plan, kept: Sequence[Kept]) -> None:
        self.hub = hub
        self.message = message  # its payload is empty
        self.plan = plan
        self.kept = kept
        stored = {each.receiver.client_id for each in kept}
        self.others = tuple([receiver for receiver in plan.receivers if receiver.client_id not in stored])

    def messages_max(self, client: "ClientConnection") -> int:
        """How long a run may be, so that to each receiver it is as if its messages came one by one. 0: not now."""
        if client.subscribing or client.spreading or client.deferred:
            return 0
        most = min(RUN_MESSAGES_MAX, max(1, RUN_COPIES_MAX // len(self.kept)), client.connection.receive_room)
        sessions = self.hub.sessions
        for each in self.kept:
            session = each.session
            if sessions.get(session.client_id) is not session or not session.is_persistent:
                return 0
            if session.outlet is not None:
                most = min(most, session.outlet.run_max)
        return most

    def submit(self, client: "ClientConnection", ids: Sequence[bytes], payloads: list[bytes]) -> None:
        """Write a run, no longer than `messages_max`, and take its place in the publisher's order."""
        run = _Run(client, self, ids, payloads)
        client.connection.opened(b"".join(ids))
        accept = AcceptRun(message=self.message, payloads=tuple(payloads), targets=run.targets)
        count = len(ids)
        client.order.commit(accept, run.stored, size=count * (self.message.size + len(payloads[0])), packets=count)


class _Run:
    """Messages of one flow on their way to the store and from there to their receivers."""

    __slots__ = ("_client", "_decisions", "_flow", "_hub", "_ids", "_outlets", "_payloads", "targets")

    def __init__(
        self, client: "ClientConnection", flow: StoredFlow, ids: Sequence[bytes], payloads: list[bytes]
    ) -> None:
        self._client = client
        self._hub = flow.hub
        self._flow = flow
        self._ids = ids
        self._payloads = payloads
        self._decisions = flow.hub.decisions
        self._outlets = [each.session.outlet for each in flow.kept]
        told = zip(flow.kept, self._outlets, strict=True)
        self.targets = tuple([target_of(each.receiver, each.session, outlet, len(ids)) for each, outlet in told])

    def stored(self, result: Result) -> None:
        """It is durable, and its turn: acknowledge, then hand over, as the slow road does."""
        if not isinstance(result, AcceptedRun):
            raise AssertionError(f"a store answered an AcceptRun with {result!r}")
        self._note_marks(result)
        count = len(self._ids) - result.refused
        if not self._client.closed:
            self._acknowledge(count)
        self._hub.drop("rejected", result.refused)
        if self._decisions != self._hub.decisions or self._evicts_here(result):
            self._hand_over_one_by_one(result, count)
        else:
            self._hand_over(result, count)
        self._client.wait_for_receivers()
        relax(self._outlets)

    def _note_marks(self, result: AcceptedRun) -> None:
        for outlet, target, (first, count) in zip(self._outlets, self.targets, result.stored, strict=True):
            if outlet is not None:
                marked_up_to = first + count - 1 if count and target.marks_epoch else 0
                outlet.answered(marked_up_to, is_stale=target.client_id in result.stale)

    def _acknowledge(self, count: int) -> None:
        client, ids = self._client, self._ids
        if count:
            client.connection.acknowledge(
                PUBACK_HEAD + PUBACK_HEAD.join(ids[:count]), b"".join(ids[:count])
            )  # [MQTT-4.3.2-4] [MQTT-3.3.4-1]
            self._hub.counters.other_packets_sent += count
        is_v5 = client.connection.version is ProtocolVersion.V5  # [3.1.1 MQTT-3.3.5-2]
        for packet_id in two_byte_integers(b"".join(ids[count:])):
            client.connection.puback(packet_id, ReasonCode.QUOTA_EXCEEDED if is_v5 else ReasonCode.SUCCESS)
        client.wrote()

    # To the receivers ------------------------------------------------------------------------------------------------

    def _hand_over(self, result: AcceptedRun, count: int) -> None:
        """What no receiver takes as a run is offered to it message by message."""
        hub, flow = self._hub, self._flow
        hub.drop("overflow", len(result.evicted))
        receivers = list(flow.others)
        places: dict[str, tuple[int, int]] = {}
        waiting: list[Outlet] = []
        for each, outlet, (first, stored) in zip(flow.kept, self._outlets, result.stored, strict=True):
            hub.drop("overflow", count - stored)
            if stored and not self._send(each, first, stored):
                receivers.append(each.receiver)
                places[each.receiver.client_id] = (first, stored)
                waiting += [outlet] if outlet is not None else []
            elif outlet is not None:
                outlet.arrive(len(self._ids))
        if not receivers:
            return
        for index, message in enumerate(self._messages(count)):
            _arrive(waiting, 1)
            sequences = {client_id: _sequence(place, index) for client_id, place in places.items()}
            hub.deliver(message, receivers, sequences, self._decisions)
            hub.peers.post(message, flow.others)
        _arrive(waiting, len(self._ids) - count)

    def _evicts_here(self, result: AcceptedRun) -> bool:
        """True if a client that is connected here may have in memory what its queue had no place for any more."""
        sessions = self._hub.sessions
        names = {client_id for _, client_id, _ in result.evicted}
        return any((session := sessions.get(name)) is not None and session.outlet is not None for name in names)

    def _send(self, each: Kept, first: int, count: int) -> bool:
        """True if nothing is to be offered: sent, or left in the queue."""
        session = self._hub.sessions.get(each.receiver.client_id)
        outlet = None if session is None else session.outlet
        if outlet is None:
            return True
        payloads, form = self._payloads[:count], each.form
        head = form.head(len(payloads[0]))
        frame_bytes = form.frame_bytes(head, len(payloads[0]))
        ids = outlet.begin_stored(first, count, frame_bytes) if session is each.session else ()
        if not ids:
            return outlet.leave_stored(first, first + count - 1)
        outlet.forward_qos1(form.frames(head, ids, payloads), frame_bytes)
        counters = self._hub.counters
        counters.messages_sent += count
        counters.payload_bytes_sent += count * len(payloads[0])
        return True

    def _hand_over_one_by_one(self, result: AcceptedRun, count: int) -> None:
        """As the slow road: a policy has changed since, or each message may have evicted others."""
        accept = Accept(message=self._flow.message, targets=self.targets)
        outlets = [outlet for outlet in self._outlets if outlet is not None]
        for index, message in enumerate(self._messages(count)):
            _arrive(outlets, 1)
            sequences = tuple([_sequence(place, index) for place in result.stored])
            evicted = tuple([(client_id, sequence) for by, client_id, sequence in result.evicted if by == index])
            hand_over(self._hub, message, self._flow.plan, accept, Accepted(sequences, evicted), self._decisions)
        _arrive(outlets, len(self._ids) - count)

    def _messages(self, count: int) -> Iterable[Message]:
        return (replace(self._flow.message, payload=payload) for payload in self._payloads[:count])


def _sequence(place: tuple[int, int], index: int) -> int:
    """That of the message at `index` of a run; 0: it found no place."""
    first, count = place
    return first + index if index < count else 0


def _arrive(outlets: Iterable[Outlet], count: int) -> None:
    for outlet in outlets:
        outlet.arrive(count)
