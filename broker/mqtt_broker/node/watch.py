"""Notices that files may have changed: settings, policy, certificates. Directories are watched, for files are replaced
by renaming (and by symbolic links that are swapped, as mounted volumes do).

Notices alone are not enough: a file may change between its reading and the moment the watch begins, and a notice can be
lost. So the files themselves are looked at as well, once at the start and then every REVISIT_MS.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from watchfiles import awatch

DEBOUNCE_MS = 50  # a writer that replaces several files at once is answered once
STEP_MS = 150  # how often notices are asked for: each time costs 0.1 ms of CPU. Two of them pass before one is told
REVISIT_MS = 1_000  # what no notice told of is seen within a second

Signature = tuple[tuple[str, int, int, int] | None, ...]


async def changes(paths: Callable[[], Iterable[str]], stop: asyncio.Event) -> AsyncIterator[None]:
    """Yield once at the start, then whenever one of `paths()` may have changed; the list is read again each time."""
    seen = _signature(paths())
    yield
    while not stop.is_set():
        folders = _folders(paths())
        async for noticed in awatch(
            *folders,
            stop_event=stop,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            rust_timeout=REVISIT_MS,
            yield_on_timeout=True,
            recursive=False,
            watch_filter=None,
        ):
            now = _signature(paths())
            if noticed or now != seen:
                seen = now
                yield
            if _folders(paths()) != folders:
                break


def _signature(paths: Iterable[str]) -> Signature:
    """What changes with a file's content or its replacement; None for one that is not there."""
    return tuple(_mark(path) for path in paths)


def _mark(path: str) -> tuple[str, int, int, int] | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return path, status.st_ino, status.st_size, status.st_mtime_ns


def _folders(paths: Iterable[str]) -> tuple[str, ...]:
    parents = {str(Path(path).parent) for path in paths}
    return tuple(sorted(parent for parent in parents if Path(parent).is_dir()))
