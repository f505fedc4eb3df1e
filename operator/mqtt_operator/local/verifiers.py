"""Verifiers of the passwords that the files declare, Argon2id and SCRAM: what nodes get instead of passwords.

Knows hashing and its cache; does not know where passwords come from or who may do what.

The cache makes a restart cheap and keeps the policy's digest stable (a fresh salt would look like a change). It is
keyed by an HMAC under a key of its own, bound to the client: equal passwords of two clients cannot be told from it.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec
from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError
from msgspec import Struct

from mqtt_api.policy import ScramMechanism, ScramVerifier
from mqtt_api.scram import ITERATIONS
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.files import read_or_none, write_private, write_private_if_changed
from mqtt_operator.local.scram import make_verifier, password_mistake

# The least that current advice calls safe, about 20 ms a hash on one ordinary core: a node verifies one at each
# CONNECT, so more would mostly buy an attacker a cheaper flood.
TIME_COST = 2
MEMORY_KIB = 19 * 1024
PARALLELISM = 1

# Bounds for verifiers that people bring: beyond them one CONNECT would hold a core or the memory of a node.
FOREIGN_TIME_COST_MAX = 10
FOREIGN_MEMORY_KIB_MAX = 256 * 1024
FOREIGN_MEMORY_KIB_MIN = 8 * 1024
FOREIGN_PARALLELISM_MAX = 8

FINGERPRINT_KEY_BYTES = 32

Passwords = Mapping[str, tuple[bytes, ...]]
Verifier = str | ScramVerifier
_Wanted = tuple[str, str, Callable[[], Verifier]]  # user name, fingerprint, how to make it


class Verifiers(Struct, frozen=True, kw_only=True):
    """By user name. `salt_key` is what the SCRAM salts were derived with; empty if no SCRAM verifier was asked for."""

    argon2: Mapping[str, tuple[str, ...]]
    scram: Mapping[str, tuple[ScramVerifier, ...]]
    salt_key: bytes = b""


def standard_hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=PARALLELISM, type=Type.ID)


def verifiers_of(
    data: DataFolder, passwords: Passwords, hasher: PasswordHasher, mechanisms: Sequence[ScramMechanism] = ()
) -> Verifiers:
    """One Argon2id verifier per password, in the order given, and one per mechanism that SCRAM can prove it by.

    Forgets those that nobody declares any more. Raises DataFolderError.
    """
    key = _fingerprint_key(data)
    salt_key = _derived_key(key, "scram salts") if mechanisms else b""
    argon2: list[_Wanted] = [
        (user, _fingerprint(key, user, word), partial(hasher.hash, word)) for user, word in _each(passwords)
    ]
    scram: list[_Wanted] = [
        (
            user,
            _fingerprint(_derived_key(key, f"{mechanism} {ITERATIONS}"), user, word),
            partial(make_verifier, salt_key, mechanism, user, word),
        )
        for user, word in _each(passwords)
        for mechanism in mechanisms
        if password_mistake(word) is None
    ]
    made = _made_once(data, {fingerprint: make for _, fingerprint, make in (*argon2, *scram)})
    found_argon2: dict[str, tuple[str, ...]] = dict.fromkeys(passwords, ())
    found_scram: dict[str, tuple[ScramVerifier, ...]] = dict.fromkeys(passwords, ())
    for user, fingerprint, _ in (*argon2, *scram):
        verifier = made[fingerprint]
        if isinstance(verifier, ScramVerifier):
            found_scram[user] += (verifier,)
        else:
            found_argon2[user] += (verifier,)
    return Verifiers(argon2=found_argon2, scram=found_scram, salt_key=salt_key)


def _each(passwords: Passwords) -> Iterator[tuple[str, bytes]]:
    return ((user, word) for user, words in passwords.items() for word in words)


def _made_once(data: DataFolder, wanted: Mapping[str, Callable[[], Verifier]]) -> Mapping[str, Verifier]:
    """What the cache holds of this, the rest made and kept."""
    cached = _read_cache(data)
    missing = {fingerprint: make for fingerprint, make in wanted.items() if fingerprint not in cached}
    # Hashing lets go of the interpreter's lock: a first start with a thousand clients uses every core.
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        fresh = dict(zip(missing, pool.map(lambda make: make(), missing.values()), strict=True))
    current = {fingerprint: fresh.get(fingerprint) or cached[fingerprint] for fingerprint in sorted(wanted)}
    write_private_if_changed(data.verifiers, msgspec.json.encode(current))
    return current


def verifier_mistake(verifier: str) -> str | None:
    """What is wrong with a verifier that somebody brings, or None."""
    try:
        found = extract_parameters(verifier)
    except InvalidHashError:
        return "is not an Argon2id hash in PHC form ($argon2id$v=19$m=...,t=...,p=...$salt$hash)"
    if found.type is not Type.ID:
        return "is not Argon2id; make the hash with type Argon2id"
    if not FOREIGN_MEMORY_KIB_MIN <= found.memory_cost <= FOREIGN_MEMORY_KIB_MAX:
        return f"has memory m={found.memory_cost}; choose {FOREIGN_MEMORY_KIB_MIN} to {FOREIGN_MEMORY_KIB_MAX} KiB"
    if found.time_cost > FOREIGN_TIME_COST_MAX:
        return f"has time cost t={found.time_cost}; choose at most {FOREIGN_TIME_COST_MAX}"
    if found.parallelism > FOREIGN_PARALLELISM_MAX:
        return f"has parallelism p={found.parallelism}; choose at most {FOREIGN_PARALLELISM_MAX}"
    return None


def _fingerprint_key(data: DataFolder) -> bytes:
    stored = read_or_none(data.verifiers_key)
    if stored is not None and len(stored) == FINGERPRINT_KEY_BYTES:
        return stored
    key = secrets.token_bytes(FINGERPRINT_KEY_BYTES)
    write_private(data.verifiers_key, key)
    return key


def _fingerprint(key: bytes, username: str, password: bytes) -> str:
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    name = username.encode()
    return hmac.new(key, len(name).to_bytes(4, "big") + name + password, hashlib.sha256).hexdigest()


def _derived_key(key: bytes, purpose: str) -> bytes:
    return hmac.digest(key, purpose.encode(), hashlib.sha256)


def _read_cache(data: DataFolder) -> dict[str, Verifier]:
    """A cache that cannot be read is an empty one: it is made again at the price of hashing."""
    try:
        return msgspec.json.decode(read_or_none(data.verifiers) or b"{}", type=dict[str, Verifier])
    except msgspec.DecodeError:
        return {}
