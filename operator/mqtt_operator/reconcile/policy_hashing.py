"""Passwords on their way to verifiers: hashed in threads beside the passes, told in batches.

Knows jobs, threads and when to tell; does not know whose passwords they are. A pass never waits for hashing: whoever
has many new passwords keeps nobody's revocation waiting.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from argon2 import PasswordHasher

from mqtt_operator.credentials.pool import hashing_threads
from mqtt_operator.credentials.verifiers import Job, Keys, Verifier, make

BATCH_S = 0.5  # between two times that something is told while more is under way: each is a revision of the policy


class Hashing:
    """Of one process. For one event loop; `stop` it in the end."""

    def __init__(self, hasher: PasswordHasher) -> None:
        self._hasher = hasher
        self._threads = hashing_threads()

    async def make(self, job: Job, keys: Keys, known: Sequence[str]) -> Verifier:
        """`known`: verifiers that the user has already (credentials/verifiers.py). Waits for its turn."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, make, job, keys, self._hasher, known)

    def stop(self) -> None:
        """What has not begun never will."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Jobs:
    """Those of one broker."""

    def __init__(self, hashing: Hashing, wake: Callable[[], None]) -> None:
        self._hashing = hashing
        self._wake = wake
        self._running: dict[str, asyncio.Task[None]] = {}
        self._made: dict[str, Verifier] = {}
        self._telling: asyncio.TimerHandle | None = None

    def ask(self, jobs: Iterable[Job], keys: Keys, known: Sequence[str]) -> None:
        """Have these made, unless they are already being made."""
        for job in jobs:
            if job.fingerprint not in self._running and job.fingerprint not in self._made:
                self._running[job.fingerprint] = asyncio.create_task(self._make(job, keys, known))

    def take(self) -> dict[str, Verifier]:
        """What was finished since this was asked last, by fingerprint."""
        made, self._made = self._made, {}
        return made

    @property
    def under_way(self) -> int:
        return len(self._running)

    async def stop(self) -> None:
        """Leave what is under way."""
        if self._telling is not None:
            self._telling.cancel()
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, job: Job, keys: Keys, known: Sequence[str]) -> None:
        try:
            self._made[job.fingerprint] = await self._hashing.make(job, keys, known)
        finally:
            del self._running[job.fingerprint]
        self._tell()

    def _tell(self) -> None:
        if not self._running:
            self._told()
        elif self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(BATCH_S, self._told)

    def _told(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self._wake()
