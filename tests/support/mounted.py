"""A folder of files as Kubernetes mounts a ConfigMap or Secret: symbolic links through one that is swapped.

Knows how kubelet replaces the content of a volume; does not know what is in it.
"""

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path

_moments = itertools.count(1)


class Mounted:
    """`folder/NAME` -> `..data/NAME`, `..data` -> a folder of the moment. `swap` changes all files in one step."""

    def __init__(self, folder: Path, files: Mapping[str, bytes]) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._data = folder / "..data"
        self.swap(files)
        for name in files:
            (folder / name).symlink_to(Path("..data") / name)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def swap(self, files: Mapping[str, bytes]) -> None:
        """New content for all of them at once; the old folder goes."""
        old = self._data.resolve() if self._data.is_symlink() else None
        fresh = self.folder / f"..2026_11_23_{next(_moments):06}"
        fresh.mkdir()
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        link = self.folder / "..data_tmp"
        link.symlink_to(fresh.name)
        link.replace(self._data)
        if old is not None:
            shutil.rmtree(old)
