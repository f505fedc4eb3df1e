"""How files reach the disk: whole or not at all, private from the first byte, durable when the call returns.

Knows modes, rename and fsync; does not know what the files mean.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mqtt_operator.errors import DataFolderError

PRIVATE_FILE_MODE = 0o600
PRIVATE_FOLDER_MODE = 0o700

_ADVICE = {
    errno.EACCES: "Give your user the right to read and write it, or choose another place with --data.",
    errno.EPERM: "Give your user the right to read and write it, or choose another place with --data.",
    errno.EROFS: "It lies on a read-only file system: choose another place with --data.",
    errno.ENOSPC: "The disk is full: free some space, or choose another place with --data.",
    errno.EDQUOT: "Your disk quota is used up: free some space, or choose another place with --data.",
    errno.ENOTDIR: "A file lies where a folder is needed: move it away, or choose another place with --data.",
    errno.EEXIST: "A file lies where a folder is needed: move it away, or choose another place with --data.",
}


@contextmanager
def disk_errors_explained() -> Iterator[None]:
    """Turn the operating system's refusal into a DataFolderError that names the path and the next step."""
    try:
        yield
    except OSError as error:
        raise DataFolderError(
            f"The data folder cannot be used: {error.strerror or error}.",
            where=f"path: {error.filename}" if error.filename else "",
            to_do=_ADVICE.get(error.errno or 0, "Look at that path, or choose another place with --data."),
        ) from error


def make_private_folder(folder: Path) -> Path:
    """Make `folder` and what is missing above it, for the owner only. A folder that exists keeps its mode.

    Raises DataFolderError.
    """
    with disk_errors_explained():
        missing = [folder] if not folder.is_dir() else []
        missing += [parent for parent in folder.parents if missing and not parent.exists()]
        for path in reversed(missing):
            path.mkdir(mode=PRIVATE_FOLDER_MODE)
    return folder


def write_private(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace `path` by `data`, mode 0600: readers see the old content or the new, never a part; durable on return.

    `durable` false is for what can be made again, where thousands of syncs would cost minutes: a power failure may
    leave an empty file. The folder must exist. Raises DataFolderError; the old content stands then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors_explained():
        try:
            _write_new(temporary, data, durable=durable)
            temporary.replace(path)
            if durable:
                _sync_folder(path.parent)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            # `filename` is the temporary's or missing (a full disk): people know only the file that was meant.
            error.filename = str(path)
            raise


def write_private_if_changed(path: Path, data: bytes, *, durable: bool = True) -> bool:
    """Like `write_private`, but leaves an equal file alone, so that watchers are not woken for nothing."""
    if read_or_none(path) == data:
        return False
    write_private(path, data, durable=durable)
    return True


def read_or_none(path: Path) -> bytes | None:
    """The content, or None if there is no such file. Raises DataFolderError if it cannot be read."""
    with disk_errors_explained():
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def _write_new(path: Path, data: bytes, *, durable: bool) -> None:
    # A leftover of a killed process with our number must not stop us, and must not keep its looser mode.
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
