"""For any lawful packet: what was written is read back. For any bytes: a packet, "need more" or a Violation."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_broker.wire.codec import decode, encode
from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    ProtocolVersion,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
    Will,
)
from mqtt_broker.wire.reasons import (
    AUTH_REASONS,
    CONNACK_REASONS,
    DISCONNECT_REASONS,
    PUBACK_REASONS,
    PUBREL_REASONS,
    SUBACK_REASONS,
    UNSUBACK_REASONS,
    ReasonCode,
    reason_of_return_code,
)

PACKET_BYTES_MAX = 268_435_460

# Letters, and everything odd that is lawful: no control characters, no surrogates, no unassigned code points.
texts = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), max_size=12)
topic_names = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Cn"), exclude_characters="+#"), min_size=1, max_size=12
)
topic_filters = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), min_size=1, max_size=12)
binaries = st.binary(max_size=12)
flags = st.integers(0, 1)
two_bytes = st.integers(0, 0xFFFF)
four_bytes = st.integers(0, 0xFFFF_FFFF)
packet_ids = st.integers(1, 0xFFFF)
qualities = st.integers(0, 2)
identifiers = st.integers(1, 268_435_455)
user_properties = st.lists(st.tuples(texts, texts), max_size=3).map(tuple)

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "payload_format_indicator": flags,
    "message_expiry_interval": four_bytes,
    "content_type": texts,
    "response_topic": topic_names,
    "correlation_data": binaries,
    "session_expiry_interval": four_bytes,
    "assigned_client_identifier": texts,
    "server_keep_alive": two_bytes,
    "request_problem_information": flags,
    "will_delay_interval": four_bytes,
    "request_response_information": flags,
    "response_information": texts,
    "server_reference": texts,
    "reason_string": texts,
    "receive_maximum": st.integers(1, 0xFFFF),
    "topic_alias_maximum": two_bytes,
    "topic_alias": st.integers(1, 0xFFFF),
    "maximum_qos": flags,
    "retain_available": flags,
    "maximum_packet_size": st.integers(1, 0xFFFF_FFFF),
    "wildcard_subscription_available": flags,
    "subscription_identifiers_available": flags,
    "shared_subscription_available": flags,
}
PUBLICATION = "payload_format_indicator message_expiry_interval content_type response_topic correlation_data"
AUTHENTICATION = st.fixed_dictionaries({"authentication_method": texts}, optional={"authentication_data": binaries})


def properties(
    version: ProtocolVersion, fields: str = "", also: st.SearchStrategy[dict[str, Any]] | None = None
) -> st.SearchStrategy[Properties]:
    """Any properties among `fields`, plus user properties, plus what `also` draws; none at all in MQTT 3."""
    if version is not ProtocolVersion.V5:
        return st.just(Properties())
    optional = {field: FIELDS[field] for field in fields.split()} | {"user_properties": user_properties}
    drawn = st.fixed_dictionaries({}, optional=optional)
    if also is None:
        return drawn.map(lambda values: Properties(**values))
    return st.tuples(drawn, also).map(lambda pair: Properties(**pair[0], **pair[1]))


def connects(version: ProtocolVersion) -> st.SearchStrategy[Connect]:
    wills = st.builds(
        Will,
        topic=topic_names,
        payload=binaries,
        qos=qualities,
        retain=st.booleans(),
        properties=properties(version, f"{PUBLICATION} will_delay_interval"),
    )
    packets = st.builds(
        Connect,
        version=st.just(version),
        client_id=texts,
        clean_start=st.booleans(),
        keep_alive=two_bytes,
        will=st.none() | wills,
        username=st.none() | texts,
        password=st.none() | binaries,
        properties=properties(
            version,
            "session_expiry_interval request_problem_information request_response_information receive_maximum"
            " topic_alias_maximum maximum_packet_size",
            st.just({}) | AUTHENTICATION,
        ),
    )
    if version is ProtocolVersion.V5:
        return packets
    return packets.filter(lambda packet: packet.password is None or packet.username is not None)


def connacks(version: ProtocolVersion) -> st.SearchStrategy[ConnAck]:
    if version is ProtocolVersion.V5:
        reasons = st.sampled_from(list(CONNACK_REASONS.values()))
    else:
        reasons = st.sampled_from([reason for code in range(6) if (reason := reason_of_return_code(code)) is not None])
    carried = properties(
        version,
        "session_expiry_interval assigned_client_identifier server_keep_alive response_information server_reference"
        " reason_string receive_maximum topic_alias_maximum maximum_qos retain_available maximum_packet_size"
        " wildcard_subscription_available subscription_identifiers_available shared_subscription_available",
        st.just({}) | AUTHENTICATION,
    )
    refused = st.builds(ConnAck, session_present=st.just(value=False), reason=reasons, properties=carried)
    if version is ProtocolVersion.V3_1:
        return refused
    accepted = st.builds(ConnAck, session_present=st.booleans(), reason=st.just(ReasonCode.SUCCESS), properties=carried)
    return accepted | refused


def publishes(version: ProtocolVersion) -> st.SearchStrategy[Publish]:
    several = st.lists(identifiers, max_size=3).map(lambda drawn: {"subscription_identifiers": tuple(drawn)})
    carried = properties(version, f"{PUBLICATION} topic_alias", several)
    payloads = st.binary(max_size=200)
    fire_and_forget = st.builds(Publish, topic=topic_names, payload=payloads, retain=st.booleans(), properties=carried)
    acknowledged = st.builds(
        Publish,
        topic=topic_names,
        payload=payloads,
        qos=st.integers(1, 2),
        retain=st.booleans(),
        dup=st.booleans(),
        packet_id=packet_ids,
        properties=carried,
    )
    return fire_and_forget | acknowledged


def acknowledgements(version: ProtocolVersion) -> st.SearchStrategy[Packet]:
    def build(packet: Any, table: Any) -> st.SearchStrategy[Packet]:
        if version is not ProtocolVersion.V5:
            return st.builds(packet, packet_id=packet_ids)
        return st.builds(
            packet,
            packet_id=packet_ids,
            reason=st.sampled_from(list(table.values())),
            properties=properties(version, "reason_string"),
        )

    return st.one_of(
        build(PubAck, PUBACK_REASONS),
        build(PubRec, PUBACK_REASONS),
        build(PubRel, PUBREL_REASONS),
        build(PubComp, PUBREL_REASONS),
    )


def subscribes(version: ProtocolVersion) -> st.SearchStrategy[Subscribe]:
    if version is ProtocolVersion.V5:
        requests = st.builds(
            SubscriptionRequest,
            filter=topic_filters,
            qos=qualities,
            no_local=st.booleans(),
            retain_as_published=st.booleans(),
            retain_handling=st.integers(0, 2),
        ).filter(lambda request: not (request.no_local and request.filter.startswith("$share/")))
    else:
        requests = st.builds(SubscriptionRequest, filter=topic_filters, qos=qualities)
    one = identifiers.map(lambda identifier: {"subscription_identifiers": (identifier,)})
    return st.builds(
        Subscribe,
        packet_id=packet_ids,
        subscriptions=st.lists(requests, min_size=1, max_size=4).map(tuple),
        properties=properties(version, "", st.just({}) | one),
    )


def unsubscribes(version: ProtocolVersion) -> st.SearchStrategy[Unsubscribe]:
    return st.builds(
        Unsubscribe,
        packet_id=packet_ids,
        filters=st.lists(topic_filters, min_size=1, max_size=4).map(tuple),
        properties=properties(version),
    )


def subacks(version: ProtocolVersion) -> st.SearchStrategy[SubAck]:
    codes = list(SUBACK_REASONS) if version is ProtocolVersion.V5 else [0, 1, 2, 0x80]
    reasons = st.sampled_from([SUBACK_REASONS[code] for code in codes])
    return st.builds(
        SubAck,
        packet_id=packet_ids,
        reasons=st.lists(reasons, min_size=1, max_size=4).map(tuple),
        properties=properties(version, "reason_string"),
    )


def unsubacks(version: ProtocolVersion) -> st.SearchStrategy[UnsubAck]:
    if version is not ProtocolVersion.V5:
        return st.builds(UnsubAck, packet_id=packet_ids, reasons=st.just(()))
    reasons = st.sampled_from(list(UNSUBACK_REASONS.values()))
    return st.builds(
        UnsubAck,
        packet_id=packet_ids,
        reasons=st.lists(reasons, min_size=1, max_size=4).map(tuple),
        properties=properties(version, "reason_string"),
    )


def endings(version: ProtocolVersion) -> st.SearchStrategy[Packet]:
    pings: st.SearchStrategy[Packet] = st.sampled_from((PingReq(), PingResp()))
    if version is not ProtocolVersion.V5:
        return st.one_of(pings, st.just(Disconnect()))
    disconnects = st.builds(
        Disconnect,
        reason=st.sampled_from(list(DISCONNECT_REASONS.values())),
        properties=properties(version, "session_expiry_interval server_reference reason_string"),
    )
    auths = st.builds(
        Auth,
        reason=st.sampled_from(list(AUTH_REASONS.values())),
        properties=properties(version, "reason_string", AUTHENTICATION),
    )
    return st.one_of(pings, disconnects, auths, st.just(Auth(ReasonCode.SUCCESS)))


def packets(version: ProtocolVersion) -> st.SearchStrategy[Packet]:
    return st.one_of(
        connects(version),
        connacks(version),
        publishes(version),
        acknowledgements(version),
        subscribes(version),
        subacks(version),
        unsubscribes(version),
        unsubacks(version),
        endings(version),
    )


versions = st.sampled_from(ProtocolVersion)
versions_and_packets = versions.flatmap(lambda version: st.tuples(st.just(version), packets(version)))
MAKERS = [
    connects,
    connacks,
    publishes,
    acknowledgements,
    subscribes,
    subacks,
    unsubscribes,
    unsubacks,
    endings,
]


@pytest.mark.parametrize("version", ProtocolVersion, ids=lambda version: version.name)
@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
@given(data=st.data())
def test_packet_comes_back_as_it_went(maker: Any, version: ProtocolVersion, data: st.DataObject) -> None:
    packet = data.draw(maker(version))
    encoded = encode(packet, version)

    assert decode(b"\x00" + encoded + b"\x00", 1, version, len(encoded)) == (packet, 1 + len(encoded))


@given(drawn=versions_and_packets, cut=st.floats(0, 1, exclude_max=True))
def test_every_shorter_prefix_of_any_packet_means_need_more(drawn: tuple[ProtocolVersion, Packet], cut: float) -> None:
    version, packet = drawn
    encoded = encode(packet, version)

    assert decode(encoded[: int(len(encoded) * cut)], 0, version, PACKET_BYTES_MAX) is None


def assert_packet_or_need_more_or_violation(data: bytes, version: ProtocolVersion | None) -> None:
    """Any other exception fails the test by itself."""
    try:
        decoded = decode(data, 0, version, PACKET_BYTES_MAX)
    except Violation as violation:
        assert violation.reason >= 0x80, "a refusal names an error"  # noqa: PT017
        return
    if decoded is not None:
        packet, index = decoded
        assert 2 <= index <= len(data)
        # Whatever can be read can be written, and says the same.
        said = packet.version if isinstance(packet, Connect) else version
        assert said is not None
        again = encode(packet, said)
        assert decode(again, 0, said, PACKET_BYTES_MAX) == (packet, len(again))
        assert len(again) <= index


@given(data=st.binary(max_size=64), version=st.none() | versions)
def test_random_bytes_are_a_packet_or_incomplete_or_a_violation(data: bytes, version: ProtocolVersion | None) -> None:
    assert_packet_or_need_more_or_violation(data, version)


@given(first=st.integers(16, 255), body=st.binary(max_size=100), version=st.none() | versions)
def test_random_bodies_are_a_packet_or_a_violation(first: int, body: bytes, version: ProtocolVersion | None) -> None:
    assert_packet_or_need_more_or_violation(bytes((first, len(body))) + body, version)


@given(
    drawn=versions_and_packets,
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_lawful_packets_with_changed_bytes_are_a_packet_or_incomplete_or_a_violation(
    drawn: tuple[ProtocolVersion, Packet], changes: list[tuple[int, int]]
) -> None:
    version, packet = drawn
    encoded = bytearray(encode(packet, version))
    for position, value in changes:
        encoded[position % len(encoded)] = value

    assert_packet_or_need_more_or_violation(bytes(encoded), version)
