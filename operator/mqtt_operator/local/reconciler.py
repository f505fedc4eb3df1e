"""From a folder to what nodes read, and again whenever the folder changes.

Knows the order of reading, writing and telling; does not know processes, terminals, YAML, X.509 or how a policy
decides. A mistake at the start ends it; a mistake later changes nothing: the last good state holds.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from argon2 import PasswordHasher
from msgspec import Struct

from mqtt_api.kinds.session_store import DurabilityLevel
from mqtt_api.node_settings import RedisSettings
from mqtt_api.policy import Policy, encode_policy
from mqtt_operator.channel.terms import Found, LogInRefusedError, RevisionTakenError, RolledBackError, Writer, Written
from mqtt_operator.credentials.argon2id import standard_hasher
from mqtt_operator.desired.redis_settings import RedisPlace
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.deploy import Deployment, Site, Surroundings, deploy
from mqtt_operator.local.folder import Declared, read_broker
from mqtt_operator.local.revision import raise_revision
from mqtt_operator.local.store_place import StoreWords
from mqtt_operator.local.world import (
    World,
    check_found,
    establish_shared_world,
    establish_world,
    load_shared_world,
    load_world,
)


class Options(Struct, frozen=True, kw_only=True):
    """What the command line chose. `data` None = the default place for the broker's name.

    `nodes` None = as many as the broker declares. `front`: one entrance for all nodes. `accept_store`: the identity of
    a store that is served although it lost what was acknowledged.
    """

    folder: Path
    data: Path | None = None
    host: str = "127.0.0.1"
    ready_file: Path | None = None
    nodes: int | None = None
    front: bool = False
    store: StoreWords = StoreWords()
    accept_store: str | None = None

    @property
    def watched(self) -> Path:
        """The folder by its real path, as notices of the file system name it."""
        return self.folder.resolve()


class Change(Struct, frozen=True, kw_only=True):
    """What one reconcile step wrote. `mended`: the files held a mistake until now."""

    before: Deployment | None
    after: Deployment
    mended: bool = False

    @property
    def settings_changed(self) -> bool:
        """The node has to take other settings, and may refuse them."""
        return self.before is not None and [each.settings for each in self.before.nodes] != [
            each.settings for each in self.after.nodes
        ]

    def sentence(self, taken: bool | None) -> str:
        """What was done, and why. `taken` is the node's answer to changed settings, None if it gave none yet; that it
        refused them is told elsewhere. Empty if nothing else is to be said.
        """
        parts = []
        policy = self.after.policy
        if self.before is None or self.before.policy.revision != policy.revision:
            parts.append(
                f"policy revision {policy.revision} (clients: {len(policy.principals)}, rules: {len(policy.rules)})"
            )
        if self.settings_changed and taken:
            parts.append("the settings of the node")
        said = [f"Applied: {' and '.join(parts)}, because the files changed."] if parts else []
        if self.settings_changed and taken is None:
            said.append("Written: the settings of the node; it has not said yet whether it took them.")
        if not said and not self.settings_changed:
            said.append(
                f"Mended: the files are in force again (revision {policy.revision})."
                if self.mended
                else "The files changed, their meaning did not: nothing to do."
            )
        return " ".join(said)


class Door(Protocol):
    """What is asked of the store that nodes share; channel/shared_store.py is the real one."""

    def found(self, world: str, *, may_be_new: bool) -> Found: ...
    def write_policy(self, writer: Writer, revision: int, document: bytes) -> Written: ...


PlaceOf = Callable[[Declared], RedisPlace | None]


def _one_file(_: Declared) -> None:
    """A single node, with a store of its own."""


def _shared_store(settings: RedisSettings) -> Door:
    from mqtt_operator.channel.shared_store import SharedStore  # a single node need not wait for it to be loaded

    return SharedStore(settings)


class Reconciler:
    """One broker on one data folder that is locked already. One node for each of `sites`.

    `place_of` tells where the store is that nodes share, None = one node with a file. `open_door`, `now` and `hasher`
    come in for tests.
    """

    def __init__(
        self,
        options: Options,
        data: DataFolder,
        sites: Sequence[Site],
        place_of: PlaceOf = _one_file,
        *,
        open_door: Callable[[RedisSettings], Door] = _shared_store,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        hasher: PasswordHasher | None = None,
    ) -> None:
        self._options = options
        self._data = data
        self._place_of = place_of
        self._open_door = open_door
        self._now = now
        self._surroundings = Surroundings(
            host=options.host,
            hostname=socket.gethostname().lower(),
            sites=tuple(sites),
            hasher=hasher or standard_hasher(),
            has_front=options.front,
        )
        self._world: World | None = None
        self._writer: Writer | None = None
        self._deployment: Deployment | None = None
        self._broken = False
        self._accepted = 0
        self._publishing = threading.Lock()

    @property
    def world(self) -> World:
        """The identity that the store must have. Raises DataFolderError."""
        assert self._world is not None, "not started"
        return self._world

    def start(self, declared: Declared) -> Deployment:
        """Write the first state. Raises ExpectedError."""
        shared = self._place_of(declared) is not None
        self._world = load_shared_world(self._data) if shared else load_world(self._data)
        with self._publishing:
            self._deployment = self._apply(declared)
        return self._deployment

    def reconcile(self) -> Change:
        """Read the folder again and write what changed.

        Idempotent. Raises ExpectedError; the last good state holds then, on disk and in memory. Where nodes share a
        store and it does not answer, files are written and the policy in force stays: try again.
        """
        before, was_broken, self._broken = self._deployment, self._broken, True
        declared = read_broker(self._options.folder)
        if before is not None and declared.broker.reference != before.declared.broker.reference:
            raise ExpectedError(
                f"The broker is another one now: {declared.broker.reference} instead of "
                f"{before.declared.broker.reference}.",
                to_do="Stop this `stoa up` and start it again, or give the broker its name back.",
            )
        with self._publishing:
            after = self._deployment = self._apply(declared)
        self._broken = False
        return Change(before=before, after=after, mended=was_broken)

    def keep_policy(self) -> int:
        """See to it that the store still has the policy in force, and that nodes may serve from it.

        Returns the generation of a store that was rolled back, if one was accepted since this was called last; else 0.
        Raises SharedStoreError.
        """
        with self._publishing:
            deployment = self._deployment
            if deployment is None or deployment.store is None:
                return 0
            try:
                self._publish(deployment.store, deployment.policy)
            except LogInRefusedError:
                self._place_of(deployment.declared)  # a server that was restarted has forgotten the users it was given
                self._publish(deployment.store, deployment.policy)
            accepted, self._accepted = self._accepted, 0
            return accepted

    def node_is_ready(self) -> None:
        """The store exists from now on. Raises DataFolderError."""
        if self._writer is None:
            establish_world(self._data, self.world)

    def _apply(self, declared: Declared) -> Deployment:
        deployment = self._deploy(declared)
        store = deployment.store
        if store is None:
            return deployment
        try:
            self._publish(store, deployment.policy)
        except RevisionTakenError as taken:
            raise_revision(self._data, taken.in_force)
            deployment = self._deploy(declared)
            self._publish(store, deployment.policy)
        return deployment

    def _deploy(self, declared: Declared) -> Deployment:
        place = self._place_of(declared)
        return deploy(declared, self._data, self.world, self._surroundings, self._now(), place)

    def _publish(self, store: RedisSettings, policy: Policy) -> None:
        door = self._open_door(store)
        if self._writer is None:
            self._writer = self._begin(door, accepts=store.durability != DurabilityLevel.REPLICATED)
        try:
            written = door.write_policy(self._writer, policy.revision, encode_policy(policy))
            self._accepted = max(self._accepted, written.accepted)
        except RolledBackError as refusal:
            refusal.to_do = (
                f"Bring the newer store back; to go on without what it lost, start again with "
                f"--accept-store {self.world.id}."
            )
            raise

    def _begin(self, door: Door, *, accepts: bool) -> Writer:
        """The store is ours, and we are its writer from now on."""
        found = door.found(self.world.id, may_be_new=not self.world.established)
        check_found(self._data, found)
        establish_shared_world(self._data, self.world)
        accepts = accepts or self._options.accept_store == self.world.id
        return Writer(world=self.world.id, fence=found.fence, accepts=accepts)
