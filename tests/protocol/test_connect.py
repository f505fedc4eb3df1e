"""CONNECT and what may come before and after it."""

import asyncio

import pytest

from mqtt_api.node_settings import ConnectionRateSettings, MQTTSettings
from mqtt_broker.wire.packets import (
    Auth,
    ConnAck,
    Connect,
    PingReq,
    Properties,
    ProtocolVersion,
    Publish,
    Will,
)
from mqtt_broker.wire.reasons import ReasonCode
from support import frames
from support.broker import Broker, StartBroker, listener
from support.client import dial

V3_1, V3_1_1, V5 = ProtocolVersion.V3_1, ProtocolVersion.V3_1_1, ProtocolVersion.V5


async def answer_to(port: int, data: bytes, deadline_s: float = 5.0) -> bytes:
    """Send bytes and return everything the broker says until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(deadline_s):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_connect_is_answered_with_success(broker: Broker, version: ProtocolVersion, unique: str) -> None:
    """[MQTT-3.2.0-1] [MQTT-3.1.4-5] [3.1.1 MQTT-3.2.0-1] [3.1.1 MQTT-3.1.4-4] [3.1.1 MQTT-3.2.2-1]"""
    async with await broker.dial(version) as client:
        answer = await client.connect(unique)
        assert answer.reason is ReasonCode.SUCCESS
        assert not answer.session_present  # [MQTT-3.2.2-2]


async def test_mqtt_3_1_clients_are_served_too(broker: Broker, unique: str) -> None:
    async with await broker.dial(V3_1) as client:
        assert (await client.connect(unique)).reason is ReasonCode.SUCCESS
        await client.subscribe(unique, qos=1)
        await client.publish(unique, b"x", qos=1)
        assert (await client.receive_message()).payload == b"x"


async def test_connack_names_the_limits_of_the_broker(broker: Broker, unique: str) -> None:
    async with await broker.dial() as client:
        limits = (await client.connect(unique)).properties
        assert limits.receive_maximum == 100
        assert limits.topic_alias_maximum == 32
        assert limits.maximum_packet_size == 1024 * 1024
        assert limits.assigned_client_identifier is None


async def test_an_empty_client_id_is_given_a_name_nobody_can_guess(broker: Broker, another: object) -> None:
    """[MQTT-3.2.2-16] [MQTT-3.1.3-6] At least 96 random bits, and never the same twice."""
    names = set()
    for _ in range(3):
        async with await broker.dial() as client:
            name = (await client.connect("")).properties.assigned_client_identifier
            assert name is not None
            assert len(name) >= 16
            names.add(name)
    assert len(names) == 3


async def test_an_empty_client_id_without_clean_session_is_refused_in_3_1_1(broker: Broker) -> None:
    """[3.1.1 MQTT-3.1.3-8] [3.1.1 MQTT-3.1.3-9] [3.1.1 MQTT-3.2.2-5]: return code 2, then the connection is closed."""
    async with await broker.dial(V3_1_1) as client:
        answer = await client.connect("", clean_start=False)
        assert answer.reason is ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
        await client.expect_closed()


@pytest.mark.parametrize("keep_alive", [0, 601, 65_535])
async def test_a_keep_alive_above_the_bound_is_replaced(broker: Broker, unique: str, keep_alive: int) -> None:
    """[MQTT-3.2.2-21] The client is told which one holds."""
    async with await broker.dial() as client:
        assert (await client.connect(unique, keep_alive=keep_alive)).properties.server_keep_alive == 600


async def test_a_keep_alive_within_the_bound_stands(broker: Broker, unique: str) -> None:
    """[MQTT-3.2.2-22]"""
    async with await broker.dial() as client:
        assert (await client.connect(unique, keep_alive=600)).properties.server_keep_alive is None


async def test_a_session_expiry_above_the_bound_is_capped_and_told(broker: Broker, unique: str) -> None:
    async with await broker.dial() as client:
        asked = Properties(session_expiry_interval=0xFFFFFFFF)
        assert (await client.connect(unique, properties=asked)).properties.session_expiry_interval == 86_400


async def test_a_silent_client_is_dropped_after_one_and_a_half_keep_alives(
    broker: Broker, version: ProtocolVersion, unique: str
) -> None:
    """[MQTT-3.1.2-22] [3.1.1 MQTT-3.1.2-24]"""
    loop = asyncio.get_running_loop()
    async with await broker.dial(version) as client:
        await client.connect(unique, keep_alive=1)
        started = loop.time()
        goodbye = await client.expect_closed()
        assert 1.3 <= loop.time() - started <= 4
        if version is V5:
            assert goodbye is not None
            assert goodbye.reason is ReasonCode.KEEP_ALIVE_TIMEOUT


async def test_pings_keep_a_connection_alive(broker: Broker, unique: str) -> None:
    """[MQTT-3.12.4-1]"""
    async with await broker.dial() as client:
        await client.connect(unique, keep_alive=1)
        for _ in range(5):
            await asyncio.sleep(0.5)
            await client.ping()


async def test_a_second_connect_is_a_protocol_error_and_the_will_is_published(
    broker: Broker, version: ProtocolVersion, unique: str
) -> None:
    """[MQTT-3.1.0-2] [MQTT-3.1.2-8] [3.1.1 MQTT-3.1.0-2] [3.1.1 MQTT-3.1.2-8]"""
    async with await broker.dial() as witness, await broker.dial(version) as client:
        await witness.connect(f"{unique}-witness")
        await witness.subscribe(f"{unique}/will")
        await client.connect(unique, will=Will(f"{unique}/will", b"gone", 0, retain=False))
        await client.send(Connect(version, unique, clean_start=True, keep_alive=60))
        goodbye = await client.expect_closed()
        if version is V5:
            assert goodbye is not None
            assert goodbye.reason is ReasonCode.PROTOCOL_ERROR
        assert (await witness.receive_message()).payload == b"gone"


@pytest.mark.parametrize("packet_type", [kind for kind in range(16) if kind != 1])
async def test_anything_but_connect_first_is_closed_without_a_word(broker: Broker, packet_type: int) -> None:
    """[MQTT-3.1.0-1] [3.1.1 MQTT-3.1.0-1]"""
    flags = 2 if packet_type in (6, 8, 10) else 0
    assert await answer_to(broker.port, frames.frame(packet_type << 4 | flags, b"\x00\x01")) == b""


async def test_an_unknown_protocol_level_is_told_so(broker: Broker) -> None:
    """[MQTT-3.1.2-2]"""
    said = await answer_to(broker.port, frames.connect(level=6))
    assert said in (b"", b"\x20\x02\x00\x01") or said[3] == ReasonCode.UNSUPPORTED_PROTOCOL_VERSION


@pytest.mark.parametrize("name", ["mqtt", "MQTT5", "", "MQIsdp\x00", "HTTP"])
async def test_a_wrong_protocol_name_is_closed(broker: Broker, name: str) -> None:
    """[MQTT-3.1.2-1] [3.1.1 MQTT-3.1.2-1]"""
    said = await answer_to(broker.port, frames.connect(name=name))
    assert said == b"" or said[3] in (ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, ReasonCode.MALFORMED_PACKET, 1)


@pytest.mark.parametrize(
    "bytes_of_others",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(160),
    ],
    ids=["HTTP", "SSH", "PROXY", "TLS"],
)
async def test_other_protocols_are_closed_without_a_word(broker: Broker, bytes_of_others: bytes) -> None:
    assert await answer_to(broker.port, bytes_of_others) == b""


string = frames.string
CONNECT_VIOLATIONS = {
    "reserved flag": frames.connect(flags=0x03),
    "reserved bits of the first byte": frames.connect(first_byte=0x11),
    "will QoS 3": frames.connect(flags=0x1E, payload=string("c") + b"\x00" + string("t") + string("p")),
    "will QoS without will": frames.connect(flags=0x0A),
    "will retain without will": frames.connect(flags=0x22),
    "five bytes of remaining length": b"\x10\xff\xff\xff\xff\x01",
    "overlong remaining length": b"\x10\x80\x80\x80\x00",
    "property length beyond the packet": frames.frame(0x10, string("MQTT") + b"\x05\x02\x00\x3c\x7f\x00\x01c"),
    "unknown property": frames.connect(property_bytes=b"\x7d\x00"),
    "property of another packet": frames.connect(property_bytes=b"\x23\x00\x01"),
    "receive maximum twice": frames.connect(property_bytes=b"\x21\x00\x05\x21\x00\x05"),
    "receive maximum 0": frames.connect(property_bytes=b"\x21\x00\x00"),
    "maximum packet size 0": frames.connect(property_bytes=b"\x27\x00\x00\x00\x00"),
    "request problem information 2": frames.connect(property_bytes=b"\x17\x02"),
    "request response information 2": frames.connect(property_bytes=b"\x19\x02"),
    "authentication data without method": frames.connect(property_bytes=b"\x16\x00\x01x"),
    "no client id": frames.connect(payload=b""),
    "client id with U+0000": frames.connect(payload=string("a\x00b")),
    "client id with a control character": frames.connect(payload=string("a\x1bb")),
    "client id with a surrogate": frames.connect(payload=string(b"a\xed\xa0\x80b")),
    "client id overlong UTF-8": frames.connect(payload=string(b"a\xc0\xafb")),
    "client id cut off": frames.connect(payload=b"\x00\x09c"),
    "bytes after the payload": frames.connect(payload=string("c") + b"extra"),
    "user name flag, no user name": frames.connect(flags=0x82),
    "3.1.1 password without user name": frames.connect(level=4, flags=0x42, payload=string("c") + string("p")),
}  # fmt: skip


@pytest.mark.parametrize("data", CONNECT_VIOLATIONS.values(), ids=CONNECT_VIOLATIONS.keys())
async def test_a_broken_connect_is_refused_and_closed(broker: Broker, data: bytes) -> None:
    """MQTT 5.0, 4.13: malformed or protocol error, in CONNACK or by closing; never success, never silence."""
    said = await answer_to(broker.port, data)
    assert said == b"" or said[:1] == b"\x20"
    if said:
        assert said[3] >= 0x80 or (said[1] == 2 and said[3] in range(1, 6))


@pytest.mark.parametrize("claimed", [65_536, 268_435_455])
async def test_a_connect_above_the_bound_is_refused_before_its_body_arrives(broker: Broker, claimed: int) -> None:
    """Only the protocol's name and level are awaited, to know how to say no."""
    said = await answer_to(broker.port, b"\x10" + frames.variable(claimed) + string("MQTT") + b"\x05")
    assert said[:1] == b"\x20"
    assert said[3] == ReasonCode.PACKET_TOO_LARGE


async def test_too_many_user_properties_are_refused(broker: Broker) -> None:
    pairs = b"".join(b"\x26" + frames.string(f"k{n}") + frames.string("v") for n in range(2_000))
    said = await answer_to(broker.port, frames.connect(property_bytes=pairs))
    assert said == b"" or said[3] >= 0x80


async def test_an_unknown_authentication_method_is_refused(broker: Broker, unique: str) -> None:
    """[MQTT-4.12.0-1]"""
    async with await broker.dial() as client:
        answer = await client.connect(unique, properties=Properties(authentication_method="GSSAPI"))
        assert answer.reason is ReasonCode.BAD_AUTHENTICATION_METHOD
        await client.expect_closed()


async def test_auth_without_a_method_is_a_protocol_error(broker: Broker, unique: str) -> None:
    """[MQTT-4.12.0-7]"""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.send(Auth(ReasonCode.RE_AUTHENTICATE, Properties(authentication_method="SCRAM-SHA-256")))
        goodbye = await client.expect_closed()
        assert goodbye is not None
        assert goodbye.reason in (ReasonCode.PROTOCOL_ERROR, ReasonCode.BAD_AUTHENTICATION_METHOD)


async def test_packets_behind_connect_wait_for_connack_and_then_count(broker: Broker, unique: str) -> None:
    """[MQTT-3.1.4-6] [MQTT-3.2.0-1] A client may send on before CONNACK; nothing happens before it."""
    async with await broker.dial() as witness, await broker.dial() as client:
        await witness.connect(f"{unique}-witness")
        await witness.subscribe(unique)
        await client.send(Connect(V5, unique, clean_start=True, keep_alive=60), Publish(unique, b"early"), PingReq())
        assert isinstance(await client.receive(), ConnAck)
        assert (await witness.receive_message()).payload == b"early"


async def test_a_connect_that_never_comes_is_not_waited_for_forever(start_broker: StartBroker) -> None:
    """Ten seconds from accept, whatever dribbles in meanwhile."""
    broker = start_broker()
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    loop = asyncio.get_running_loop()
    started = loop.time()
    data = frames.connect()
    async with asyncio.timeout(15):
        for byte in data[:4]:
            writer.write(bytes([byte]))
            await asyncio.sleep(1)
        assert await reader.read() == b""
    assert 5 <= loop.time() - started <= 13
    writer.close()


async def test_a_connection_beyond_the_limit_of_its_listener_is_closed(start_broker: StartBroker, unique: str) -> None:
    """maxConnectionsPerNode; those inside stay, and a place that is given up can be taken."""
    broker = start_broker(listeners=(listener(max_connections=2),))
    async with await broker.dial() as first, await broker.dial() as second:
        await first.connect(f"{unique}-1")
        await second.connect(f"{unique}-2")
        assert await answer_to(broker.port, frames.connect()) == b""
        await first.ping()
        await second.disconnect()
        async with await dial(broker.port) as third:
            assert (await third.connect(f"{unique}-3")).reason is ReasonCode.SUCCESS


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        (MQTTSettings(receive_maximum=7), "receive_maximum", 7),
        (MQTTSettings(topic_alias_maximum=3), "topic_alias_maximum", 3),
        (MQTTSettings(packet_bytes_max=70_000), "maximum_packet_size", 70_000),
        (MQTTSettings(maximum_qos=1), "maximum_qos", 1),
        (MQTTSettings(retain_available=False), "retain_available", 0),
        (MQTTSettings(wildcard_subscription_available=False), "wildcard_subscription_available", 0),
        (MQTTSettings(shared_subscription_available=False), "shared_subscription_available", 0),
        (MQTTSettings(keep_alive_s_max=30), "server_keep_alive", 30),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_each_limit_in_the_settings_is_the_one_in_connack(
    start_broker: StartBroker, unique: str, settings: MQTTSettings, field: str, value: int
) -> None:
    broker = start_broker(mqtt=settings)
    async with await broker.dial() as client:
        assert getattr((await client.connect(unique)).properties, field) == value


async def test_connections_above_the_rate_are_served_later_and_none_is_refused(start_broker: StartBroker) -> None:
    rate = ConnectionRateSettings(per_s=20, burst=5)
    broker = start_broker(listeners=(listener(connection_rate=rate),))
    loop = asyncio.get_running_loop()
    started = loop.time()

    async def connect(number: int) -> float:
        async with await broker.dial() as client:
            assert (await client.connect(f"c{number}")).reason is ReasonCode.SUCCESS
            return loop.time() - started

    waited = sorted(await asyncio.gather(*(connect(number) for number in range(15))))
    assert waited[-1] >= (15 - 1 - rate.burst) / rate.per_s  # one may have been accepted by the start of the broker
