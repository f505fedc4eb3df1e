"""A TCP proxy on loopback that does to a connection what a bad network does: stall, delay, cut, refuse.

Knows bytes and one address to pass them to; does not know what they mean. It lives in a thread with an event loop of
its own, so that tests with and without a loop use it alike and a busy test does not slow it down much.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine
from enum import Flag, auto
from types import TracebackType
from typing import Self

CHUNK_BYTES = 64 * 1024
CHUNKS_ON_THE_WAY_MAX = 256  # a delayed pipe holds so much, then its sender is not read: 16 MiB
START_S_MAX = 5.0


class Way(Flag):
    """A direction: UP is from whoever dialled the proxy to the address behind it."""

    UP = auto()
    DOWN = auto()
    BOTH = UP | DOWN


class Proxy:
    """Use as `with`, or `start` and `stop`. Each setting holds for connections that live and those that come.

    `target` is host and port; it need not listen yet. What was read before a stall began has been passed on.
    """

    def __init__(self, target: tuple[str, int], seed: int = 0) -> None:
        self.target = target
        self.host = "127.0.0.1"
        self.port = 0
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._flowing: dict[Way, asyncio.Event] = {}
        self._delay_s = 0.0
        self._loss = 0.0
        self._refuses = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """host:port of the proxy itself."""
        return f"{self.host}:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections pass through it now."""
        return len(self._writers) // 2

    # --- life --------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen on a free port. Call once."""
        self._thread.start()
        self._wait_for(self._listen())
        return self

    def stop(self) -> None:
        """Cut everything and end. The proxy cannot be started again."""
        self._wait_for(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_S_MAX)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- what a network does -----------------------------------------------------------------------------------------

    def stall(self, way: Way = Way.BOTH) -> None:
        """Pass nothing on this way any more, without a word to either side: a partition. New connections stall too."""
        self._do(lambda: self._set_flow(way, flows=False))

    def flow(self, way: Way = Way.BOTH) -> None:
        """End a stall. What piled up meanwhile arrives now, late, in order."""
        self._do(lambda: self._set_flow(way, flows=True))

    def delay(self, seconds: float) -> None:
        """Every chunk of bytes takes this much longer, each way; order is kept. 0: as fast as it can."""
        self._do(self._set_delay, seconds)

    def lose(self, share: float) -> None:
        """This share of the chunks (0 to 1) is lost, and the connection with it: TCP knows no other loss."""
        self._do(self._set_loss, share)

    def cut(self) -> None:
        """Reset all connections. New ones are welcome."""
        self._do(self._cut)

    def refuse(self, refuses: bool = True) -> None:
        """Reset each new connection at once, or stop doing so. Living ones are left alone."""
        self._do(self._set_refusal, refuses)

    def retarget(self, target: tuple[str, int]) -> None:
        """New connections go to another address."""
        self._do(self._set_target, target)

    def heal(self) -> None:
        """No fault any more."""
        self._do(self._heal)

    # --- inside the loop ---------------------------------------------------------------------------------------------

    def _do(self, change: Callable[..., None], *arguments: object) -> None:
        """Carry out a change inside the loop, and wait until it is in force."""

        async def run() -> None:
            change(*arguments)

        self._wait_for(run())

    def _wait_for(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S_MAX)

    async def _listen(self) -> None:
        for way in (Way.UP, Way.DOWN):
            self._flowing[way] = asyncio.Event()
            self._flowing[way].set()
        self._server = await asyncio.start_server(self._accept, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _set_flow(self, ways: Way, *, flows: bool) -> None:
        for way in ways:
            event = self._flowing[way]
            event.set() if flows else event.clear()

    def _set_delay(self, seconds: float) -> None:
        self._delay_s = seconds

    def _set_loss(self, share: float) -> None:
        self._loss = share

    def _set_refusal(self, refuses: bool) -> None:
        self._refuses = refuses

    def _set_target(self, target: tuple[str, int]) -> None:
        self.target = target

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _heal(self) -> None:
        self._set_flow(Way.BOTH, flows=True)
        self._delay_s = self._loss = 0.0
        self._refuses = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._carry(reader, writer)
        except asyncio.CancelledError:
            pass  # by `stop`; the stream's own callback would report it as an error
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            return
        try:
            back_reader, back_writer = await asyncio.open_connection(*self.target)
        except OSError:
            return
        both = {writer, back_writer}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as pipes:
                self._pipe(pipes, reader, back_writer, Way.UP)
                self._pipe(pipes, back_reader, writer, Way.DOWN)
        except* OSError:
            pass  # one of the two is gone, so both go
        finally:
            self._writers -= both
            back_writer.transport.abort()

    def _pipe(
        self, pipes: asyncio.TaskGroup, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way
    ) -> None:
        """Two halves, so that a delay moves bytes in time without thinning them out."""
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_ON_THE_WAY_MAX)
        pipes.create_task(self._take(reader, chunks, way))
        pipes.create_task(self._give(chunks, writer, way))

    async def _take(self, reader: asyncio.StreamReader, chunks: asyncio.Queue[tuple[float, bytes]], way: Way) -> None:
        data = b"?"
        while data:
            await self._flowing[way].wait()
            data = await reader.read(CHUNK_BYTES)
            await chunks.put((self._loop.time() + self._delay_s, data))

    async def _give(self, chunks: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, way: Way) -> None:
        """An empty chunk is the end; whoever is behind the proxy then sees the end of the stream."""
        while True:
            due_at, data = await chunks.get()
            if (ahead_s := due_at - self._loop.time()) > 0:
                await asyncio.sleep(ahead_s)
            await self._flowing[way].wait()
            if not data:
                writer.write_eof()
                return
            if self._loss and self._chance.random() < self._loss:
                raise ConnectionResetError
            writer.write(data)
            await writer.drain()
