"""What nodes get instead of passwords: which verifiers a password needs, how each is called, and how it is made.

Knows hashing and the names of its results; does not know where passwords come from, where verifiers are kept, or who
may do what.

A verifier is made once: a fresh salt would look like a change, and hashing is dear. It is found again by a fingerprint
of user name and password, an HMAC under a key that is kept apart: equal passwords of two clients cannot be told from
it, and whoever has the fingerprints alone cannot try passwords against them.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from msgspec import Struct

from mqtt_api.policy import ScramMechanism, ScramVerifier
from mqtt_api.scram import ITERATIONS
from mqtt_operator.credentials.scram import make_verifier, password_mistake

KEY_BYTES = 32

Verifier = str | ScramVerifier


class Keys(Struct, frozen=True, kw_only=True):
    """Two secrets. `fingerprint` names verifiers; `salt` is what SCRAM salts come from, and nodes know it too."""

    fingerprint: bytes
    salt: bytes

    def __repr__(self) -> str:
        return "Keys(...)"


class Job(Struct, frozen=True, kw_only=True):
    """One verifier that is needed. `mechanism` None: of Argon2id. Holds a password, which no representation shows."""

    fingerprint: str
    username: str
    password: bytes
    mechanism: ScramMechanism | None = None

    def __repr__(self) -> str:
        return f"Job({self.fingerprint[:8]}, {self.mechanism or 'Argon2id'})"


def derived_keys(key: bytes) -> Keys:
    """Both from one key of KEY_BYTES."""
    return Keys(fingerprint=key, salt=derived_key(key, "scram salts"))


def derived_key(key: bytes, purpose: str) -> bytes:
    """A key for this purpose alone."""
    return hmac.digest(key, purpose.encode(), hashlib.sha256)


def jobs_of(keys: Keys, username: str, passwords: Iterable[bytes], mechanisms: Sequence[ScramMechanism]) -> list[Job]:
    """The verifiers of these passwords, in their order: one of Argon2id, and one per mechanism that can prove it."""
    jobs: list[Job] = []
    for password in passwords:
        wanted: list[ScramMechanism | None] = [None]
        if mechanisms and password_mistake(password) is None:
            wanted += mechanisms
        jobs += [
            Job(
                fingerprint=_fingerprint(keys, each, username, password),
                username=username,
                password=password,
                mechanism=each,
            )
            for each in wanted
        ]
    return jobs


def make(job: Job, keys: Keys, hasher: PasswordHasher, known: Sequence[str] = ()) -> Verifier:
    """Some 20 ms of one ordinary core; the interpreter's lock is free meanwhile.

    `known`: verifiers of Argon2id that this user has already; one that fits is the answer, as those who are connected
    are known by it.
    """
    if job.mechanism is not None:
        return make_verifier(keys.salt, job.mechanism, job.username, job.password)
    return next((each for each in known if _fits(hasher, each, job.password)), None) or hasher.hash(job.password)


def encode_verifier(verifier: Verifier) -> bytes:
    """As it is kept."""
    return msgspec.json.encode(verifier)


def decode_verifier(kept: bytes) -> Verifier | None:
    """None if it cannot be read: it is made again, at the price of hashing."""
    try:
        return _verifiers.decode(kept)
    except msgspec.DecodeError:
        return None


_verifiers: msgspec.json.Decoder[Verifier] = msgspec.json.Decoder(Verifier)


def _fingerprint(keys: Keys, mechanism: ScramMechanism | None, username: str, password: bytes) -> str:
    purpose = f"{mechanism} {ITERATIONS}"
    key = keys.fingerprint if mechanism is None else derived_key(keys.fingerprint, purpose)
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    name = username.encode()
    return hmac.new(key, len(name).to_bytes(4, "big") + name + password, hashlib.sha256).hexdigest()


def _fits(hasher: PasswordHasher, verifier: str, password: bytes) -> bool:
    try:
        return hasher.verify(verifier, password)
    except (VerificationError, InvalidHashError):
        return False
