"""The verifiers that are in use, by fingerprint: found again, added once made, forgotten once nobody needs them.

Knows who needs which, and what a cache has to learn; does not know how verifiers are made, or where a cache is.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from msgspec import Struct

from mqtt_api.policy import ScramVerifier
from mqtt_operator.credentials.verifiers import Job, Verifier


class Fetched(Struct, frozen=True, kw_only=True):
    """What there is for some jobs, in their order, and the jobs that have to be done yet."""

    argon2: tuple[str, ...]
    scram: tuple[ScramVerifier, ...]
    missing: tuple[Job, ...]


class CacheChange(Struct, frozen=True, kw_only=True):
    """What a cache does not know yet."""

    added: Mapping[str, Verifier]
    gone: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.gone)


class VerifierBook:
    """`cached`: what a cache held at the start."""

    def __init__(self, cached: Mapping[str, Verifier]) -> None:
        self._verifiers = dict(cached)
        self._needs: dict[str, tuple[str, ...]] = {}
        self._users: defaultdict[str, int] = defaultdict(int)
        self._added: dict[str, Verifier] = {}
        self._gone: set[str] = set()

    def need(self, owner: str, jobs: Sequence[Job]) -> Fetched:
        """The owner needs these from now on, and nothing else."""
        before, now = self._needs.pop(owner, ()), tuple(job.fingerprint for job in jobs)
        for fingerprint in now:
            self._users[fingerprint] += 1
        if now:
            self._needs[owner] = now
        for fingerprint in before:
            self._release(fingerprint)
        found = [self._verifiers[each] for each in now if each in self._verifiers]
        return Fetched(
            argon2=tuple(each for each in found if isinstance(each, str)),
            scram=tuple(each for each in found if isinstance(each, ScramVerifier)),
            missing=tuple(job for job in jobs if job.fingerprint not in self._verifiers),
        )

    def find(self, fingerprint: str) -> Verifier | None:
        """None: nobody knows it."""
        return self._verifiers.get(fingerprint)

    def add(self, fingerprint: str, verifier: Verifier) -> None:
        """It was made. Nothing is kept that nobody needs any more."""
        if self._users.get(fingerprint):
            self._verifiers[fingerprint] = self._added[fingerprint] = verifier
            self._gone.discard(fingerprint)

    def sweep(self) -> None:
        """Everybody has said what they need: what is left of the cache is for nobody."""
        for fingerprint in [each for each in self._verifiers if not self._users.get(each)]:
            self._forget(fingerprint)

    def change(self) -> CacheChange:
        """What came and went since this was asked last."""
        change = CacheChange(added=self._added, gone=frozenset(self._gone))
        self._added, self._gone = {}, set()
        return change

    @property
    def verifiers(self) -> Mapping[str, Verifier]:
        """All that are known, for a cache that is written as a whole."""
        return self._verifiers

    def _release(self, fingerprint: str) -> None:
        self._users[fingerprint] -= 1
        if not self._users[fingerprint]:
            del self._users[fingerprint]
            self._forget(fingerprint)

    def _forget(self, fingerprint: str) -> None:
        if self._verifiers.pop(fingerprint, None) is not None and self._added.pop(fingerprint, None) is None:
            self._gone.add(fingerprint)
