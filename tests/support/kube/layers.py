"""Layers of images in a cache outside the tree, each named after everything that it is made from.

Knows files, tar and the cache; does not know what is in a layer. What has not been used for a while is taken away.
"""

import contextlib
import fcntl
import hashlib
import os
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

UNUSED_DAYS_MAX = 14
CHUNK_BYTES = 1024 * 1024


def layer(name: str, made_from: Sequence[str], fill: Callable[[Path], None]) -> Path:
    """The tar of a folder that `fill` has filled; from the cache if there is one made from the same."""
    digest = hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:16]
    path = cache() / f"{name}-{digest}.tar"
    with _locked():
        if path.is_file():
            path.touch()
            return path
        with tempfile.TemporaryDirectory(dir=cache(), prefix=".making-") as folder:
            content, result = Path(folder) / "content", Path(folder) / "layer.tar"
            content.mkdir()
            fill(content)
            pack(content, result)
            _compressed_size_file(path).write_text(str(_compressed_bytes(result)), encoding="ascii")
            result.rename(path)
        _forget_unused()
    return path


def compressed_bytes(path: Path) -> int:
    """What a registry would send for this layer."""
    return int(_compressed_size_file(path).read_text(encoding="ascii"))


def unpack(path: Path, folder: Path) -> None:
    subprocess.run(["tar", "--extract", f"--file={path}", f"--directory={folder}"], check=True)


def pack(folder: Path, path: Path) -> None:
    """All of the folder, as root's, in a fixed order and without times, so that the same files make the same tar."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(folder.rglob("*")):
            archive.add(file, str(file.relative_to(folder)), recursive=False, filter=_plain)


def cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stoa-images"
    home.mkdir(parents=True, exist_ok=True)
    return home


def digest_of_files(paths: Sequence[Path], root: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(paths):
        found.update(f"{path.relative_to(root)}\0{path.stat().st_mode:o}\0{path.stat().st_size}\0".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def _compressed_bytes(path: Path) -> int:
    counted = 0
    with subprocess.Popen(["gzip", "-6", "--stdout", str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while chunk := process.stdout.read(CHUNK_BYTES):
            counted += len(chunk)
    return counted


def _compressed_size_file(path: Path) -> Path:
    return path.with_suffix(".compressed")


def _forget_unused() -> None:
    oldest = time.time() - UNUSED_DAYS_MAX * 86_400
    for path in cache().glob("*.tar"):
        if path.stat().st_mtime < oldest:
            path.unlink()
            _compressed_size_file(path).unlink(missing_ok=True)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    with (cache() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
