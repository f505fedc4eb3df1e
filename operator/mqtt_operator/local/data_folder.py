"""The data folder of one local broker: where each thing lies, and that only one `stoa up` uses it.

Knows paths and the lock; does not know what is in the files.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mqtt_operator.errors import DataFolderError
from mqtt_operator.local.files import PRIVATE_FILE_MODE, disk_errors_explained, make_private_folder

# sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero included; the file's own name must fit as well.
SOCKET_PATH_BYTES_MAX = 100


class DataFolder:
    """Paths below one root. Making it touches nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def world(self) -> Path:
        return self.root / "world.json"

    @property
    def revision(self) -> Path:
        return self.root / "revision.json"

    @property
    def policy(self) -> Path:
        return self.root / "policy.json"

    @property
    def store(self) -> Path:
        return self.root / "store.sqlite"

    @property
    def shared_world(self) -> Path:
        """The identity of a store that nodes share: another one than that of the file."""
        return self.root / "world-shared.json"

    @property
    def shared_store(self) -> Path:
        """How to log in to the store that nodes share, as the files declare it."""
        return self.root / "store"

    @property
    def store_server(self) -> Path:
        """The store server of our own: its configuration, passwords and data."""
        return self.root / "redis"

    @property
    def front(self) -> Path:
        return self.root / "front"

    @property
    def run(self) -> Path:
        """What the last `stoa up` runs, for commands that ask about it."""
        return self.root / "run.json"

    @property
    def ca(self) -> Path:
        return self.root / "ca"

    @property
    def verifiers(self) -> Path:
        return self.root / "verifiers.json"

    @property
    def verifiers_key(self) -> Path:
        return self.root / "verifiers.key"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    def secret(self, namespace: str, name: str) -> Path:
        return self.secrets / namespace / name

    def listener(self, name: str) -> Path:
        return self.root / "listeners" / name

    def node_settings(self, node: str) -> Path:
        return self.root / "nodes" / node / "settings.json"


def default_root(working_directory: Path, broker_name: str) -> Path:
    return working_directory / ".stoa" / broker_name


@contextmanager
def locked(data: DataFolder) -> Iterator[None]:
    """Make the folder, prove that it can be written, and hold it alone. The kernel lets go when the process ends.

    Raises DataFolderError, also if another process holds it.
    """
    make_private_folder(data.root)
    with disk_errors_explained():
        descriptor = os.open(data.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE_MODE)
    try:
        _lock(descriptor, data)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, data: DataFolder) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
        raise DataFolderError(
            f"Another `stoa up` uses this data folder{f' (process {holder})' if holder else ''}.",
            where=f"path: {data.root}",
            to_do="Stop that one first, or give this one its own folder with --data.",
        ) from error
    with disk_errors_explained():
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


@contextmanager
def admin_socket(data: DataFolder, node: str) -> Iterator[Path]:
    """The path for a node's admin socket: in the data folder, or in a private short-lived one if that is too long."""
    wanted = data.root / f"{node}.sock"
    if len(os.fsencode(wanted)) <= SOCKET_PATH_BYTES_MAX:
        with suppress(FileNotFoundError):
            wanted.unlink()
        yield wanted
        return
    with disk_errors_explained():
        folder = Path(tempfile.mkdtemp(prefix="stoa-"))
    try:
        yield folder / "admin.sock"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
