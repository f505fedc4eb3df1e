"""The place that a policy is written to, and read back from: the store that nodes share.

Knows revisions, fences and which refusals have which consequence; does not know what a policy says, or Redis itself.
`policy_embedded.py` is the other one.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from mqtt_api.node_facts import Purged
from mqtt_api.node_settings import RedisSettings
from mqtt_api.policy import Policy, decode_policy
from mqtt_api.policy_lines import Part
from mqtt_operator.channel.shared_store import SharedStore
from mqtt_operator.channel.terms import Identity, Members, RevisionTakenError, SharedStoreError, Writer
from mqtt_operator.credentials.book import VerifierBook
from mqtt_operator.credentials.verifiers import Verifier, decode_verifier, encode_verifier
from mqtt_operator.reconcile.exchange import SharedPlace


class InForce(Struct, frozen=True, kw_only=True):
    """`revision` of the policy in the store, -1 = none. `policy` None: there is none, or it cannot be read."""

    revision: int = -1
    policy: Policy | None = None


class Nodes(Struct, frozen=True, kw_only=True):
    """The revision that each node decides by. `purged`: how far sessions of deleted clients have ended, as each node
    tells. `members`: their leases, where there are any.
    """

    revisions: Mapping[str, int]
    purged: tuple[Purged, ...] = ()
    members: Members | None = None

    def current(self, revision: int) -> int:
        """How many decide by this revision, or a later one."""
        return sum(each >= revision for each in self.revisions.values())


class Written(Struct, frozen=True, kw_only=True):
    """`generation_accepted` of a store that was rolled back, else 0."""

    revision: int
    generation_accepted: int = 0


class Pen(Protocol):
    """Every method raises ExpectedError; what was in force stays then."""

    async def begin(self) -> InForce:
        """Be the one who writes from now on: whoever was before cannot any more."""
        ...

    async def write(self, revision: int, document: Callable[[int], Sequence[Part]]) -> Written:
        """Put the document in force as this revision, or as a later one if that is taken. Idempotent."""
        ...

    async def nodes(self) -> Nodes:
        """How far the nodes are."""
        ...

    async def load_verifiers(self) -> Mapping[str, Verifier]:
        """What was kept of them, by fingerprint."""
        ...

    async def keep_verifiers(self, book: VerifierBook) -> None:
        """Keep what changed in the book since this was called last. What is lost is hashed again one day."""
        ...


class SharedPen:
    """`open_store` comes in for tests."""

    def __init__(self, place: SharedPlace, open_store: Callable[[RedisSettings], SharedStore] = SharedStore) -> None:
        self._place = place
        self._open_store = open_store
        self._store = open_store(place.settings)
        self._writer = Writer(world=place.world, fence=0, accepts=place.accepts)
        self._there: frozenset[str] = frozenset()

    def move(self, place: SharedPlace) -> None:
        """The same store, reached in another way."""
        self._place = place
        self._store = self._open_store(place.settings)
        self._writer = Writer(world=place.world, fence=self._writer.fence, accepts=place.accepts)

    async def begin(self) -> InForce:
        found = await asyncio.to_thread(self._store.found, self._place.world, may_be_new=self._place.may_be_new)
        if found.identity is not Identity.OURS:
            what = "is empty" if found.identity is Identity.EMPTY else f"has identity {found.id}"
            raise SharedStoreError(f"The store {what}, and this broker's is {self._place.world}.")
        self._writer = Writer(world=self._place.world, fence=found.fence, accepts=self._place.accepts)
        policy = await asyncio.to_thread(self._read)
        return InForce(revision=found.revision, policy=policy)

    async def write(self, revision: int, document: Callable[[int], Sequence[Part]]) -> Written:
        try:
            return await self._write(revision, document(revision))
        except RevisionTakenError as taken:
            revision = taken.in_force + 1
            return await self._write(revision, document(revision))

    async def nodes(self) -> Nodes:
        members = await asyncio.to_thread(self._store.members)
        told = {name: member.facts for name, member in members.nodes.items()}
        return Nodes(
            revisions={name: facts.policy_revision for name, facts in told.items()},
            purged=tuple(facts.purged for facts in told.values()),
            members=members,
        )

    async def load_verifiers(self) -> Mapping[str, Verifier]:
        kept = await asyncio.to_thread(self._store.read_verifiers)
        decoded = ((name, decode_verifier(value)) for name, value in kept.items())
        return {name: verifier for name, verifier in decoded if verifier is not None}

    async def keep_verifiers(self, book: VerifierBook) -> None:
        change = book.change()
        if change:
            added = {name: encode_verifier(verifier) for name, verifier in change.added.items()}
            await asyncio.to_thread(self._store.change_verifiers, added, change.gone)

    async def _write(self, revision: int, parts: Sequence[Part]) -> Written:
        there, self._there = self._there, frozenset()
        written = await asyncio.to_thread(self._store.write_parts, self._writer, revision, parts, there)
        self._there = frozenset(part.digest for part in parts)
        return Written(revision=revision, generation_accepted=written.accepted)

    def _read(self) -> Policy | None:
        lines = self._store.read_parts()
        try:
            return None if lines is None else decode_policy(lines)
        except ValueError:  # written by a later version, or spoilt: it is written anew
            return None
