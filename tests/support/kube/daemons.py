"""Processes of a cluster, that go on after the command that started them.

Each carries the cluster's folder in its environment, and is found again by that alone: no file can be stale, nothing
is lost when the command dies between starting a process and writing it down, and no process of somebody else is meant.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from support.kube.place import Place
from support.kube.problems import ClusterError
from support.waiting import NotInTimeError, wait_until

MARK = "STOA_CLUSTER_FOLDER"
END_S_MAX = 20.0
LOG_LINES_SHOWN = 12


class Daemon:
    """One process, started just now. Its output is appended to a log of its name."""

    def __init__(
        self,
        place: Place,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._log = place.logs / f"{name}.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {}), MARK: str(place.root)},
                cwd=place.root,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool], deadline_s: float) -> None:
        """Return when it is ready. Raises ClusterError with the end of its log when it ends, or is not in time."""

        def ready_or_ended() -> bool:
            return self._process.poll() is not None or ready()

        try:
            wait_until(ready_or_ended, deadline_s)
        except NotInTimeError:
            raise ClusterError(f"{self.name} is not ready after {deadline_s:g} s:\n{self._tail()}") from None
        if (status := self._process.poll()) is not None:
            raise ClusterError(f"{self.name} ended with {status}:\n{self._tail()}")

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _tail(self) -> str:
        return "\n".join(f"    {line}" for line in self.log().splitlines()[-LOG_LINES_SHOWN:])


def running(place: Place) -> dict[int, str]:
    """The processes of the cluster: process id and name."""
    mark = f"{MARK}={place.root}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it ended, or is not ours to look at
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "comm").read_text().strip()
    return found


def end_all(place: Place) -> None:
    """Kill them all. What they have written is about to be deleted, so nothing is gained by asking first."""

    def none_left() -> bool:
        left = running(place)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    try:
        wait_until(none_left, END_S_MAX)
    except NotInTimeError:
        raise ClusterError(f"processes do not end: {running(place)}") from None
