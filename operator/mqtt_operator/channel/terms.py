"""What operator and shared store say to each other, as values and refusals.

Knows no client of Redis, so that whoever runs a single node need not wait for one to be loaded.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from mqtt_api.node_facts import NodeFacts
from mqtt_operator.errors import ExpectedError


class SharedStoreError(ExpectedError):
    """The store that nodes share cannot be used as it is: away, refusing, or not the one that was expected."""


class StoreAwayError(SharedStoreError):
    """It does not answer: the same call may succeed later."""


class LogInRefusedError(SharedStoreError):
    """It answers, and does not let us in, or not far enough."""


class Identity(StrEnum):
    """What the store turned out to be."""

    OURS = "ours"
    EMPTY = "empty"
    OTHER = "other"


class Found(Struct, frozen=True, kw_only=True):
    """`id` is the one the store has, "" = none. If it is ours: `fence` is the number to write with, `revision` that of
    the policy in force, -1 = none.
    """

    identity: Identity
    id: str
    fence: int
    revision: int


class RevisionTakenError(SharedStoreError):
    """The store has this revision with another content, or a higher one: `in_force`."""

    def __init__(self, revision: int, in_force: int, where: str) -> None:
        super().__init__(
            f"The store holds policy revision {in_force} already, and this is revision {revision}.",
            where=where,
            to_do="Start again: the revision then continues from the one in the store.",
        )
        self.in_force = in_force


class RolledBackError(SharedStoreError):
    """Nodes found the store older than what they knew, and wait until somebody accepts that."""


class Writer(Struct, frozen=True, kw_only=True):
    """Who writes: on behalf of which world, and with the number that the store gave when the operator began.

    `accepts`: a store that was rolled back, so that nodes found acknowledged things missing, is served again.
    """

    world: str
    fence: int
    accepts: bool = True


class Written(Struct, frozen=True, kw_only=True):
    """`is_new`: the revision was not in force yet. `accepted`: the generation of a store that was rolled back, or 0."""

    is_new: bool
    accepted: int = 0


class Member(Struct, frozen=True, kw_only=True):
    """A node that holds a lease. One whose `renewals` stand still is about to lose it."""

    node: str
    token: int
    renewals: int
    facts: NodeFacts


class Members(Struct, frozen=True, kw_only=True):
    """`feed_end` is the position of the newest entry: what lies between it and `applied` is a node's lag."""

    nodes: Mapping[str, Member]
    feed_end: int
    policy_revision: int
