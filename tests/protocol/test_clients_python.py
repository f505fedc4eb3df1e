"""aiomqtt and gmqtt, unchanged, over TLS, in 3.1.1 and 5: publish and subscribe, retained, will, persistent session."""

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Protocol

import aiomqtt
import gmqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from support.certificates import trusting
from support.policies import PASSWORD
from support.served import USER, Served, serving
from support.waiting import eventually

STEP_S_MAX = 10.0
KEPT_S = 60
_numbers = itertools.count(1)

Message = tuple[str, bytes, bool]


class Guest(Protocol):
    """What the round asks of a client, whoever wrote it. Each call returns when the broker has answered."""

    async def subscribe(self, topic: str, qos: int) -> None: ...

    async def publish(self, topic: str, payload: str, qos: int, retain: bool = False) -> None: ...

    async def next(self) -> Message:
        """Topic, payload and retain flag of the next message."""
        ...

    def cut(self) -> None:
        """Close the connection without DISCONNECT."""
        ...


Library = Callable[..., AbstractAsyncContextManager[Guest]]


# aiomqtt -------------------------------------------------------------------------------------------------------------


class _Aiomqtt:
    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client

    async def subscribe(self, topic: str, qos: int) -> None:
        (granted,) = await self._client.subscribe(topic, qos)
        assert getattr(granted, "value", granted) == qos

    async def publish(self, topic: str, payload: str, qos: int, retain: bool = False) -> None:
        await self._client.publish(topic, payload, qos, retain)

    async def next(self) -> Message:
        message = await asyncio.wait_for(anext(aiter(self._client.messages)), STEP_S_MAX)
        assert isinstance(message.payload, bytes)
        return message.topic.value, message.payload, bool(message.retain)

    def cut(self) -> None:
        socket: Any = self._client._client.socket()
        asyncio.get_running_loop().remove_reader(socket.fileno())
        socket.close()


@asynccontextmanager
async def _aiomqtt(
    served: Served, version: int, client_id: str, *, kept: bool = False, will: tuple[str, str] | None = None
) -> AsyncIterator[Guest]:
    more: dict[str, Any] = {"clean_session": not kept}
    if version == 5:
        properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no types for it
        properties.SessionExpiryInterval = KEPT_S if kept else 0
        more = {"clean_start": not kept, "properties": properties}
    async with aiomqtt.Client(
        "localhost",
        served.broker.port,
        identifier=client_id,
        username=USER,
        password=PASSWORD,
        protocol=aiomqtt.ProtocolVersion(version),
        tls_context=trusting(served.ca_file),
        will=aiomqtt.Will(will[0], will[1], 1) if will else None,
        **more,
    ) as client:
        yield _Aiomqtt(client)


# gmqtt ---------------------------------------------------------------------------------------------------------------


class _Gmqtt:
    def __init__(self, client: Any) -> None:
        self._client = client
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._granted: dict[int, tuple[int, ...]] = {}
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe

    def _on_message(self, _client: Any, topic: str, payload: bytes, _qos: int, properties: Any) -> None:
        self._messages.put_nowait((topic, payload, bool(properties["retain"])))

    def _on_subscribe(self, _client: Any, packet_id: int, granted: tuple[int, ...], _properties: Any) -> None:
        self._granted[packet_id] = granted

    async def subscribe(self, topic: str, qos: int) -> None:
        packet_id = self._client.subscribe(topic, qos)
        await eventually(lambda: packet_id in self._granted, STEP_S_MAX, "SUBACK")
        assert self._granted[packet_id] == (qos,)

    async def publish(self, topic: str, payload: str, qos: int, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos, retain)
        await asyncio.wait_for(self._client._persistent_storage.wait_empty(), STEP_S_MAX)

    async def next(self) -> Message:
        return await asyncio.wait_for(self._messages.get(), STEP_S_MAX)

    def cut(self) -> None:
        self._client.stop_reconnect()
        self._client._connection._transport.abort()


@contextmanager
def _late_bytes_ignored() -> Iterator[None]:
    """gmqtt closes TLS at once; our last acknowledgement may still be on its way, which Python's ssl reports."""
    try:
        yield
    except ssl.SSLError as error:
        if error.reason != "APPLICATION_DATA_AFTER_CLOSE_NOTIFY":
            raise


@asynccontextmanager
async def _gmqtt(
    served: Served, version: int, client_id: str, *, kept: bool = False, will: tuple[str, str] | None = None
) -> AsyncIterator[Guest]:
    more: dict[str, Any] = {"session_expiry_interval": KEPT_S} if kept and version == 5 else {}
    last = gmqtt.Message(will[0], will[1], qos=1) if will else None
    client = gmqtt.Client(client_id, clean_session=not kept, will_message=last, **more)
    client.set_auth_credentials(USER, PASSWORD)
    guest = _Gmqtt(client)
    connecting = client.connect("localhost", served.broker.port, trusting(served.ca_file), version=version)
    await asyncio.wait_for(connecting, STEP_S_MAX)
    try:
        yield guest
    finally:
        with _late_bytes_ignored():
            await client.disconnect()


# The round -----------------------------------------------------------------------------------------------------------

EACH = pytest.mark.parametrize("library", [_aiomqtt, _gmqtt], ids=["aiomqtt", "gmqtt"])
VERSIONS = pytest.mark.parametrize("number", [4, 5], ids=["v3.1.1", "v5"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as running:
        yield running


def name() -> str:
    """A client id and topic level of its own for every client of every test."""
    return f"{USER}-{next(_numbers)}"


@EACH
@VERSIONS
async def test_python_client_publishes_and_subscribes(served: Served, library: Library, number: int) -> None:
    topic = f"python/{name()}"
    async with library(served, number, name()) as client:
        for qos in (0, 1, 2):
            await client.subscribe(f"{topic}/{qos}", qos)
            await client.publish(f"{topic}/{qos}", f"at {qos}", qos)
            assert await client.next() == (f"{topic}/{qos}", f"at {qos}".encode(), False)


@EACH
@VERSIONS
async def test_python_client_sees_retained_messages(served: Served, library: Library, number: int) -> None:
    topic = f"python/{name()}"
    async with library(served, number, name()) as client:
        await client.publish(topic, "kept", 1, retain=True)
        await client.subscribe(topic, 1)
        assert await client.next() == (topic, b"kept", True)
        await client.publish(topic, "", 1, retain=True)


@EACH
@VERSIONS
async def test_python_client_leaves_a_will_when_it_is_cut(served: Served, library: Library, number: int) -> None:
    topic, dying_name = f"python/{name()}", name()
    async with library(served, number, name()) as witness:
        await witness.subscribe(topic, 1)
        dying = library(served, number, dying_name, will=(topic, "gone"))
        (await dying.__aenter__()).cut()
        assert await witness.next() == (topic, b"gone", False)


@EACH
@VERSIONS
async def test_python_client_leaves_no_will_when_it_says_goodbye(served: Served, library: Library, number: int) -> None:
    topic = f"python/{name()}"
    async with library(served, number, name()) as witness:
        await witness.subscribe(topic, 1)
        async with library(served, number, name(), will=(topic, "gone")):
            pass
        await witness.publish(topic, "after", 1)
        assert await witness.next() == (topic, b"after", False)


@EACH
@VERSIONS
@pytest.mark.parametrize("qos", [1, 2])
async def test_python_client_comes_back_to_what_it_missed(
    served: Served, library: Library, number: int, qos: int
) -> None:
    topic, kept_name = f"python/{name()}", name()
    async with library(served, number, kept_name, kept=True) as client:
        await client.subscribe(topic, qos)
    async with library(served, number, name()) as publisher:
        for text in ("first", "second", "third"):
            await publisher.publish(topic, text, qos)
    async with library(served, number, kept_name, kept=True) as client:
        assert [await client.next() for _ in range(3)] == [(topic, t, False) for t in (b"first", b"second", b"third")]
