"""A door for questions over HTTP/1.1: one GET, one answer, and the connection ends.

Knows requests, answers and their bounds; does not know what is answered. Nothing but the first line of a request
counts, and nothing that a client sends is repeated to it. Whoever gets there may ask, so every input has a bound:
bytes, time, and connections at once.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path

from msgspec import Struct

log = logging.getLogger("mqtt_broker.admin")

HEAD_BYTES_MAX = 8 * 1024  # request line and headers; what monitoring sends is below 1 KiB
REQUEST_S_MAX = 5.0  # from the connection to the end of the head
ANSWER_S_MAX = 10.0  # for making it and for its last byte to leave; the largest is some 100 KiB of metrics
CONNECTIONS_MAX = 32  # at once; two probes and a monitoring system come to three
REST_BYTES_MAX = 64 * 1024  # of what follows the head: read, so that the answer is not lost with the connection
REST_S_MAX = 1.0
SOCKET_MODE = 0o600

TEXT = "text/plain; charset=utf-8"


class Answer(Struct, frozen=True):
    """What a page says."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = TEXT


def text(line: str, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """One line for people."""
    return Answer(f"{line}\n".encode(), status)


Page = Callable[[], Awaitable[Answer]]


class HTTPDoor:
    """Answers `pages`, by path. `listen_*` any number of times, then `close`."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._servers: list[asyncio.Server] = []
        self._serving: set[asyncio.Task[None]] = set()

    async def listen_unix(self, path: str) -> None:
        """On a socket that only its owner can open, replacing a stale one. Raises OSError if it cannot be made."""
        server = await asyncio.start_unix_server(self._came, sock=_private_socket(Path(path)), limit=HEAD_BYTES_MAX)
        self._servers.append(server)

    async def listen_tcp(self, host: str, port: int) -> int:
        """The port, which is another one where 0 was asked for. Raises OSError if it cannot be opened."""
        server = await asyncio.start_server(self._came, host, port, limit=HEAD_BYTES_MAX)
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Let go of sockets and of whoever is still asking. Idempotent."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._serving) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer), name="http")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await self._answer(reader)
            if answer is not None:
                async with asyncio.timeout(ANSWER_S_MAX):
                    await _write(writer, answer)
                await _read_rest(reader)
        except (OSError, TimeoutError):
            pass  # whoever asked is gone, or takes nothing
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> Answer | None:
        """None: the connection ended before its request did."""
        try:
            async with asyncio.timeout(REQUEST_S_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError:
            return _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except TimeoutError:
            return _refusal(HTTPStatus.REQUEST_TIMEOUT)
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        target, _, version = rest.partition(b" ")
        if not version.startswith(b"HTTP/1."):
            return _refusal(HTTPStatus.BAD_REQUEST)
        if method != b"GET":
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        return await self._page(target.partition(b"?")[0].decode("latin-1"))

    async def _page(self, path: str) -> Answer:
        page = self._pages.get(path)
        if page is None:
            return _refusal(HTTPStatus.NOT_FOUND)
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await page()
        except TimeoutError:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE)
        except Exception:  # our bug in one page is no reason to be silent on the others
            log.exception("%s could not be answered", path)
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR)


def _refusal(status: HTTPStatus) -> Answer:
    return text(status.phrase.lower(), status)


async def _write(writer: asyncio.StreamWriter, answer: Answer) -> None:
    allow = "Allow: GET\r\n" if answer.status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        f"Cache-Control: no-store\r\n{allow}Connection: close\r\n\r\n"
    )
    writer.write(head.encode() + answer.body)
    await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _read_rest(reader: asyncio.StreamReader) -> None:
    """A connection that is closed with bytes unread is reset, and its answer may be lost on the way."""
    left = REST_BYTES_MAX
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(REST_S_MAX):
            while left > 0 and (data := await reader.read(left)):
                left -= len(data)


def _private_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    path.chmod(SOCKET_MODE)
    server.listen()  # at once: whoever sees the file may connect
    return server
