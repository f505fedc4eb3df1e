"""Keeps one process alive: starts it, reads its lines, starts it again with back-off, stops it with a deadline.

Knows processes; does not know settings, policies or terminals. How a process is launched comes in, and so do time and
the meaning of its lines: most often it is a node, but a store server or a front is kept alive the same way.

A node must not outlive us, not even after `kill -9`: it holds the reading end of a pipe whose writing end only we have,
and leaves when it reads the end of it.
"""

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from mqtt_operator.errors import NodeFailedError
from mqtt_operator.local.node_events import NodeEvent, parse_line

READY_EVENT = "node.ready"
STOPPED_EVENT = "node.stopped"

READY_S_MAX = 30.0
STOP_S_MAX = 30.0  # a node with many clients sends them away at a pace
BACKOFF_S_MIN = 0.5
BACKOFF_S_MAX = 30.0
# A node that ran this long was healthy: its next death starts the back-off anew.
HEALTHY_S_MIN = 60.0
EXIT_CODE_NOT_STARTED = 127  # as shells say it
LINE_BYTES_MAX = 1024 * 1024
# The last lines of a node that failed to start, to say why.
LAST_WORDS_MAX = 20


class NodeProcess(Protocol):
    """What the supervisor asks of a process."""

    def lines(self) -> AsyncIterator[bytes]:
        """The lines of its stderr, until it closes it."""
        ...

    async def wait(self) -> int:
        """Its exit code, or minus the signal that ended it."""
        ...

    def terminate(self) -> None:
        """Ask it to stop. Nothing happens if it is gone."""
        ...

    def kill(self) -> None: ...


Launch = Callable[[], Awaitable[NodeProcess]]
OnEvent = Callable[[NodeEvent], None]
Parse = Callable[[bytes], NodeEvent | None]
Sleep = Callable[[float], Awaitable[None]]
Clock = Callable[[], float]


class LocalProcess:
    """A NodeProcess of this machine."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def lines(self) -> AsyncIterator[bytes]:
        stderr = self._process.stderr
        if stderr is None:
            return
        while True:
            try:
                line = await stderr.readline()
            except ValueError:  # longer than LINE_BYTES_MAX: asyncio has dropped it
                continue
            if not line:
                return
            yield line

    async def wait(self) -> int:
        return await self._process.wait()

    def terminate(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


def node_launcher(settings_file: Path) -> Launch:
    """Launches `python -m mqtt_broker` with these settings, by the interpreter that runs us."""

    # -P: whatever lies in the working directory must not be taken for a module
    node = [sys.executable, "-P", "-m", "mqtt_broker", "--settings", str(settings_file), "--stop-on-stdin-eof"]
    return launcher(node)


def launcher(command: Sequence[str]) -> Launch:
    """Launches a command that leaves when its standard input ends."""

    async def launch() -> NodeProcess:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=PIPE,
            limit=LINE_BYTES_MAX,
            # Ctrl-C goes to a terminal's whole foreground group; the node must be told by us, in order.
            start_new_session=True,
        )
        return LocalProcess(process)

    return launch


class Supervisor:
    """One process. `run` until `stop`; `wait_ready` tells the first start's outcome.

    One that dies before it was ever ready is not started again: its settings are wrong, and the caller is told. Neither
    is a node that left in good order, for somebody told it to: it says so, and its exit code is 0.
    """

    def __init__(
        self,
        node: str,
        launch: Launch,
        on_event: OnEvent,
        *,
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
        parse: Parse = parse_line,
        ready_event: str = READY_EVENT,
    ) -> None:
        self._node = node
        self._launch = launch
        self._on_event = on_event
        self._clock = clock
        self._sleep = sleep
        self._parse = parse
        self._ready_event = ready_event
        self._has_left = False
        self._process: NodeProcess | None = None
        self._stop = asyncio.Event()
        self._ready: asyncio.Future[NodeEvent] = asyncio.get_running_loop().create_future()
        self._last_words: deque[NodeEvent] = deque(maxlen=LAST_WORDS_MAX)

    async def wait_ready(self) -> NodeEvent:
        """The first `node.ready`. Raises NodeFailedError if the node died or stayed silent too long."""
        try:
            async with asyncio.timeout(READY_S_MAX):
                return await asyncio.shield(self._ready)
        except TimeoutError as error:
            raise NodeFailedError(
                f"{self._node} did not become ready within {READY_S_MAX:.0f} s.",
                where=self._explanation(),
                to_do="Look at the lines above; a slow disk or a busy machine may need another try.",
            ) from error

    async def run(self) -> None:
        """Start the node and keep it running. Returns when stopped, or when the first start failed."""
        backoff_s = BACKOFF_S_MIN
        while not self._stop.is_set():
            started_at = self._clock()
            code = await self._run_once()
            if self._stop.is_set():
                return
            if not self._ready.done():
                self._fail(code)
                return
            if code == 0 and self._has_left:
                self._say("node.left", f"{self._node} has left; it is back when `stoa up` is started again.")
                return
            if self._clock() - started_at >= HEALTHY_S_MIN:
                backoff_s = BACKOFF_S_MIN
            self._say("node.died", f"{self._node} ended ({describe_exit(code)}); starting it again in {backoff_s:g} s.")
            await self._pause(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_S_MAX)

    async def stop(self) -> None:
        """Ask the node to leave, wait, and end it if it does not. Idempotent. `run` returns after this."""
        self._stop.set()
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S_MAX):
                await process.wait()
        except TimeoutError:
            self._say("node.killed", f"{self._node} did not stop within {STOP_S_MAX:.0f} s; it was killed.")
            process.kill()
            await process.wait()

    async def _pause(self, seconds: float) -> None:
        """Sleep, or less if we are stopped meanwhile."""
        waits = {asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(self._stop.wait())}
        _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in pending:
            wait.cancel()

    async def _run_once(self) -> int:
        self._has_left = False
        try:
            process = self._process = await self._launch()
        except OSError as error:  # no memory, no file descriptors, no interpreter
            self._take(NodeEvent(level="error", event="node.launch", message=f"Cannot start a process: {error}."))
            return EXIT_CODE_NOT_STARTED
        try:
            if self._stop.is_set():  # stop() came while the process was being made and saw none
                process.terminate()
            async for line in process.lines():
                event = self._parse(line)
                if event is not None:
                    self._take(event)
            return await process.wait()
        finally:
            self._process = None

    def _take(self, event: NodeEvent) -> None:
        self._last_words.append(event)
        self._has_left = self._has_left or event.event == STOPPED_EVENT
        if event.event == self._ready_event and not self._ready.done():
            self._ready.set_result(event)
        self._on_event(event)

    def _fail(self, code: int) -> None:
        self._ready.set_exception(
            NodeFailedError(
                f"{self._node} ended before it was ready ({describe_exit(code)}).",
                where=self._explanation(),
                to_do="Mend that and start again; `stoa validate FOLDER` checks the files.",
            )
        )

    def _explanation(self) -> str:
        """The node's own complaints if it made any, else whatever it said last."""
        complaints = [event for event in self._last_words if event.is_failure] or list(self._last_words)
        return "\n  ".join(event.message for event in complaints if event.message)

    def _say(self, event: str, message: str) -> None:
        self._on_event(NodeEvent(level="warning", event=event, message=message, fields={"node": self._node}))


def describe_exit(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
