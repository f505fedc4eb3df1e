"""One real node process of a cluster under test, and what can be done to it from outside.

Knows settings, signals and the log; does not know clients or the store's servers. Methods block: call them in a thread
where an event loop must not wait.
"""

import signal
import sys
from pathlib import Path
from threading import Lock

import msgspec

from mqtt_api.node_settings import (
    DrainSettings,
    ListenerSettings,
    MQTTSettings,
    NodeSettings,
    QueueSettings,
    RedisSettings,
)
from support.broker import ANYONE, PASSWORDS
from support.processes import Program, environment, free_port
from support.waiting import wait_until

READY_S_MAX = 45.0  # it may have to wait until the lease of its former self is over, on a busy machine
DRAIN_S_MAX = 30.0
WILL_GRACE_S = 2
WORLD = "world-of-chaos"
ANNOUNCED = ("node.ready", "node.waiting")
GIVEN_UP = ("node.fenced", "node.failed")

# No queue of a round may overflow: then every loss is a bug.
QUEUE = QueueSettings(messages_max=100_000, bytes_max=256 * 1024 * 1024)
LIMITS = MQTTSettings(queue=QUEUE, receive_maximum=100)


class ClusterNode:
    """`start` again after `kill` or `drain`: the same name, port and settings."""

    def __init__(self, name: str, folder: Path, store: str | RedisSettings, *, policy_file: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.folder = folder
        self.port = free_port()
        self.settings = NodeSettings(
            node=name,
            broker="test/chaos",
            world=WORLD,
            store=store,
            policy_file=str(policy_file or ""),
            admin_socket=str(folder / "admin.sock"),
            listeners=(ListenerSettings(name="plain", host="127.0.0.1", port=self.port),),
            authentication=(PASSWORDS, ANYONE),
            mqtt=LIMITS,
            drain=DrainSettings(will_grace_s=WILL_GRACE_S),
        )
        self._program: Program | None = None
        self._in_hand = Lock()
        self._is_paused = False
        self._tracebacks_seen = 0

    # --- life --------------------------------------------------------------------------------------------------------

    @property
    def is_down(self) -> bool:
        """Ended by us, and not started again."""
        return self._program is None

    @property
    def program(self) -> Program:
        assert self._program is not None, f"{self.name} is down"
        return self._program

    def launch(self) -> None:
        """Start the process and return at once."""
        path = self.folder / "settings.json"
        path.write_bytes(msgspec.json.encode(self.settings))
        self._program = Program([sys.executable, "-m", "mqtt_broker", "--settings", path], environment())
        self._tracebacks_seen = 0

    def start(self) -> None:
        """Start it, again where it gives up because the store is away, and wait until it listens."""
        with self._in_hand:
            self.launch()
            wait_until(self._is_ready, READY_S_MAX, f"{self.name} is ready")

    def wait_until_ready(self) -> None:
        """Until it listens, however often it has to be started again."""
        with self._in_hand:
            wait_until(self._is_ready, READY_S_MAX, f"{self.name} is ready")

    def _is_ready(self) -> bool:
        program = self.program
        if any(_is_announcement(line) for line in list(program.err)):
            return True
        if self.has_given_up():
            self.lay_out()
            self.launch()
        else:
            assert program.returncode() is None, program.dump()
        return False

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        with self._in_hand:
            program, self._program = self.program, None
            self._is_paused = False
            program.kill()
            self._keep_log(program)

    def drain(self) -> int:
        """SIGTERM, and wait for the end; its status, 0 too for one that lost its lease before it was asked."""
        with self._in_hand:
            program, self._program = self.program, None
            try:
                status = program.stop(DRAIN_S_MAX)
                return 0 if _gave_up(program) else status
            finally:
                self._keep_log(program)

    def pause(self) -> None:
        """SIGSTOP: it does nothing, and its connections stay open."""
        self.program.signal(signal.SIGSTOP)
        self._is_paused = True

    def resume(self) -> None:
        """SIGCONT. Idempotent."""
        if self._is_paused:
            self.program.signal(signal.SIGCONT)
        self._is_paused = False

    def close(self) -> None:
        """End it, whatever its state."""
        if self._program is not None:
            self.resume()
            self.kill()

    # --- what it shows -----------------------------------------------------------------------------------------------

    def has_given_up(self) -> bool:
        """It lost its lease, or found no store at its start, and has ended: somebody has to start it again."""
        program = self._program
        return program is not None and program.returncode() is not None and _gave_up(program)

    def revive(self) -> bool:
        """Start it again if it has given up and nobody else has it in hand. True: it was started."""
        if not self._in_hand.acquire(blocking=False):
            return False
        try:
            has_given_up = self.has_given_up()
            if has_given_up:
                self.lay_out()
                self.launch()
            return has_given_up
        finally:
            self._in_hand.release()

    def lay_out(self) -> None:
        """Note the end of one that has given up: it is down."""
        program, self._program = self.program, None
        self._keep_log(program)

    def complaints(self) -> list[str]:
        """What no fault excuses: an end that nobody asked for, and tracebacks, each told once."""
        if self._program is None or self.has_given_up():
            return []
        found = []
        traces = [line for line in list(self._program.err) if "Traceback (most recent call last)" in line]
        if len(traces) > self._tracebacks_seen:
            found.append(f"wrote a traceback:\n{_around_traceback(list(self._program.err))}")
        self._tracebacks_seen = len(traces)
        if (status := self._program.returncode()) is not None:
            found.append(f"ended by itself with status {status}:\n{self._program.dump()[-2_000:]}")
            self.lay_out()
        return found

    def _keep_log(self, program: Program) -> None:
        """All lives of a node in one file, for whoever keeps the folder."""
        with (self.folder / "log").open("a") as log:
            log.writelines(f"{line}\n" for line in program.lines)

    def sample(self) -> tuple[int, int] | None:
        """Resident bytes and open descriptors; None while it is down. Linux only."""
        if self._program is None:
            return None
        process = Path("/proc") / str(self._program.pid)
        try:
            pages = int((process / "statm").read_text().split()[1])
            return pages * 4096, len(list((process / "fd").iterdir()))
        except OSError:
            return None


def _gave_up(program: Program) -> bool:
    return any(event in line for line in list(program.err) for event in GIVEN_UP)


def _is_announcement(line: str) -> bool:
    return any(event in line for event in ANNOUNCED)


def _around_traceback(lines: list[str]) -> str:
    start = next(number for number, line in enumerate(lines) if "Traceback (most recent call last)" in line)
    return "\n".join(lines[start : start + 40])
