"""What is the embedded store's own: its file, its lock, full and failing disks, and a killed process."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mqtt_broker.session.message import Message
from mqtt_broker.session.session import QueueBounds, Subscription
from mqtt_broker.store import queues, schema, sessions, subscriptions
from mqtt_broker.store.embedded import DUE_MAX, EmbeddedStore
from mqtt_broker.store.ports import (
    Accept,
    Accepted,
    Done,
    Fenced,
    Membership,
    StoreFull,
    StoreMismatch,
    StoreUnavailable,
)
from unit.mqtt_broker.store.failing import Failing, io_error
from unit.mqtt_broker.store.harness import (
    SHARED,
    WILL,
    WORLD,
    Clock,
    Node,
    claim,
    detach,
    join,
    message,
    subscribe,
    take,
    to,
    to_crew,
)

WRITER = Path(__file__).with_name("durable_writer.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[EmbeddedStore]:
    opened = await EmbeddedStore.open(f"sqlite:{path}", Clock())
    yield opened
    await opened.close()


@pytest.fixture
async def node(store: EmbeddedStore) -> Node:
    return await join(store)


def modes_in(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}


def connection_of(node: Node) -> sqlite3.Connection:
    assert isinstance(node.store, EmbeddedStore)
    return node.store._database._connection


def writer(*arguments: str) -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    command = [sys.executable, str(WRITER), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


# The file ------------------------------------------------------------------------------------------------------------


async def test_only_the_owner_may_read_the_file_and_its_log(node: Node, path: Path) -> None:
    await node.claim()
    assert modes_in(path.parent) == {"store.db": 0o600, "store.db-wal": 0o600}


def test_a_restored_file_that_others_may_read_is_made_private(path: Path) -> None:
    schema.open_database(str(path)).close()
    path.chmod(0o644)
    schema.open_database(str(path)).close()
    assert modes_in(path.parent) == {"store.db": 0o600}


async def test_every_commit_is_synced(node: Node) -> None:
    """2 is FULL: in WAL mode every commit syncs the log."""
    connection = connection_of(node)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_second_node_on_the_same_file_is_told_who_is_in_the_way(node: Node, path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=rf"{path}: another process has this file open"):
        await EmbeddedStore.open(f"sqlite:{path}", lock_wait_s=0)
    assert (await node.claim()).owner == "node-0"


@pytest.mark.parametrize("url", ["sqlite:", "sqlite:relative.db", "redis://127.0.0.1", "/var/lib/store.db", ""])
async def test_other_urls_are_refused_with_what_is_expected(url: str) -> None:
    with pytest.raises(StoreMismatch, match="expected sqlite:/absolute/path"):
        await EmbeddedStore.open(url)


async def test_a_missing_folder_is_named(path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"absent/store\.db: No such file or directory; check the folder"):
        await EmbeddedStore.open(f"sqlite:{path.parent}/absent/store.db")


async def test_a_folder_in_the_place_of_the_file_is_refused(path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="Is a directory"):
        await EmbeddedStore.open(f"sqlite:{path.parent}")


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    text = "listeners: []\n" * 100
    path.write_text(text)
    with pytest.raises(StoreMismatch, match="not a store of this broker"):
        schema.open_database(str(path))
    assert path.read_text() == text


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE theirs (value)")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(StoreMismatch, match="another program"):
        schema.open_database(str(path))
    assert path.read_bytes() == before


def test_a_file_that_may_not_be_made_private_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(StoreUnavailable, match=r"store\.db: Operation not permitted; check the folder"):
        schema.open_database(str(path))


def test_an_sqlite_that_is_too_old_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(StoreUnavailable, match=r"needs SQLite 3\.37 or newer"):
        schema.open_database(str(path))


async def test_a_newer_format_is_refused(store: EmbeddedStore, path: Path) -> None:
    await store.close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreMismatch, match="has format 99, this broker reads 1; update it"):
        await EmbeddedStore.open(f"sqlite:{path}")


async def test_the_store_of_another_broker_is_refused_with_what_would_accept_it(node: Node) -> None:
    with pytest.raises(StoreMismatch, match=rf"has identity {WORLD}, .* mqtt\.stoa\.dev/accept-store={WORLD}$"):
        await node.store.join("node-0", "another")


async def test_a_store_with_nodes_but_no_world_is_refused(node: Node) -> None:
    connection_of(node).execute("DELETE FROM world WHERE name = 'id'")
    with pytest.raises(StoreMismatch, match="damaged"):
        await node.store.join("node-0", WORLD)


# Failing disks -------------------------------------------------------------------------------------------------------


async def full_operations(node: Node) -> list[Any]:
    """A batch that changes every part of the store: what a failure must undo wholly."""
    a, b = await node.claim("a", will=WILL), await node.claim("b")
    await node.commit(subscribe(b, SHARED), *to_crew(b"g1", b"g2"))
    other = Subscription(filter="more", group="crew")
    return [
        Accept(message=message(b"1", topic="r"), targets=(to(a), to(b)), retain=True),
        subscribe(a, SHARED, other),
        take(b, 1),
        detach(a, 0, node.store.now()),
    ]


@pytest.mark.parametrize("statement", ["INSERT INTO bodies", "UPDATE nodes", "COMMIT"])
async def test_a_failed_batch_changes_nothing_and_may_be_repeated(node: Node, statement: str) -> None:
    operations = await full_operations(node)
    record = await node.record("b")
    before = await node.store.load(), await node.queue(record), await node.store.read_retained(["r"])
    assert isinstance(node.store, EmbeddedStore)
    database = node.store._database
    real = database._connection
    parts = (database, database._world.queues)
    for part in parts:
        part._connection = Failing(real, statement, [io_error()])  # type: ignore[assignment]
    with pytest.raises(StoreUnavailable, match="input/output error"):
        await node.commit(*operations)
    for part in parts:
        part._connection = real
    assert (await node.store.load(), await node.queue(record), await node.store.read_retained(["r"])) == before
    results = await node.store.commit(node.membership, node.number, operations)
    assert [type(result) for result in results[:2]] == [Accepted, Done]
    assert results[0] == Accepted((1, 1))
    assert await node.store.commit(node.membership, node.number, operations) == results


async def test_a_rollback_that_fails_too_is_made_up_for_by_the_next_call(node: Node) -> None:
    operations = await full_operations(node)
    assert isinstance(node.store, EmbeddedStore)
    database = node.store._database
    real = database._connection
    database._connection = Failing(  # type: ignore[assignment]
        Failing(real, "COMMIT", [io_error()]),  # type: ignore[arg-type]
        "ROLLBACK",
        [io_error()],
    )
    with pytest.raises(StoreUnavailable):
        await node.commit(*operations)
    assert (await node.store.commit(node.membership, node.number, operations))[0] == Accepted((1, 1))


async def test_a_full_disk_refuses_and_the_same_batch_succeeds_when_there_is_room(node: Node) -> None:
    record = await node.claim()
    connection = connection_of(node)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    operations = [Accept(message=message(b"x" * 100_000), targets=(to(record),))]
    with pytest.raises(StoreUnavailable, match=r"store\.db: the disk is full"):
        await node.commit(*operations)
    assert await node.queue(record) == ()
    connection.execute(f"PRAGMA max_page_count = {pages + 1_000}")
    assert await node.store.commit(node.membership, node.number, operations) == (Accepted((1,)),)
    assert len(await node.queue(record)) == 1


async def test_a_read_only_file_refuses_writes_answers_reads_and_recovers(node: Node) -> None:
    record = await node.claim()
    await node.publish(record, b"1")
    connection = connection_of(node)
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreUnavailable, match="read-only"):
        await node.publish(record, b"2")
    assert await node.payloads(record) == [b"1"]
    connection.execute("PRAGMA query_only = OFF")
    results = await node.store.commit(node.membership, node.number, [Accept(message=message(), targets=(to(record),))])
    assert results == (Accepted((2,)),)


async def test_a_bug_is_not_taken_for_a_failing_disk(node: Node) -> None:
    with pytest.raises(KeyError):
        await node.commit("not an operation")  # type: ignore[arg-type]
    connection_of(node).execute("INSERT INTO counters VALUES (2, 0, 0, 0, 0), (3, 0, 0, 0, 0)")
    with pytest.raises(sqlite3.IntegrityError):
        await node.store.commit(node.membership, 1, [claim("new")])


async def test_counters_that_disagree_with_the_rows_are_a_bug_and_no_endless_search(node: Node) -> None:
    bounds = QueueBounds(messages_max=1, bytes_max=1_000, overflow="DropOldest")
    record = await node.claim(bounds=bounds)
    await node.publish(record, b"1")
    connection_of(node).execute("DELETE FROM queue")
    with pytest.raises(AssertionError, match="disagree"):
        await node.publish(record, b"2")


async def test_a_joining_node_is_undone_too_when_the_disk_fails(node: Node) -> None:
    record = await node.claim()
    assert isinstance(node.store, EmbeddedStore)
    database = node.store._database
    real = database._connection
    database._connection = Failing(real, "COMMIT", [io_error()])  # type: ignore[assignment]
    with pytest.raises(StoreUnavailable):
        await node.store.join("node-0", WORLD)
    assert (await node.record()).owner == "node-0"
    assert await node.publish(record, b"1") == [1]


# Processes that die --------------------------------------------------------------------------------------------------


async def test_all_that_was_confirmed_is_there_after_kill_9(path: Path) -> None:
    confirmed = 0
    with writer(f"sqlite:{path}") as process:
        assert process.stdout is not None
        for line in process.stdout:
            confirmed = int(line)
            if confirmed == 60:
                process.kill()
                break
        confirmed = max([confirmed, *(int(line) for line in process.stdout if line.endswith("\n"))])
    assert process.returncode == -9
    store = await EmbeddedStore.open(f"sqlite:{path}")
    (record,) = (await store.load()).sessions
    entries = await store.read_queue("a", record.incarnation, 0, 1_000_000, 1 << 40)
    found = [int(entry.message.payload[: len(entry.message.payload) // 100]) for entry in entries]
    again = await store.join("node-0", WORLD)
    with pytest.raises(Fenced):
        await store.commit(Membership(node="node-0", token=again.token - 1), confirmed + 1, [])
    await store.close()
    assert found[: confirmed - 1] == list(range(2, confirmed + 1))
    assert found == list(range(2, len(found) + 2))


def test_a_disk_without_room_refuses_and_goes_on_once_there_is_some(path: Path) -> None:
    with writer(f"sqlite:{path}", str(1 << 20)) as process:
        assert process.stdout is not None
        *numbers, refusal, results = process.stdout.read().splitlines()
    assert process.returncode == 0
    assert refusal.startswith(f"refused store {path}: the disk")
    assert results == f"Accepted(sequences=({len(numbers) + 1},), evicted=(), stale=(), heard=())"


# Bounds of our own ---------------------------------------------------------------------------------------------------


async def test_caches_that_were_emptied_change_no_answer(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "COUNTERS_CACHED_MAX", 0)
    monkeypatch.setattr(sessions, "SESSIONS_CACHED_MAX", 0)
    monkeypatch.setattr(subscriptions, "GROUPS_CACHED_MAX", 0)
    record = await node.claim()
    await node.commit(subscribe(record, SHARED), *to_crew(b"g1", b"g2"))
    assert await node.publish(record, b"1", b"2") == [1, 2]
    await node.do(take(record, 1))
    assert await node.payloads(record) == [b"1", b"2", b"g1"]
    assert (await node.store.load()).groups == (("crew", "work/#", 1),)


async def test_what_is_due_comes_in_bounded_answers(node: Node) -> None:
    await node.commit(*[claim(f"c{number}", expiry_interval_s=0, will=WILL) for number in range(DUE_MAX + 1)])
    again = await join(node.store)
    due = await again.store.due()
    assert (len(due.wills), due.next_at) == (DUE_MAX, again.store.now())
    await again.commit(
        *[Accept(message=message(), fires_will_of=(w.record.client_id, w.record.incarnation)) for w in due.wills]
    )
    due = await again.store.due()
    assert (len(due.wills), due.next_at) == (1, None)


async def test_messages_are_stored_once_and_go_with_their_last_holder(node: Node) -> None:
    a, b = await node.claim("a"), await node.claim("b")
    await node.commit(subscribe(b, SHARED), *to_crew(b"g"))
    await node.do(Accept(message=message(b"1"), targets=(to(a), to(b))))

    def bodies() -> int:
        (count,) = connection_of(node).execute("SELECT count(*) FROM bodies").fetchone()
        return int(count)

    assert bodies() == 2
    await node.claim("a", clean_start=True)
    assert bodies() == 2
    await node.claim("b", clean_start=True)
    assert bodies() == 0


def test_the_schema_names_itself_in_the_file(path: Path) -> None:
    schema.open_database(str(path)).close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
    assert connection.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA_VERSION,)
    connection.close()


async def test_a_store_grows_no_larger_than_it_may_and_takes_writes_again_after_it_was_drained(tmp_path: Path) -> None:
    bytes_max = 1024 * 1024
    file = tmp_path / "store.sqlite"
    store = await EmbeddedStore.open(f"sqlite:{file}", bytes_max=bytes_max)
    me = await store.join("n0", "w")

    def retain(number: int, payload: bytes) -> Accept:
        return Accept(message=Message(topic=f"t/{number}", payload=payload, qos=1, retain=True), retain=True)

    async def fill() -> int:
        for number in range(1, 100):
            try:
                await store.commit(me, number, [retain(number, b"x" * 65_536)])
            except StoreFull:
                return number
        raise AssertionError("a hundred times 64 KiB went into 1 MiB")

    number = await fill()
    assert file.stat().st_size <= bytes_max
    await store.commit(me, number, [retain(kept, b"") for kept in range(1, number)])
    assert await store.commit(me, number + 1, [retain(number, b"x" * 65_536)]) == (Accepted(),)
    await store.close()
