"""Bytes come in any pieces, and some of them are hostile."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_api.node_settings import MQTTSettings
from mqtt_broker.protocol.connection import Connection
from mqtt_broker.protocol.events import AuthReceived, ConnectReceived, Event, PublishReceived, Violated
from mqtt_broker.protocol.states import State
from mqtt_broker.wire import codec
from mqtt_broker.wire.codec import decode, encode
from mqtt_broker.wire.packets import (
    Auth,
    Disconnect,
    Packet,
    PingReq,
    Properties,
    ProtocolVersion,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
)
from mqtt_broker.wire.reasons import ReasonCode
from unit.mqtt_broker.protocol.machines import (
    LIMITS,
    MACHINES,
    METHOD,
    V3_1_1,
    V5,
    WITH_METHOD,
    connect_packet,
    connected,
)

PACKETS: list[Packet] = [
    Publish("a/b", b"payload" * 30),
    Publish("a/b", b"", qos=1, packet_id=1, retain=True),
    Publish("a/b", b"x", qos=2, packet_id=2),
    PubAck(1),
    PubRec(2),
    PubRel(3),
    PubComp(4),
    Subscribe(5, (SubscriptionRequest("a/#", qos=1), SubscriptionRequest("$share/g/+"))),
    Unsubscribe(6, ("a/#", "b")),
    PingReq(),
]
PACKETS_V5: list[Packet] = [
    Publish("a/b", b"x", properties=Properties(topic_alias=1, user_properties=(("k", "v"),))),
    Publish("", b"y", properties=Properties(topic_alias=1)),
    PubAck(1, ReasonCode.NOT_AUTHORIZED, Properties(reason_string="no")),
    Auth(ReasonCode.RE_AUTHENTICATE, Properties(authentication_method=METHOD)),
]


def stream(version: ProtocolVersion) -> bytes:
    packets: list[Packet] = [connect_packet(version, WITH_METHOD), *PACKETS]
    if version is V5:
        packets += PACKETS_V5
    return b"".join(encode(packet, version) for packet in [*packets, Disconnect()])


STREAMS = {version: stream(version) for version in (V3_1_1, V5)}


def played(pieces: Iterable[bytes], limits: MQTTSettings = LIMITS) -> tuple[list[Event], bytes]:
    """What a hub sees and sends that accepts every CONNECT at once."""
    connection = Connection(limits, 0.0)
    events: list[Event] = []
    for piece in pieces:
        new = connection.receive_data(piece, 0.0)
        events += new
        if connection.state is State.CONNECTING:
            connection.accept(session_present=False)
            events += connection.receive_data(b"", 0.0)
    return events, connection.data_to_send()


def pieces_of(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = sorted({0, *(min(cut, len(data)) for cut in cuts), len(data)})
    return [data[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize("version", STREAMS)
def test_a_valid_stream_means_what_was_put_in(version: ProtocolVersion) -> None:
    events, _ = played([STREAMS[version]])
    assert len(events) == len(PACKETS) + 1 + (len(PACKETS_V5) if version is V5 else 0)  # CONNECT, less PINGREQ, the end
    assert not any(isinstance(event, Violated) for event in events)


@pytest.mark.parametrize("version", STREAMS)
def test_one_cut_anywhere_changes_nothing(version: ProtocolVersion) -> None:
    data = STREAMS[version]
    whole = played([data])
    for cut in range(1, len(data)):
        assert played([data[:cut], data[cut:]]) == whole


@pytest.mark.parametrize("version", STREAMS)
def test_a_stream_byte_by_byte_means_the_same(version: ProtocolVersion) -> None:
    data = STREAMS[version]
    assert played(bytes((byte,)) for byte in data) == played([data])


@settings(deadline=None)  # how long an example takes is the machine's business
@given(version=st.sampled_from(list(STREAMS)), cuts=st.lists(st.integers(0, 600), max_size=12))
def test_any_cuts_change_nothing(version: ProtocolVersion, cuts: list[int]) -> None:
    data = STREAMS[version]
    assert played(pieces_of(data, cuts)) == played([data])


@pytest.mark.parametrize("version", STREAMS)
def test_an_incomplete_packet_is_kept_and_nothing_else(version: ProtocolVersion) -> None:
    publish = Publish("a/b", b"x" * 50)
    frame = encode(publish, version)
    for length in range(len(frame)):
        connection = connected(version)
        assert connection.receive_data(frame + frame[:length], 0.0) == [PublishReceived(publish)]
        assert len(connection._tail) == length
        assert connection.held_bytes == 0
        assert connection.receive_data(frame[length:], 0.0) == [PublishReceived(publish)]
        assert len(connection._tail) == 0


def test_a_large_packet_in_small_pieces_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work grows with the bytes, not with bytes times pieces."""
    starts: list[int] = []

    def counted(data: bytes, start: int, version: ProtocolVersion | None, packet_bytes_max: int) -> object:
        starts.append(len(data))
        return decode(data, start, version, packet_bytes_max)

    monkeypatch.setattr("mqtt_broker.protocol.connection.decode", counted)
    connection = connected(limits=MQTTSettings(packet_bytes_max=1_000_000))
    starts.clear()
    publish = Publish("a", bytes(500_000))
    frame = encode(publish, V5)
    events = [event for at in range(0, len(frame), 10) for event in connection.receive_data(frame[at : at + 10], 0.0)]
    assert events == [PublishReceived(publish)]
    assert sum(starts) < len(frame) + 100


def test_a_large_connect_in_small_pieces_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    def counted(data: bytes, start: int) -> codec.Header | None:
        reads.append(len(data))
        return codec.read_header(data, start)

    monkeypatch.setattr("mqtt_broker.protocol.connection.read_header", counted)
    packet = connect_packet(V5, Properties(user_properties=(("k", "v" * 60_000),)))
    connection = Connection(LIMITS, 0.0)
    events = [event for byte in encode(packet, V5) for event in connection.receive_data(bytes((byte,)), 0.0)]
    assert events == [ConnectReceived(packet)]
    assert len(reads) < 10


# Hostile bytes

first_bytes = st.sampled_from([first for first in range(256) if first >> 4 not in (0, 2, 9, 11, 13)])
likely_frames = st.builds(lambda first, body: bytes((first, len(body))) + body, first_bytes, st.binary(max_size=60))
mutated = st.builds(
    lambda data, at, byte: data[: at % len(data)] + byte + data[at % len(data) + 1 :],
    st.sampled_from(list(STREAMS.values())),
    st.integers(0, 1_000),
    st.binary(min_size=1, max_size=1),
)
hostile = st.one_of(st.binary(max_size=200), st.lists(likely_frames, max_size=8).map(b"".join), mutated)


@settings(deadline=None)  # how long an example takes is the machine's business
@given(state=st.sampled_from(State), data=hostile, cuts=st.lists(st.integers(0, 200), max_size=4))
def test_no_bytes_raise_in_any_state(state: State, data: bytes, cuts: list[int]) -> None:
    connection = MACHINES[state]()
    events = [event for piece in pieces_of(data, cuts) for event in connection.receive_data(piece, 0.0)]
    ends = [event for event in events if isinstance(event, Violated)]
    assert ends == [] or (ends == events[-1:] and connection.state is State.CLOSED)
    assert connection.data_to_send() is not None
    if connection.state is State.CLOSED:
        assert connection.receive_data(data, 0.0) == []


@settings(deadline=None)  # how long an example takes is the machine's business
@given(data=hostile, version=st.sampled_from(ProtocolVersion))
def test_no_bytes_raise_on_a_live_connection_of_any_version(data: bytes, version: ProtocolVersion) -> None:
    connection = connected(version)
    connection.receive_data(data, 0.0)
    for packet_type in [frame >> 4 for frame in connection.data_to_send()[:1]]:
        assert packet_type in (13, 14), "only PINGRESP and DISCONNECT are sent by the machine alone"


@settings(deadline=None)  # how long an example takes is the machine's business
@given(data=hostile, cuts=st.lists(st.integers(0, 200), max_size=4))
def test_hostile_bytes_are_accepted_or_refused_the_same_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    whole, answer = played([data])
    in_pieces, answer_to_pieces = played(pieces_of(data, cuts))
    assert in_pieces == whole
    assert answer_to_pieces == answer


def test_auth_events_are_in_the_streams() -> None:
    """The streams above are worth their name only if they hold the rare packets as well."""
    assert any(isinstance(event, AuthReceived) for event in played([STREAMS[V5]])[0])
