"""Runs that cross to another node do what messages do that cross one by one: the same clients, on both roads.

`support/two_roads.py` names the differences that are by design; messages of QoS 0 have an order of their own.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mqtt_api.node_settings import MQTTSettings, QueueSettings
from mqtt_api.policy import Activity, Policy
from mqtt_broker.node import storedlane
from mqtt_broker.node.peers import runs as runs_module
from mqtt_broker.node.peers.runs import run_head
from mqtt_broker.session.message import Message
from mqtt_broker.store.cluster import Forwarded, ForwardedRun
from mqtt_broker.store.ports import StoreMismatch, Target
from mqtt_broker.wire import packets as wire
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import NO_PROPERTIES, Properties, ProtocolVersion
from support.far_side import Crossing
from support.policies import allow, deny, open_policy, policy
from support.two_roads import Road

V3, V5 = ProtocolVersion.V3_1_1, ProtocolVersion.V5
NEAR, FAR = ("pub", "here"), ("there", "yonder")
TOPICS = ("a/bbbb", "a/cccc")
FILTERS = ("a/bbbb", "a/+", "#")
PROPERTIES = (NO_PROPERTIES, Properties(user_properties=(("k", "v"),)), Properties(content_type="text"))
LIMITS = MQTTSettings(keep_alive_s_max=0, receive_maximum=100)
POLICIES = (
    open_policy,
    lambda revision: policy(revision, anonymous=[deny("a/bbbb", activity=Activity.SUBSCRIBE), allow("#")]),
    lambda revision: policy(revision, anonymous=[deny("a/cccc", activity=Activity.PUBLISH), allow("#")]),
    lambda revision: policy(revision, anonymous=[allow("a/cccc"), allow("b")]),
)


class Clients:
    """The clients of one pair of nodes: what they send next depends on what they were sent."""

    def __init__(self, crossing: Crossing) -> None:
        self.crossing = crossing
        self.versions: dict[str, ProtocolVersion] = {}
        self.open_ids: dict[str, deque[int]] = {}
        self._packet_id = 0
        self._payload = 0
        self.revision = 1

    def road(self, client_id: str) -> Road:
        return self.crossing.near if client_id in NEAR else self.crossing.far

    def feed(self, client_id: str, data: bytes) -> None:
        road = self.road(client_id)
        with road.at_work():
            road.node.feed(road.wires[client_id], data)

    def connect(self, client_id: str, version: ProtocolVersion, receive_maximum: int, expiry_s: int) -> None:
        road = self.road(client_id)
        road.wires[client_id] = road.node.open()
        self.versions[client_id] = version
        self.open_ids[client_id] = deque()
        properties = Properties(receive_maximum=receive_maximum, session_expiry_interval=expiry_s)
        connect = wire.Connect(version, client_id, clean_start=True, keep_alive=0, properties=properties)
        self.feed(client_id, encode(connect, version))

    def subscribe(self, client_id: str, topic_filter: str, qos: int, identifier: int) -> None:
        version = self.versions[client_id]
        identifiers = (identifier,) if identifier and version is V5 else ()
        packet = wire.Subscribe(
            9, (wire.SubscriptionRequest(topic_filter, qos),), Properties(subscription_identifiers=identifiers)
        )
        self.feed(client_id, encode(packet, version))

    def unsubscribe(self, client_id: str, topic_filter: str) -> None:
        self.feed(client_id, encode(wire.Unsubscribe(9, (topic_filter,)), self.versions[client_id]))

    def publish(self, topic: str, qos: int, count: int, size: int, properties: int) -> None:
        version = self.versions["pub"]
        packets = []
        for _ in range(count):
            self._payload += 1
            self._packet_id = self._packet_id % 60_000 + 1
            packet = wire.Publish(
                topic,
                (b"%05d" % self._payload).ljust(size, b"."),
                qos,
                packet_id=self._packet_id if qos else 0,
                properties=PROPERTIES[properties] if version is V5 else NO_PROPERTIES,
            )
            packets.append(encode(packet, version))
        self.feed("pub", b"".join(packets))

    def acknowledge(self, client_id: str, count: int) -> None:
        ids = self.open_ids[client_id]
        taken = [ids.popleft() for _ in range(min(count, len(ids)))]
        self.feed(client_id, b"".join(encode(wire.PubAck(each), self.versions[client_id]) for each in taken))

    def stall(self, client_id: str) -> None:
        self.road(client_id).stall(client_id)

    def resume(self, client_id: str) -> None:
        road = self.road(client_id)
        if road.wires[client_id].transport.stalled:
            with road.at_work():
                road.resume(client_id)

    def policy(self, which: int, everywhere: bool) -> None:
        self.revision += 1
        new: Policy = POLICIES[which](self.revision)
        for road in (self.crossing.far, self.crossing.near) if everywhere else (self.crossing.far,):
            with road.at_work():
                road.apply(new)


acts: st.SearchStrategy[dict[str, Any]] = st.one_of(
    *[
        st.builds(
            dict,
            act=st.just("publish"),
            topic=st.sampled_from(TOPICS),
            qos=st.integers(0, 1),
            count=st.sampled_from([1, 2, 5, 30]),
            size=st.sampled_from([5, 5, 60]),
            properties=st.sampled_from([0, 0, 1, 2]),
        )
    ]
    * 6,
    st.builds(dict, act=st.just("acknowledge"), client_id=st.sampled_from(NEAR + FAR), count=st.sampled_from([1, 99])),
    st.builds(dict, act=st.sampled_from(["stall", "resume"]), client_id=st.sampled_from(("here", *FAR))),
    st.builds(dict, act=st.just("policy"), which=st.integers(0, len(POLICIES) - 1), everywhere=st.booleans()),
    st.builds(
        dict,
        act=st.just("subscribe"),
        client_id=st.sampled_from(("here", *FAR)),
        topic_filter=st.sampled_from(FILTERS),
        qos=st.integers(0, 1),
        identifier=st.integers(0, 1),
    ),
    st.builds(
        dict,
        act=st.just("unsubscribe"),
        client_id=st.sampled_from(("here", *FAR)),
        topic_filter=st.sampled_from(FILTERS),
    ),
    st.builds(
        dict,
        act=st.just("connect"),
        client_id=st.sampled_from(FAR),
        version=st.sampled_from([V3, V5]),
        receive_maximum=st.sampled_from([1, 3, 65_535]),
        expiry_s=st.just(0),
    ),
)
scenarios = st.fixed_dictionaries(
    {
        "mqtt": st.builds(
            MQTTSettings,
            keep_alive_s_max=st.just(0),
            receive_maximum=st.just(100),
            queue=st.builds(
                QueueSettings,
                messages_max=st.sampled_from([4, 1_000]),
                overflow=st.sampled_from(["DropOldest", "DropNewest", "Reject"]),
            ),
        ),
        "versions": st.tuples(*[st.sampled_from([V3, V5]) for _ in NEAR + FAR]),
        "windows": st.tuples(*[st.sampled_from([1, 3, 65_535]) for _ in NEAR + FAR]),
        "here_expiry_s": st.sampled_from([0, 100]),
        "acts": st.lists(st.tuples(acts, st.booleans()), min_size=3, max_size=14),
    }
)


def play(scenario: dict[str, Any], *, reads_runs: bool = True) -> int:
    """On both pairs of nodes. How many messages of a run crossed. Fails at the first step after which they differ."""
    mqtt = scenario["mqtt"]
    if any(act["act"] == "policy" for act, _ in scenario["acts"]):
        mqtt = replace(mqtt, queue=QueueSettings())  # what is dropped for its right must make no room for others
    pairs = [Crossing(mqtt, open_policy(), has_lane=has_lane, reads_runs=reads_runs) for has_lane in (True, False)]
    crossed = _deliveries_of(pairs[0])
    try:
        clients = [Clients(pair) for pair in pairs]
        for number, client_id in enumerate(NEAR + FAR):
            version, window = scenario["versions"][number], scenario["windows"][number]
            expiry_s = scenario["here_expiry_s"] if client_id == "here" else 0
            for each in clients:
                each.connect(client_id, version, window, expiry_s)
                each.crossing.settle()
                if client_id != "pub":
                    each.subscribe(client_id, "a/#", 1, 0)
                    each.crossing.settle()
            compare(clients)
        for act, settles in scenario["acts"]:
            arguments = {name: value for name, value in act.items() if name != "act"}
            for each in clients:
                getattr(each, act["act"])(**arguments)
                if settles:
                    each.crossing.settle()
            if settles:
                compare(clients)
        finish(clients)
    finally:
        for pair in pairs:
            pair.close()
    return sum(crossed)


def _deliveries_of(crossing: Crossing) -> list[int]:
    crossed: list[int] = []
    deliver = crossing._runs.deliver

    def counted(run: ForwardedRun) -> int:
        crossed.append(len(run.payloads))
        return deliver(run)

    crossing._runs.deliver = counted  # type: ignore[method-assign]
    return crossed


def compare(clients: list[Clients]) -> None:
    lane, slow = (each.crossing.seen() for each in clients)
    for client_id, by_lane in lane.items():
        assert by_lane == slow[client_id], f"to {client_id}, lane:\n{by_lane}\nslow road:\n{slow[client_id]}"
        for each in clients:
            each.open_ids[client_id].extend(packet.packet_id for packet in by_lane.publishes if packet.qos)


def compare_totals(clients: list[Clients]) -> None:
    """At the end: what may not be received is dropped when its run arrives, or when its message has its turn."""
    for road in ("near", "far"):
        by_lane, by_slow = (getattr(each.crossing, road).totals() for each in clients)
        assert by_lane == by_slow, road


def finish(clients: list[Clients]) -> None:
    """Everybody reads and answers until nothing comes any more."""
    for each in clients:
        for client_id in ("here", *FAR):
            each.resume(client_id)
    for _ in range(60):
        for each in clients:
            each.crossing.settle(1.0)
        compare(clients)
        if not any(clients[0].open_ids.values()):
            compare_totals(clients)
            return
        for each in clients:
            for client_id in NEAR + FAR:
                each.acknowledge(client_id, 99)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenario=scenarios)
def test_runs_cross_as_their_messages_would_one_by_one(scenario: dict[str, Any]) -> None:
    """[MQTT-4.6.0-5] [MQTT-4.6.0-6]"""
    play(scenario)


def stream(topic: str = "a/bbbb", qos: int = 1, count: int = 30) -> tuple[dict[str, Any], bool]:
    return {"act": "publish", "topic": topic, "qos": qos, "count": count, "size": 5, "properties": 0}, True


def plain(*acts: tuple[dict[str, Any], bool]) -> dict[str, Any]:
    return {
        "mqtt": LIMITS,
        "versions": (V5, V3, V5, V3),
        "windows": (65_535,) * 4,
        "here_expiry_s": 0,
        "acts": list(acts),
    }


@pytest.mark.parametrize("qos", [0, 1])
def test_a_stream_crosses_in_runs(qos: int) -> None:
    assert play(plain(*[stream(qos=qos) for _ in range(4)])) > 60


@pytest.mark.parametrize("qos", [0, 1])
def test_a_node_that_reads_no_runs_gets_messages_one_by_one(qos: int) -> None:
    """Versions meet: nobody is sent what it cannot read [D12]."""
    assert play(plain(*[stream(qos=qos) for _ in range(3)]), reads_runs=False) == 0


def test_a_stream_crosses_beside_copies_that_the_store_holds() -> None:
    scenario = {**plain(*[stream() for _ in range(4)]), "here_expiry_s": 100}
    assert play(scenario) > 60


def test_a_run_for_many_receivers_elsewhere_is_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a node hands over in one go is bounded, wherever it comes from."""
    monkeypatch.setattr(storedlane, "RUN_HANDED_MAX", 10)
    crossing = Crossing(LIMITS, open_policy(), has_lane=True)
    crossed = _deliveries_of(crossing)
    clients = Clients(crossing)
    clients.connect("pub", V5, 65_535, 0)
    for client_id in FAR:
        clients.connect(client_id, V5, 65_535, 0)
        clients.subscribe(client_id, "a/#", 1, 0)
        crossing.settle()
    for _ in range(3):
        clients.publish("a/bbbb", 1, 30, 5, 0)
        crossing.settle()
    crossing.close()
    assert max(crossed) == 5
    assert sum(crossed) > 60


# What a node makes of a run ------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[Crossing, Clients]]:
    crossing = Crossing(LIMITS, open_policy(), has_lane=True)
    clients = Clients(crossing)
    clients.connect("there", V5, 65_535, 0)
    crossing.settle()
    clients.subscribe("there", "t", 1, 0)
    crossing.settle()
    crossing.seen()
    yield crossing, clients
    crossing.close()


def arrive(crossing: Crossing, qos: int = 1, *, incarnation: int | None = None, count: int = 2) -> list[bytes]:
    """A run for "there"; the payloads of what it was sent."""
    session = crossing.far.node.hub.sessions.get("there")
    known = 1 if session is None else session.incarnation
    target = Target(client_id="there", incarnation=known if incarnation is None else incarnation, qos=qos)
    head = run_head(Message(topic="t", payload=b"", qos=qos), [target])
    crossing.peers.sent.append(ForwardedRun(head, [b"%d" % number for number in range(count)]))
    crossing.settle()
    return [packet.payload for packet in crossing.far.seen("there").publishes]


def test_a_run_is_for_one_incarnation_of_a_session_only(pair: tuple[Crossing, Clients]) -> None:
    crossing, _ = pair
    session = crossing.far.node.hub.sessions["there"]
    assert arrive(crossing, incarnation=session.incarnation + 1) == []
    assert arrive(crossing, incarnation=session.incarnation) == [b"0", b"1"]


@pytest.mark.parametrize("qos", [0, 1])
def test_a_right_that_is_gone_here_is_gone_for_runs_and_for_messages_of_nodes_that_do_not_know_it_yet(
    pair: tuple[Crossing, Clients], qos: int
) -> None:
    """[D9] And counted."""
    crossing, clients = pair
    assert arrive(crossing, qos) == [b"0", b"1"]
    with crossing.far.at_work():
        crossing.far.apply(policy(2, anonymous=[deny("t", activity=Activity.SUBSCRIBE), allow("#")]))
        crossing.far.node.settle()
    dropped = crossing.far.node.hub.counters.dropped
    assert arrive(crossing, qos) == []
    assert dropped["revoked"] == 2
    session = crossing.far.node.hub.sessions["there"]
    target = Target(client_id="there", incarnation=session.incarnation, qos=qos)
    forward = crossing.peers._forward([target])[0]
    crossing.peers.sent.append(Forwarded(Message(topic="t", payload=b"x", qos=qos), forward))
    crossing.settle()
    assert crossing.far.seen("there").publishes == []
    assert dropped["revoked"] == 3
    assert clients.revision == 1


def test_a_subscription_that_is_replaced_counts_from_the_next_run_on(pair: tuple[Crossing, Clients]) -> None:
    """What a head meant is asked again as soon as a subscription that matters has changed."""
    crossing, clients = pair
    assert arrive(crossing) == [b"0", b"1"]
    with crossing.far.at_work():
        crossing.far.apply(policy(2, anonymous=[deny("t", activity=Activity.SUBSCRIBE), allow("#")]))
    assert arrive(crossing) == []
    with crossing.far.at_work():
        crossing.far.apply(open_policy(3))
    assert arrive(crossing) == [b"0", b"1"]
    clients.unsubscribe("there", "t")
    crossing.settle()
    assert arrive(crossing) == [b"0", b"1"]  # planned while it stood: decided by the topic alone


def test_heads_are_remembered_within_bounds(pair: tuple[Crossing, Clients], monkeypatch: pytest.MonkeyPatch) -> None:
    crossing, _ = pair
    monkeypatch.setattr(runs_module, "HEADS_MAX", 2)
    for qos in (0, 1, 0, 1):
        for incarnation in (5, 6):
            arrive(crossing, qos, incarnation=incarnation)
        assert len(crossing._runs._flows) <= 2
    monkeypatch.setattr(runs_module, "HEADS_MAX", 100)
    monkeypatch.setattr(runs_module, "HEADS_BYTES_MAX", 1)
    arrive(crossing, 0)
    assert len(crossing._runs._flows) == 1
    assert arrive(crossing, 1) == [b"0", b"1"]


def test_a_head_that_is_not_understood_is_no_message(pair: tuple[Crossing, Clients]) -> None:
    crossing, _ = pair
    with pytest.raises(StoreMismatch, match="does not understand"):
        crossing._runs.deliver(ForwardedRun(b"\x93\x01\x02\x03", [b"x"]))
