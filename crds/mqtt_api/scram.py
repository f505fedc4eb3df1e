"""SCRAM (RFC 5802, RFC 7677) as both programs know it: mechanisms, the salted verifier, and where a salt comes from.

Knows values and one keyed hash; does not know messages, passwords, who logs in, or who makes a verifier.
"""

import hashlib
import hmac
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

# RFC 7677, 4 demands 4,096 and names 15,000 as what a modern machine does in a tenth of a second. It is the device that
# pays for it, at each log-in that it does not remember the key for; the broker computes none of it.
ITERATIONS = 15_000
ITERATIONS_MIN = 4_096
ITERATIONS_MAX = 10_000_000
SALT_BYTES = 16
SALT_BYTES_MAX = 64
SALT_KEY_BYTES = 32


class ScramMechanism(StrEnum):
    """The names as MQTT's authentication method carries them."""

    SHA_256 = "SCRAM-SHA-256"
    SHA_512 = "SCRAM-SHA-512"


HASH_BYTES = {ScramMechanism.SHA_256: 32, ScramMechanism.SHA_512: 64}


class ScramVerifier(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What proves a password without being it: whoever reads this can check a log-in, not perform one."""

    mechanism: ScramMechanism
    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES_MAX)]
    iterations: Annotated[int, Meta(ge=ITERATIONS_MIN, le=ITERATIONS_MAX)]
    stored_key: bytes
    server_key: bytes

    @property
    def is_whole(self) -> bool:
        """True if the keys are as long as the mechanism's hash."""
        return len(self.stored_key) == len(self.server_key) == HASH_BYTES[self.mechanism]


def derived(key: bytes, purpose: str, mechanism: ScramMechanism, username: str, length_bytes: int) -> bytes:
    """Bytes that nobody without the key foresees, the same for equal arguments. At most 64."""
    # A NUL is in no user name that anybody is declared with, and in neither of the other two.
    text = "\x00".join((purpose, mechanism, username))
    return hmac.digest(key, text.encode(), hashlib.sha512)[:length_bytes]


def salt_of(key: bytes, mechanism: ScramMechanism, username: str) -> bytes:
    """The salt of a user name, declared or not: one function for both, so that a salt does not tell which it is.

    It stays the same over a change of password: while one replaces the other, both fit one challenge, and a client may
    remember the key it computed (RFC 7677, 4).
    """
    return derived(key, "salt", mechanism, username, SALT_BYTES)
