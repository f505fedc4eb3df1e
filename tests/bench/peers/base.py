"""What a peer is: a broker that can be started on free loopback ports, measured by its process id, and ended.

Knows processes and ports; does not know workloads. A recipe says how one broker is installed and configured.
"""

import contextlib
import os
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import accounting
from bench.driver import frames
from bench.driver.crowd import Target
from bench.workloads.base import Unsuitable
from bench.world import HOST, PASSWORD, USERNAME, World
from support.processes import environment, free_port

START_S_MAX = 40.0
STOP_S_MAX = 10.0
PROBE_S_MAX = 2.0


class PeerError(Exception):
    """A peer is not installed, cannot be built or does not start; the text says what to do."""


def cache_folder(name: str) -> Path:
    """Where an installed peer lives, outside the tree; made if missing."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "stoa-bench" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def call(*command: str | Path, cwd: Path) -> str:
    """Run a build step; its output. Raises PeerError with the end of what it said."""
    try:
        done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise PeerError(f"{command[0]} is not installed") from None
    if done.returncode:
        raise PeerError(f"{' '.join(map(str, command))} failed:\n{(done.stdout + done.stderr)[-2_000:]}")
    return done.stdout + done.stderr


@dataclass
class Running:
    """A broker that answers. `process` is None for one that somebody else started.

    `others` are further nodes of the same broker, `store_pid` what they share if that is measured.
    """

    world: World
    pid: int
    port: int
    tls_port: int | None
    log: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    others: Sequence["Running"] = ()
    store_pid: int | None = None

    def target(self, *, tls: bool, version: int) -> Target:
        if not tls:
            return Target(HOST, self.port, USERNAME, PASSWORD, None, version)
        if self.tls_port is None:
            raise Unsuitable("no TLS port")
        return Target(HOST, self.tls_port, USERNAME, PASSWORD, self.world.tls, version)

    def rewrite_policy(self) -> bool:
        return False

    def await_answer(self) -> None:
        """Until a CONNECT of the load account is accepted. Raises PeerError; the process is ended then."""
        try:
            self._await_answer()
        except PeerError:
            self.stop()
            raise

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_S_MAX
        while not self._answers():
            if self.process is not None and self.process.poll() is not None:
                raise PeerError(f"it ended with {self.process.returncode} at the start:\n{self.log_end()}")
            if time.monotonic() > deadline:
                raise PeerError(f"it did not accept a client within {START_S_MAX:g} s:\n{self.log_end()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        hello = frames.connect("load-probe", USERNAME, PASSWORD, frames.V311)
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=PROBE_S_MAX) as probe:
            probe.sendall(hello)
            answer = probe.recv(4)
            probe.sendall(frames.disconnect())
            return answer == b"\x20\x02\x00\x00" and self._has_tls_port_open()
        return False

    def _has_tls_port_open(self) -> bool:
        """Some brokers open it last. Raises OSError while it is closed."""
        if self.tls_port is not None:
            socket.create_connection((HOST, self.tls_port), timeout=PROBE_S_MAX).close()
        return True

    def log_end(self) -> str:
        return "" if self.log is None else self.log.read_text(encoding="utf-8", errors="replace")[-2_000:]

    def stop(self) -> None:
        """End the process that was started here, and the other nodes, by their ids. Idempotent."""
        for other in self.others:
            other.stop()
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Peer(ABC):
    """One broker of the comparison. `name` is what people type, `title` what they read."""

    name: str
    title: str
    warm_s_min = 0.0  # load before the first measurement of a process: what a just-in-time compiler needs

    @abstractmethod
    def install(self) -> None:
        """Build or fetch into the cache; nothing if it is there. Raises PeerError."""

    @abstractmethod
    def installed(self) -> bool: ...

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def conditions(self) -> str:
        """How it is set up, in one line, where it is not its default or not the same as the others."""

    @abstractmethod
    def start(self, folder: Path, world: World, core: int | None) -> Running:
        """Start it with its files in `folder`, bound to `core`, and wait until it answers. Raises PeerError."""


def spawn(
    command: Sequence[str | Path], folder: Path, core: int | None, env: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a broker's process with its output in a file. It inherits the core from this thread, threads and all."""
    log = folder / "broker.log"
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    accounting.pin(0, core)
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else environment(),
                cwd=folder,
            )
    except FileNotFoundError:
        raise PeerError(f"{command[0]} is not installed") from None
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)
    return process, log


def ports() -> tuple[int, int]:
    return free_port(), free_port()
