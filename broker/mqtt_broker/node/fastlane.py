"""The fast lane: runs of PUBLISH packets whose answer is known already. A cache of the slow road, and nothing more.

A *flow* is what the slow road decided for one connection, topic, QoS and set of properties: may it be published, who
receives it, in which form. It is kept with the versions it was decided under, and asked again as soon as one of them
moved: the publisher's rights, the part of the subscription tree its topic falls in, and - where a deny rule
overlaps a receiver's filter - the policy as a whole. Whatever needs a decision misses, and takes the slow road:
retained messages, QoS 2, message expiry, shared subscriptions. QoS 1 that the store must have first, for sessions that
outlive their connection or are connected to another node, goes its own way (storedlane.py).

Nobody but client.py knows that this exists. tests/unit/mqtt_broker/node/test_fastlane.py feeds the same bytes to both
roads and demands equal effects.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mqtt_api.node_settings import MQTTSettings
from mqtt_api.policy import Policy, Rights
from mqtt_api.topics import TopicError, validate_topic_name
from mqtt_broker.node import groups
from mqtt_broker.node.forms import QOS_0, QOS_1, Form, forms_of
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.outlet import Outlet
from mqtt_broker.node.runs import hand_out, offer
from mqtt_broker.node.storedlane import StoredFlow, connected_here
from mqtt_broker.routing.delivery import Receiver
from mqtt_broker.session.message import Message, from_publish
from mqtt_broker.store.ports import RunForward
from mqtt_broker.wire.codec import decode
from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.packets import ProtocolVersion, Publish
from mqtt_broker.wire.primitives import two_byte_integers
from mqtt_broker.wire.reasons import ReasonCode

if TYPE_CHECKING:
    from mqtt_broker.node.client import ClientConnection

FLOWS_MAX = 4_096  # kept for one connection; one that publishes to more topics than that is not a stream
SEEN_MAX = 4_096  # topics seen once: a flow is worth its making the second time

RUN_FRAMES_MAX = 10_000  # packets; a read of 256 KiB seldom holds more

PUBACK = 0x40  # first byte
SMALLEST_PUBLISH_BYTES = 5  # with a topic name of one character
PUBACK_BYTES = 4
PUBACK_HEAD = 0x4002  # type and remaining length of the short form, read as one number


class _Flow:
    """The slow road's answer, the versions it holds under, and the forms in which it is carried out.

    `message` is what the answer was given for: its payload aside, every message of the flow is the same. None: the
    flow is known to need the slow road.
    """

    __slots__ = (
        "alias_changes",
        "as_it_came",
        "asks_policy",
        "bucket",
        "forms",
        "message",
        "peers",
        "policy",
        "posts",
        "puback",
        "rights",
        "stored",
        "version",
    )

    def __init__(self, hub: Hub, rights: Rights, topic: str, alias_changes: int | None) -> None:
        self.rights = rights
        self.policy: Policy | None = hub.policy
        self.asks_policy = False
        self.bucket = hub.tree.bucket(topic)
        self.version = hub.tree.version_at(self.bucket)
        self.alias_changes = alias_changes
        self.peers = hub.peers.changes
        self.message: Message | None = None
        self.forms: list[Form] = []
        self.posts: tuple[RunForward, ...] = ()  # QoS 0 copies for other nodes
        self.stored: StoredFlow | None = None  # the store is to hold copies: forms and posts are not used then
        self.as_it_came: Form | None = None  # the only form, if it is verbatim
        self.puback = (b"\x40\x02", b"")


class FastLane:
    """The flows of one publishing connection. Made when its CONNECT was accepted; dropped with it."""

    __slots__ = ("_client", "_flows_qos0", "_flows_qos1", "_hub", "_packet_bytes_max", "_seen", "_version")

    def __init__(self, client: "ClientConnection", limits: MQTTSettings) -> None:
        self._client = client
        self._hub = client.hub
        self._version = client.connection.version or ProtocolVersion.V3_1_1
        self._packet_bytes_max = limits.packet_bytes_max
        self._flows_qos0: dict[bytes, _Flow] = {}
        self._flows_qos1: dict[bytes, _Flow] = {}
        self._seen: set[bytes] | None = None

    def run(self, data: bytes, position: int) -> int:
        """Carry out the packets from `position` on for as long as their flows are known; return where that ends.

        The packet there is the slow road's, or incomplete; or a receiver's outlet has just filled.
        """
        end = len(data)
        while position < end:
            first_byte = data[position]
            if first_byte == PUBACK:
                after = self._pubacks(data, position, end)
            elif first_byte in (QOS_0, QOS_1):
                after = self._publishes(data, position, end, first_byte)
            else:
                break
            if after == position:
                break
            position = after
            if self._hub.congested:  # a receiver is behind: whether to go on is the caller's to say
                break
        return position

    def run_alone(self, data: bytes) -> bool:
        """Carry out a read that is one QoS 0 packet, if it goes to its receivers as it came; False: nothing happened.

        Sparse traffic is made of such reads, and what `run` spends on finding the end of a run costs each of them as
        much as the message itself. Only for a read that begins with a packet, while no receiver is behind.
        """
        size = len(data)
        if size < SMALLEST_PUBLISH_BYTES or data[0] != QOS_0 or size > self._packet_bytes_max:
            return False
        length, body = data[1], 2
        if length >= 0x80:
            if not 0 < data[2] < 0x80:  # longer than it needs to be [MQTT-1.5.5-1], or longer than two bytes
                return False
            length, body = length & 0x7F | data[2] << 7, 3
        if body + length != size:
            return False
        payload = body + 2 + (data[body] << 8 | data[body + 1])
        flow = self._flows_qos0.get(data[body:payload])
        if flow is None or flow.as_it_came is None or not self._holds(flow) or self._client.order:
            return False
        if self._version is ProtocolVersion.V5:
            if payload >= size or data[payload]:
                return False
            payload += 1
        self._forward_alone(flow, flow.as_it_came, data, payload)
        return True

    def _forward_alone(self, flow: _Flow, form: Form, data: bytes, payload: int) -> None:
        sent = 0
        for session in form.sessions:
            outlet = session.outlet
            if outlet is None:
                continue  # offline: nothing is promised to QoS 0
            if outlet.forward_qos0_alone(data):
                sent += 1
            elif flow.message is not None:
                offer(self._hub, flow.message, form, outlet, [data[payload:]])
        self._count(1, sent, len(data) - payload)

    # PUBLISH ---------------------------------------------------------------------------------------------------------

    def _publishes(self, data: bytes, start: int, end: int, first_byte: int) -> int:
        """One run: this packet and those behind it that differ in nothing but packet id and payload."""
        extent = _body_of(data, start, end)
        if extent is None:
            return start
        position, size = extent
        if size > self._packet_bytes_max:
            return start
        topic_end = position + 2 + (data[position] << 8 | data[position + 1])
        after_id = topic_end + 2 if first_byte == QOS_1 else topic_end
        payload = after_id
        if self._version is ProtocolVersion.V5:
            if after_id >= start + size or data[after_id] >= 0x80:
                return start
            payload = after_id + 1 + data[after_id]
        if payload > start + size:
            return start
        key = data[position:topic_end]
        if payload > after_id + 1:
            key += data[after_id:payload]
        flows = self._flows_qos1 if first_byte == QOS_1 else self._flows_qos0
        flow = flows.get(key)
        if flow is None or not self._holds(flow):
            flow = self._learn(flows, key, data[start : start + size], was_known=flow is not None)
        if flow is None or flow.message is None:
            return start
        if flow.stored is not None:
            return self._run_stored(flow.stored, data, start, topic_end - start, payload - start, size, end)
        if self._client.order:  # what came before still waits for the store: this waits behind it
            return start
        if first_byte == QOS_0:
            return self._run_qos0(flow, flow.message, data, start, payload - start, size, end)
        return self._run_qos1(flow, flow.message, data, start, topic_end - start, payload - start, size, end)

    def _frames_max(self, flow: _Flow) -> int:
        """How long a run may be, so that every receiver takes it whole; 1 if one of them must queue."""
        frames_max = RUN_FRAMES_MAX
        for form in flow.forms:
            for session in form.sessions:
                outlet = session.outlet
                if outlet is None:
                    continue
                room = outlet.room if form.qos else outlet.room_qos0
                if room <= 1:
                    return 1
                frames_max = min(frames_max, room)
        return frames_max

    def _run_qos0(
        self, flow: _Flow, template: Message, data: bytes, start: int, payload_at: int, size: int, end: int
    ) -> int:
        head = data[start : start + payload_at]
        stop, last = start + size, end - size
        starts_with = data.startswith
        if stop <= last and starts_with(head, stop):
            last = min(last, start + size * (self._frames_max(flow) - 1))
            while stop <= last and starts_with(head, stop):
                stop += size
        count = (stop - start) // size
        sent = 0
        payloads: list[bytes] = []
        for form in flow.forms:
            if form.verbatim:
                frames, frame_bytes = data[start:stop], size
            else:
                payloads = payloads or [data[at + payload_at : at + size] for at in range(start, stop, size)]
                before = form.head(size - payload_at) + form.after_id
                frames = before + before.join(payloads)
                frame_bytes = len(before) + size - payload_at
            for session in form.sessions:
                outlet = session.outlet
                if outlet is None:
                    continue  # offline: nothing is promised to QoS 0
                if outlet.forward_qos0(frames, frame_bytes):
                    sent += count
                else:
                    payloads = payloads or [data[at + payload_at : at + size] for at in range(start, stop, size)]
                    offer(self._hub, template, form, outlet, payloads)
        if flow.posts:
            payloads = payloads or [data[at + payload_at : at + size] for at in range(start, stop, size)]
            self._hub.peers.post_runs(flow.posts, payloads)
        self._count(count, sent, size - payload_at)
        return stop

    def _run_qos1(
        self, flow: _Flow, template: Message, data: bytes, start: int, id_at: int, payload_at: int, size: int, end: int
    ) -> int:
        """Acknowledge, then forward: the order of the slow road."""
        if self._client.connection.has_open_exchanges:  # [MQTT-3.3.4-7]: it must be counted
            return start
        last = end - size
        if start + size <= last and data.startswith(data[start : start + id_at], start + size):
            last = min(last, start + size * (self._frames_max(flow) - 1))
        ids, payloads = _alike(data, start, id_at, payload_at, size, last)
        if not ids:
            return start
        count = len(ids)
        self._hub.counters.other_packets_sent += count
        opening, closing = flow.puback
        self._client.connection.acknowledge(opening + (closing + opening).join(ids) + closing)
        self._client.wrote()
        sent = hand_out(self._hub, template, flow.forms, payloads)
        if flow.posts:
            self._hub.peers.post_runs(flow.posts, payloads)
        self._count(count, sent, size - payload_at)
        return start + size * count

    def _run_stored(
        self, flow: StoredFlow, data: bytes, start: int, id_at: int, payload_at: int, size: int, end: int
    ) -> int:
        """Also while what came before still waits for the store: the publisher's order holds it back."""
        most = flow.messages_max(self._client, size - payload_at)
        last = min(end - size, start + size * (most - 1))
        ids, payloads = _alike(data, start, id_at, payload_at, size, last)
        if not ids:
            return start
        self._count(len(ids), 0, size - payload_at)
        flow.submit(self._client, ids, payloads)
        return start + size * len(ids)

    def _count(self, received: int, sent: int, payload_bytes: int) -> None:
        """One run: messages that came, copies that went out, each with that much payload."""
        counters = self._hub.counters
        counters.messages_received += received
        counters.messages_sent += sent
        counters.payload_bytes_received += received * payload_bytes
        counters.payload_bytes_sent += sent * payload_bytes

    # PUBACK ----------------------------------------------------------------------------------------------------------

    def _pubacks(self, data: bytes, start: int, end: int) -> int:
        """A run of PUBACKs in their short form, for messages of which nothing is kept in memory."""
        if end - start < PUBACK_BYTES or data[start + 1] != PUBACK_BYTES - 2:
            return start
        outlet = self._client.outlet
        if not outlet.is_light(data[start + 2] << 8 | data[start + 3]):
            return start
        stop = start + (end - start) // PUBACK_BYTES * PUBACK_BYTES
        numbers = two_byte_integers(data[start:stop])
        heads, ids = numbers[::2], numbers[1::2]
        if heads.count(PUBACK_HEAD) != len(heads):
            ids = ids[: next(index for index, head in enumerate(heads) if head != PUBACK_HEAD)]
        shares = bool(self._hub.group_backlog) and self._client.session.has_shared
        taken = len(ids) if not shares and outlet.finish_light(ids) else self._pubacks_one_by_one(outlet, ids)
        self._hub.counters.other_packets_received += taken
        return start + taken * PUBACK_BYTES

    def _pubacks_one_by_one(self, outlet: Outlet, ids: Iterable[int]) -> int:
        """Each may make room for something that waits. How many were for messages of which nothing is kept."""
        taken = 0
        for packet_id in ids:
            if not outlet.finish_light((packet_id,)):
                break
            taken += 1
            groups.wake_all(self._hub, self._client.session)
        return taken

    # Flows -----------------------------------------------------------------------------------------------------------

    def _holds(self, flow: _Flow) -> bool:
        """True if nothing moved that the flow was decided by."""
        hub = self._hub
        return (
            flow.rights is self._client.session.rights
            and flow.version == hub.tree.version_at(flow.bucket)
            and (not flow.asks_policy or flow.policy is hub.policy)
            and (flow.alias_changes is None or flow.alias_changes == self._client.connection.alias_changes)
            and flow.peers == hub.peers.changes
        )

    def _learn(self, flows: dict[bytes, _Flow], key: bytes, frame: bytes, *, was_known: bool) -> _Flow | None:
        """Ask the slow road's parts once, the second time a key is seen; None: not yet, or not a flow at all."""
        if not was_known and (self._seen is None or key not in self._seen):
            if self._seen is None or len(self._seen) >= SEEN_MAX:
                self._seen = set()
            self._seen.add(key)
            return None
        packet = self._read(frame)
        if packet is None:
            return None
        if len(flows) >= FLOWS_MAX:
            flows.clear()
        flow = flows[key] = self._decide(packet, frame)
        return flow

    def _read(self, frame: bytes) -> Publish | None:
        """The packet, if it is one whose topic stands or is known by its alias."""
        try:
            decoded = decode(frame, 0, self._version, self._packet_bytes_max)
        except Violation:
            return None
        if decoded is None or not isinstance(decoded[0], Publish):
            return None
        packet = decoded[0]
        if packet.properties.subscription_identifiers:
            return None  # [MQTT-3.3.4-6]: the machine says so
        alias = packet.properties.topic_alias
        if alias is None:
            return packet if packet.topic else None
        topic = self._client.connection.aliased_topic(alias)
        if packet.topic or topic is None:
            return None  # an alias that is set, or was never: the machine's business
        return replace(packet, topic=topic)

    def _decide(self, packet: Publish, frame: bytes) -> _Flow:
        hub, session = self._hub, self._client.session
        aliased = packet.properties.topic_alias is not None
        flow = _Flow(hub, session.rights, packet.topic, self._client.connection.alias_changes if aliased else None)
        if not self._may_be_cached(packet):
            return flow
        message = from_publish(packet, session.facts, 0.0, 0)
        plan = hub.plan(message)
        if plan is None:
            return flow
        flow.asks_policy = any(subscription.has_exceptions for _, subscription in hub.tree.match(packet.topic))
        template = replace(message, payload=b"")
        runs = hub.peers.runs(template, plan.receivers)
        if plan.groups or runs is None or any(receiver.client_id not in hub.sessions for receiver in plan.receivers):
            return flow
        kept = [receiver for receiver in plan.receivers if self._is_kept(receiver)]
        if kept or runs.forwards:
            flow.stored = StoredFlow(hub, packet, frame, template, plan, kept, runs)
        else:
            flow.forms = forms_of(hub, packet, frame, connected_here(hub, plan.receivers))
            flow.posts = runs.posts
        if len(flow.forms) == 1 and flow.forms[0].verbatim and not flow.posts:
            flow.as_it_came = flow.forms[0]
        flow.message = template
        if not plan.receivers and self._version is ProtocolVersion.V5:
            flow.puback = (b"\x40\x03", bytes((ReasonCode.NO_MATCHING_SUBSCRIBERS,)))
        return flow

    def _may_be_cached(self, packet: Publish) -> bool:
        """False if each message of its kind needs a look: at lifetime, payload, topic or right, or a full receiver."""
        limits = self._hub.settings.mqtt
        if packet.properties.message_expiry_interval is not None or (packet.qos and limits.queue.overflow == "Reject"):
            return False
        if limits.validate_payload_format and packet.properties.payload_format_indicator:
            return False
        if packet.qos > limits.maximum_qos:  # [MQTT-3.2.2-11]: the slow road ends the connection
            return False
        try:
            validate_topic_name(packet.topic, limits.topic_levels_max)
        except TopicError:
            return False
        return self._client.session.rights.may_publish(packet.topic, packet.qos, retain=False).allowed

    def _is_kept(self, receiver: Receiver) -> bool:
        """True if the store holds its copy."""
        session = self._hub.sessions.get(receiver.client_id)
        return session is not None and receiver.qos > 0 and session.is_persistent


def _alike(
    data: bytes, start: int, id_at: int, payload_at: int, size: int, last: int
) -> tuple[list[bytes], list[bytes]]:
    """Packet ids and payloads of this QoS 1 packet and those behind it, up to `last`, that differ in nothing else."""
    head = data[start : start + id_at]
    between = data[start + id_at + 2 : start + payload_at]
    ids: list[bytes] = []
    payloads: list[bytes] = []
    position = start
    starts_with = data.startswith
    while position <= last and starts_with(head, position) and starts_with(between, position + id_at + 2):
        packet_id = data[position + id_at : position + id_at + 2]
        if packet_id == b"\0\0":  # [MQTT-2.2.1-3]: the slow road says so
            break
        ids.append(packet_id)
        payloads.append(data[position + payload_at : position + size])
        position += size
    return ids, payloads


def _body_of(data: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Where the variable header begins and how long the packet is; None: incomplete, or its length is overlong."""
    position = start + 1
    length = shift = 0
    while position < end and shift <= 21:
        byte = data[position]
        position += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            if (byte == 0 and shift) or length < 2 or position + length > end:  # [MQTT-1.5.5-1]
                return None
            return position, position + length - start
        shift += 7
    return None
