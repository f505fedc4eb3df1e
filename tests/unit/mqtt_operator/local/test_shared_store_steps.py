"""A reconciler whose nodes share a store: whose store it is, when the policy goes there, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from argon2 import PasswordHasher

from mqtt_api.node_settings import NodeSettings, RedisSettings
from mqtt_api.policy import decode_policy
from mqtt_operator.channel.terms import (
    Found,
    Identity,
    LogInRefusedError,
    RevisionTakenError,
    RolledBackError,
    StoreAwayError,
    Writer,
    Written,
)
from mqtt_operator.desired.redis_settings import LogIn, RedisPlace
from mqtt_operator.errors import DataFolderError, ExpectedError
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.deploy import Site
from mqtt_operator.local.reconciler import Options, Reconciler
from mqtt_operator.local.revision import load_revision
from mqtt_operator.local.world import load_shared_world

PLACE = RedisPlace(
    addresses=("redis:6379",), node=LogIn(username="node"), operator=LogIn(username="operator", password_file="/p")
)


class FakeStore:
    """As much of the real one's conduct as these steps see."""

    def __init__(self) -> None:
        self.id: str | None = None
        self.fence = 0
        self.revision = -1
        self.documents: list[bytes] = []
        self.away = False
        self.forgot = False
        self.generation = 0
        self.logged_in: set[str | None] = set()

    def open(self, settings: RedisSettings) -> "FakeStore":
        self.logged_in.add(settings.username)
        return self

    def found(self, world: str, *, may_be_new: bool) -> Found:
        self._check()
        if self.id is None and not may_be_new:
            return Found(identity=Identity.EMPTY, id="", fence=0, revision=-1)
        self.id = self.id or world
        if self.id != world:
            return Found(identity=Identity.OTHER, id=self.id, fence=0, revision=-1)
        self.fence += 1
        return Found(identity=Identity.OURS, id=world, fence=self.fence, revision=self.revision)

    def write_policy(self, writer: Writer, revision: int, document: bytes) -> Written:
        self._check()
        assert (writer.world, writer.fence) == (self.id, self.fence)
        if self.generation and not writer.accepts:
            raise RolledBackError("older")
        accepted, self.generation = self.generation, 0
        if self.documents and self.documents[-1] == document:
            return Written(is_new=False, accepted=accepted)
        if revision <= self.revision:
            raise RevisionTakenError(revision, self.revision, "")
        self.revision = revision
        self.documents.append(document)
        return Written(is_new=True, accepted=accepted)

    def _check(self) -> None:
        if self.away:
            raise StoreAwayError("away")
        if self.forgot:
            raise LogInRefusedError("who are you")


class Bench:
    """A reconciler of two nodes over a folder and a fake store."""

    def __init__(self, folder: Any, data: DataFolder, store: FakeStore, hasher: PasswordHasher, **options: Any) -> None:
        data.root.mkdir(exist_ok=True)
        self.folder = folder
        self.data = data
        sites = [Site(admin_socket=data.root / f"{n}.sock", port_offset=n) for n in range(2)]
        self.reconciler = Reconciler(
            Options(folder=folder.path, **options),
            data,
            sites,
            lambda _: PLACE,
            open_door=store.open,
            hasher=hasher,
        )

    def start(self) -> None:
        self.reconciler.start(self.folder.read())

    def settings(self, node: str) -> NodeSettings:
        return msgspec.json.decode(self.data.node_settings(node).read_bytes(), type=NodeSettings)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def bench(
    folder: Any,
    broker: Any,
    client: Any,
    permission: Any,
    tmp_path: Path,
    store: FakeStore,
    cheap_hasher: PasswordHasher,
) -> Callable[..., Bench]:
    folder.put("broker.yaml", broker())
    folder.put("clients.yaml", client())
    folder.put("permissions.yaml", permission())
    return lambda data="data", **options: Bench(folder, DataFolder(tmp_path / data), store, cheap_hasher, **options)


def test_each_node_gets_its_ports_the_store_and_a_name_for_clients_of_the_others(
    bench: Callable[..., Bench], store: FakeStore
) -> None:
    made = bench()
    made.start()
    first, second = made.settings("plant-0"), made.settings("plant-1")
    assert [each.listeners[0].port for each in (first, second)] == [8883, 8884]
    assert [each.server_reference for each in (first, second)] == ["127.0.0.1:8883", "127.0.0.1:8884"]
    for each in (first, second):
        assert isinstance(each.store, RedisSettings)
        assert (each.store.username, each.policy_file, each.world) == ("node", "", store.id)
    assert store.logged_in == {"operator"}


def test_the_policy_is_in_the_store_when_the_nodes_may_start(bench: Callable[..., Bench], store: FakeStore) -> None:
    bench().start()
    (document,) = store.documents
    assert "pump-7" in decode_policy(document).principals
    assert store.revision == 1


def test_a_changed_permission_is_written_once(
    bench: Callable[..., Bench], store: FakeStore, folder: Any, permission: Any
) -> None:
    made = bench()
    made.start()
    folder.put("permissions.yaml", permission(rule={"topics": ["elsewhere"]}))
    assert made.reconciler.reconcile().sentence(None).startswith("Applied: policy revision 2 ")
    made.reconciler.reconcile()
    assert [decode_policy(document).revision for document in store.documents] == [1, 2]


def test_a_restart_goes_on_with_the_same_identity_and_a_higher_number(
    bench: Callable[..., Bench], store: FakeStore
) -> None:
    bench().start()
    known = store.id
    bench().start()
    assert (store.id, store.fence, len(store.documents)) == (known, 2, 1)


def test_an_empty_store_under_a_known_identity_is_refused(bench: Callable[..., Bench], store: FakeStore) -> None:
    made = bench()
    made.start()
    store.id = None
    with pytest.raises(DataFolderError, match="The store is empty, but it was in use") as refused:
        bench().start()
    assert str(made.data.shared_world) in refused.value.where


def test_a_store_that_was_never_reached_may_still_be_new(bench: Callable[..., Bench], store: FakeStore) -> None:
    store.away = True
    with pytest.raises(StoreAwayError):
        bench().start()
    store.away = False
    bench().start()
    assert store.revision == 1


def test_the_store_of_another_folder_is_refused_and_can_be_taken_over(
    bench: Callable[..., Bench], store: FakeStore
) -> None:
    bench().start()
    other = bench("other")
    with pytest.raises(DataFolderError, match=f"its identity is {store.id}"):
        other.start()
    assert not load_shared_world(other.data).established
    other.data.shared_world.write_text(f'{{"id": "{store.id}"}}')
    again = bench("other")
    again.start()
    assert store.fence == 2


def test_a_folder_from_a_backup_continues_from_the_revision_in_the_store(
    bench: Callable[..., Bench], store: FakeStore, folder: Any, permission: Any
) -> None:
    made = bench()
    made.start()
    backup = made.data.revision.read_bytes()
    for priority in (1, 2):
        folder.put("permissions.yaml", permission(priority=priority))
        made.reconciler.reconcile()
    made.data.revision.write_bytes(backup)
    folder.put("permissions.yaml", permission(priority=3))
    bench().start()
    assert store.revision == 4
    assert load_revision(made.data).number == 4


def test_while_the_store_is_away_the_change_waits_and_is_written_when_it_is_back(
    bench: Callable[..., Bench], store: FakeStore, folder: Any, permission: Any
) -> None:
    made = bench()
    made.start()
    store.away = True
    folder.put("permissions.yaml", permission(priority=1))
    with pytest.raises(StoreAwayError):
        made.reconciler.reconcile()
    store.away = False
    change = made.reconciler.reconcile()
    assert change.mended
    assert change.sentence(None).startswith("Applied: policy revision 2 ")
    assert store.revision == 2


def test_a_store_that_was_rolled_back_gets_the_policy_again(bench: Callable[..., Bench], store: FakeStore) -> None:
    made = bench()
    made.start()
    assert made.reconciler.keep_policy() == 0
    store.generation, store.revision, store.documents = 3, 0, []
    assert made.reconciler.keep_policy() == 3
    assert store.revision == 1
    assert made.reconciler.keep_policy() == 0
    store.generation = 4
    made.reconciler.reconcile()  # whoever comes first accepts it; it is told all the same
    assert made.reconciler.keep_policy() == 4


def test_a_replicated_store_that_was_rolled_back_waits_for_a_word(
    bench: Callable[..., Bench], store: FakeStore, folder: Any, broker: Any
) -> None:
    redis = {"redis": {"addresses": ["a:1"]}, "durability": {"level": "Replicated", "replicas": 1}}
    folder.put("broker.yaml", broker(sessionStore=redis))
    made = bench()
    made.start()
    store.generation = 1
    with pytest.raises(RolledBackError) as refused:
        made.reconciler.keep_policy()
    assert f"--accept-store {store.id}" in refused.value.to_do
    accepting = bench(accept_store=store.id)
    accepting.start()
    assert store.generation == 0


def test_a_server_that_forgot_its_users_is_given_them_again(bench: Callable[..., Bench], store: FakeStore) -> None:
    made = bench()
    made.start()
    store.forgot = True

    def set_up(_: object) -> RedisPlace:
        store.forgot = False
        return PLACE

    made.reconciler._place_of = set_up
    assert made.reconciler.keep_policy() == 0
    assert not store.forgot


def test_before_the_start_there_is_no_policy_to_keep(bench: Callable[..., Bench]) -> None:
    assert bench().reconciler.keep_policy() == 0


def test_ports_that_two_nodes_would_need_are_refused_and_nothing_is_written(
    bench: Callable[..., Bench], store: FakeStore, folder: Any, broker: Any
) -> None:
    made = bench()
    made.start()
    listeners = [{"name": "mqtts", "port": 8883, "tls": {}}, {"name": "other", "port": 8884, "tls": {}}]
    folder.put("broker.yaml", broker(listeners=listeners))
    before = made.settings("plant-0")
    with pytest.raises(ExpectedError, match="8884 would be needed twice"):
        made.reconciler.reconcile()
    assert made.settings("plant-0") == before
    assert len(store.documents) == 1
