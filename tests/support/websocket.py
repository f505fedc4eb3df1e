"""A raw WebSocket client for tests: requests and frames put together by hand, so that they can be wrong.

Knows RFC 6455's bytes; does not know MQTT or the broker.
"""

import asyncio
import ssl
from types import TracebackType
from typing import Self

ANSWER_S_MAX = 10.0
CLOSE_S_MAX = 2.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the example of RFC 6455, 1.3, and what it is answered with
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
MASK = b"\x11\x22\x33\x44"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def frame(
    opcode: int, payload: bytes = b"", *, final: bool = True, masked: bool = True, length: int | None = None
) -> bytes:
    """One frame. `length`: what it announces, if that is to differ from the truth."""
    announced = len(payload) if length is None else length
    first, mask_bit = opcode | (0x80 if final else 0), 0x80 if masked else 0
    if announced < 126:
        head = bytes([first, mask_bit | announced])
    elif announced < 65_536:
        head = bytes([first, mask_bit | 126]) + announced.to_bytes(2, "big")
    else:
        head = bytes([first, mask_bit | 127]) + announced.to_bytes(8, "big")
    if not masked:
        return head + payload
    return head + MASK + bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))


def request(path: str = "/mqtt", *, protocol: str | None = "mqtt", **headers: str | None) -> bytes:
    """An upgrade request. `headers`: more of them, or None for one of the usual ones that is to be left out."""
    wanted: dict[str, str | None] = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": protocol,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in wanted.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode()


class WebSocket:
    """One connection. Use as `async with`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """The answer to a request: its status and its headers, names in lower case."""
        async with asyncio.timeout(ANSWER_S_MAX):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = text.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(status.split(" ")[1]), {name.lower(): value for name, value in headers.items()}

    async def upgrade(self, asked: bytes | None = None) -> dict[str, str]:
        """Ask and expect a yes; returns the headers of the answer."""
        await self.send(request() if asked is None else asked)
        status, headers = await self.head()
        assert status == 101, (status, headers)
        return headers

    async def receive(self, deadline_s: float = ANSWER_S_MAX) -> tuple[int, bytes]:
        """The next frame: its opcode and its payload. A server's frames are whole and never masked."""
        async with asyncio.timeout(deadline_s):
            first, length = await self.reader.readexactly(2)
            assert first & 0x80
            assert not length & 0x80
            if length >= 126:
                length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8), "big")
            return first & 0x0F, await self.reader.readexactly(length)

    async def receive_bytes(self, count: int) -> bytes:
        """This many bytes of binary frames, however they are cut."""
        data = b""
        while len(data) < count:
            opcode, payload = await self.receive()
            assert opcode == BINARY, (opcode, payload)
            data += payload
        return data

    async def expect_close(self, deadline_s: float = ANSWER_S_MAX) -> int:
        """The code of the server's close frame; frames before it are dropped. Then the connection ends."""
        while (found := await self.receive(deadline_s))[0] != CLOSE:
            pass
        await self.send(frame(CLOSE, found[1]))
        await self.expect_end()
        return int.from_bytes(found[1][:2], "big")

    async def expect_end(self) -> bytes:
        """The connection ends; returns what came before that."""
        async with asyncio.timeout(ANSWER_S_MAX):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await hang_up(self.writer)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close and see it closed, whatever the other side does."""
    writer.close()
    try:
        async with asyncio.timeout(CLOSE_S_MAX):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()
        await asyncio.sleep(0)


async def dial_websocket(port: int, tls: ssl.SSLContext | None = None) -> WebSocket:
    """A connection that has sent nothing yet."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=tls, server_hostname=None if tls is None else "localhost"
    )
    return WebSocket(reader, writer)
