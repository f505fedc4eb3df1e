"""The policy's way into the store: its parts by their content first, then, in one step, the pointer to them.

Knows what the pointer refuses; does not know what a policy says, or how it is cut into parts.
"""

from collections.abc import Container, Sequence
from typing import Any

import redis

from mqtt_api.node_settings import RedisSettings
from mqtt_api.policy_lines import Part, line_digest, parts_digest, parts_of
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel import scripts
from mqtt_operator.channel.connection import connect, explained
from mqtt_operator.channel.terms import RevisionTakenError, RolledBackError, SharedStoreError, Writer, Written

PARTS_PER_CALL_MAX = 64  # some 2 MiB: the store serves others in between
PARTS_WRITTEN_KEY = "written"  # where a part's digest stands: it has 64 characters, this has not
NONE_KNOWN: frozenset[str] = frozenset()


def write_policy(settings: RedisSettings, writer: Writer, revision: int, document: bytes) -> Written:
    """`write_parts` for a document that is at hand as a whole."""
    return write_parts(settings, writer, revision, parts_of(document))


def write_parts(
    settings: RedisSettings,
    writer: Writer,
    revision: int,
    parts: Sequence[Part],
    there: Container[str] = NONE_KNOWN,
) -> Written:
    """Put this revision in force, and tell the nodes. Idempotent, and cheap if it is in force already.

    `there`: digests that the caller wrote lately; those parts are sent only if they turn out to be missing. Raises
    SharedStoreError, also if another operator began after us, and RevisionTakenError; what was in force stays.
    """
    keys = StoreKeys(settings.key_prefix)
    with explained(settings), connect(settings) as client:
        if there is not NONE_KNOWN:
            _write(client, keys, [part for part in parts if part.digest not in there])
        answer = _point(client, keys, writer, revision, parts)
        if answer[0] == b"parts":
            _write(client, keys, parts)
            answer = _point(client, keys, writer, revision, parts)
    state, in_force, _, accepted = answer
    if state in {b"written", b"same"}:
        return Written(is_new=state == b"written", accepted=accepted)
    raise _refusal(state.decode(), revision, in_force, settings)


def read_parts(settings: RedisSettings) -> list[bytes] | None:
    """The lines of the policy in force; None if there is none, or if it is not whole. Raises SharedStoreError."""
    keys = StoreKeys(settings.key_prefix)
    with explained(settings), connect(settings) as client:
        names = client.hget(keys.policy, "parts")
        lines: list[bytes] = []
        digests = names.decode().split() if isinstance(names, bytes) else []
        for start in range(0, len(digests), PARTS_PER_CALL_MAX):
            some = digests[start : start + PARTS_PER_CALL_MAX]
            found = client.mget([keys.policy_part(digest) for digest in some])
            lines += [line for digest, line in zip(some, found, strict=True) if _is(line, digest)]
    return lines if lines and len(lines) == len(digests) else None


def _is(line: object, digest: str) -> bool:
    return isinstance(line, bytes) and line_digest(line) == digest


def _write(client: redis.Redis, keys: StoreKeys, parts: Sequence[Part]) -> None:
    """Remembered and written in one step: none is ever there without being known."""
    for start in range(0, len(parts), PARTS_PER_CALL_MAX):
        some = parts[start : start + PARTS_PER_CALL_MAX]
        with client.pipeline(transaction=True) as together:
            together.sadd(keys.policy_part(PARTS_WRITTEN_KEY), *(part.digest for part in some))
            for part in some:
                together.set(keys.policy_part(part.digest), part.line)
            together.execute()


def _point(client: redis.Redis, keys: StoreKeys, writer: Writer, revision: int, parts: Sequence[Part]) -> list[Any]:
    digests = [part.digest for part in parts]
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
            parts_digest(digests),
            keys.policy_part(""),
            writer.world,
            int(writer.accepts),
            f"{keys.data}generation",
            *digests,
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
