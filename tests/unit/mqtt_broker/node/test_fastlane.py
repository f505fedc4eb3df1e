"""The fast lane does what the slow road does: random clients on two nodes, one without the lane.

`support/two_roads.py` names the three differences that are by design.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mqtt_api.node_settings import MQTTSettings, QueueSettings
from mqtt_api.policy import Activity, Facts, Policy
from mqtt_broker.node import fastlane
from mqtt_broker.node.client import RECEIVERS_S_MAX
from mqtt_broker.session.session import QueueBounds
from mqtt_broker.wire import packets as wire
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import NO_PROPERTIES, Packet, Properties, ProtocolVersion
from mqtt_broker.wire.primitives import encode_variable_byte_integer
from mqtt_broker.wire.reasons import ReasonCode
from support.policies import allow, deny, open_policy, policy
from support.two_roads import Road, Seen, TwoRoads

V3, V5 = ProtocolVersion.V3_1_1, ProtocolVersion.V5
PACKET_BYTES_MAX = 600
ALIASES = 3

CLIENTS = ("ann", "bob", "cid")
TOPICS = ("a/bbbb", "a/cccc", "b")  # longer than an alias, two of them
FILTERS = ("a/bbbb", "a/cccc", "b", "a/+", "+/bbbb", "#", "a/#")
POLICIES: tuple[Callable[[int], Policy], ...] = (
    open_policy,
    lambda revision: policy(revision, anonymous=[deny("a/bbbb", activity=Activity.PUBLISH), allow("#")]),
    lambda revision: policy(revision, anonymous=[deny("a/bbbb", activity=Activity.SUBSCRIBE), allow("#")]),
    lambda revision: policy(revision, anonymous=[deny("+/cccc", activity=Activity.SUBSCRIBE), allow("a/#")]),
    lambda revision: policy(revision, anonymous=[allow("#", qos=(0, 2))]),
    lambda revision: policy(
        revision, anonymous=[deny("a/cccc", qos=(1,)), allow("#", activity=Activity.SUBSCRIBE), allow("a/+")]
    ),
)
PROPERTIES = (
    NO_PROPERTIES,
    Properties(user_properties=(("k", "v"), ("k", "w"))),
    Properties(content_type="text", response_topic="r", correlation_data=b"c"),
    Properties(payload_format_indicator=1),
    Properties(message_expiry_interval=5),
)
TOPIC = b"\0\6a/bbbb"


def _frame(first_byte: int, body: bytes) -> bytes:
    return bytes((first_byte,)) + encode_variable_byte_integer(len(body)) + body


def _malformed(version: ProtocolVersion) -> list[bytes]:
    """What ends a connection, as long as the packets of a run where that can be."""
    none = b"" if version is V3 else b"\0"
    rest = none + b"00000000"
    frames = [
        _frame(0x32, TOPIC + b"\0\0" + rest),  # packet id 0
        bytes((0x30, len(TOPIC + rest) | 0x80, 0)) + TOPIC + rest,  # a remaining length longer than it needs to be
        _frame(0x30, b"\0\6a/bb\xffb" + rest),
        _frame(0x30, b"\0\6a/bb/+" + rest),
        _frame(0x30, b"\0\x66a/bbbb" + rest),  # a topic name that ends beyond its packet
        _frame(0x36, TOPIC + b"\0\1" + rest),  # QoS 3
        _frame(0x38, TOPIC + rest),  # DUP at QoS 0
        _frame(0x30, TOPIC + rest + bytes(PACKET_BYTES_MAX)),
        _frame(0x40, b"\0\0"),
        _frame(0x00, b""),
    ]
    if version is V5:
        frames += [
            _frame(0x30, b"\0\0\3\x23\0\x09" + rest),  # an alias above our maximum
            _frame(0x30, b"\0\0\3\x23\0\0" + rest),
            _frame(0x30, TOPIC + b"\2\x0b\1" + rest),  # a subscription identifier of a client
            _frame(0x30, TOPIC + b"\x80\0" + rest),  # a property length longer than it needs to be
            _frame(0x30, TOPIC + b"\x09" + rest),  # properties that end beyond the packet
            _frame(0x30, TOPIC),
        ]
    return frames


EXAMPLES = 300
CARRIED_PART_MIN = 0.1


def weighted(*choices: tuple[int, st.SearchStrategy[dict[str, Any]]]) -> st.SearchStrategy[dict[str, Any]]:
    """One of these, each as often as its weight says; `one_of` would take all alike."""
    tickets = [number for number, (weight, _) in enumerate(choices) for _ in range(weight)]
    return st.sampled_from(tickets).flatmap(lambda number: choices[number][1])


runs: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    kind=st.just("run"),
    topic=st.sampled_from(TOPICS),
    qos=st.sampled_from([0, 0, 0, 1, 1, 1, 2]),
    properties=st.sampled_from([0, 0, 0, 0, 1, 2, 3, 4]),
    alias=st.sampled_from([0, 0, 0, 1, 2]),
    count=st.integers(2, 9),
    sizes=st.sampled_from([(8,), (8,), (8,), (8, 9), (8, 140), (60,)]),
    retain=st.sampled_from([False] * 9 + [True]),
)
acknowledgements: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    kind=st.just("acknowledge"),
    count=st.sampled_from([1, 2, 5, 99]),
    form=st.sampled_from(["short", "short", "short", "reason", "properties"]),
    extra=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["again", "unknown"])), max_size=2),
)
subscriptions: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    kind=st.just("subscribe"),
    filter=st.sampled_from(FILTERS),
    group=st.sampled_from(["", "", "", "", "$share/g/"]),
    qos=st.integers(0, 2),
    no_local=st.sampled_from([False, False, True]),
    retain_as_published=st.booleans(),
    identifier=st.integers(0, 2),
)
odd_packets: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(dict, kind=st.just("unsubscribe"), filter=st.sampled_from(FILTERS)),
    st.builds(dict, kind=st.just("release"), packet_id=st.integers(1, 4)),
    st.just({"kind": "ping"}),
    st.builds(dict, kind=st.just("malformed"), which=st.integers(0, 15)),
)
streams: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    act=st.just("stream"),
    client=st.sampled_from(CLIENTS),
    parts=st.lists(
        weighted((16, runs), (5, acknowledgements), (2, subscriptions), (1, odd_packets)), min_size=1, max_size=8
    ),
    cuts=st.lists(st.floats(0, 1), max_size=3),
    one_by_one=st.booleans(),
    turns=st.sampled_from([0, 0, 0, 1, 2]),
    settles=st.sampled_from([True, True, False]),
)
connections: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    act=st.just("connect"),
    client=st.sampled_from(CLIENTS),
    version=st.sampled_from([V3, V5, V5]),
    clean=st.booleans(),
    expiry_s=st.sampled_from([0, 0, 100, 100]),
    receive_maximum=st.sampled_from([1, 3, 5, 65_535, 65_535]),
    packet_bytes=st.sampled_from([None, None, None, 120, 70]),
    aliases=st.sampled_from([0, 0, 0, 2]),
)
events = weighted(
    (2, connections),
    (3, st.builds(dict, act=st.just("policy"), which=st.integers(0, len(POLICIES) - 1))),
    (8, st.builds(dict, act=st.sampled_from(["stall", "stall", "resume"]), client=st.sampled_from(CLIENTS))),
    (1, st.builds(dict, act=st.sampled_from(["lose", "leave"]), client=st.sampled_from(CLIENTS))),
    (2, st.builds(dict, act=st.just("lag"), turns=st.integers(0, 3))),
    (2, st.builds(dict, act=st.just("wait"), seconds=st.sampled_from([0.3, 0.6, 6.0]))),
)
acts = weighted((3, streams), (1, events))
nodes = st.builds(
    MQTTSettings,
    packet_bytes_max=st.just(PACKET_BYTES_MAX),
    topic_alias_maximum=st.just(ALIASES),
    receive_maximum=st.sampled_from([2, 100, 100, 100]),
    maximum_qos=st.sampled_from([0, 1, 2, 2, 2, 2]),
    keep_alive_s_max=st.just(0),
    queue=st.builds(
        QueueSettings,
        messages_max=st.sampled_from([4, 10, 1_000]),
        bytes_max=st.sampled_from([200, 100_000]),
        overflow=st.sampled_from(["DropOldest", "DropOldest", "DropNewest", "Reject"]),
    ),
)


class Driver:
    """The clients: what they send next, by what both nodes sent them."""

    def __init__(self, roads: TwoRoads) -> None:
        self.roads = roads
        self.versions: dict[str, ProtocolVersion] = {}
        self.open_ids: dict[str, deque[tuple[int, int]]] = {}  # packet id and QoS of what waits for an answer
        self.answered: dict[str, int] = {}
        self.aliases: dict[str, dict[int, str]] = {}
        self.stalled: set[str] = set()
        self.revision = 1
        self._packet_id = 0
        self._payload = 0

    # What is done ----------------------------------------------------------------------------------------------------

    def act(self, what: dict[str, Any]) -> None:
        client_id = what.get("client", "")
        if client_id and client_id not in self.versions and what["act"] != "connect":
            return
        getattr(self, f"_{what['act']}")(client_id, what)

    def settle(self, seconds: float = 0.0) -> None:
        for client_id, seen in self.roads.settle(seconds).items():
            self._note(client_id, seen)

    def _note(self, client_id: str, seen: Seen) -> None:
        if client_id not in self.versions:
            return
        if seen.is_closed:
            self._forget(client_id)
            return
        self.open_ids[client_id].extend((p.packet_id, p.qos) for p in seen.publishes if p.qos)
        self.open_ids[client_id].extend((p.packet_id, 3) for p in seen.others if isinstance(p, wire.PubRel))

    def _forget(self, client_id: str) -> None:
        del self.versions[client_id]
        self.stalled.discard(client_id)

    def _connect(self, client_id: str, what: dict[str, Any]) -> None:
        self._resume(client_id, what)  # a connection that stalls for ever says nothing more to compare
        version = what["version"]
        properties = Properties(
            session_expiry_interval=what["expiry_s"],
            receive_maximum=what["receive_maximum"],
            maximum_packet_size=what["packet_bytes"],
            topic_alias_maximum=what["aliases"],
        )
        connect = wire.Connect(
            version, client_id, clean_start=what["clean"] or version is V3, keep_alive=0, properties=properties
        )
        self.settle()
        self.roads.open(client_id)
        self.versions[client_id] = version
        self.open_ids[client_id] = deque()
        self.answered[client_id] = 0
        self.aliases[client_id] = {}
        self.roads.feed(client_id, encode(connect, version))
        self.settle()

    def _policy(self, _: str, what: dict[str, Any]) -> None:
        self.revision += 1
        new = POLICIES[what["which"]](self.revision)
        self.roads.both(lambda road: road.apply(new))

    def _stall(self, client_id: str, _: dict[str, Any]) -> None:
        if client_id not in self.stalled:
            self.stalled.add(client_id)
            self.roads.both(lambda road: road.stall(client_id))

    def _resume(self, client_id: str, _: dict[str, Any]) -> None:
        if client_id in self.stalled:
            self.stalled.discard(client_id)
            self.roads.both(lambda road: road.resume(client_id))

    def _lose(self, client_id: str, _: dict[str, Any]) -> None:
        self.settle()
        if client_id in self.versions:
            self.roads.both(lambda road: road.node.lose(road.wires[client_id]))
            self._forget(client_id)

    def _leave(self, client_id: str, _: dict[str, Any]) -> None:
        self.roads.feed(client_id, encode(wire.Disconnect(), self.versions[client_id]))
        self.settle()

    def _lag(self, _: str, what: dict[str, Any]) -> None:
        self.roads.lag(what["turns"])

    def _wait(self, _: str, what: dict[str, Any]) -> None:
        self.settle(what["seconds"])

    def _stream(self, client_id: str, what: dict[str, Any]) -> None:
        packets = [packet for part in what["parts"] for packet in self._packets_of(client_id, part)]
        ends = list(itertools.accumulate(map(len, packets), initial=0))
        places = {int(cut * ends[-1]) for cut in what["cuts"]} | ({*ends} if what["one_by_one"] else {0, ends[-1]})
        data = b"".join(packets)
        reads = [data[start:end] for start, end in itertools.pairwise(sorted(places))]
        self.roads.feed(client_id, *reads, turns=what["turns"])
        if what["settles"]:
            self.settle()

    def finish(self) -> None:
        """Everybody reads and answers until nothing comes any more."""
        for client_id in list(self.stalled):
            self._resume(client_id, {})
        for _ in range(50):
            self.settle(1.0)
            if not any(self.open_ids[client_id] for client_id in self.versions):
                return
            for client_id in list(self.versions):
                answers = self._acknowledge(client_id, {"count": 99, "form": "short", "extra": []})
                self.roads.feed(client_id, answers)

    # What is sent ----------------------------------------------------------------------------------------------------

    def _packets_of(self, client_id: str, part: dict[str, Any]) -> list[bytes]:
        if part["kind"] == "run":
            return [encode(packet, self.versions[client_id]) for packet in self._run(client_id, part)]
        return [self._bytes_of(client_id, part)]

    def _bytes_of(self, client_id: str, part: dict[str, Any]) -> bytes:
        version = self.versions[client_id]
        match part["kind"]:
            case "acknowledge":
                return self._acknowledge(client_id, part)
            case "subscribe":
                return encode(self._subscribe(version, part), version)
            case "unsubscribe":
                return encode(wire.Unsubscribe(9, (part["filter"],)), version)
            case "release":
                return encode(wire.PubRel(part["packet_id"]), version)
            case "ping":
                return encode(wire.PingReq(), version)
            case _:
                malformed = _malformed(version)
                number: int = part["which"]
                return malformed[number % len(malformed)]

    def _run(self, client_id: str, part: dict[str, Any]) -> Iterator[Packet]:
        is_v5 = self.versions[client_id] is V5
        aliases = self.aliases[client_id]
        for number in range(part["count"]):
            self._payload += 1
            size = part["sizes"][number % len(part["sizes"])]
            topic, properties = part["topic"], PROPERTIES[part["properties"]] if is_v5 else NO_PROPERTIES
            alias = part["alias"]
            if is_v5 and alias:
                known = aliases.get(alias) == topic
                aliases[alias] = topic
                properties = _with_alias(properties, alias)
                topic = "" if known else topic
            packet_id = 0
            if part["qos"]:
                self._packet_id = self._packet_id % 7 + 1
                packet_id = self._packet_id
            payload = b"%07d" % self._payload
            yield wire.Publish(
                topic,
                payload.ljust(size, b"."),
                part["qos"],
                part["retain"],
                packet_id=packet_id,
                properties=properties,
            )

    def _acknowledge(self, client_id: str, part: dict[str, Any]) -> bytes:
        version, open_ids = self.versions[client_id], self.open_ids[client_id]
        answers: list[bytes] = []
        last = 1
        while open_ids and len(answers) < part["count"]:
            packet_id, qos = open_ids.popleft()
            if qos == 1:
                answers.append(_puback(packet_id, part["form"] if version is V5 else "short"))
                last = packet_id
            else:
                answers.append(encode(wire.PubRec(packet_id) if qos == 2 else wire.PubComp(packet_id), version))
        for place, kind in part["extra"]:
            answers.insert(place, _puback(last if kind == "again" else 60_000, "short"))
        return b"".join(answers)

    def _subscribe(self, version: ProtocolVersion, part: dict[str, Any]) -> Packet:
        is_v5 = version is V5
        request = wire.SubscriptionRequest(
            part["group"] + part["filter"],
            part["qos"],
            no_local=is_v5 and part["no_local"] and not part["group"],
            retain_as_published=is_v5 and part["retain_as_published"],
        )
        identifiers = (part["identifier"],) if is_v5 and part["identifier"] else ()
        return wire.Subscribe(9, (request,), Properties(subscription_identifiers=identifiers))


def _with_alias(properties: Properties, alias: int) -> Properties:
    fields = {name: getattr(properties, name) for name in properties.__struct_fields__}
    return Properties(**{**fields, "topic_alias": alias})


def _puback(packet_id: int, form: str) -> bytes:
    number = packet_id.to_bytes(2, "big")
    return {"short": b"\x40\x02" + number, "reason": b"\x40\x03" + number + b"\0"}.get(
        form, b"\x40\x04" + number + b"\0\0"
    )


def _stream(client_id: str, *parts: dict[str, Any]) -> dict[str, Any]:
    """These parts in one read."""
    return {
        "act": "stream",
        "client": client_id,
        "parts": parts,
        "cuts": (),
        "one_by_one": False,
        "turns": 0,
        "settles": True,
    }


scenarios = st.fixed_dictionaries(
    {
        "mqtt": nodes,
        "gathers_writes": st.booleans(),
        "opening": st.tuples(*(connections for _ in CLIENTS)),
        "routes": st.lists(st.tuples(st.sampled_from(CLIENTS), subscriptions), min_size=1, max_size=6),
        "acts": st.lists(acts, min_size=2, max_size=15),
    }
)


def compare(scenario: dict[str, Any]) -> TwoRoads:
    """Play it on both roads. Fails at the first step after which they differ."""
    roads = TwoRoads(scenario["mqtt"], open_policy(), gathers_writes=scenario["gathers_writes"])
    driver = Driver(roads)
    try:
        for client_id, act in zip(CLIENTS, scenario["opening"], strict=True):
            driver.act({**act, "client": client_id})
        for client_id, route in scenario["routes"]:
            driver.act(_stream(client_id, route))
        for act in scenario["acts"]:
            driver.act(act)
        driver.finish()
    finally:
        roads.close()
    return roads


@pytest.mark.timeout(600)
def test_random_clients_see_no_difference() -> None:
    """Same packets to every receiver in the same order, same answers, closes, counters and audit lines."""
    received = carried = 0

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(scenarios)
    def play(scenario: dict[str, Any]) -> None:
        nonlocal received, carried
        roads = compare(scenario)
        received += roads.lane.node.hub.counters.messages_received
        carried += roads.carried

    play()
    assert carried > received * CARRIED_PART_MIN, (
        f"the lane took {carried} of {received} messages: nothing was compared"
    )


# Examples ------------------------------------------------------------------------------------------------------------


class Pair:
    """One publisher and one receiver of `t/one`, in plain words."""

    def __init__(
        self,
        mqtt: MQTTSettings | None = None,
        by: Policy | None = None,
        *,
        one_by_one: bool = False,
        gathers_writes: bool = False,
        **receiver: Any,
    ) -> None:
        self.roads = TwoRoads(mqtt or MQTTSettings(), by or open_policy(), gathers_writes=gathers_writes)
        self._one_by_one = one_by_one
        self.connect("publisher")
        self.connect("receiver", **receiver)
        self._payload = 0

    def connect(
        self, client_id: str, version: ProtocolVersion = V5, *, clean: bool = True, **properties: Any
    ) -> list[Packet]:
        self.roads.open(client_id)
        return self.send(
            client_id,
            wire.Connect(version, client_id, clean_start=clean, keep_alive=0, properties=Properties(**properties)),
            version=version,
        )

    def subscribe(
        self, topic_filter: str = "t/one", qos: int = 1, *, identifier: int = 0, by: str = "receiver"
    ) -> None:
        identifiers = (identifier,) if identifier else ()
        request = wire.SubscriptionRequest(topic_filter, qos)
        self.send(by, wire.Subscribe(1, (request,), Properties(subscription_identifiers=identifiers)))

    def send(self, client_id: str, *packets: Packet, version: ProtocolVersion | None = None) -> list[Packet]:
        """In one read. Returns what the client is sent then, messages last."""
        version = version or self.roads.lane.wires[client_id].connection.connection.version or V5
        self.roads.feed(client_id, b"".join(encode(packet, version) for packet in packets))
        seen = self.roads.settle()[client_id]
        return [*seen.others, *seen.publishes]

    def publish(
        self, count: int = 10, *, qos: int = 0, topic: str = "t/one", size: int = 4, **properties: Any
    ) -> list[wire.Publish]:
        """A run of the publisher's, in one read, or each in its own. Returns what the receiver is sent."""
        run = []
        for number in range(1, count + 1):
            self._payload += 1
            payload = (b"%04d" % self._payload).ljust(size, b".")
            packet_id = number if qos else 0
            run.append(wire.Publish(topic, payload, qos, packet_id=packet_id, properties=Properties(**properties)))
        packets = [encode(packet, V5) for packet in run]
        self.roads.feed("publisher", *(packets if self._one_by_one else [b"".join(packets)]))
        return self.roads.settle()["receiver"].publishes

    def apply(self, new: Policy) -> None:
        self.roads.both(lambda road: road.apply(new))


SENDING: dict[str, dict[str, Any]] = {
    "runs": {},
    "one-by-one": {"one_by_one": True},
    "one-by-one-gathered": {"one_by_one": True, "gathers_writes": True},
}


@pytest.fixture(params=SENDING)
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., Pair]]:
    with ExitStack() as stack:

        def made(*args: Any, **more: Any) -> Pair:
            pair = Pair(*args, **{**SENDING[request.param], **more})
            stack.callback(pair.roads.close)
            return pair

        yield made


Make = Callable[..., Pair]


@pytest.mark.parametrize("granted", [0, 1])
@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("version", [V3, V5])
def test_a_plain_stream_takes_the_lane_after_its_first_message(
    make: Make, version: ProtocolVersion, qos: int, granted: int
) -> None:
    """Without this every comparison here would be of the slow road with itself."""
    pair = make(version=version)
    pair.subscribe(qos=granted)
    assert len(pair.publish(20, qos=qos)) == 20
    assert len(pair.publish(20, qos=qos)) == 20
    assert pair.roads.carried == 39


def test_topics_that_alternate_take_the_lane_too(make: Make) -> None:
    pair = make()
    pair.subscribe("#")
    for _ in range(10):
        pair.publish(1, topic="t/one")
        pair.publish(1, topic="t/two")
    assert pair.roads.carried == 18


@pytest.mark.parametrize("properties", [{"message_expiry_interval": 9}, {"topic_alias": 1}])
def test_what_each_message_must_be_looked_at_for_takes_the_slow_road(make: Make, properties: dict[str, Any]) -> None:
    """A lifetime runs, and a topic name with an alias beside it sets the alias anew."""
    pair = make()
    pair.subscribe()
    assert len(pair.publish(**properties)) == 10
    assert pair.roads.carried == 0


def test_qos_2_takes_the_slow_road(make: Make) -> None:
    pair = make()
    pair.subscribe(qos=2)
    assert len(pair.publish(qos=2)) == 10
    assert pair.roads.carried == 0


def test_a_retained_message_takes_the_slow_road(make: Make) -> None:
    pair = make()
    pair.subscribe()
    pair.publish()
    carried = pair.roads.carried
    pair.send("publisher", *[wire.Publish("t/one", b"x", retain=True)] * 5)
    assert pair.roads.carried == carried


def test_shared_subscriptions_take_the_slow_road(make: Make) -> None:
    pair = make()
    pair.subscribe("$share/g/t/one")
    assert len(pair.publish()) == 10
    assert pair.roads.carried == 0


# Receivers whose sessions outlive their connections ------------------------------------------------------------------


def _queued(pair: Pair) -> tuple[int, int]:
    """How many messages the stores hold, on the lane's side and on the slow road's."""

    def kept(road: Road) -> int:
        return road.node._run(road.node.store.kept()).messages

    return kept(pair.roads.lane), kept(pair.roads.slow)


@pytest.mark.parametrize("version", [V3, V5])
def test_qos_1_for_a_session_that_is_kept_takes_the_lane_through_the_store(
    make: Make, version: ProtocolVersion
) -> None:
    """[MQTT-4.3.2-1] [MQTT-4.3.2-3]: what the receiver has not acknowledged stays in its queue."""
    pair = make(session_expiry_interval=100)
    pair.connect("receiver", version, clean=version is V3, session_expiry_interval=100)
    pair.subscribe()
    assert len(pair.publish(qos=1)) == 10
    messages = pair.publish(qos=1)
    assert [message.packet_id for message in messages] == list(range(11, 21))
    assert pair.roads.carried == 19
    answers = [wire.PubAck(number) for number in (*range(1, 13), 99, 15, 14)]
    pair.send("receiver", *answers)
    assert _queued(pair) == (6, 6) if version is V5 else (0, 0)


def test_what_was_sent_but_not_acknowledged_is_sent_again_and_the_rest_is_not(make: Make) -> None:
    """[MQTT-4.4.0-1] [MQTT-3.3.1-1]"""
    pair = make(session_expiry_interval=100, receive_maximum=7)
    pair.subscribe()
    assert [message.packet_id for message in pair.publish(qos=1)] == [1, 2, 3, 4, 5, 6, 7]
    pair.send("receiver", wire.PubAck(1), wire.PubAck(3))
    pair.roads.both(lambda road: road.node.lose(road.wires["receiver"]))
    pair.publish(3, qos=1)
    *_, first, second, third = pair.connect("receiver", clean=False, session_expiry_interval=100, receive_maximum=3)
    again = [(m.packet_id, m.dup) for m in (first, second, third) if isinstance(m, wire.Publish)]
    assert again == [(2, True), (4, True), (5, True)]
    rest = pair.send("receiver", *[wire.PubAck(number) for number in (2, 4, 5)])
    rest += pair.send("receiver", *[wire.PubAck(number) for number in (6, 7, 8)])
    rest += pair.send("receiver", *[wire.PubAck(number) for number in (9, 10, 11)])
    assert [(m.packet_id, m.dup) for m in rest if isinstance(m, wire.Publish)] == [
        (6, True),
        (7, True),
        (8, True),
        (9, True),
        *[(number, False) for number in (10, 11, 12, 13)],
    ]


def test_a_run_may_be_on_its_way_while_those_before_it_are(make: Make) -> None:
    pair = make(session_expiry_interval=100)
    pair.subscribe()
    _warm(pair, qos=1)
    pair.roads.lag(4)
    run = [encode(wire.Publish("t/one", b"%04d" % number, 1, packet_id=number), V5) for number in range(1, 31)]
    pair.roads.feed("publisher", *[b"".join(run[start : start + 5]) for start in range(0, 30, 5)], turns=1)
    seen = pair.roads.settle()
    assert [packet.packet_id for packet in seen["publisher"].others if isinstance(packet, wire.PubAck)] == [
        *range(1, 31)
    ]
    assert [message.payload for message in seen["receiver"].publishes] == [b"%04d" % n for n in range(1, 31)]
    assert pair.roads.carried == 39


def test_the_publishers_receive_maximum_counts_what_waits_for_the_store(make: Make) -> None:
    """[MQTT-3.3.4-7]"""
    pair = make(MQTTSettings(receive_maximum=8), session_expiry_interval=100)
    pair.subscribe()
    pair.publish(2, qos=1)
    pair.roads.lag(3)
    run = b"".join(encode(wire.Publish("t/one", b"0000", 1, packet_id=number), V5) for number in range(1, 10))
    pair.roads.feed("publisher", run)
    seen = pair.roads.settle()["publisher"]
    assert seen.is_closed
    assert seen.others[-1] == wire.Disconnect(ReasonCode.RECEIVE_MAXIMUM_EXCEEDED)


def test_a_receiver_that_is_not_connected_gets_what_was_published_meanwhile(make: Make) -> None:
    pair = make(MQTTSettings(queue=QueueSettings(messages_max=15)), session_expiry_interval=100)
    pair.subscribe()
    pair.roads.both(lambda road: road.node.lose(road.wires["receiver"]))
    pair.publish(qos=1)
    pair.publish(qos=1)
    assert pair.roads.carried == 19
    assert pair.roads.lane.node.hub.counters.dropped["overflow"] == 5
    packets = pair.connect("receiver", clean=False, session_expiry_interval=100)
    assert [p.payload for p in packets if isinstance(p, wire.Publish)] == [b"%04d" % n for n in range(6, 21)]


def test_receivers_of_all_kinds_are_served_beside_each_other(make: Make) -> None:
    pair = make(session_expiry_interval=100)
    pair.subscribe()
    kinds: tuple[tuple[str, ProtocolVersion, int, dict[str, Any]], ...] = (
        ("kept", V5, 1, {"session_expiry_interval": 100, "receive_maximum": 4}),
        ("small", V5, 1, {"session_expiry_interval": 100, "maximum_packet_size": 20}),
        ("brief", V5, 1, {}),
        ("once", V5, 0, {"session_expiry_interval": 100}),
        ("old", V3, 1, {}),
    )
    for name, version, qos, properties in kinds:
        pair.connect(name, version, **properties)
        pair.subscribe(qos=qos, by=name)
    _warm(pair, qos=1)
    _warm(pair, qos=1, size=12)
    _warm(pair, qos=1, user_properties=(("k", "v"),))
    assert pair.roads.lane.node.hub.counters.dropped["too_large"] == 20


@pytest.mark.parametrize("overflow", ["DropOldest", "DropNewest"])
def test_a_receiver_that_reads_nothing_keeps_what_its_queue_has_room_for(make: Make, overflow: str) -> None:
    queue = QueueSettings(messages_max=12, overflow=overflow)
    pair = make(MQTTSettings(queue=queue), session_expiry_interval=100)
    pair.subscribe()
    pair.publish(2, qos=1)
    pair.roads.both(lambda road: road.stall("receiver"))
    for _ in range(3):
        pair.publish(qos=1)
        pair.roads.settle(RECEIVERS_S_MAX)
    assert _queued(pair) == (12, 12)
    pair.roads.both(lambda road: road.resume("receiver"))
    assert len(pair.roads.settle()["receiver"].publishes) == 10


def test_a_publisher_of_more_than_a_queue_holds_waits_for_a_prompt_receiver_and_loses_nothing(make: Make) -> None:
    """Also before the store has said that the queue is full: what is on its way there is counted."""
    pair = make(MQTTSettings(queue=QueueSettings(messages_max=20)), session_expiry_interval=100)
    pair.subscribe()
    count = 0
    messages = pair.publish(200, qos=1)
    while messages:
        count += len(messages)
        assert len(messages) <= 20
        pair.roads.feed("receiver", b"".join(_puback(message.packet_id, "short") for message in messages))
        messages = pair.roads.settle()["receiver"].publishes
    assert count == 200
    assert pair.roads.lane.node.hub.counters.dropped["overflow"] == 0


def test_what_a_store_refuses_of_a_run_is_answered_so(make: Make) -> None:
    """A queue that refuses more than it holds, of a session that was made where the settings said so."""
    pair = make()
    bounds = QueueBounds(messages_max=13, bytes_max=10_000, overflow="Reject")
    pair.roads.both(lambda road: setattr(road.node.hub, "bounds_for", lambda _: bounds))
    pair.connect("receiver", session_expiry_interval=100)
    pair.subscribe()
    pair.roads.both(lambda road: road.node.lose(road.wires["receiver"]))
    pair.publish(qos=1)
    run = [wire.Publish("t/one", b"0000", 1, packet_id=number) for number in range(1, 7)]
    answers = [p for p in pair.send("publisher", *run) if isinstance(p, wire.PubAck)]
    assert [answer.reason.is_error for answer in answers] == [False] * 3 + [True] * 3
    assert {answer.reason for answer in answers[3:]} == {ReasonCode.QUOTA_EXCEEDED}
    assert pair.roads.lane.node.hub.counters.dropped["rejected"] == 3
    pair.connect("publisher", V3)
    pair.publish(qos=1)
    assert pair.roads.lane.node.hub.counters.dropped["rejected"] == 13


def test_a_policy_that_changes_while_a_run_is_on_its_way_decides_it_again(make: Make) -> None:
    pair = make(session_expiry_interval=100)
    pair.subscribe()
    _warm(pair, qos=1)
    pair.roads.lag(3)
    run = b"".join(encode(wire.Publish("t/one", b"0000", 1, packet_id=number), V5) for number in range(1, 7))
    pair.roads.feed("publisher", run)
    pair.apply(policy(2, anonymous=[deny("t/one", activity=Activity.SUBSCRIBE), allow("#")]))
    assert pair.roads.settle()["receiver"].publishes == []
    assert pair.roads.lane.node.hub.counters.dropped["revoked"] == 6


def test_a_receiver_that_is_taken_over_while_a_run_is_on_its_way_gets_it_once(make: Make) -> None:
    pair = make(session_expiry_interval=100)
    pair.subscribe()
    _warm(pair, qos=1)
    pair.send("receiver", *[wire.PubAck(number) for number in range(1, 11)])
    pair.roads.lag(3)
    run = b"".join(encode(wire.Publish("t/one", b"%04d" % number, 1, packet_id=number), V5) for number in range(1, 7))
    pair.roads.feed("publisher", run)
    pair.roads.open("receiver")
    properties = Properties(session_expiry_interval=100)
    pair.roads.feed("receiver", encode(wire.Connect(V5, "receiver", False, 0, properties=properties), V5))  # noqa: FBT003
    messages = pair.roads.settle()["receiver"].publishes
    assert [message.packet_id for message in messages] == list(range(11, 17))


@pytest.mark.parametrize("what", ["subscribing", "spreading", "deferred"])
def test_what_would_wait_behind_a_subscribe_takes_the_slow_road(make: Make, what: str) -> None:
    pair = make(session_expiry_interval=100)
    pair.subscribe()
    _warm(pair, qos=1)
    before = pair.roads.carried
    client = pair.roads.lane.node.hub.connections["publisher"]
    flow = next(iter(client._lane._flows_qos1.values())).stored  # type: ignore[union-attr]
    assert flow is not None
    setattr(client, what, 1)
    assert flow.messages_max(client, 1) == 0
    setattr(client, what, 0)
    assert flow.messages_max(client, 1) > 0
    assert pair.roads.carried == before


# What ends a flow: each of these happens between two runs that the lane knows ---------------------------------------


def _warm(pair: Pair, qos: int = 0, **properties: Any) -> None:
    """The lane knows the flow and used it."""
    before = pair.roads.carried
    assert len(pair.publish(qos=qos, **properties)) == 10
    assert pair.roads.carried > before


@pytest.mark.parametrize("qos", [0, 1])
def test_a_revoked_permission_ends_a_flow_and_a_granted_one_brings_it_back(make: Make, qos: int) -> None:
    pair = make()
    pair.subscribe()
    _warm(pair, qos)
    pair.apply(policy(2, anonymous=[deny("t/one", activity=Activity.PUBLISH), allow("#")]))
    assert pair.publish(qos=qos) == []
    pair.apply(open_policy(3))
    _warm(pair, qos)


def test_a_deny_that_overlaps_a_receivers_filter_ends_a_flow(make: Make) -> None:
    """The receiver keeps its subscription and the publisher its rights: only the topic is denied."""
    pair = make()
    pair.subscribe("t/#")
    _warm(pair)
    pair.apply(policy(2, anonymous=[deny("t/two", activity=Activity.SUBSCRIBE), allow("#")]))
    _warm(pair)
    pair.apply(policy(3, anonymous=[deny("t/one", "t/two", activity=Activity.SUBSCRIBE), allow("#")]))
    assert pair.publish() == []
    pair.apply(policy(4, anonymous=[deny("t/two", activity=Activity.SUBSCRIBE), allow("#")]))
    _warm(pair)


def test_a_policy_that_changes_only_the_receiver_ends_a_flow(make: Make) -> None:
    """A rule that names the receiver's client id: the publisher's own decisions stay the same."""
    pair = make(by=policy(anonymous=[deny("x/${clientid}", activity=Activity.SUBSCRIBE), allow("#")]))
    pair.subscribe("+/receiver")
    _warm(pair, topic="t/receiver")
    pair.apply(policy(2, anonymous=[deny("t/${clientid}", activity=Activity.SUBSCRIBE), allow("#")]))
    assert pair.publish(topic="t/receiver") == []


def test_a_policy_that_touches_nobody_but_the_receiver_ends_a_flow(make: Make) -> None:
    """The publisher is decided by other rules, which stay: its rights are the same object before and after."""
    everybody, own = [allow("#")], deny("t/two", activity=Activity.SUBSCRIBE)
    pair = make(by=policy(anonymous=everybody))

    def become_a_user(road: Road) -> None:
        session = road.node.hub.sessions["receiver"]
        session.facts = Facts(client_id="receiver", username="receiver", namespace="test")
        session.forget_rights()
        road.wires["receiver"].connection.credential = None

    pair.roads.both(become_a_user)
    pair.apply(policy(1, anonymous=everybody, users={"receiver": [own, *everybody]}))
    pair.subscribe("t/#")
    _warm(pair)
    rights = pair.roads.lane.node.hub.sessions["publisher"].rights
    more = deny("t/one", "t/two", activity=Activity.SUBSCRIBE)
    pair.apply(policy(2, anonymous=everybody, users={"receiver": [more, *everybody]}))
    assert pair.publish() == []
    assert pair.roads.lane.node.hub.sessions["publisher"].rights is rights


def test_a_new_subscription_joins_a_flow_and_an_ended_one_leaves_it(make: Make) -> None:
    pair = make()
    pair.subscribe()
    _warm(pair)
    pair.subscribe(by="publisher")
    pair.publish()
    pair.subscribe("+/one", by="publisher", identifier=7)
    pair.publish()
    pair.send("receiver", wire.Unsubscribe(1, ("t/one",)))
    assert pair.publish() == []


@pytest.mark.parametrize("topic_filter", ["+/one", "#", "t/+"])
def test_a_wildcard_subscription_joins_a_flow(make: Make, topic_filter: str) -> None:
    pair = make()
    pair.publish()
    pair.publish()
    assert pair.roads.carried == 19
    pair.subscribe(topic_filter)
    _warm(pair)


@pytest.mark.parametrize("changes", [{"qos": 0}, {"qos": 1, "identifier": 5}])
def test_a_subscription_that_is_replaced_changes_a_flow(make: Make, changes: dict[str, Any]) -> None:
    """[MQTT-3.8.4-3]"""
    pair = make()
    pair.subscribe()
    _warm(pair, qos=1)
    pair.subscribe(**changes)
    for message in pair.publish(qos=1):
        assert message.qos == changes["qos"]
        assert message.properties.subscription_identifiers == ((5,) if "identifier" in changes else ())


def test_an_alias_that_is_set_anew_ends_its_flow(make: Make) -> None:
    """[MQTT-3.3.2-7]"""
    pair = make()
    pair.subscribe("#")
    pair.publish(1, topic="t/one", topic_alias=1)
    _warm(pair, topic="", topic_alias=1)
    pair.publish(1, topic="t/two", topic_alias=1)
    assert {message.topic for message in pair.publish(topic="", topic_alias=1)} == {"t/two"}


@pytest.mark.parametrize("qos", [0, 1])
def test_a_receiver_that_comes_back_with_another_version_ends_a_flow(make: Make, qos: int) -> None:
    pair = make()
    for version in (V3, V5, V3):
        pair.connect("receiver", version)
        pair.subscribe()
        _warm(pair, qos, user_properties=(("k", "v"),))


@pytest.mark.parametrize("qos", [0, 1])
def test_a_receiver_that_comes_back_and_takes_less_gets_nothing_too_large(make: Make, qos: int) -> None:
    """[MQTT-3.1.2-24] [MQTT-3.1.2-25]"""
    pair = make(session_expiry_interval=100)
    pair.subscribe(qos=0)
    _warm(pair, qos, size=90)
    pair.connect("receiver", clean=False, session_expiry_interval=100, maximum_packet_size=90)
    assert pair.publish(qos=qos, size=90) == []
    assert pair.roads.lane.node.hub.counters.dropped["too_large"] == 10


def test_a_receiver_that_is_gone_gets_nothing_and_one_that_comes_back_gets_what_follows(make: Make) -> None:
    pair = make(session_expiry_interval=100)
    pair.subscribe()
    _warm(pair)
    pair.roads.both(lambda road: road.node.lose(road.wires["receiver"]))
    pair.publish()
    pair.connect("receiver", clean=False, session_expiry_interval=100)
    _warm(pair)


def test_a_receiver_that_is_kept_from_now_on_has_what_follows_in_its_queue(make: Make) -> None:
    """Its messages are stored before they are acknowledged."""
    pair = make()
    pair.subscribe()
    _warm(pair, qos=1)
    pair.connect("receiver", session_expiry_interval=100)
    pair.subscribe()
    assert len(pair.publish(qos=1)) == 10
    assert _queued(pair) == (10, 10)
    pair.connect("receiver", clean=False, session_expiry_interval=0)
    assert len(pair.publish(qos=1)) == 10
    assert _queued(pair) == (20, 20)


def test_receivers_of_different_kinds_each_get_their_own_form(make: Make) -> None:
    pair = make()
    for number, version in enumerate((V3, V5, V3, V5)):
        name = f"other-{number}"
        pair.connect(name, version)
        pair.subscribe(qos=number // 2, identifier=number if version is V5 else 0, by=name)
    pair.subscribe()
    for qos in (0, 1):
        _warm(pair, qos)
        _warm(pair, qos, user_properties=(("k", "v"),))


# What stands in the way ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V3, V5])
@pytest.mark.parametrize("number", range(16))
def test_a_malformed_packet_within_a_run_ends_the_connection_where_it_stands(
    make: Make, version: ProtocolVersion, number: int
) -> None:
    frames = _malformed(version)
    if number >= len(frames):
        pytest.skip("a packet of MQTT 5")
    pair = make(MQTTSettings(packet_bytes_max=PACKET_BYTES_MAX))
    pair.subscribe("#")
    pair.connect("bad", version)
    qos = 1 if frames[number][0] == 0x32 else 0
    packet_id = 1 if qos else 0
    run = 4 * encode(wire.Publish("a/bbbb", b"00000000", qos, packet_id=packet_id), version)
    pair.roads.feed("bad", run, run + frames[number] + run)
    seen = pair.roads.settle()
    assert seen["bad"].is_closed
    assert len(seen["receiver"].publishes) == 8
    assert pair.roads.carried == 7


@pytest.mark.parametrize("overflow", ["DropOldest", "DropNewest", "Reject"])
@pytest.mark.parametrize("qos", [0, 1])
def test_what_a_stopped_receiver_has_no_place_for_is_dropped_or_refused(make: Make, qos: int, overflow: str) -> None:
    pair = make(MQTTSettings(queue=QueueSettings(messages_max=6, overflow=overflow)), receive_maximum=65_535)
    pair.subscribe()
    _warm(pair)
    _warm(pair)
    pair.publish(2, qos=qos)
    pair.roads.both(lambda road: road.stall("receiver"))
    assert pair.publish(qos=qos) == []
    pair.roads.settle(RECEIVERS_S_MAX)  # the publisher was read only so far, and is read on when it waited enough
    pair.roads.both(lambda road: road.resume("receiver"))
    assert len(pair.roads.settle()["receiver"].publishes) == 6
    _warm(pair)


@pytest.mark.parametrize("qos", [0, 1])
def test_what_follows_a_message_that_waits_for_the_store_waits_behind_it(make: Make, qos: int) -> None:
    pair = make()
    pair.subscribe()
    pair.connect("kept", session_expiry_interval=100)
    pair.subscribe("stored", by="kept")
    _warm(pair, qos)
    pair.roads.lag(3)
    message = wire.Publish("t/one", b"0000", qos, packet_id=2 if qos else 0)
    first, *more = pair.send("publisher", wire.Publish("stored", b"x", 1, packet_id=1), *[message] * 5)
    assert first == wire.PubAck(1)
    assert len(more) == 5 * qos


# Bounds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["FLOWS_MAX", "SEEN_MAX"])
def test_more_topics_than_flows_are_kept_make_no_difference(
    make: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(fastlane, name, 2)
    pair = make()
    pair.subscribe("#")
    for round_number in range(3):
        for number in range(5):
            assert len(pair.publish(3, topic=f"t/{number}")) == 3, round_number


def test_packet_ids_start_again_at_the_end_of_their_range(make: Make) -> None:
    """[MQTT-2.2.1-4]: and those still in use are left out."""
    pair = make()
    pair.subscribe()
    (first,) = pair.publish(1, qos=1)
    assert first.packet_id == 1

    def turn_near(road: Road) -> None:
        outlet = road.node.hub.sessions["receiver"].outlet
        assert outlet is not None
        outlet._window._last_free_id = 65_530

    pair.roads.both(turn_near)
    ids = [message.packet_id for message in pair.publish(10, qos=1)]
    assert ids == [65_531, 65_532, 65_533, 65_534, 65_535, 2, 3, 4, 5, 6]


def test_a_read_that_ends_within_a_packet_is_carried_on_by_the_next(make: Make) -> None:
    pair = make()
    pair.subscribe()
    _warm(pair, qos=1)
    data = b"".join(encode(wire.Publish("t/one", b"%04d" % n, 1, packet_id=n), V5) for n in range(1, 7))
    for cut in range(len(data)):
        pair.roads.feed("publisher", data[:cut], data[cut:])
        assert len(pair.roads.settle()["receiver"].publishes) == 6


# Found by the comparison ---------------------------------------------------------------------------------------------


def test_a_quality_above_the_maximum_ends_the_connection_also_on_a_topic_the_lane_has_seen(make: Make) -> None:
    """[MQTT-3.2.2-11]"""
    pair = make(MQTTSettings(maximum_qos=0))
    pair.publish(1)
    (goodbye,) = pair.send("publisher", wire.Publish("t/one", b"x", 1, packet_id=1))
    assert isinstance(goodbye, wire.Disconnect)
    assert goodbye.reason is ReasonCode.QOS_NOT_SUPPORTED


def test_qos_1_counts_against_the_receive_maximum_that_open_qos_2_has_used_up(make: Make) -> None:
    """[MQTT-3.3.4-7]"""
    pair = make(MQTTSettings(receive_maximum=2))
    pair.subscribe()
    _warm(pair, qos=1)
    pair.publish(2, qos=2)
    (goodbye,) = pair.send("publisher", wire.Publish("t/one", b"x", 1, packet_id=9))
    assert isinstance(goodbye, wire.Disconnect)
    assert goodbye.reason is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


@pytest.mark.parametrize("form", ["short", "reason", "properties"])
def test_a_puback_of_any_form_makes_room_in_the_window(make: Make, form: str) -> None:
    """[MQTT-3.3.4-9]"""
    pair = make(receive_maximum=5)
    pair.subscribe()
    for total in (50, 100):
        messages = pair.publish(50, qos=1)
        while messages:
            assert len(messages) == 5
            pair.roads.feed("receiver", b"".join(_puback(message.packet_id, form) for message in messages))
            messages = pair.roads.settle()["receiver"].publishes
        assert pair.roads.lane.node.hub.counters.messages_sent == total


@pytest.mark.parametrize("qos", [0, 1])
def test_a_message_that_only_an_alias_makes_small_enough_is_sent(make: Make, qos: int) -> None:
    pair = make(topic_alias_maximum=5, maximum_packet_size=60)
    pair.subscribe("#")
    topic = "t/" + 18 * "x"
    assert len(pair.publish(qos=qos, topic=topic)) == 10
    assert len(pair.publish(qos=qos, topic=topic, size=50 - 2 * qos)) == 10


def test_what_a_ping_within_runs_is_answered_with_is_sent(make: Make) -> None:
    """[MQTT-3.12.4-1]: also when the lane takes the rest of the read."""
    pair = make()
    _ = pair.publish()
    message = wire.Publish("t/one", b"0000")
    assert pair.send("publisher", message, message, wire.PingReq(), message) == [wire.PingResp()]


def test_publishers_that_wait_for_one_receiver_go_on_in_the_order_in_which_they_stopped(make: Make) -> None:
    pair = make(MQTTSettings(queue=QueueSettings(messages_max=20)))
    pair.subscribe("#")
    names = [f"publisher-{number}" for number in range(6)]
    for name in names:
        pair.connect(name)
    pair.roads.both(lambda road: road.stall("receiver"))
    for name in names:
        pair.send(name, *[wire.Publish(name, b"first")] * (10 if name is names[0] else 1))
        pair.roads.feed(name, encode(wire.Publish(name, b"second"), V5))
    pair.roads.both(lambda road: road.resume("receiver"))
    later = [message.topic for message in pair.roads.settle()["receiver"].publishes if message.payload == b"second"]
    assert later == names
