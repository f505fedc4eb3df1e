"""The fast lane's way through the store: runs of QoS 1 messages that it must have before they are acknowledged, because
sessions of receivers outlive their connections, or are connected to another node.

Knows what becomes of a run: one operation of the store, one place in the publisher's order, all its acknowledgements at
once, and one write to each receiver that is idle. Whatever cannot be done so is done message by message, by the slow
road's parts. Does not know how a run is found, or whether its flow still holds: that is fastlane.py's.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mqtt_broker.node.accepting import hand_over, relax, target_of
from mqtt_broker.node.forms import Form, forms_of
from mqtt_broker.node.hub import STORED_BYTES_AT_ONCE_MAX, Hub
from mqtt_broker.node.live import LiveSession
from mqtt_broker.node.outlet import Outlet
from mqtt_broker.node.peers.port import Runs
from mqtt_broker.node.runs import hand_out
from mqtt_broker.routing.delivery import Plan, Receiver
from mqtt_broker.session.message import Message
from mqtt_broker.store.ports import Accept, Accepted, AcceptedRun, AcceptRun, Result
from mqtt_broker.wire.packets import ProtocolVersion, Publish
from mqtt_broker.wire.primitives import two_byte_integers
from mqtt_broker.wire.reasons import ReasonCode

if TYPE_CHECKING:
    from mqtt_broker.node.client import ClientConnection

RUN_MESSAGES_MAX = 500  # of one operation: done by the store, and handed over, within a few milliseconds
RUN_COPIES_MAX = 2_000  # in queues
RUN_HANDED_MAX = 20_000  # copies for clients that are connected to one node: handed over there in one go
PUBACK_HEAD = b"\x40\x02"


class Kept:
    """One receiver whose copies lie in the store."""

    __slots__ = ("form", "receiver", "session")

    def __init__(self, receiver: Receiver, session: LiveSession, form: Form) -> None:
        self.receiver = receiver
        self.session = session
        self.form = form


class StoredFlow:
    """A flow of which receivers `kept` have their copies in the store; all others get theirs when it has them.

    Those that are connected here by `forms`, others by `runs`. `message` is each of its messages but for the payload.
    """

    __slots__ = ("_bucket", "_messages_max", "_version", "forms", "hub", "kept", "message", "plan", "runs")

    def __init__(
        self,
        hub: Hub,
        packet: Publish,
        frame: bytes,
        message: Message,
        plan: Plan,
        kept: Iterable[Receiver],
        runs: Runs,
    ) -> None:
        """`packet` is one of the flow, `frame` the bytes it came in. `plan` was made now."""
        stored = {receiver.client_id: receiver for receiver in kept}
        others = [receiver for receiver in plan.receivers if receiver.client_id not in stored]
        self.hub = hub
        self.message = message
        self.plan = plan
        self.kept = [
            Kept(stored[session.client_id], session, form)
            for form in forms_of(hub, packet, frame, stored.values())
            for session in form.sessions
        ]
        self.forms = forms_of(hub, packet, frame, connected_here(hub, others))
        self.runs = runs
        here = sum(len(form.sessions) for form in self.forms)
        at_once = max(here, *(each.receivers for each in runs.forwards), 1)
        copies = max(1, RUN_COPIES_MAX // max(1, len(self.kept)))
        self._messages_max = min(RUN_MESSAGES_MAX, copies, max(1, RUN_HANDED_MAX // at_once))
        self._bucket = hub.tree.bucket(packet.topic)
        self._version = hub.tree.version_at(self._bucket)

    @property
    def holds(self) -> bool:
        """True if sessions and subscriptions that matter are those that the plan was made by."""
        return self._version == self.hub.tree.version_at(self._bucket)

    def messages_max(self, client: "ClientConnection", payload_bytes: int) -> int:
        """How long a run of such payloads may be, for each receiver to see no more than its messages. 0: not now."""
        if client.subscribing or client.spreading or client.deferred:
            return 0
        copies = len(self.kept)
        most = min(self._messages_max, client.connection.receive_room)
        if most * copies * payload_bytes > STORED_BYTES_AT_ONCE_MAX:
            most = STORED_BYTES_AT_ONCE_MAX // (copies * payload_bytes) or int(copies == 1)
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
        self.hub.peers.press(self.plan.receivers)
        run = _Run(client, self, ids, payloads)
        client.connection.opened(b"".join(ids))
        forwards = self.runs.forwards
        accept = AcceptRun(message=self.message, payloads=tuple(payloads), targets=run.targets, forwards=forwards)
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
        if result.refused:
            self._hub.drop("rejected", result.refused)
        if not count:
            self._arrive_all()
        elif self._decisions != self._hub.decisions or not self._flow.holds or self._evicts_here(result):
            self._hand_over_one_by_one(result, count)
        else:
            self._hand_over(result, count)
        self._client.wait_for_receivers()
        relax(self._outlets)

    def _note_marks(self, result: AcceptedRun) -> None:
        for outlet, target, (first, count) in zip(self._outlets, self.targets, result.stored, strict=True):
            if outlet is not None:
                marked_up_to = first + count - 1 if count and target.raises_mark else 0
                outlet.answered(marked_up_to, is_stale=target.client_id in result.stale)

    def _acknowledge(self, count: int) -> None:
        client, ids = self._client, self._ids
        if count:
            client.connection.acknowledge(
                PUBACK_HEAD + PUBACK_HEAD.join(ids[:count]), b"".join(ids[:count])
            )  # [MQTT-4.3.2-4] [MQTT-3.3.4-1]
            self._hub.counters.other_packets_sent += count
        is_v5 = client.connection.version is ProtocolVersion.V5  # [3.1.1 MQTT-3.3.5-2]
        for packet_id in two_byte_integers(b"".join(ids[count:])) if count < len(ids) else ():
            client.connection.puback(packet_id, ReasonCode.QUOTA_EXCEEDED if is_v5 else ReasonCode.SUCCESS)
        client.wrote()

    # To the receivers ------------------------------------------------------------------------------------------------

    def _hand_over(self, result: AcceptedRun, count: int) -> None:
        """What no receiver takes as a run is offered to it message by message."""
        hub, flow = self._hub, self._flow
        self._hand_out(count)
        if not flow.kept:
            return
        hub.drop("overflow", len(result.evicted))
        receivers: list[Receiver] = []
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
        _arrive(waiting, len(self._ids) - count)

    def _hand_out(self, count: int) -> None:
        """To those whose copies the store does not hold."""
        hub, flow, payloads = self._hub, self._flow, self._payloads
        if count < len(payloads):
            payloads = payloads[:count]
        sent = hand_out(hub, flow.message, flow.forms, payloads)
        hub.counters.messages_sent += sent
        hub.counters.payload_bytes_sent += sent * len(payloads[0])
        if flow.runs.posts:
            hub.peers.post_runs(flow.runs.posts, payloads)

    def _evicts_here(self, result: AcceptedRun) -> bool:
        """True if a client that is connected here may have in memory what its queue had no place for any more."""
        if not result.evicted:
            return False
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

    def _arrive_all(self) -> None:
        """All of them were refused."""
        _arrive([outlet for outlet in self._outlets if outlet is not None], len(self._ids))

    def _messages(self, count: int) -> Iterable[Message]:
        return (replace(self._flow.message, payload=payload) for payload in self._payloads[:count])


def connected_here(hub: Hub, receivers: Iterable[Receiver]) -> list[Receiver]:
    """Those whose sessions are not connected to another node. The hub knows all of them."""
    return [receiver for receiver in receivers if hub.sessions[receiver.client_id].owner is None]


def _sequence(place: tuple[int, int], index: int) -> int:
    """That of the message at `index` of a run; 0: it found no place."""
    first, count = place
    return first + index if index < count else 0


def _arrive(outlets: Iterable[Outlet], count: int) -> None:
    for outlet in outlets:
        outlet.arrive(count)
