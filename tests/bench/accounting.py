"""What processes cost: CPU seconds and memory of a process and its children, by the system's own books.

Knows /proc, and `ps` where there is none; does not know what the processes do.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class _Process:
    pid: int
    parent: int
    cpu_s: float
    resident_kib: int


def cpu_seconds(pid: int) -> float:
    """User and system time of the process and all its living descendants. Resolution: 10 ms on Linux."""
    return sum(process.cpu_s for process in _family(pid))


def memory_kib(pid: int) -> int:
    """Memory of the process and its descendants: proportional set size where the system tells it, else resident."""
    return sum(_proportional_kib(process.pid) or process.resident_kib for process in _family(pid))


def pin(pid: int, core: int | None) -> None:
    """Bind a process, and the children it will have, to one core. Nothing happens where systems cannot do it."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, {core})


def _family(pid: int) -> list[_Process]:
    everyone = _from_proc() if (PROC / "self" / "stat").exists() else _from_ps()
    family = [process for process in everyone if process.pid == pid]
    for member in family:  # grows while it is walked: children, their children, ...
        family.extend(process for process in everyone if process.parent == member.pid)
    return family


def _from_proc() -> list[_Process]:
    tick = os.sysconf("SC_CLK_TCK")
    page_kib = os.sysconf("SC_PAGE_SIZE") // 1024
    found = []
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            except OSError:
                continue  # it ended while we looked
            cpu_s = (int(fields[11]) + int(fields[12])) / tick
            found.append(_Process(int(folder.name), int(fields[1]), cpu_s, int(fields[21]) * page_kib))
    return found


def _from_ps() -> list[_Process]:
    output = subprocess.run(["ps", "-Ao", "pid=,ppid=,time=,rss="], capture_output=True, text=True, check=True).stdout
    return [parse_ps_line(line) for line in output.splitlines()]


def parse_ps_line(line: str) -> _Process:
    """One line of `ps -o pid,ppid,time,rss`; time is [[days-]hours:]minutes:seconds."""
    pid, parent, time_text, resident = line.split()
    days, _, clock = time_text.rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + float(part)
    return _Process(int(pid), int(parent), seconds + 86_400 * int(days or 0), int(resident))


def _proportional_kib(pid: int) -> int:
    """0 where the system does not tell, or not us."""
    try:
        for line in (PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
