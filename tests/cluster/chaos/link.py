"""One TCP connection that speaks MQTT packets. Knows bytes and packets; does not know sessions or what is recorded."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from mqtt_broker.wire.codec import decode, encode
from mqtt_broker.wire.packets import Packet, ProtocolVersion

PACKET_BYTES_MAX = 1024 * 1024
READ_BYTES = 256 * 1024
DIAL_S_MAX = 2.0


class Link(asyncio.Protocol):
    """`number` is unique in a round. `on_packet` gets each packet, `on_closed` is called once when the peer closes."""

    def __init__(
        self,
        number: int,
        node: str,
        version: ProtocolVersion,
        on_packet: Callable[["Link", Packet], None],
        on_closed: Callable[["Link"], None],
    ) -> None:
        self.number = number
        self.node = node
        self.asked_at = 0.0
        self.heard_at = 0.0
        self.is_open = False
        self.ended_well = False  # the peer closed in good order, rather than by a reset
        self._version = version
        self._on_packet = on_packet
        self._on_closed = on_closed
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    # --- asyncio's side ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True
        self.heard_at = asyncio.get_running_loop().time()

    def data_received(self, data: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        data = self._rest + data if self._rest else data
        start = 0
        while found := decode(data, start, self._version, PACKET_BYTES_MAX):
            packet, start = found
            self._on_packet(self, packet)
        self._rest = data[start:]

    def eof_received(self) -> None:
        self.ended_well = True

    def connection_lost(self, error: Exception | None) -> None:
        was_open, self.is_open = self.is_open, False
        if was_open:
            self._on_closed(self)

    # --- the client's side -------------------------------------------------------------------------------------------

    def send(self, *packets: Packet) -> None:
        """Write packets; into nothing if the connection is over."""
        if self._transport is not None and self.is_open and not self._transport.is_closing():
            self._transport.write(b"".join(encode(packet, self._version) for packet in packets))

    def read_now(self) -> None:
        """Handle what has arrived already and was not looked at yet, before anything else happens.

        Over TLS nothing is done: what has arrived cannot be read past the transport.
        """
        if self._transport is None or not self.is_open or self._transport.get_extra_info("ssl_object"):
            return
        descriptor = self._transport.get_extra_info("socket").fileno()
        with contextlib.suppress(OSError):
            while data := os.read(descriptor, READ_BYTES):
                self.data_received(data)

    def abort(self) -> None:
        """Reset the connection. `on_closed` is not called."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()


@dataclass(frozen=True)
class Door:
    """Where somebody listens. `name`: what the certificate there has to name; with `tls` only."""

    port: int
    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    name: str | None = None


async def dial(door: Door, link: Link) -> None:
    """Open the connection. Raises OSError or TimeoutError; the link is then of no use."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DIAL_S_MAX):
        await loop.create_connection(lambda: link, door.host, door.port, ssl=door.tls, server_hostname=door.name)
