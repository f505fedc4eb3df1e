"""The policy as it lies in Redis: a pointer, and parts named by their content, one for each line of the document.

Knows how to fetch only what is new and to believe nothing but digests; does not know what a policy says. The pointer is
written last, so whoever follows it finds all parts; one that was replaced meanwhile is followed anew.
"""

import logging

from msgspec import Struct

from mqtt_api.policy_lines import line_digest, parts_digest
from mqtt_api.store_keys import StoreKeys
from mqtt_broker.store.ports import StoreUnavailable
from mqtt_broker.store.redis.connection import Connection
from mqtt_broker.store.redis.wire import Reply

log = logging.getLogger("mqtt_broker.policy")

ATTEMPTS_MAX = 3  # the parts of a revision stay until two more were written
PARTS_PER_CALL_MAX = 64  # of some 30 KiB each: one answer is 2 MiB, and 16 MiB at the very worst


class _Pointer(Struct, frozen=True):
    revision: int
    digest: str
    parts: tuple[str, ...]


class PolicyReader:
    """Reads the policy of one store, and keeps the parts of the last one: a small change then costs one small part."""

    def __init__(self, keys: StoreKeys) -> None:
        self._keys = keys
        self._parts: dict[str, bytes] = {}
        self._complaint = ""

    async def read(self, connection: Connection, known_revision: int) -> tuple[bytes, ...] | None:
        """The document's lines if its revision is above the one known. None: it is not, or not whole, which is logged.

        A line that the last document had too is the same object.
        """
        problem = ""
        for _ in range(ATTEMPTS_MAX):
            pointer = await self._pointer(connection)
            if pointer is None or pointer.revision <= known_revision:
                return None
            if parts_digest(pointer.parts) != pointer.digest:
                problem = f"revision {pointer.revision} does not have the digest {pointer.digest}"
                continue
            try:
                self._parts = {**self._kept(pointer), **await self._fetched(connection, pointer)}
            except _IncompleteError as incomplete:
                problem = str(incomplete)
                continue
            return tuple(self._parts[digest] for digest in pointer.parts)
        self._complain(problem)
        return None

    async def _pointer(self, connection: Connection) -> _Pointer | None:
        reply = await connection.command("HMGET", self._keys.policy, "revision", "digest", "parts")
        match reply:
            case [bytes() as revision, bytes() as digest, bytes() as parts] if revision.isdigit():
                return _Pointer(int(revision), digest.decode(), tuple(parts.decode().split()))
            case [None, _, _]:
                return None  # none was written yet
        raise StoreUnavailable(f"the store's policy pointer is not understood: {str(reply)[:100]}")

    def _kept(self, pointer: _Pointer) -> dict[str, bytes]:
        return {digest: self._parts[digest] for digest in pointer.parts if digest in self._parts}

    async def _fetched(self, connection: Connection, pointer: _Pointer) -> dict[str, bytes]:
        """Raises _IncompleteError for a part that is gone, or is not what it is called."""
        missing = [digest for digest in dict.fromkeys(pointer.parts) if digest not in self._parts]
        fetched: dict[str, bytes] = {}
        for start in range(0, len(missing), PARTS_PER_CALL_MAX):
            some = missing[start : start + PARTS_PER_CALL_MAX]
            values: Reply = await connection.command("MGET", *(self._keys.policy_part(digest) for digest in some))
            for digest, value in zip(some, values, strict=True):
                if not isinstance(value, bytes) or line_digest(value) != digest:
                    what = "is missing" if value is None else "is not what its digest says"
                    raise _IncompleteError(f"part {digest} of revision {pointer.revision} {what}")
                fetched[digest] = value
        return fetched

    def _complain(self, problem: str) -> None:
        """Once for each problem: it is met again with every look."""
        if problem != self._complaint:
            log.error("the policy in the store is not whole, the one in force stays: %s", problem)
        self._complaint = problem


class _IncompleteError(Exception):
    """The pointer names what is not there."""
