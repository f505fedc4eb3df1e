"""Argon2id: what a verifier of ours costs, and which ones that people bring are taken.

Knows costs and the form of a hash; does not know whose password it is, or where it comes from.
"""

from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError

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


def standard_hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=PARALLELISM, type=Type.ID)


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
