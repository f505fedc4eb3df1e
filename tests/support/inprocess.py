"""A broker node inside the test: the real hub, flows, machine and store, without sockets, threads or waiting.

Knows how a node is put together and how to hand it bytes; does not know what a right answer is. Time stands still until
`advance` moves it, and everything runs on one thread in one order, so that equal bytes give equal answers.

    node = InProcessNode()
    client = node.open()
    node.feed(client, encode(connect, version))
    node.settle()
    node.output(client)        # [ConnAck(...)]
    node.close()
"""

import asyncio
import contextlib
import logging
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from mqtt_api.node_settings import AuthenticationSettings, MQTTSettings, NodeSettings
from mqtt_api.policy import Policy
from mqtt_broker.auth.authenticate import Authenticator
from mqtt_broker.auth.passwords import PasswordVerifier
from mqtt_broker.auth.principal import Peer
from mqtt_broker.node.client import ClientConnection
from mqtt_broker.node.due import follow_due
from mqtt_broker.node.hub import Hub
from mqtt_broker.store.embedded import EmbeddedStore
from mqtt_broker.wire.codec import decode
from mqtt_broker.wire.packets import Packet, ProtocolVersion
from support.policies import open_policy

T = TypeVar("T")

EPOCH_S = 1_000_000  # the store's clock when the node starts; a whole number, so that sums with seconds are exact
TICK_S = 1.0
PACKET_BYTES_MAX = 2**28
TURNS_MAX = 100_000  # a node that is still busy then answers itself for ever
ANONYMOUS = AuthenticationSettings(name="anonymous", type="Anonymous")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time moves only when it is told to, and whose executor is the loop's own thread.

    It notices that nothing is left to do by what every loop asks of its selector: to wait.
    """

    def __init__(self) -> None:
        self._virtual_s = 0.0
        self._until_s = 0.0
        self._turns_left = TURNS_MAX
        self.executor_lag_turns = 0
        super().__init__(_NeverWaiting(self))

    def time(self) -> float:
        return self._virtual_s

    def run_until_idle(self, seconds: float = 0.0) -> None:
        """Let `seconds` pass, timer by timer, and return when nothing is left to do at that moment."""
        self._until_s = self._virtual_s + seconds
        self._turns_left = TURNS_MAX
        self.run_forever()

    def run_turns(self, turns: int) -> None:
        """Run that many turns, whatever is left to do afterwards."""
        for _ in range(turns):
            self.call_soon(self.stop)
            self.run_forever()

    def idle(self, timeout_s: float | None) -> None:
        """Nothing is ready; the next timer is due in `timeout_s`."""
        if timeout_s is not None and self._virtual_s + timeout_s <= self._until_s:
            self._virtual_s += timeout_s
        else:
            self._virtual_s = self._until_s
            self.stop()

    def busy(self) -> None:
        self._turns_left -= 1
        if self._turns_left < 0:
            raise AssertionError(f"the node is busy without end: {asyncio.all_tasks(self)}")

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Done at once, on this thread; the caller learns of it `executor_lag_turns` turns later."""
        future: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except Exception as problem:  # noqa: BLE001 - as an executor does: it is the caller's
            self._after(self.executor_lag_turns, partial(_set, future, None, problem))
        else:
            self._after(self.executor_lag_turns, partial(_set, future, result, None))
        return future

    def _after(self, turns: int, call: Callable[[], None]) -> None:
        if turns:
            self.call_soon(self._after, turns - 1, call)
        else:
            call()


def _set(future: "asyncio.Future[Any]", result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class _NeverWaiting(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None or timeout > 0:
            self._loop.idle(timeout)
        else:
            self._loop.busy()
        return []


class FakeTransport(asyncio.Transport):
    """What the connection writes lands in `written`; while `stalled` it waits in the write buffer instead."""

    def __init__(self, loop: VirtualLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._buffer = bytearray()
        self._held = bytearray()
        self._reading = True
        self._closing = False
        self._lost = False
        self._high_bytes = 64 * 1024
        self._write_paused = False
        self.stalled = False
        self.written = bytearray()
        self.writes = 0

    # The peer's side -------------------------------------------------------------------------------------------------

    def deliver(self, data: bytes) -> None:
        """Bytes of the peer: to the protocol, or held while it has paused the reading."""
        if self._closing:
            return
        if self._reading:
            self._protocol.data_received(data)
        else:
            self._held += data

    def lose(self, error: Exception | None = None) -> None:
        """The network lets go of the connection now."""
        self._closing = True
        self._call_lost(error)

    def stall(self) -> None:
        """The peer reads nothing any more."""
        self.stalled = True

    def resume(self) -> None:
        """The peer reads again, all that waited first."""
        self.stalled = False
        self.written += self._buffer
        self._buffer.clear()
        if self._write_paused:
            self._write_paused = False
            self._protocol.resume_writing()
        if self._closing:
            self._loop.call_soon(self._call_lost, None)

    # The protocol's side ---------------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is not None:
            self._high_bytes = high

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._lost:
            return
        self.writes += 1
        if not self.stalled:
            self.written += data
            return
        self._buffer += data
        if len(self._buffer) > self._high_bytes and not self._write_paused:
            self._write_paused = True
            self._protocol.pause_writing()

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._loop.call_soon(self._deliver_held)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self._buffer:
                self._loop.call_soon(self._call_lost, None)

    def abort(self) -> None:
        self._closing = True
        self._buffer.clear()
        self._loop.call_soon(self._call_lost, None)

    def _deliver_held(self) -> None:
        if self._held and self._reading and not self._closing:
            data = bytes(self._held)
            self._held.clear()
            self._protocol.data_received(data)

    def _call_lost(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(error)


class InProcessClient:
    """One connection, seen from the peer. `version` is needed to read answers of a node that understood no CONNECT."""

    def __init__(self, connection: ClientConnection, transport: FakeTransport) -> None:
        self.connection = connection
        self.transport = transport
        self.version: ProtocolVersion | None = None
        self._read_up_to = 0

    @property
    def is_closed(self) -> bool:
        """True once the node has closed the connection, or lost it."""
        return self.transport.is_closing()

    @property
    def raw(self) -> bytes:
        """Every byte the node has written on this connection."""
        return bytes(self.transport.written)

    def take(self) -> list[Packet]:
        """The packets written since the last call."""
        data, packets = self.raw, []
        version = self.version or self.connection.connection.version or ProtocolVersion.V3_1_1
        while self._read_up_to < len(data):
            decoded = decode(data, self._read_up_to, version, PACKET_BYTES_MAX)
            if decoded is None:
                break
            packet, self._read_up_to = decoded
            packets.append(packet)
        return packets


class _Owner:
    """The listener of all connections."""

    def __init__(self, name: str, authenticator: Authenticator) -> None:
        self.name = name
        self.authenticator = authenticator
        self.connections: set[ClientConnection] = set()

    def identify(self, transport: asyncio.BaseTransport, address: str) -> Peer:
        return Peer(address=address, listener=self.name)

    def connection_closed(self, client: ClientConnection) -> None:
        self.connections.discard(client)


class _Problems(logging.Handler):
    """What the node reports as its own failure: no bytes of a peer may cause that."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


class InProcessNode:
    """One node with an empty store in memory. `close` when done; every method fails if the node reported an error.

    `policy` None: anybody may do anything. `configure` is called with the hub before the first connection, for what
    a test wants to be different.
    """

    def __init__(
        self,
        mqtt: MQTTSettings | None = None,
        policy: Policy | None = None,
        configure: Callable[[Hub], None] = lambda _: None,
        authentication: tuple[AuthenticationSettings, ...] = (ANONYMOUS,),
    ) -> None:
        self.loop = VirtualLoop()
        self._problems = _Problems()
        self.loop.set_exception_handler(self._on_loop_problem)
        self._logger = logging.getLogger("mqtt_broker")
        self._logger.addHandler(self._problems)
        self.settings = NodeSettings(
            node="node-0",
            broker="test/broker",
            world="world",
            store="sqlite::memory:",
            policy_file="",
            admin_socket="",
            listeners=(),
            authentication=authentication,
            mqtt=mqtt or MQTTSettings(),
        )
        self._passwords = PasswordVerifier(1, 1)
        self._tasks: list[asyncio.Task[None]] = []
        self.hub = self._run(self._start(policy or open_policy()))
        configure(self.hub)
        self._owner = _Owner("inprocess", Authenticator(self.settings.authentication, self._passwords))

    async def _start(self, policy: Policy) -> Hub:
        self.store = await EmbeddedStore.open("sqlite::memory:", self.now)
        membership = await self.store.join(self.settings.node, self.settings.world)
        hub = Hub(self.settings, self.store, membership, self._passwords)
        hub.swap_policy(policy)
        self._background(follow_due(hub))
        self._background(self._tick(hub))
        return hub

    async def _tick(self, hub: Hub) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            hub.wheel.turn(self.loop.time(), lambda error: self._problems.texts.append(f"a timer failed: {error!r}"))

    def _background(self, work: Coroutine[object, object, None]) -> None:
        self._tasks.append(self.loop.create_task(work))

    def _run(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(_as_coroutine(work))

    # Time ------------------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds, as the store counts them."""
        return EPOCH_S + self.loop.time()

    def advance(self, seconds: float) -> None:
        """Let time pass, with all that is due on the way."""
        self.loop.run_until_idle(seconds)
        self.check()

    def settle(self) -> None:
        """Until nothing is left to do at this moment: all bytes read, all writes durable, all answers written."""
        self.advance(0.0)

    def turns(self, count: int) -> None:
        """Let the node run for that many turns of its loop only."""
        self.loop.run_turns(count)
        self.check()

    # Connections -----------------------------------------------------------------------------------------------------

    def open(self, address: str = "192.0.2.1") -> InProcessClient:
        """A new connection on which nothing was sent yet."""
        connection = self._in_loop(lambda: ClientConnection(self.hub, self._owner, address))
        transport = FakeTransport(self.loop, connection)
        self._owner.connections.add(connection)
        self._in_loop(lambda: connection.connection_made(transport))
        return InProcessClient(connection, transport)

    def feed(self, client: InProcessClient, data: bytes) -> None:
        """Bytes of the client, as one read. Nothing is written back before the loop runs: see `settle`, `turns`."""
        self._in_loop(lambda: client.transport.deliver(data))

    def lose(self, client: InProcessClient, error: Exception | None = None) -> None:
        """The network connection breaks."""
        self._in_loop(lambda: client.transport.lose(error))

    def output(self, client: InProcessClient) -> list[Packet]:
        """The packets that the node wrote to this client since the last call."""
        return client.take()

    def _in_loop(self, call: Callable[[], T]) -> T:
        """As a callback of the loop would run, but now: what it schedules waits for `settle` or `turns`."""
        asyncio._set_running_loop(self.loop)
        try:
            return call()
        finally:
            asyncio._set_running_loop(None)

    # The end ---------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises AssertionError with what the node reported as its own failure."""
        if self._problems.texts:
            texts, self._problems.texts = self._problems.texts, []
            raise AssertionError("the node failed: " + "\n".join(texts))

    def close(self) -> None:
        """Let go of everything. Raises AssertionError as `check` does."""
        try:
            self._run(self._stop())
        finally:
            self._logger.removeHandler(self._problems)
            self._passwords.close()
            self.loop.close()
        self.check()

    async def _stop(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await self.store.close()

    def _on_loop_problem(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        problem = context.get("exception")
        formatted = self._problems.format(
            logging.LogRecord(
                "loop",
                logging.ERROR,
                "",
                0,
                context["message"],
                (),
                problem and (type(problem), problem, problem.__traceback__),
            )
        )
        self._problems.texts.append(formatted)


async def _as_coroutine(work: Awaitable[T]) -> T:
    return await work
