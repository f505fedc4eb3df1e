"""Verifiers of the passwords that the files declare, kept in the data folder.

Knows the two files they are kept in; does not know hashing, where passwords come from, or who may do what.

The cache makes a restart cheap and keeps the policy's digest stable.
"""

import secrets
from collections.abc import Mapping, Sequence

import msgspec
from argon2 import PasswordHasher
from msgspec import Struct

from mqtt_api.policy import ScramMechanism, ScramVerifier
from mqtt_operator.credentials.pool import hashing_threads
from mqtt_operator.credentials.verifiers import KEY_BYTES, Job, Keys, Verifier, derived_keys, jobs_of, make
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.files import read_or_none, write_private, write_private_if_changed

Passwords = Mapping[str, tuple[bytes, ...]]


class Verifiers(Struct, frozen=True, kw_only=True):
    """By user name. `salt_key` is what the SCRAM salts were derived with; empty if no SCRAM verifier was asked for."""

    argon2: Mapping[str, tuple[str, ...]]
    scram: Mapping[str, tuple[ScramVerifier, ...]]
    salt_key: bytes = b""


def verifiers_of(
    data: DataFolder, passwords: Passwords, hasher: PasswordHasher, mechanisms: Sequence[ScramMechanism] = ()
) -> Verifiers:
    """One Argon2id verifier per password, in the order given, and one per mechanism that SCRAM can prove it by.

    Forgets those that nobody declares any more. Raises DataFolderError.
    """
    keys = derived_keys(_key(data))
    jobs = {user: jobs_of(keys, user, words, mechanisms) for user, words in passwords.items()}
    made = _made_once(data, [job for each in jobs.values() for job in each], keys, hasher)
    argon2: dict[str, tuple[str, ...]] = dict.fromkeys(passwords, ())
    scram: dict[str, tuple[ScramVerifier, ...]] = dict.fromkeys(passwords, ())
    for user, wanted in jobs.items():
        verifiers = [made[job.fingerprint] for job in wanted]
        argon2[user] = tuple(each for each in verifiers if isinstance(each, str))
        scram[user] = tuple(each for each in verifiers if isinstance(each, ScramVerifier))
    return Verifiers(argon2=argon2, scram=scram, salt_key=keys.salt if mechanisms else b"")


def _made_once(data: DataFolder, wanted: Sequence[Job], keys: Keys, hasher: PasswordHasher) -> dict[str, Verifier]:
    """What the cache holds of this, the rest made and kept."""
    cached = _read_cache(data)
    missing = {job.fingerprint: job for job in wanted if job.fingerprint not in cached}
    with hashing_threads() as pool:
        fresh = dict(zip(missing, pool.map(lambda job: make(job, keys, hasher), missing.values()), strict=True))
    names = sorted({job.fingerprint for job in wanted})
    current = {name: fresh.get(name) or cached[name] for name in names}
    write_private_if_changed(data.verifiers, msgspec.json.encode(current))
    return current


def _key(data: DataFolder) -> bytes:
    stored = read_or_none(data.verifiers_key)
    if stored is not None and len(stored) == KEY_BYTES:
        return stored
    key = secrets.token_bytes(KEY_BYTES)
    write_private(data.verifiers_key, key)
    return key


def _read_cache(data: DataFolder) -> dict[str, Verifier]:
    """A cache that cannot be read is an empty one: it is made again at the price of hashing."""
    try:
        return msgspec.json.decode(read_or_none(data.verifiers) or b"{}", type=dict[str, Verifier])
    except msgspec.DecodeError:
        return {}
