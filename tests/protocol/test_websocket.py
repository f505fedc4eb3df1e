"""MQTT inside WebSocket: the upgrade and its bounds, framing, closing, identity over TLS, other people's clients."""

import asyncio
import contextlib
import queue
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from mqtt_api.node_settings import (
    AuthenticationSettings,
    ListenerSettings,
    TLSSettings,
    WebSocketSettings,
)
from mqtt_broker.wire.reasons import ReasonCode
from support import frames
from support.broker import ANYONE, PASSWORDS, Broker, StartBroker, listener
from support.certificates import Authority, trusting
from support.policies import PASSWORD, allow, policy
from support.processes import ROOT, run
from support.tools import require
from support.waiting import eventually
from support.websocket import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    WebSocket,
    dial_websocket,
    frame,
    request,
)

X509_OPEN = AuthenticationSettings(name="devices", type="X509", principals="Open", client_ids=("${username}",))
CONNACK_OK = b"\x20\x02\x00\x00"
STEP_S_MAX = 10.0


def websocket_listener(
    settings: WebSocketSettings | None = None, tls: TLSSettings | None = None, **more: object
) -> ListenerSettings:
    plain = listener("web", tls=tls)
    return msgspec.structs.replace(plain, protocol="WebSocket", web_socket=settings or WebSocketSettings(), **more)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker with a WebSocket listener, and an ordinary one to watch from."""
    rules = policy(users={"guest": [allow("#")]}, anonymous=[allow("#")])
    listeners = (websocket_listener(), listener("plain"))
    with Broker(tmp_path_factory.mktemp("web"), rules, listeners=listeners) as running:
        yield running
        running.assert_no_traceback()


@contextlib.asynccontextmanager
async def connected(broker: Broker, client_id: str) -> AsyncIterator[WebSocket]:
    """An MQTT 3.1.1 client over WebSocket."""
    async with await dial_websocket(broker.port) as socket:
        await socket.upgrade()
        await socket.send(frame(BINARY, connect(client_id)))
        assert await socket.receive_bytes(4) == CONNACK_OK
        yield socket


def connect(client_id: str, keep_alive: int = 60) -> bytes:
    return frames.connect(level=4, payload=frames.string(client_id), keep_alive=keep_alive)


def publish(topic: str, payload: bytes) -> bytes:
    return frames.frame(0x30, frames.string(topic) + payload)


# The upgrade ---------------------------------------------------------------------------------------------------------


async def test_the_subprotocol_mqtt_is_answered(web: Broker) -> None:
    """[MQTT-6.0.0-4] [3.1.1 MQTT-6.0.0-4]"""
    async with await dial_websocket(web.port) as socket:
        headers = await socket.upgrade(request(protocol="soap, mqtt"))
        assert headers["sec-websocket-protocol"] == "mqtt"
        assert headers["sec-websocket-accept"] == ACCEPT


@pytest.mark.parametrize("protocol", [None, "", "soap", "MQTT", "mqttv3.1"])
async def test_without_the_subprotocol_mqtt_there_is_no_upgrade(web: Broker, protocol: str | None) -> None:
    """[MQTT-6.0.0-3] [3.1.1 MQTT-6.0.0-3]"""
    async with await dial_websocket(web.port) as socket:
        await socket.send(request(protocol=protocol))
        assert (await socket.head())[0] == 400
        await socket.expect_end()


async def test_compression_is_not_agreed_to(web: Broker) -> None:
    async with await dial_websocket(web.port) as socket:
        headers = await socket.upgrade(request(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits"))
        assert "sec-websocket-extensions" not in headers


@pytest.mark.parametrize(
    "asked",
    [
        request(Upgrade=None),
        request(Connection="close"),
        request(Sec_WebSocket_Key=None),
        request(Sec_WebSocket_Key="short"),
        request(Sec_WebSocket_Version="99"),
        request().replace(b"GET ", b"POST ", 1),
        request().replace(b"HTTP/1.1", b"HTTP/9.x", 1),
        request(X_Bad="a\0b"),
        request(Content_Length="0"),
        request(Transfer_Encoding="chunked"),
        b"SSH-2.0-OpenSSH_9.9\r\n",
        connect("raw"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=[
        "no upgrade", "no connection", "no key", "bad key", "bad version", "POST", "bad HTTP", "NUL", "body", "chunks",
        "SSH", "MQTT", "TLS",
    ],
)  # fmt: skip
async def test_what_is_no_upgrade_is_refused_and_closed(web: Broker, asked: bytes) -> None:
    async with await dial_websocket(web.port) as socket:
        await socket.send(asked)
        assert (await socket.head())[0] == 400
        await socket.expect_end()


async def test_a_request_that_is_too_large_is_refused(web: Broker) -> None:
    async with await dial_websocket(web.port) as socket:
        await socket.send(request(X_Large="x" * 8_192))
        assert (await socket.head())[0] == 431
        await socket.expect_end()


async def test_a_request_may_come_byte_by_byte(web: Broker) -> None:
    async with await dial_websocket(web.port) as socket:
        for byte in request()[:-1]:
            socket.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        await socket.upgrade(request()[-1:])


async def test_a_request_that_never_ends_is_cut_off(web: Broker) -> None:
    async with await dial_websocket(web.port) as socket:
        await socket.send(request()[:-2])
        async with asyncio.timeout(15):
            with contextlib.suppress(ConnectionError):
                assert await socket.reader.read() == b""


async def test_an_upgrade_without_mqtt_is_cut_off_in_time(web: Broker) -> None:
    async with await dial_websocket(web.port) as socket:
        await socket.upgrade()
        assert await socket.expect_close(deadline_s=20) == 1000


async def test_a_listener_may_demand_a_path(start_broker: StartBroker) -> None:
    broker = start_broker(listeners=(websocket_listener(WebSocketSettings(path="/mqtt")),))
    for path, expected in (("/mqtt", 101), ("/mqtt?x=1", 101), ("/", 404), ("/mqtt/", 404)):
        async with await dial_websocket(broker.port) as socket:
            await socket.send(request(path))
            assert (await socket.head())[0] == expected, path


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        (None, None, 101),
        (None, "http://localhost", 101),
        (None, "https://evil.example", 403),
        (None, "null", 403),
        (("https://app.example",), "https://app.example", 101),
        (("https://app.example",), "https://app.example.evil.example", 403),
        (("https://app.example",), "http://localhost", 403),
        (("https://app.example",), None, 101),
        (("*",), "https://evil.example", 101),
    ],
)
async def test_a_page_connects_only_from_an_origin_that_may(
    tmp_path: Path, allowed: tuple[str, ...] | None, origin: str | None, expected: int
) -> None:
    settings = WebSocketSettings(allowed_origins=allowed)
    with Broker(tmp_path, policy(), listeners=(websocket_listener(settings),)) as broker:
        async with await dial_websocket(broker.port) as socket:
            await socket.send(request(Origin=origin))
            assert (await socket.head())[0] == expected


async def test_a_connection_counts_from_its_first_byte(start_broker: StartBroker) -> None:
    broker = start_broker(listeners=(websocket_listener(max_connections=1),))
    async with await dial_websocket(broker.port) as first:
        await first.upgrade()
        async with await dial_websocket(broker.port) as second:
            await second.send(request())
            assert await second.expect_end() == b""

    async def is_let_in() -> bool:
        async with await dial_websocket(broker.port) as third:
            with contextlib.suppress(ConnectionError):
                await third.send(request())
                return (await third.reader.read(12)).startswith(b"HTTP/1.1 101")
        return False

    await eventually(is_let_in, what="the place to be free again")


# Frames --------------------------------------------------------------------------------------------------------------


async def test_packets_are_cut_anywhere_and_several_fit_one_message(web: Broker, unique: str) -> None:
    """[MQTT-6.0.0-2] [3.1.1 MQTT-6.0.0-2]"""
    async with await dial_websocket(web.port) as socket:
        await socket.upgrade()
        subscribe = frames.frame(0x82, b"\x00\x01" + frames.string(f"{unique}/#") + b"\x00")
        stream = connect(unique) + subscribe
        cut = [stream[:1], stream[1:9], stream[9:10], b"", stream[10:]]
        await socket.send(*(frame(BINARY, part) for part in cut))
        assert await socket.receive_bytes(9) == CONNACK_OK + b"\x90\x03\x00\x01\x00"
        stream = publish(f"{unique}/a", b"1") + publish(f"{unique}/b", b"2" * 300)
        await socket.send(frame(BINARY, stream[:200]), frame(BINARY, stream[200:]))
        assert await socket.receive_bytes(len(stream)) == stream


async def test_a_message_may_come_in_fragments_with_a_ping_between(web: Broker, unique: str) -> None:
    async with await dial_websocket(web.port) as socket:
        await socket.upgrade()
        data = connect(unique)
        await socket.send(
            frame(BINARY, data[:3], final=False),
            frame(PING, b"hello"),
            frame(CONTINUATION, data[3:5], final=False),
            frame(CONTINUATION, data[5:]),
        )
        assert sorted([await socket.receive(), await socket.receive()]) == [(BINARY, CONNACK_OK), (PONG, b"hello")]


async def test_a_text_frame_ends_the_connection_and_leaves_a_will(web: Broker, unique: str) -> None:
    """[MQTT-6.0.0-1] [3.1.1 MQTT-6.0.0-1]"""
    async with await web.dial(to="plain") as witness:
        await witness.connect(f"{unique}-w")
        await witness.subscribe(f"{unique}/will", qos=0)
        async with await dial_websocket(web.port) as socket:
            await socket.upgrade()
            payload = frames.string(unique) + frames.string(f"{unique}/will") + frames.string("gone")
            await socket.send(frame(BINARY, frames.connect(level=4, flags=0x06, payload=payload)))
            assert await socket.receive_bytes(4) == CONNACK_OK
            await socket.send(frame(TEXT, b"\xc0\x00"))
            assert await socket.expect_close() == 1003
        assert (await witness.receive_message()).payload == b"gone"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(BINARY, b"\xc0\x00", masked=False), 1002),
        (frame(PING, masked=False), 1002),
        (frame(BINARY, b"x", length=2**63), 1009),
        (frame(BINARY, b"x", length=2 * 1024 * 1024), 1009),
        (frame(BINARY, b"x" * 600_000, final=False) + frame(CONTINUATION, b"x", length=600_000), 1009),
        (frame(CONTINUATION, b"x"), 1002),
        (frame(0x3, b"x"), 1002),
        (frame(PING, b"x", final=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (bytes([0xC0 | BINARY, 0x81]) + b"\0\0\0\0x", 1002),
        (frame(CLOSE, b"x"), 1002),
    ],
    ids=[
        "unmasked", "unmasked ping", "2^63", "too large", "fragments too large", "nothing to continue", "opcode 3",
        "ping in fragments", "ping too large", "reserved bit", "bad close",
    ],
)  # fmt: skip
async def test_a_frame_that_must_not_be_ends_the_connection(web: Broker, unique: str, sent: bytes, code: int) -> None:
    async with connected(web, unique) as socket:
        await socket.send(sent)
        assert await socket.expect_close() == code


async def test_before_connect_a_message_is_no_larger_than_a_connect(web: Broker) -> None:
    async with await dial_websocket(web.port) as socket:
        await socket.upgrade()
        await socket.send(frame(BINARY, b"\x10", length=65_537))
        assert await socket.expect_close() == 1009


async def test_a_length_that_lies_inside_mqtt_is_a_malformed_packet(web: Broker) -> None:
    """The remaining length says five bytes of itself: the message's own end means nothing."""
    async with await dial_websocket(web.port) as socket:
        await socket.upgrade()
        await socket.send(frame(BINARY, b"\x10\xff\xff\xff\xff\x7f"))
        assert await socket.expect_close() == 1000


async def test_a_ping_flood_is_slowed_down_and_others_are_not(web: Broker, unique: str) -> None:
    async with connected(web, unique) as flooding, await web.dial(to="plain") as other:
        await flooding.send(frame(PING) * 200)
        await other.connect(f"{unique}-o")
        for _ in range(20):
            await other.ping()
        await flooding.send(frame(BINARY, b"\xc0\x00"))
        answers = [await flooding.receive() for _ in range(12)]
        assert answers == [(PONG, b"")] * 12, "the ping of MQTT waits behind the flood"


async def test_a_large_message_goes_both_ways(web: Broker, unique: str) -> None:
    async with connected(web, unique) as socket:
        await socket.send(frame(BINARY, frames.frame(0x82, b"\x00\x01" + frames.string(unique) + b"\x00")))
        assert await socket.receive_bytes(5) == b"\x90\x03\x00\x01\x00"
        sent = publish(unique, bytes(900_000))
        await socket.send(frame(BINARY, sent))
        assert await socket.receive_bytes(len(sent)) == sent


# The end -------------------------------------------------------------------------------------------------------------


async def test_what_came_before_the_end_is_carried_out_and_disconnect_cancels_the_will(
    web: Broker, unique: str
) -> None:
    async with await web.dial(to="plain") as witness:
        await witness.connect(f"{unique}-w")
        await witness.subscribe(f"{unique}/#", qos=0)
        async with await dial_websocket(web.port) as socket:
            await socket.upgrade()
            will = frames.string(unique) + frames.string(f"{unique}/will") + frames.string("gone")
            await socket.send(frame(BINARY, frames.connect(level=4, flags=0x06, payload=will)))
            assert await socket.receive_bytes(4) == CONNACK_OK
            await socket.send(*(frame(BINARY, publish(f"{unique}/{n}", b"x")) for n in range(500)))
            await socket.send(frame(BINARY, b"\xe0\x00"))
        for n in range(500):
            assert (await witness.receive_message()).topic == f"{unique}/{n}"
        await witness.expect_silence()


async def test_a_client_that_closes_is_answered(web: Broker, unique: str) -> None:
    async with connected(web, unique) as socket:
        await socket.send(frame(CLOSE, (1001).to_bytes(2, "big")))
        assert await socket.receive() == (CLOSE, b"\x03\xe8")
        await socket.expect_end()


async def test_a_client_that_is_gone_is_noticed(web: Broker, unique: str) -> None:
    async with connected(web, unique) as socket:
        socket.writer.transport.abort()
    await web.logged("client.disconnected", client_id=unique)


async def test_keep_alive_counts_as_on_any_connection(web: Broker, unique: str) -> None:
    """[MQTT-3.1.2-22]"""
    async with await dial_websocket(web.port) as socket:
        await socket.upgrade()
        await socket.send(frame(BINARY, connect(unique, keep_alive=1)))
        assert await socket.receive_bytes(4) == CONNACK_OK
        await socket.send(frame(PING))
        assert await socket.expect_close() == 1000


async def test_a_node_that_stops_says_goodbye(start_broker: StartBroker) -> None:
    broker = start_broker(listeners=(websocket_listener(),))
    async with connected(broker, "c") as socket, await dial_websocket(broker.port) as waiting:
        await waiting.send(request()[:20])
        stopping = asyncio.get_running_loop().run_in_executor(None, broker.stop)
        assert await socket.expect_close() == 1000
        assert await waiting.expect_end() == b""
        assert await stopping == 0


async def test_a_receiver_that_reads_nothing_costs_the_others_nothing(start_broker: StartBroker) -> None:
    """Its messages are dropped and counted once the write buffer is full."""
    broker = start_broker(listeners=(websocket_listener(), listener("plain")))
    async with connected(broker, "slow") as slow, await broker.dial(to="plain") as publisher:
        await slow.send(frame(BINARY, frames.frame(0x82, b"\x00\x01" + frames.string("t") + b"\x00")))
        await slow.receive_bytes(5)
        await publisher.connect("fast")
        for _ in range(400):
            await publisher.publish("t", bytes(100_000), qos=0)
        await publisher.ping()
        await eventually(lambda: broker.status()["messages_dropped"] > 0, what="drops")


# TLS -----------------------------------------------------------------------------------------------------------------


class Secure:
    """An authority and the settings of a WSS listener that may ask for client certificates."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "pki")
        server = self.authority.server()
        self.tls = TLSSettings(
            certificate_file=str(server.certificate_file),
            key_file=str(server.key_file),
            client_auth="Optional",
            client_ca_files=(str(self.authority.ca_file),),
        )

    def listener(self) -> ListenerSettings:
        return websocket_listener(tls=self.tls, authentication=(X509_OPEN, PASSWORDS, ANYONE))

    def trusting(self, common_name: str | None = None) -> ssl.SSLContext:
        identity = None if common_name is None else self.authority.client(common_name)
        return trusting(self.authority.ca_file, identity)


async def test_a_client_certificate_is_an_identity_over_wss_as_over_tls(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    secure = Secure(tmp_path)
    rules = policy(anonymous=[allow("#")], authenticated=[allow("dev/${cert.cn}/#")])
    broker = start_broker(rules, listeners=(secure.listener(),))
    async with await dial_websocket(broker.port, secure.trusting("sensor-1")) as socket:
        await socket.upgrade()
        await socket.send(frame(BINARY, connect("sensor-1")))
        assert await socket.receive_bytes(4) == CONNACK_OK
        connected_as = await broker.logged("client.connected", client_id="sensor-1")
        assert connected_as["username"] == "sensor-1"
    async with await dial_websocket(broker.port, secure.trusting("sensor-1")) as socket:
        await socket.upgrade()
        await socket.send(frame(BINARY, frames.connect(payload=frames.string("sensor-2"))))
        answer = await socket.receive()
        assert answer[1][3] == ReasonCode.CLIENT_IDENTIFIER_NOT_VALID


async def test_plain_http_on_a_wss_port_is_closed_without_a_word(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = start_broker(listeners=(Secure(tmp_path).listener(),))
    async with await dial_websocket(broker.port) as socket:
        await socket.send(request())
        assert not (await socket.expect_end()).startswith(b"HTTP")


# Other people's clients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["4", "5"])
@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_mqtt_js_makes_its_round(tmp_path: Path, start_broker: StartBroker, scheme: str, version: str) -> None:
    node = require("node")
    program = ROOT / "tests/protocol/mqttjs/round.mjs"
    if not (program.parent / "node_modules").exists():
        pytest.skip("mqtt.js is not installed: ./hack/test says how")
    secure = Secure(tmp_path)
    web = secure.listener() if scheme == "wss" else websocket_listener()
    broker = start_broker(policy(users={"guest": [allow("#")]}), listeners=(web,))
    arguments = [str(broker.port), str(secure.authority.ca_file), "guest", PASSWORD, version, scheme]
    finished = await asyncio.to_thread(run, [node, program, *arguments])
    assert (finished.returncode(), finished.out) == (0, ["ok"]), finished.dump()


@pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5], ids=["v3.1.1", "v5"])
@pytest.mark.parametrize("encrypted", [False, True], ids=["ws", "wss"])
async def test_paho_publishes_to_itself(
    start_broker: StartBroker, tmp_path: Path, encrypted: bool, version: MQTTProtocolVersion
) -> None:
    secure = Secure(tmp_path)
    web = secure.listener() if encrypted else websocket_listener()
    broker = start_broker(policy(users={"guest": [allow("#")]}), listeners=(web,))
    client = paho.Client(CallbackAPIVersion.VERSION2, "guest", protocol=version, transport="websockets")
    client.username_pw_set("guest", PASSWORD)
    if encrypted:
        client.tls_set_context(secure.trusting())

    def subscribe() -> None:
        client.subscribe("t", qos=2)

    messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
    subscribed: queue.Queue[object] = queue.Queue()
    ended: queue.Queue[object] = queue.Queue()
    client.on_message = lambda _client, _data, message: messages.put(message)
    client.on_connect = lambda _client, _data, _flags, _reason, _properties: subscribe()
    client.on_subscribe = lambda *_: subscribed.put(None)
    client.on_disconnect = lambda *_: ended.put(None)
    client.connect("localhost", broker.port)
    client.loop_start()
    try:
        await asyncio.to_thread(subscribed.get, timeout=STEP_S_MAX)
        for qos in (0, 1, 2):
            client.publish("t", bytes([qos]) * 70_000, qos)
            message = await asyncio.to_thread(messages.get, timeout=STEP_S_MAX)
            assert (message.payload, message.qos) == (bytes([qos]) * 70_000, qos)
    finally:
        client.disconnect()
        await asyncio.to_thread(ended.get, timeout=STEP_S_MAX)
        client.loop_stop()
