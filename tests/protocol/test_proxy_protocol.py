"""Behind a load balancer: the client's address from a PROXY header, from trusted proxies only, ahead of TLS."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from mqtt_api.node_settings import AuthenticationSettings, ListenerSettings, ProxyProtocolSettings, TLSSettings
from mqtt_broker.wire.packets import ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode
from support import frames
from support.broker import ANYONE, Broker, StartBroker, listener, write
from support.certificates import Authority, trusting
from support.client import Client
from support.policies import allow, policy
from support.proxy_headers import LOCAL, PROXY, TCP6, UNSPECIFIED, addresses, tls_tlv, tlv, v1, v2
from support.waiting import eventually
from support.websocket import BINARY, WebSocket, frame, hang_up, request

X509_OPEN = AuthenticationSettings(name="devices", type="X509", principals="Open", client_ids=("${username}",))
HEADER = v2(addresses("192.0.2.7", "198.51.100.1"))


def proxied(plain: ListenerSettings, *trusted: str) -> ListenerSettings:
    """The listener with PROXY headers, from this machine by default."""
    settings = ProxyProtocolSettings(trusted_cidrs=trusted or ("127.0.0.0/8",))
    return msgspec.structs.replace(plain, proxy_protocol=settings)


@contextlib.asynccontextmanager
async def opened(
    broker: Broker, header: bytes, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that begins with these bytes, and then perhaps with a TLS handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    try:
        writer.write(header)
        if tls is not None:
            await writer.start_tls(tls, server_hostname="localhost")
        yield reader, writer
    finally:
        await hang_up(writer)


async def closed_without_a_word(reader: asyncio.StreamReader, seconds: float = 5.0) -> bool:
    async with asyncio.timeout(seconds):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (HEADER, "192.0.2.7"),
        (v2(addresses("2001:db8::7", "2001:db8::1"), family=TCP6), "2001:db8::7"),
        (v2(addresses("::ffff:192.0.2.8", "::1"), family=TCP6), "192.0.2.8"),
        (v1("TCP4", "192.0.2.9", "198.51.100.1", "50000", "8883"), "192.0.2.9"),
        (v2(command=LOCAL, family=UNSPECIFIED), "127.0.0.1"),
        (v1("UNKNOWN"), "127.0.0.1"),
    ],
    ids=["v2", "v2 IPv6", "v2 mapped", "v1", "LOCAL", "UNKNOWN"],
)
async def test_the_address_in_the_header_is_the_clients(start_broker: StartBroker, header: bytes, address: str) -> None:
    """A proxy that speaks for itself keeps its own."""
    broker = start_broker(listeners=(proxied(listener()),))
    async with opened(broker, header) as (reader, writer), Client(reader, writer, ProtocolVersion.V5) as client:
        assert (await client.connect("c")).reason is ReasonCode.SUCCESS
        await broker.logged("client.connected", address=address, client_id="c")


async def test_header_and_first_packet_may_come_cut_anywhere(start_broker: StartBroker) -> None:
    broker = start_broker(listeners=(proxied(listener()),))
    stream = HEADER + frames.connect()
    for cut in (1, 11, 12, 15, 16, 20, len(HEADER) - 1, len(HEADER), len(HEADER) + 1):
        async with opened(broker, stream[:cut]) as (reader, writer):
            await asyncio.sleep(0.02)
            writer.write(stream[cut:])
            async with asyncio.timeout(5):
                assert (await reader.readexactly(1)) == b"\x20", cut


@pytest.mark.parametrize(
    "sent",
    [
        frames.connect(),
        b"GET / HTTP/1.1\r\n\r\n",
        v1("TCP4", "192.0.2.7", "198.51.100.1", "50000", "8883").replace(b"\r\n", b" " * 107),
        v2(addresses("192.0.2.7", "198.51.100.1"), length=0xFFFF),
        v2(addresses("192.0.2.7", "198.51.100.1") + tlv(0x04, b"x", length=99)),
        v2(command=PROXY, family=UNSPECIFIED),
    ],
    ids=["no header", "HTTP", "v1 too long", "v2 length lie", "TLV overrun", "no address"],
)
async def test_a_proxy_without_a_good_header_is_closed(start_broker: StartBroker, sent: bytes) -> None:
    broker = start_broker(listeners=(proxied(listener()),))
    async with opened(broker, sent) as (reader, _):
        assert await closed_without_a_word(reader)
    await broker.logged("proxy.refused", address="127.0.0.1")


async def test_both_versions_one_after_the_other_are_one_header_too_many(start_broker: StartBroker) -> None:
    broker = start_broker(listeners=(proxied(listener()),))
    second = v1("TCP4", "192.0.2.7", "198.51.100.1", "50000", "8883")
    async with opened(broker, HEADER + second) as (reader, _):
        assert await closed_without_a_word(reader)


async def test_a_header_that_never_ends_is_not_waited_for(start_broker: StartBroker) -> None:
    broker = start_broker(listeners=(proxied(listener()),))
    async with opened(broker, HEADER[:-1]) as (reader, _), opened(broker, b"") as (silent, _):
        assert await closed_without_a_word(reader, 10.0)
        assert await closed_without_a_word(silent, 10.0)


@pytest.mark.parametrize("sent", [HEADER + frames.connect(), frames.connect()], ids=["with a header", "without"])
async def test_a_peer_that_is_no_trusted_proxy_is_closed(start_broker: StartBroker, sent: bytes) -> None:
    """Its header could say anything, and without one it has no business here: nothing is guessed."""
    broker = start_broker(listeners=(proxied(listener(), "10.0.0.0/8", "2001:db8::/32"),))
    async with opened(broker, sent) as (reader, _):
        assert await closed_without_a_word(reader)
    await broker.logged("proxy.refused", address="127.0.0.1")


@pytest.mark.parametrize("header", [HEADER, v1("TCP4", "192.0.2.7", "198.51.100.1", "50000", "8883")])
async def test_an_ordinary_listener_takes_no_header(start_broker: StartBroker, header: bytes) -> None:
    broker = start_broker()
    async with opened(broker, header + frames.connect()) as (reader, _):
        assert await closed_without_a_word(reader)
    assert not broker.events("client.connected")


# TLS and WebSocket behind it -----------------------------------------------------------------------------------------


class Secure:
    """An authority, and a TLS listener behind proxies that may ask for client certificates."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "pki")
        server = self.authority.server()
        tls = TLSSettings(
            certificate_file=str(server.certificate_file),
            key_file=str(server.key_file),
            client_auth="Optional",
            client_ca_files=(str(self.authority.ca_file),),
        )
        self.listener = proxied(listener("tls", tls=tls, authentication=(X509_OPEN, ANYONE)))

    def trusting(self, common_name: str | None = None) -> ssl.SSLContext:
        identity = None if common_name is None else self.authority.client(common_name)
        return trusting(self.authority.ca_file, identity)


async def test_the_header_comes_ahead_of_tls_and_the_clients_own_certificate_counts(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    secure = Secure(tmp_path)
    rules = policy(anonymous=[allow("#")], authenticated=[allow("#")])
    broker = start_broker(rules, listeners=(secure.listener,))
    async with (
        opened(broker, HEADER, secure.trusting("sensor-1")) as (reader, writer),
        Client(reader, writer, ProtocolVersion.V5) as client,
    ):
        assert (await client.connect("sensor-1")).reason is ReasonCode.SUCCESS
        await broker.logged("client.connected", address="192.0.2.7", username="sensor-1")


async def test_a_certificate_that_only_a_proxy_tells_of_is_nobodys(start_broker: StartBroker, tmp_path: Path) -> None:
    """A name in a TLV would let whoever speaks for a proxy be anybody."""
    secure = Secure(tmp_path)
    broker = start_broker(policy(anonymous=[allow("#")], authenticated=[allow("#")]), listeners=(secure.listener,))
    header = v2(addresses("192.0.2.7", "198.51.100.1") + tls_tlv("sensor-1"))
    async with (
        opened(broker, header, secure.trusting()) as (reader, writer),
        Client(reader, writer, ProtocolVersion.V5) as client,
    ):
        assert (await client.connect("sensor-1")).reason is ReasonCode.SUCCESS
        assert (await broker.logged("client.connected", address="192.0.2.7"))["username"] == ""


async def test_tls_without_a_header_is_closed(start_broker: StartBroker, tmp_path: Path) -> None:
    secure = Secure(tmp_path)
    broker = start_broker(listeners=(secure.listener,))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        async with opened(broker, b"", secure.trusting()):
            pass


async def test_web_socket_works_behind_a_proxy_as_well(start_broker: StartBroker) -> None:
    web = msgspec.structs.replace(proxied(listener()), protocol="WebSocket")
    broker = start_broker(listeners=(web,))
    async with opened(broker, HEADER) as (reader, writer):
        socket = WebSocket(reader, writer)
        await socket.upgrade(request())
        await socket.send(frame(BINARY, frames.connect(level=4)))
        assert await socket.receive_bytes(4) == b"\x20\x02\x00\x00"
        await broker.logged("client.connected", address="192.0.2.7")


async def test_a_refused_client_is_written_down_with_its_own_address(start_broker: StartBroker) -> None:
    broker = start_broker(policy(), listeners=(proxied(listener()),), authentication=())
    async with opened(broker, HEADER) as (reader, writer), Client(reader, writer, ProtocolVersion.V5) as client:
        assert (await client.connect("c")).reason.is_error
    await eventually(
        lambda: any("192.0.2.7" in line and '"client_id": "c"' in line for line in list(broker.program.lines)),
        5.0,
        "the log names the client by its own address",
    )


async def test_trusted_networks_change_while_the_node_runs(start_broker: StartBroker) -> None:
    broker = start_broker(listeners=(proxied(listener(), "10.0.0.0/8"),))
    changed = proxied(broker.settings.listeners[0], "127.0.0.1/32")
    broker.settings = msgspec.structs.replace(broker.settings, listeners=(changed,))
    write(broker.folder / "settings.json", msgspec.json.encode(broker.settings))
    await broker.logged("settings.applied")
    async with opened(broker, HEADER + frames.connect()) as (reader, _):
        async with asyncio.timeout(5):
            assert await reader.readexactly(1) == b"\x20"
