"""Random clients against the real node, step by step compared with the model.

Knows how a client behaves, well or badly, and which answers it may expect; what it is owed is the model's business
(model.py), how bytes reach the node is the harness's (support/inprocess.py). Moments: clients act at multiples of ten
seconds and every interval ends five seconds after one, so that nothing is ever due at the moment of an action.
"""

from collections import deque
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fuzz.model import NEVER, Copy, Message, Model, Sub, Will, passed_on
from mqtt_api.node_settings import MQTTSettings
from mqtt_broker.wire import packets as wire
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import NO_PROPERTIES, Packet, Properties, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode
from support.inprocess import InProcessClient, InProcessNode
from support.policies import allow, policy

EXPIRY_S_MAX = 35
CLIENT_IDS = ("ann", "bob", "cid", "dan")
TOPICS = ("a", "a/b", "a/c", "$x/b", "/b")
FILTERS = ("a", "a/b", "+/b", "a/+", "a/#", "#", "$x/#", "/+")
GROUPS = ("g1", "g2")
SETTINGS = MQTTSettings(session_expiry_s_max=EXPIRY_S_MAX, keep_alive_s_max=0, topic_alias_maximum=3)
V5 = ProtocolVersion.V5
ANSWERS: dict[str, type[wire.PubAck | wire.PubRec | wire.PubComp]] = {
    "ack": wire.PubAck,
    "rec": wire.PubRec,
    "comp": wire.PubComp,
}

versions = st.sampled_from([V5, V5, ProtocolVersion.V3_1_1, ProtocolVersion.V3_1])
client_ids = st.sampled_from(CLIENT_IDS)
qualities = st.integers(0, 2)
packet_ids = st.integers(1, 3)
lifetimes = st.sampled_from([None, None, 5, 15])
intervals = st.sampled_from([0, 5, 15, 35, 0xFFFFFFFF])
wills: st.SearchStrategy[dict[str, Any] | None] = st.none() | st.builds(
    dict,
    topic=st.sampled_from(TOPICS),
    qos=qualities,
    retain=st.booleans(),
    delay_s=st.sampled_from([0, 0, 5, 15]),
    expiry_s=lifetimes,
)
requests: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    filter=st.sampled_from(FILTERS),
    group=st.sampled_from([None, None, None, *GROUPS]),
    qos=qualities,
    no_local=st.booleans(),
    retain_as_published=st.booleans(),
    retain_handling=qualities,
)
publishes: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    topic=st.sampled_from(TOPICS),
    qos=qualities,
    retain=st.booleans(),
    is_empty=st.sampled_from([False, False, False, True]),
    lifetime_s=lifetimes,
    alias=st.sampled_from([None, None, 1, 2, 3]),
    packet_id=packet_ids,
    user=st.booleans(),
)


class Peer:
    """One client on its connection: what it remembers as a client must, and which answers it waits for."""

    def __init__(
        self, node: InProcessNode, client_id: str, version: ProtocolVersion, alias_maximum: int, piece_bytes: int
    ) -> None:
        self.node = node
        self.client_id = client_id
        self.version = version
        self.wire: InProcessClient = node.open()
        self.alias_maximum = alias_maximum
        self.piece_bytes = piece_bytes
        self.aliases_in: dict[int, str] = {}
        self.aliases_out: dict[int, str] = {}
        self.due: deque[Packet] = deque()  # answers that must come, those of one type in this order

    def send(self, *packets: Packet) -> None:
        data = b"".join(encode(packet, self.version) for packet in packets)
        for start in range(0, len(data), self.piece_bytes):
            self.node.feed(self.wire, data[start : start + self.piece_bytes])

    def expect(self, packet: Packet) -> None:
        self.due.append(packet)

    def answered(self, packet: Packet) -> None:
        """This packet came: it must be the next of its type."""
        first = next((due for due in self.due if type(due) is type(packet)), None)
        assert first is not None, f"{self.client_id} was sent {packet}, which nothing asked for"
        assert _bare(first, self.version) == _bare(packet, self.version), f"{self.client_id}: {packet}, not {first}"
        self.due.remove(first)

    def resolve(self, packet: wire.Publish) -> wire.Publish:
        """With its topic in place of the alias, as the client would read it."""
        alias = packet.properties.topic_alias
        if alias is None:
            assert packet.topic, f"[MQTT-4.7.3-1] {packet}"
            return packet
        assert 0 < alias <= self.alias_maximum, f"[MQTT-3.1.2-26] {packet}"
        if packet.topic:
            self.aliases_in[alias] = packet.topic
        assert alias in self.aliases_in, f"[MQTT-3.3.2-7] {packet}"
        return wire.Publish(
            self.aliases_in[alias],
            packet.payload,
            packet.qos,
            packet.retain,
            packet.dup,
            packet.packet_id,
            packet.properties,
        )


def _bare(packet: Any, version: ProtocolVersion) -> tuple[Any, ...]:
    """What of an answer is compared: MQTT 3 has neither reasons nor properties in acknowledgements."""
    fields = {name: getattr(packet, name) for name in packet.__struct_fields__ if name != "properties"}
    if version is not V5 and not isinstance(packet, wire.SubAck):
        fields.pop("reason", None)
        fields.pop("reasons", None)
    return tuple(fields.items())


class BrokerMachine(RuleBasedStateMachine):
    """Each rule is one thing that a client does, or time; after each the node settles and everything is compared."""

    def __init__(self) -> None:
        super().__init__()
        self.node = InProcessNode(SETTINGS, policy(anonymous=[allow("#", "$x/#")]))
        self.model = Model(self.node.now(), EXPIRY_S_MAX)
        self.peers: dict[str, Peer] = {}
        self.payloads = 0
        self.piece_bytes = 1000

    def teardown(self) -> None:
        self.node.close()

    # Connections -----------------------------------------------------------------------------------------------------

    @initialize(
        kept=st.booleans(),
        piece_bytes=st.sampled_from([1, 3, 1000]),
        subscribed=st.lists(st.tuples(client_ids, requests), max_size=6),
    )
    def begin(self, kept: bool, piece_bytes: int, subscribed: list[tuple[str, dict[str, Any]]]) -> None:
        self.piece_bytes = piece_bytes
        for client_id in CLIENT_IDS:
            self._connect(client_id, V5, clean=False, expiry_s=35 if kept else 0, receive_maximum=20, aliases=2)
        for client_id, request in subscribed:
            self._subscribe(client_id, [request], 0)

    @rule(
        client_id=client_ids,
        version=versions,
        clean=st.booleans(),
        expiry_s=intervals,
        receive_maximum=st.sampled_from([1, 2, 20]),
        aliases=st.sampled_from([0, 2]),
        will=wills,
    )
    def connect(self, client_id: str, version: ProtocolVersion, **more: Any) -> None:
        """A new connection; one that the client id has already is taken over."""
        self._connect(client_id, version, **more)

    @rule(client_id=client_ids, expiry_s=intervals)
    def come_back(self, client_id: str, expiry_s: int) -> None:
        if client_id not in self.peers:
            self._connect(client_id, V5, clean=False, expiry_s=expiry_s, receive_maximum=3, aliases=2)

    def _connect(
        self,
        client_id: str,
        version: ProtocolVersion,
        *,
        clean: bool,
        expiry_s: int,
        receive_maximum: int,
        aliases: int,
        will: dict[str, Any] | None = None,
    ) -> None:
        is_v5 = version is V5
        old = self.peers.pop(client_id, None)
        peer = self.peers[client_id] = Peer(self.node, client_id, version, aliases if is_v5 else 0, self.piece_bytes)
        properties = NO_PROPERTIES
        if is_v5:
            properties = Properties(
                session_expiry_interval=expiry_s or None,
                receive_maximum=receive_maximum,
                topic_alias_maximum=aliases or None,
            )
        model_will, wire_will = self._will(client_id, will, is_v5=is_v5)
        peer.send(wire.Connect(version, client_id, clean, 0, wire_will, properties=properties))
        present = self.model.connect(
            client_id, version, clean, expiry_s, receive_maximum if is_v5 else 65_535, model_will
        )
        peer.expect(
            wire.ConnAck(session_present=present and version is not ProtocolVersion.V3_1, reason=ReasonCode.SUCCESS)
        )
        self._compare()
        if old is not None:
            self._was_ended(old, ReasonCode.SESSION_TAKEN_OVER)

    def _will(
        self, client_id: str, will: dict[str, Any] | None, *, is_v5: bool
    ) -> tuple[Will | None, wire.Will | None]:
        if will is None:
            return None, None
        message = Message(will["topic"], self._payload(), will["qos"], will["retain"], client_id)
        if not is_v5:
            sent = wire.Will(message.topic, message.payload, message.qos, message.retain)
            return Will(message, 0), sent
        properties = Properties(will_delay_interval=will["delay_s"] or None, message_expiry_interval=will["expiry_s"])
        sent = wire.Will(message.topic, message.payload, message.qos, message.retain, properties)
        return Will(message, will["delay_s"], will["expiry_s"]), sent

    @rule(client_id=client_ids, expiry_s=st.none() | intervals, with_will=st.booleans())
    def disconnect(self, client_id: str, expiry_s: int | None, with_will: bool) -> None:
        peer = self.peers.pop(client_id, None)
        if peer is None:
            return
        if peer.version is not V5:
            peer.send(wire.Disconnect())
            self.model.leave(client_id, with_will=False)
        elif expiry_s and not self.model.sessions[client_id].expiry_s:  # it was 0 in CONNECT: MQTT 5.0, 3.14.2.2.2
            peer.send(wire.Disconnect(properties=Properties(session_expiry_interval=expiry_s)))
            self.model.leave(client_id, with_will=True)
            self._compare()
            self._was_ended(peer, ReasonCode.PROTOCOL_ERROR)
        else:
            reason = ReasonCode.DISCONNECT_WITH_WILL_MESSAGE if with_will else ReasonCode.NORMAL_DISCONNECTION
            peer.send(wire.Disconnect(reason, Properties(session_expiry_interval=expiry_s)))
            self.model.leave(client_id, with_will=with_will, expiry_s=expiry_s)
        self._compare()
        assert peer.wire.is_closed

    @rule(client_id=client_ids)
    def lose(self, client_id: str) -> None:
        """The network breaks."""
        peer = self.peers.pop(client_id, None)
        if peer is not None:
            self.node.lose(peer.wire)
            self.model.leave(client_id, with_will=True)
            self._compare()

    @rule(client_id=client_ids)
    def break_the_protocol(self, client_id: str) -> None:
        peer = self.peers.pop(client_id, None)
        if peer is not None:
            peer.send(wire.Connect(peer.version, client_id, clean_start=True, keep_alive=0))  # [MQTT-3.1.0-2]
            self.model.leave(client_id, with_will=True)
            self._compare()
            self._was_ended(peer, ReasonCode.PROTOCOL_ERROR)

    def _was_ended(self, peer: Peer, reason: ReasonCode) -> None:
        assert peer.wire.is_closed, f"{peer.client_id} is still connected"
        goodbyes = [packet for packet in self.node.output(peer.wire) if isinstance(packet, wire.Disconnect)]
        assert [packet.reason for packet in goodbyes] == ([reason] if peer.version is V5 else [])

    # Subscriptions ---------------------------------------------------------------------------------------------------

    @rule(
        client_id=client_ids,
        wanted=st.lists(requests, min_size=1, max_size=3, unique_by=lambda r: (r["filter"], r["group"])),
        identifier=st.sampled_from([0, 1, 2]),
    )
    def subscribe(self, client_id: str, wanted: list[dict[str, Any]], identifier: int) -> None:
        self._subscribe(client_id, wanted, identifier)

    def _subscribe(self, client_id: str, wanted: list[dict[str, Any]], identifier: int) -> None:
        peer = self.peers.get(client_id)
        if peer is None:
            return
        if peer.version is V5:
            subs = [
                Sub(**{**w, "no_local": w["no_local"] and w["group"] is None}, identifier=identifier) for w in wanted
            ]
        else:
            subs = [Sub(w["filter"], w["group"], w["qos"]) for w in wanted]
        requested = tuple(
            wire.SubscriptionRequest(_spelled(sub), sub.qos, sub.no_local, sub.retain_as_published, sub.retain_handling)
            for sub in subs
        )
        properties = (
            Properties(subscription_identifiers=(identifier,)) if identifier and peer.version is V5 else NO_PROPERTIES
        )
        peer.send(wire.Subscribe(9, requested, properties))
        peer.expect(wire.SubAck(9, tuple(ReasonCode(sub.qos) for sub in subs)))
        self.model.subscribe(client_id, subs)
        self._compare()

    @rule(client_id=client_ids, name=st.sampled_from(FILTERS), group=st.sampled_from([None, None, *GROUPS]))
    def unsubscribe(self, client_id: str, name: str, group: str | None) -> None:
        peer = self.peers.get(client_id)
        if peer is None:
            return
        peer.send(wire.Unsubscribe(9, (_spelled(Sub(name, group, 0)),)))
        (existed,) = self.model.unsubscribe(client_id, [(name, group)])
        peer.expect(wire.UnsubAck(9, (ReasonCode.SUCCESS if existed else ReasonCode.NO_SUBSCRIPTION_EXISTED,)))
        self._compare()

    # Publishing ------------------------------------------------------------------------------------------------------

    @rule(client_id=client_ids, what=publishes)
    def publish(self, client_id: str, what: dict[str, Any]) -> None:
        if client_id in self.peers:
            self._publish(self.peers[client_id], what)
            self._compare()

    @rule(client_id=client_ids, many=st.lists(publishes, min_size=2, max_size=6), lag=st.integers(0, 3))
    def publish_many(self, client_id: str, many: list[dict[str, Any]], lag: int) -> None:
        """A burst without waiting, while the store takes its time."""
        if client_id not in self.peers:
            return
        self.node.loop.executor_lag_turns = lag
        for what in many:
            self._publish(self.peers[client_id], what)
            self.node.turns(lag)
        self._compare()
        self.node.loop.executor_lag_turns = 0

    @rule(client_id=client_ids, what=publishes, lost=client_ids, lag=st.integers(0, 2))
    def publish_while_a_receiver_is_lost(self, client_id: str, what: dict[str, Any], lost: str, lag: int) -> None:
        if client_id not in self.peers or lost not in self.peers or lost == client_id:
            return
        self.node.loop.executor_lag_turns = lag
        self._publish(self.peers[client_id], {**what, "qos": max(1, what["qos"])})
        self.node.lose(self.peers.pop(lost).wire)
        self.model.leave(lost, with_will=True, unseen=True)
        self._compare()
        self.node.loop.executor_lag_turns = 0

    @rule(client_id=client_ids, many=st.lists(publishes, min_size=1, max_size=4), lag=st.integers(0, 3))
    def publish_while_receivers_acknowledge(self, client_id: str, many: list[dict[str, Any]], lag: int) -> None:
        """Whatever was open before is acknowledged step by step between the publishes of one client."""
        if client_id not in self.peers:
            return
        self.node.loop.executor_lag_turns = lag
        opened = [
            (peer, copy)
            for peer in self.peers.values()
            for copy in self.model.sessions[peer.client_id].copies
            if copy.is_open
        ]
        for number, what in enumerate(many):
            self._publish(self.peers[client_id], what)
            self.node.turns(lag)
            for peer, copy in opened[number :: len(many)]:
                self._step(peer, copy, fails=False)
        self._compare()
        self.node.loop.executor_lag_turns = 0

    @rule(client_id=client_ids, what=publishes, lost=client_ids, expiry_s=intervals, lag=st.integers(0, 2))
    def publish_while_a_receiver_comes_back(
        self, client_id: str, what: dict[str, Any], lost: str, expiry_s: int, lag: int
    ) -> None:
        """The receiver's connection breaks and it is here again before anything is answered."""
        if client_id not in self.peers or lost not in self.peers or lost == client_id:
            return
        self.node.loop.executor_lag_turns = lag
        self._publish(self.peers[client_id], {**what, "qos": max(1, what["qos"])})
        self.node.turns(lag)
        self.node.lose(self.peers.pop(lost).wire)
        self.model.leave(lost, with_will=True, unseen=True)
        self._connect(lost, V5, clean=False, expiry_s=expiry_s, receive_maximum=3, aliases=0)
        self.node.loop.executor_lag_turns = 0

    @rule(client_id=client_ids, what=publishes, count=st.integers(2, 8), as_one_read=st.booleans())
    def publish_run(self, client_id: str, what: dict[str, Any], count: int, as_one_read: bool) -> None:
        """A stream to one topic, as a sensor or a bridge sends it: many packets in one read."""
        peer = self.peers.get(client_id)
        if peer is None:
            return
        plain = {**what, "qos": min(what["qos"], 1), "retain": False, "lifetime_s": None}
        if as_one_read:
            plain["alias"] = None
        run = [self._publication(peer, {**plain, "packet_id": number}) for number in range(1, count + 1)]
        if as_one_read:
            self.node.feed(peer.wire, b"".join(encode(packet, peer.version) for packet in run))
        else:
            peer.send(*run)
        self._compare()

    def _publish(self, peer: Peer, what: dict[str, Any]) -> None:
        peer.send(self._publication(peer, what))

    def _publication(self, peer: Peer, what: dict[str, Any]) -> wire.Publish:
        """The packet; the model knows of it and the answer is expected from here on."""
        session = self.model.sessions[peer.client_id]
        topic, qos, packet_id = what["topic"], what["qos"], what["packet_id"]
        is_v5 = peer.version is V5
        payload = b"" if what["is_empty"] and what["retain"] else self._payload()
        user = (("n", "v"),) if what["user"] and is_v5 else ()
        alias, on_wire = (what["alias"], topic) if is_v5 else (None, topic)
        if alias is not None:
            if peer.aliases_out.get(alias) == topic:
                on_wire = ""
            peer.aliases_out[alias] = topic
        properties = NO_PROPERTIES
        if is_v5:
            properties = Properties(message_expiry_interval=what["lifetime_s"], topic_alias=alias, user_properties=user)
        packet = wire.Publish(
            on_wire, payload, qos, what["retain"], packet_id=packet_id if qos else 0, properties=properties
        )
        if qos == 2 and packet_id in session.inbound:  # a duplicate, whatever it says [MQTT-4.3.3-10]
            peer.expect(wire.PubRec(packet_id))
            return packet
        lifetime_s = what["lifetime_s"] if is_v5 else None
        expires_at = NEVER if lifetime_s is None else self.model.now + lifetime_s
        matched = self.model.publish(
            Message(topic, payload, qos, what["retain"], peer.client_id, expires_at, passed_on(properties))
        )
        reason = ReasonCode.SUCCESS if matched else ReasonCode.NO_MATCHING_SUBSCRIBERS
        if qos == 1:
            peer.expect(wire.PubAck(packet_id, reason))
        elif qos == 2:
            session.inbound.add(packet_id)
            peer.expect(wire.PubRec(packet_id, reason))
        return packet

    @rule(client_id=client_ids, packet_id=packet_ids)
    def release(self, client_id: str, packet_id: int) -> None:
        peer = self.peers.get(client_id)
        if peer is None:
            return
        inbound = self.model.sessions[client_id].inbound
        reason = ReasonCode.SUCCESS if packet_id in inbound else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
        inbound.discard(packet_id)
        peer.send(wire.PubRel(packet_id))
        peer.expect(wire.PubComp(packet_id, reason))
        self._compare()

    # Acknowledging ---------------------------------------------------------------------------------------------------

    @rule(client_id=client_ids, number=st.integers(0, 5), fails=st.sampled_from([False, False, True]))
    def acknowledge(self, client_id: str, number: int, fails: bool) -> None:
        """One step for one open exchange, in any order; never, if this rule is not drawn."""
        peer = self.peers.get(client_id)
        if peer is not None:
            opened = [copy for copy in self.model.sessions[client_id].copies if copy.is_open]
            if opened:
                self._step(peer, opened[number % len(opened)], fails=fails)
                self._compare()

    @rule(client_id=client_ids)
    def acknowledge_all(self, client_id: str) -> None:
        peer = self.peers.get(client_id)
        while peer is not None:
            opened = [copy for copy in self.model.sessions[client_id].copies if copy.is_open]
            if not opened:
                return
            for copy in opened:
                self._step(peer, copy, fails=False)
            self._compare()

    def _step(self, peer: Peer, copy: Copy, *, fails: bool) -> None:
        if copy.qos == 1:
            peer.send(wire.PubAck(copy.packet_id))
            self.model.finished(peer.client_id, copy)
        elif copy.state == "received":
            peer.send(wire.PubComp(copy.packet_id))
            self.model.finished(peer.client_id, copy)
        elif fails and peer.version is V5:
            peer.send(wire.PubRec(copy.packet_id, ReasonCode.UNSPECIFIED_ERROR))
            self.model.finished(peer.client_id, copy)
        else:
            peer.send(wire.PubRec(copy.packet_id))
            copy.state = "received"
            peer.expect(wire.PubRel(copy.packet_id))

    @rule(client_id=client_ids, packet_id=st.sampled_from([1, 2, 60_000]), kind=st.sampled_from(sorted(ANSWERS)))
    def acknowledge_out_of_place(self, client_id: str, packet_id: int, kind: str) -> None:
        """For an id that is not open an answer touches nothing; one of the wrong kind ends the connection."""
        peer = self.peers.get(client_id)
        if peer is None:
            return
        copy = self.model.open_copy(client_id, packet_id)
        awaited = None if copy is None else _awaited(copy)
        if kind == awaited:
            return
        peer.send(ANSWERS[kind](packet_id))
        if kind == "rec" and awaited in (None, "comp"):
            unknown = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
            peer.expect(wire.PubRel(packet_id, unknown if awaited is None else ReasonCode.SUCCESS))
        elif awaited is not None:
            del self.peers[client_id]
            self.model.leave(client_id, with_will=True)
            self._compare()
            self._was_ended(peer, ReasonCode.PROTOCOL_ERROR)
        self._compare()

    # Time ------------------------------------------------------------------------------------------------------------

    @rule(tens=st.integers(1, 4))
    def wait(self, tens: int) -> None:
        self.model.advance(tens * 10)
        self.node.advance(tens * 10)
        self._compare()

    @precondition(lambda self: self.peers)
    @rule(client_id=client_ids)
    def ping(self, client_id: str) -> None:
        if client_id in self.peers:
            self.peers[client_id].send(wire.PingReq())
            self.peers[client_id].expect(wire.PingResp())
            self._compare()

    # Comparing -------------------------------------------------------------------------------------------------------

    def _payload(self) -> bytes:
        self.payloads += 1
        return b"%05d" % self.payloads

    def _compare(self) -> None:
        self.node.settle()
        for peer in self.peers.values():
            for packet in self.node.output(peer.wire):
                self._observe(peer, packet)
            assert not peer.wire.is_closed, f"{peer.client_id} was disconnected"
            assert not peer.due, f"{peer.client_id} waits for {peer.due}"
            self.model.settled(peer.client_id)
        self.model.settled_groups()

    def _observe(self, peer: Peer, packet: Packet) -> None:
        match packet:
            case wire.Publish():
                self.model.observe(peer.client_id, peer.resolve(packet))
            case wire.PubRel() if not any(isinstance(due, wire.PubRel) for due in peer.due):
                known = self.model.observe_pubrel(peer.client_id, packet.packet_id)
                assert known, f"{peer.client_id} was sent {packet}, which releases nothing"
            case _:
                peer.answered(packet)

    @invariant()
    def time_agrees(self) -> None:
        assert self.node.now() == self.model.now


def _awaited(copy: Copy) -> str:
    """The answer that is due for an open copy."""
    if copy.qos == 1:
        return "ack"
    return "comp" if copy.state == "received" else "rec"


def _spelled(sub: Sub) -> str:
    return sub.filter if sub.group is None else f"$share/{sub.group}/{sub.filter}"
