"""A wall clock for one program that can be set while it runs: wall_clock.c, compiled on this machine.

Knows how to compile and load it; does not know whose clock it is. (libfaketime does not get along with the allocator of
redis-server.)
"""

import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("wall_clock.c")


def compiler() -> str | None:
    """A C compiler; None: not on this machine, and then no clock can be wrong."""
    return shutil.which("cc") or shutil.which("gcc")


class WallClock:
    """The clock of whatever `wrapped` starts. Monotonic time goes on as it is. Linux only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offset = folder / "offset"
        folder.mkdir(parents=True, exist_ok=True)
        self._offset.write_bytes(struct.pack("=q", 0))

    def set(self, ahead_s: int) -> None:
        """Seconds ahead of the real time. In force at once, also in what runs already."""
        with self._offset.open("r+b") as mapped:  # the same file: it is mapped by its readers
            mapped.write(struct.pack("=q", ahead_s))

    def wrapped(self, program: Path) -> Path:
        """A script that runs the program under this clock. Raises CalledProcessError if it does not compile."""
        found = compiler()
        assert found is not None, "there is no C compiler on this machine"
        library = self._folder / "wall_clock.so"
        subprocess.run([found, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
        script = self._folder / program.name
        script.write_text(
            f'#!/bin/sh\nWALL_CLOCK_OFFSET="{self._offset}" LD_PRELOAD="{library}" exec "{program}" "$@"\n'
        )
        script.chmod(0o755)
        return script
