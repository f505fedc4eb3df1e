"""One connection to one server: commands out, replies in, in the same order.

Knows RESP (by hiredis), TLS and time limits; does not know scripts, who the primary is, or how to come back: once lost,
it stays lost. Written on the event loop's own transports, so that many calls may be under way and none waits for the
reply of another.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import hiredis

from mqtt_broker.store.ports import StoreUnavailable

Argument = str | bytes | int
Command = Sequence[Argument]

# What hiredis makes of a reply: None, int, bytes, list of such, or hiredis.ReplyError where the server refused. Those
# who asked know its shape, and check it.
Reply = Any


class Wire(asyncio.Protocol):
    """See the module's docstring. Made by `open_wire`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._waiting: deque[_Waiting] = deque()
        self._watching: asyncio.TimerHandle | None = None
        self._lost = ""

    @property
    def is_lost(self) -> bool:
        """True once the connection is over, for whatever reason."""
        return bool(self._lost)

    async def ask(self, *commands: Command, timeout_s: float) -> list[Reply]:
        """Send all commands at once; their replies, where a refused command's is a hiredis.ReplyError.

        Raises StoreUnavailable when the connection is lost meanwhile or the replies are not complete in time. The
        connection is lost then, for what would come later could not be told from an answer.
        """
        if self._transport is None or self._lost:
            raise StoreUnavailable(self._lost or f"{self.address}: not connected")
        waiting = _Waiting(len(commands), self._loop, timeout_s)
        self._waiting.append(waiting)
        if self._watching is None:
            self._watching = self._loop.call_at(waiting.ends_at, self._watch)
        elif waiting.ends_at < self._watching.when():
            self._watching.cancel()
            self._watching = self._loop.call_at(waiting.ends_at, self._watch)
        if len(commands) == 1:
            self._transport.write(_packed(commands[0]))
        else:
            self._transport.writelines([_packed(command) for command in commands])
        return await waiting.done

    def _watch(self) -> None:
        """One timer for all calls: most end long before, and one for each would cost more than the call's bytes."""
        self._watching = None
        now = self._loop.time()
        late = next((waiting for waiting in self._waiting if waiting.ends_at <= now), None)
        if late is not None:
            self.abort(f"{self.address}: no answer within {late.timeout_s:g} s")
        elif self._waiting:
            self._watching = self._loop.call_at(min(waiting.ends_at for waiting in self._waiting), self._watch)

    def abort(self, reason: str) -> None:
        """Break the connection now; everybody who waits is told the reason. Idempotent."""
        if self._lost:
            return
        self._lost = reason
        if self._watching is not None:
            self._watching.cancel()
        if self._transport is not None:
            self._transport.abort()
        for waiting in self._waiting:
            waiting.fail(reason)
        self._waiting.clear()

    async def close(self) -> None:
        """Break the connection, and wait until the event loop has let go of it. Idempotent."""
        self.abort(f"{self.address}: closed")
        await asyncio.shield(self._closed)

    # The event loop's side ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not subclasses of it

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except hiredis.HiredisError as problem:
            self.abort(f"{self.address}: not a Redis server, or a broken one: {problem}")

    def connection_lost(self, problem: Exception | None) -> None:
        self.abort(f"{self.address}: the connection was closed{f': {problem}' if problem else ''}")
        if not self._closed.done():
            self._closed.set_result(None)

    def _take(self, reply: Reply) -> None:
        if not self._waiting:
            self.abort(f"{self.address}: a reply that nobody asked for")
            return
        if self._waiting[0].add(reply):
            self._waiting.popleft()


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type] # its stub knows one argument only
    return packed


class _Waiting:
    """One caller, and how many replies it still waits for."""

    __slots__ = ("_count", "_replies", "done", "ends_at", "timeout_s")

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self.done: asyncio.Future[list[Reply]] = loop.create_future()
        self.timeout_s = timeout_s
        self.ends_at = loop.time() + timeout_s
        self._count = count
        self._replies: list[Reply] = []

    def add(self, reply: Reply) -> bool:
        """True if that was the last one."""
        self._replies.append(reply)
        if len(self._replies) < self._count:
            return False
        if not self.done.done():  # the caller may have been cancelled
            self.done.set_result(self._replies)
        return True

    def fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(StoreUnavailable(reason))


async def open_wire(host: str, port: int, tls: ssl.SSLContext | None, server_name: str | None) -> Wire:
    """Connect, with TLS if there is a context. The caller limits the time. Raises StoreUnavailable."""
    address = f"{host}:{port}"
    try:
        _, wire = await asyncio.get_running_loop().create_connection(
            lambda: Wire(address), host, port, ssl=tls, server_hostname=(server_name or host) if tls else None
        )
    except (OSError, ssl.SSLError) as problem:
        raise StoreUnavailable(f"{address}: cannot connect: {problem}") from problem
    return wire
