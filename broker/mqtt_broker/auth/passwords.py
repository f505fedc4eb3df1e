"""Whether a password fits a verifier: Argon2id (RFC 9106) in a bounded pool of threads.

Knows verifiers in PHC form; does not know who they belong to, nor how they were made.

A hash is expensive by design, and anybody may ask for one. So the pool and what waits for it are bounded, a password
is measured before it is hashed, and every failure costs the same number of hashes: nobody can tell by the clock
whether a user exists. What has waited for long is not hashed at all: its client has given up and asks again, and a hash
for nobody would make the next one wait until it gives up too.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from argon2.exceptions import VerificationError, VerifyMismatchError
from argon2.low_level import Type, verify_secret

PASSWORD_BYTES_MAX = 1024  # far above any real one; MQTT itself allows 65,535
WAIT_S_MAX = 2.0  # clients wait for CONNACK some five seconds, and the rest of a CONNECT takes time too
HASHES_PER_FAILURE = 2  # a principal has at most two passwords, while one replaces the other

_LOG = logging.getLogger("mqtt_broker.auth")
# What a user who does not exist costs, until the first verifier shows what one that does costs.
_DEFAULT_PARAMETERS = "$argon2id$v=19$m=19456,t=2,p=1"
# Salt and hash of no password: what they are compared with is never believed.
_DUMMY_TAIL = "$" + "A" * 22 + "$" + "A" * 43


class Busy(Exception):  # noqa: N818 - the word for it; not an error of anybody
    """There is no room to wait, or it took too long: answer that the server is busy. Nothing was hashed."""


class PasswordVerifier:
    """`threads` hashes run at a time, at most `waiting_max` more wait, for WAIT_S_MAX; others raise Busy.

    Each running hash takes the memory, and starts the further threads, that its verifier names (`m` KiB, `p`).
    """

    def __init__(self, threads: int, waiting_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._room = threading.BoundedSemaphore(threads + waiting_max)
        self._clock = clock
        self._parameters = _DEFAULT_PARAMETERS
        self._closed = False

    async def verify(self, hashes: Sequence[str], password: bytes) -> bool:
        """True if the password fits one of the verifiers. Without any (an unknown user) it takes as long.

        Raises Busy at a bound and after `close`. When cancelled, a hash that runs goes on and keeps its place
        until it is done; one that waits gives its place up.
        """
        if len(password) > PASSWORD_BYTES_MAX:
            return False
        if self._closed or not self._room.acquire(blocking=False):
            raise Busy
        job = self._pool.submit(self._fits_in_time, tuple(hashes), password, self._clock() + WAIT_S_MAX)
        job.add_done_callback(self._leave)
        return await asyncio.wrap_future(job)

    def close(self) -> None:
        """Take no more work and let the threads go. What still waits is answered False without a hash. Idempotent."""
        self._closed = True
        self._pool.shutdown(wait=False)

    def _leave(self, _job: Future[bool]) -> None:
        self._room.release()

    def _fits_in_time(self, hashes: tuple[str, ...], password: bytes, ends_at: float) -> bool:
        if self._clock() > ends_at:
            raise Busy
        return self._fits_one(hashes, password)

    def _fits_one(self, hashes: tuple[str, ...], password: bytes) -> bool:
        if self._closed:
            return False
        spent = 0
        for verifier in hashes:
            outcome = _fits(verifier, password)
            if outcome is None:
                continue
            self._parameters = _parameters(verifier)
            if outcome:
                return True
            spent += 1
        for _ in range(spent, HASHES_PER_FAILURE):
            _fits(self._parameters + _DUMMY_TAIL, password)
        return False


def _fits(verifier: str, password: bytes) -> bool | None:
    """None if the verifier is none, or of another kind than Argon2id: nothing was hashed."""
    try:
        return verify_secret(verifier.encode(), password, Type.ID)
    except VerifyMismatchError:
        return False
    except VerificationError as error:
        _LOG.warning("a password verifier is not a valid Argon2id string, it fits nothing: %s", error)
        return None


def _parameters(verifier: str) -> str:
    """What the verifier costs, as the beginning of its PHC string (`$argon2id$v=19$m=65536,t=3,p=4`)."""
    return verifier.rsplit("$", 2)[0]
