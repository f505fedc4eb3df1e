"""Load clients' connections: non-blocking sockets, plain or TLS, under one selector.

Knows sockets, TLS and when bytes may move; does not know workloads. No event loop library: what the driver costs must
stay small beside what it measures.
"""

import selectors
import socket
import ssl
import time
from collections.abc import Callable

from bench.driver import frames
from bench.driver.scanner import Scanner

READ_BYTES = 256 * 1024
TLS_READS_PER_TURN_MAX = 16  # a TLS read gives one record of 16 KiB at most
SEND_BUFFER_BYTES_HIGH = 512 * 1024  # above it a saturating publisher waits for the socket
TURN_S_MAX = 0.05


class BrokenError(Exception):
    """The broker closed a connection, refused one, or did not answer in time: the run counts for nothing."""


class Loop:
    """One selector and the links under it. Also the clock of a run."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.links: set[Link] = set()

    def turn(self, wait_s: float = TURN_S_MAX) -> None:
        """Wait for bytes at most so long, and move them. Raises BrokenError."""
        for key, mask in self.selector.select(wait_s):
            link: Link = key.data
            link.handle(mask)

    def run_until(self, condition: Callable[[], object], deadline_s: float, what: str) -> None:
        """Raises BrokenError when the condition does not come true in time."""
        end = time.monotonic() + deadline_s
        while not condition():
            self.turn()
            if time.monotonic() > end:
                raise BrokenError(f"not within {deadline_s:g} s: {what}")

    def close(self) -> None:
        for link in list(self.links):
            link.close()
        self.selector.close()


class Link:
    """One connection. `send` never blocks; what the socket does not take waits in `unsent`.

    `is_over`: the broker closed it, or it broke.
    """

    __slots__ = (
        "_handshaking",
        "_loop",
        "_socket",
        "_wants",
        "is_over",
        "name",
        "receive_maximum",
        "scanner",
        "unsent",
    )

    def __init__(
        self, loop: Loop, address: tuple[str, int], name: str, scanner: Scanner, tls: ssl.SSLContext | None = None
    ) -> None:
        self._loop = loop
        self.name = name
        self.scanner = scanner
        self.unsent = b""
        self.is_over = False
        self.receive_maximum = frames.RECEIVE_MAXIMUM_DEFAULT
        raw = socket.create_connection(address, timeout=10)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        self._handshaking = tls is not None
        self._socket: socket.socket = raw
        if tls is not None:
            self._socket = tls.wrap_socket(raw, server_hostname=address[0], do_handshake_on_connect=False)
        self._wants = selectors.EVENT_READ
        loop.selector.register(self._socket, self._wants, self)
        loop.links.add(self)
        if self._handshaking:
            self._handshake()

    def fileno(self) -> int:
        return self._socket.fileno()

    def handle(self, mask: int) -> None:
        if self._handshaking:
            self._handshake()
            return
        if mask & selectors.EVENT_WRITE and self.unsent:
            data, self.unsent = self.unsent, b""
            self.send(data)
        if mask & selectors.EVENT_READ:
            self._read()

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Take all of it; copies only what the socket does not take at once. Raises BrokenError."""
        if self.unsent or self._handshaking:
            self.unsent += bytes(data)
            return
        sent, size = 0, len(data)
        view = memoryview(data)
        try:
            while sent < size:
                sent += self._socket.send(view[sent:])
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except OSError as problem:
            self.is_over = True
            raise BrokenError(f"{self.name}: sending failed: {problem}") from problem
        if sent < size:
            self.unsent = bytes(view[sent:])
        self._want(selectors.EVENT_READ | (selectors.EVENT_WRITE if sent < size else 0))

    def close(self) -> None:
        """Leave without a word to whoever waits for this link. Idempotent."""
        if self in self._loop.links:
            self._loop.links.discard(self)
            self._loop.selector.unregister(self._socket)
            self._socket.close()

    def _want(self, events: int) -> None:
        if events != self._wants:
            self._wants = events
            self._loop.selector.modify(self._socket, events, self)

    def _handshake(self) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self._want(selectors.EVENT_READ)
            return
        except ssl.SSLWantWriteError:
            self._want(selectors.EVENT_WRITE)
            return
        except OSError as problem:
            raise BrokenError(f"{self.name}: TLS handshake failed: {problem}") from problem
        self._handshaking = False
        data, self.unsent = self.unsent, b""
        self._want(selectors.EVENT_READ)
        self.send(data)

    def _read(self) -> None:
        for _ in range(TLS_READS_PER_TURN_MAX if isinstance(self._socket, ssl.SSLSocket) else 1):
            try:
                data = self._socket.recv(READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as problem:
                self.is_over = True
                raise BrokenError(f"{self.name}: reading failed: {problem}") from problem
            if not data:
                self.is_over = True
                raise BrokenError(f"the broker closed the connection of {self.name}")
            reply = self.scanner.feed(data, time.monotonic_ns())
            if reply:
                self.send(reply)
