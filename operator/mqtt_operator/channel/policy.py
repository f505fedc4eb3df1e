"""The policy's way into the store: its parts by their content first, then, in one step, the pointer to them.

Knows how a document is cut and what the pointer refuses; does not know what a policy says.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any
from zlib import crc32

import redis

from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel import scripts
from mqtt_operator.channel.connection import connect, explained
from mqtt_operator.channel.terms import RevisionTakenError, RolledBackError, SharedStoreError, Writer, Written

PART_BYTES_MAX = 512 * 1024
PART_BYTES_MIN = 64 * 1024
_ENDS = b'"},"'  # of a principal, and so the place for a cut
_ONE_OF = 256  # such places; some 100 KiB apart
_LOOK_BYTES = 32  # before such a place, which decide whether it is taken
PARTS_WRITTEN_KEY = "written"  # where a part's digest stands: it has 64 characters, this is none


def write_policy(settings: RedisSettings, writer: Writer, revision: int, document: bytes) -> Written:
    """Put this revision in force, and tell the nodes. Idempotent, and cheap if it is in force already.

    Raises SharedStoreError, also if another operator began after us, and RevisionTakenError; what was in force stays.
    """
    keys = StoreKeys(settings.key_prefix)
    parts = list(cut(document))
    with explained(settings), connect(settings) as client:
        answer = _point(client, keys, writer, revision, document)
        if answer[0] == b"parts":
            _write_parts(client, keys, parts)
            answer = _point(client, keys, writer, revision, document)
    state, in_force, _, accepted = answer
    if state in {b"written", b"same"}:
        return Written(is_new=state == b"written", accepted=accepted)
    raise _refusal(state.decode(), revision, in_force, settings)


def cut(document: bytes) -> Iterator[bytes]:
    """Parts small enough that none keeps the store busy for long; at least one.

    Where a document is cut follows from what stands there, so that a change moves no cut but those beside it: the other
    parts keep their names, and nobody writes or fetches them again.
    """
    start = 0
    while len(document) - start > PART_BYTES_MIN:
        end = _end_of_part(document, start)
        yield document[start:end]
        start = end
    if start < len(document) or not document:
        yield document[start:]


def _end_of_part(document: bytes, start: int) -> int:
    limit = min(len(document), start + PART_BYTES_MAX)
    at = start + PART_BYTES_MIN
    while (at := document.find(_ENDS, at, limit)) >= 0:
        at += len(_ENDS)
        if crc32(document[at - _LOOK_BYTES : at]) % _ONE_OF == 0:
            return at
    return limit


def _write_parts(client: redis.Redis, keys: StoreKeys, parts: Iterable[bytes]) -> None:
    """Remembered and written in one step: none is ever there without being known."""
    named = {sha256(part).hexdigest(): part for part in parts}
    with client.pipeline(transaction=True) as together:
        together.sadd(keys.policy_part(PARTS_WRITTEN_KEY), *named)
        for digest, part in named.items():
            together.set(keys.policy_part(digest), part)
        together.execute()


def _point(client: redis.Redis, keys: StoreKeys, writer: Writer, revision: int, document: bytes) -> list[Any]:
    answer: list[Any] = scripts.call(
        client,
        "point",
        (
            keys.policy,
            keys.policy_part(PARTS_WRITTEN_KEY),
            keys.feed,
            f"{keys.feed}_end",
            keys.world,
        ),
        (
            revision,
            writer.fence,
            sha256(document).hexdigest(),
            keys.policy_part(""),
            writer.world,
            int(writer.accepts),
            f"{keys.data}generation",
            *(sha256(part).hexdigest() for part in cut(document)),
        ),
    )
    return answer


def _refusal(state: str, revision: int, in_force: int, settings: RedisSettings) -> SharedStoreError:
    where = f"store: {', '.join(settings.addresses)}"
    match state:
        case "fenced":
            return SharedStoreError(
                "Another operator has begun to write to this store after us.",
                where=where,
                to_do="Let one of the two end; start this one again if it is the one that stays.",
            )
        case "older":
            return RevisionTakenError(revision, in_force, where)
        case "older store":
            return RolledBackError(
                "The store has lost acknowledged writes: it is older than what its nodes knew.", where=where
            )
        case "world":
            return SharedStoreError(
                "The store has lost its identity while we ran: it was emptied, or replaced by another.",
                where=where,
                to_do="Bring its data back; nodes serve nobody from a store that is not the one they knew.",
            )
    return SharedStoreError(
        "The store has lost what was written a moment ago.", where=where, to_do="Look at its maxmemory-policy."
    )
