"""Tells when a folder of YAML may have changed.

Knows the file system's notices; does not know what the files say.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from pathlib import Path

import watchfiles

from mqtt_operator.local.documents import SUFFIXES, is_hidden

# Editors write a file in several steps: wait until it is quiet for a moment, but stay well within the second in which a
# changed right must act.
QUIET_MS = 50
GATHER_MS_MAX = 300
# Certificates near their end are replaced, and a notice that was lost is made good, at the latest after this.
REVISIT_MS = 60_000
# How often a folder that is gone is looked for.
RETURN_S = 1.0


def concerns(folder: Path, _change: watchfiles.Change, path: str) -> bool:
    """True for what `documents.yaml_files` would read, and for what has no suffix: a folder that moves holds some."""
    changed = Path(path)
    inside = changed.relative_to(folder) if changed.is_relative_to(folder) else changed
    return not is_hidden(inside) and changed.suffix in {*SUFFIXES, ""}


async def changes(folder: Path) -> AsyncIterator[bool]:
    """True each time files changed, False when it is time to look all the same. Ends only by cancellation.

    `folder` is resolved, as notices name real paths. The first item comes at once, after the watch began: nothing that
    happens between two looks is missed. A folder that is deleted and made again is watched again.
    """
    while True:
        async with contextlib.aclosing(_changes_of_one(folder)) as found:
            async for changed in found:
                yield changed
        while _identity(folder) is None:  # noqa: ASYNC110  nothing tells when a folder comes back
            await asyncio.sleep(RETURN_S)


async def _changes_of_one(folder: Path) -> AsyncGenerator[bool]:
    """Until the folder at this path is another one, or none."""
    identity = _identity(folder)
    watch = watchfiles.awatch(
        folder,
        watch_filter=partial(concerns, folder),
        debounce=GATHER_MS_MAX,
        step=QUIET_MS,
        rust_timeout=REVISIT_MS,
        yield_on_timeout=True,
    )
    async with contextlib.aclosing(watch):
        following = asyncio.ensure_future(anext(watch))
        try:
            await asyncio.sleep(0)  # lets the task begin, which is when the watch begins
            yield False
            while True:
                changed = await following
                following = asyncio.ensure_future(anext(watch))
                yield bool(changed)
                if _identity(folder) != identity:
                    return
        finally:
            following.cancel()
            await asyncio.wait([following])


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
