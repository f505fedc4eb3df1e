"""A small disk of its own for one server's data, so that it can be filled. Knows mounting; does not know who writes."""

import subprocess
from io import FileIO
from pathlib import Path

SIZE_MIB = 256
FILLER = "filler"


class SmallDisk:
    """A tmpfs. Needs the right to mount."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self) -> bool:
        """False where this process may not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(self.folder)]
        try:
            return subprocess.run(command, check=False, capture_output=True).returncode == 0
        except OSError:
            return False

    def unmount(self) -> None:
        """Its content is gone then."""
        subprocess.run(["umount", str(self.folder)], check=True, capture_output=True)

    def fill(self) -> None:
        """Leave no byte."""
        with (self.folder / FILLER).open("wb", buffering=0) as filler:
            for block in (2**20, 2**12, 1):
                self._fill_with(filler, block)

    @staticmethod
    def _fill_with(filler: FileIO, block_bytes: int) -> None:
        try:
            while filler.write(b"\0" * block_bytes) == block_bytes:
                pass
        except OSError:
            pass  # full: what was wanted

    def free(self) -> None:
        """Give the room back. Idempotent."""
        (self.folder / FILLER).unlink(missing_ok=True)
