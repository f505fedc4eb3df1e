"""Programs under test: started, read line by line, ended by their own process id and by nothing else.

Reading happens in threads, so that one process can serve many tests, each with an event loop of its own.
"""

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from support.waiting import DEADLINE_S, NotInTimeError, wait_until

ROOT = Path(__file__).resolve().parents[2]
STOP_S_MAX = 60.0  # on whatever machine this is; a test of how soon something ends has a bound of its own


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, able to import the three packages from the tree, with `changes`."""
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("crds", "broker", "operator"))
    return {**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **changes}


class Program:
    """One child process and every line it has written so far."""

    def __init__(
        self, command: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.command = [str(part) for part in command]
        self.out: list[str] = []
        self.err: list[str] = []
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=dict(env) if env is not None else environment(),
            cwd=cwd,
        )
        self._readers = [self._follow(self._process.stdout, self.out), self._follow(self._process.stderr, self.err)]

    @staticmethod
    def _follow(stream: IO[str] | None, lines: list[str]) -> threading.Thread:
        assert stream is not None

        def read() -> None:
            with stream:
                for line in stream:
                    lines.append(line.rstrip("\n"))  # noqa: PERF401 - others read the list while it grows

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def lines(self) -> list[str]:
        """Everything written, standard output first."""
        return [*self.out, *self.err]

    def returncode(self) -> int | None:
        return self._process.poll()

    def wait_for_line(self, wanted: str | Callable[[str], bool], deadline_s: float = DEADLINE_S) -> str:
        """The first line that holds the text or satisfies the function. Fails when the program ends without it."""
        matches = wanted if callable(wanted) else lambda line: wanted in line

        def found() -> str | None:
            ended = self.returncode() is not None
            if ended:
                self._join()
            for line in self.lines:
                if matches(line):
                    return line
            if ended:
                raise NotInTimeError(f"{self.command} ended with {self.returncode()}:\n{self.dump()}")
            return None

        try:
            return wait_until(found, deadline_s) or ""
        except NotInTimeError as error:
            raise NotInTimeError(f"{error}; {wanted!r} not in:\n{self.dump()}") from None

    def dump(self) -> str:
        return "\n".join(self.lines[-60:])

    def wait(self, deadline_s: float = STOP_S_MAX) -> int:
        """The exit status, once it has ended by itself and its last line is read."""
        try:
            status = self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise NotInTimeError(f"{self.command} still runs after {deadline_s} s:\n{self.dump()}") from None
        self._join()
        return status

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def stop(self, deadline_s: float = STOP_S_MAX) -> int:
        """Ask it to end (SIGTERM); kill it when it does not within the deadline. Returns the exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(deadline_s)
        except NotInTimeError:
            self.kill()
            raise

    def kill(self) -> int:
        """SIGKILL: what a power cut looks like to a process."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def _join(self) -> None:
        for thread in self._readers:
            thread.join(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.returncode() is None:
            self.stop()
        self._join()


def run(command: Sequence[str | Path], deadline_s: float = 30.0, env: Mapping[str, str] | None = None) -> Program:
    """Run a program to its end and return it with its lines; the caller looks at `returncode()`."""
    program = Program(command, env)
    try:
        program.wait(deadline_s)
    finally:
        if program.returncode() is None:
            program.kill()
    return program
