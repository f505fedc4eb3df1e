"""Notices that files may have changed: settings, policy, certificates. Directories are watched, for files are replaced
by renaming (and by symbolic links that are swapped, as mounted volumes do)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from watchfiles import awatch

DEBOUNCE_MS = 50  # a writer that replaces several files at once is answered once
STEP_MS = 20


async def changes(paths: Callable[[], Iterable[str]], stop: asyncio.Event) -> AsyncIterator[None]:
    """Yield whenever something beside one of `paths()` changed. The list is read again after each change."""
    while not stop.is_set():
        folders = _folders(paths())
        async for _ in awatch(
            *folders, stop_event=stop, debounce=DEBOUNCE_MS, step=STEP_MS, recursive=False, watch_filter=None
        ):
            yield
            if _folders(paths()) != folders:
                break


def _folders(paths: Iterable[str]) -> tuple[str, ...]:
    parents = {str(Path(path).parent) for path in paths}
    return tuple(sorted(parent for parent in parents if Path(parent).is_dir()))
