"""A raw MQTT client for tests: sends packets or plain bytes, and waits for what a test expects, with deadlines.

Knows the wire format and nothing of the broker. It does what it is told, also when that breaks the standard.
"""

import asyncio
import ssl
from collections import deque
from types import TracebackType
from typing import Self, TypeVar

from mqtt_broker.wire import packets
from mqtt_broker.wire.codec import decode, encode
from mqtt_broker.wire.packets import (
    NO_PROPERTIES,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
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
from mqtt_broker.wire.reasons import ReasonCode

ANSWER_S_MAX = 5.0
SILENCE_S = 0.3
READ_BYTES = 256 * 1024
PACKET_BYTES_MAX = 268_435_460

P = TypeVar("P", bound=Packet)


class ConnectionClosedError(AssertionError):
    """The broker ended the connection while a packet was awaited. `last` is the DISCONNECT it sent, if any."""

    def __init__(self, last: Disconnect | None) -> None:
        super().__init__(f"the connection was closed; last word: {last}")
        self.last = last


class Client:
    """One connection. `version` decides how packets are encoded and decoded. Use as `async with`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: ProtocolVersion) -> None:
        self.version = version
        self.writer = writer
        self._reader = reader
        self._buffer = bytearray()
        self._backlog: deque[Packet] = deque()
        self._next_id = 0

    # --- bytes and packets -------------------------------------------------------------------------------------------

    async def send_bytes(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send(self, *many: Packet) -> None:
        await self.send_bytes(b"".join(encode(packet, self.version) for packet in many))

    async def _read_packet(self) -> Packet:
        while (found := decode(bytes(self._buffer), 0, self.version, PACKET_BYTES_MAX)) is None:
            try:
                data = await self._reader.read(READ_BYTES)
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                raise ConnectionClosedError(None)
            self._buffer += data
        packet, end = found
        del self._buffer[:end]
        return packet

    async def receive_bytes(self, count_max: int) -> bytes:
        """What the broker sent next, as it came; empty at the end. For one who does not look at packets."""
        return await self._reader.read(count_max)

    def stop_reading(self) -> None:
        """Read nothing any more, so that what the broker sends piles up at its side."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def receive(self, deadline_s: float = ANSWER_S_MAX) -> Packet:
        """The next packet, whatever it is. Raises ConnectionClosedError at the end, TimeoutError when none comes."""
        if self._backlog:
            return self._backlog.popleft()
        async with asyncio.timeout(deadline_s):
            return await self._read_packet()

    async def expect(self, kind: type[P], deadline_s: float = ANSWER_S_MAX) -> P:
        """The next packet of this kind; what comes before it is kept for later. A DISCONNECT ends the wait."""
        for packet in self._backlog:
            if isinstance(packet, kind):
                self._backlog.remove(packet)
                return packet
        async with asyncio.timeout(deadline_s):
            while True:
                packet = await self._read_packet()
                if isinstance(packet, kind):
                    return packet
                if isinstance(packet, Disconnect):
                    raise ConnectionClosedError(packet)
                self._backlog.append(packet)

    async def expect_silence(self, seconds: float = SILENCE_S) -> None:
        """No packet comes for this long, and the connection stays open."""
        try:
            packet = await self.receive(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"expected silence, got {packet!r}")

    async def expect_closed(self, deadline_s: float = ANSWER_S_MAX) -> Disconnect | None:
        """The connection ends; returns the DISCONNECT that came before, if one did. Anything else is dropped."""
        last: Disconnect | None = None
        async with asyncio.timeout(deadline_s):
            while True:
                try:
                    packet = self._backlog.popleft() if self._backlog else await self._read_packet()
                except ConnectionClosedError as closed:
                    return last or closed.last
                if isinstance(packet, Disconnect):
                    last = packet

    # --- conversations -----------------------------------------------------------------------------------------------

    def packet_id(self) -> int:
        self._next_id = self._next_id % 65_535 + 1
        return self._next_id

    async def connect(
        self,
        client_id: str,
        *,
        username: str | None = None,
        password: bytes | None = None,
        clean_start: bool = True,
        keep_alive: int = 60,
        will: Will | None = None,
        properties: Properties = NO_PROPERTIES,
    ) -> ConnAck:
        await self.send(
            Connect(
                version=self.version,
                client_id=client_id,
                clean_start=clean_start,
                keep_alive=keep_alive,
                will=will,
                username=username,
                password=password,
                properties=properties,
            )
        )
        return await self.expect(ConnAck)

    async def publish(
        self,
        topic: str,
        payload: bytes = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        properties: Properties = NO_PROPERTIES,
    ) -> ReasonCode | None:
        """Publish and finish the handshake. Returns the reason of PUBACK, or of PUBREC or PUBCOMP; None at QoS 0."""
        packet_id = self.packet_id() if qos else 0
        await self.send(Publish(topic, payload, qos, retain, packet_id=packet_id, properties=properties))
        if qos == 0:
            return None
        if qos == 1:
            acknowledged = await self.expect(PubAck)
            assert acknowledged.packet_id == packet_id
            return acknowledged.reason
        received = await self.expect(PubRec)
        assert received.packet_id == packet_id
        if received.reason.is_error:
            return received.reason
        await self.send(PubRel(packet_id))
        completed = await self.expect(PubComp)
        assert completed.packet_id == packet_id
        return max(received.reason, completed.reason)

    async def subscribe(
        self, *filters: str | SubscriptionRequest, qos: int = 0, properties: Properties = NO_PROPERTIES
    ) -> tuple[ReasonCode, ...]:
        requests = tuple(SubscriptionRequest(f, qos) if isinstance(f, str) else f for f in filters)
        packet_id = self.packet_id()
        await self.send(Subscribe(packet_id, requests, properties))
        answer = await self.expect(SubAck)
        assert answer.packet_id == packet_id
        return answer.reasons

    async def unsubscribe(self, *filters: str) -> tuple[ReasonCode, ...]:
        packet_id = self.packet_id()
        await self.send(Unsubscribe(packet_id, filters))
        answer = await self.expect(UnsubAck)
        assert answer.packet_id == packet_id
        return answer.reasons

    async def receive_message(self, deadline_s: float = ANSWER_S_MAX) -> Publish:
        """The next PUBLISH, with its handshake finished."""
        message = await self.expect(Publish, deadline_s)
        if message.qos == 1:
            await self.send(PubAck(message.packet_id))
        elif message.qos == 2:
            await self.send(PubRec(message.packet_id))
            await self.expect(PubRel, deadline_s)
            await self.send(PubComp(message.packet_id))
        return message

    async def receive_payloads(self, count: int, deadline_s: float = ANSWER_S_MAX) -> list[bytes]:
        return [(await self.receive_message(deadline_s)).payload for _ in range(count)]

    async def ping(self) -> None:
        """A round trip: whatever the broker did for this connection before it is done when this returns."""
        await self.send(packets.PingReq())
        await self.expect(packets.PingResp)

    async def disconnect(
        self, reason: ReasonCode = ReasonCode.NORMAL_DISCONNECTION, properties: Properties = NO_PROPERTIES
    ) -> None:
        """Say goodbye and wait until the broker has closed the connection."""
        await self.send(Disconnect(reason, properties))
        await self.expect_closed()
        await self.close()

    async def abort(self) -> None:
        """Go without a word, as a device that lost its network."""
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        try:
            async with asyncio.timeout(1):
                await self.writer.wait_closed()
        except (OSError, ssl.SSLError, TimeoutError):
            self.writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def dial(
    port: int,
    version: ProtocolVersion = ProtocolVersion.V5,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> Client:
    """Open a connection and say nothing yet. Raises OSError or ssl.SSLError when the broker does not want it."""
    name = "localhost" if tls is not None else None
    async with asyncio.timeout(ANSWER_S_MAX):
        reader, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=name)
    return Client(reader, writer, version)
