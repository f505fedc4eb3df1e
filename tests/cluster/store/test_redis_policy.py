"""How a policy is read from a store: by a pointer, in parts that are named by what they hold."""

from collections.abc import AsyncIterator, Iterator, Sequence
from hashlib import sha256

import pytest

from cluster.store.servers import redis_server
from mqtt_api.policy_lines import parts_digest
from mqtt_broker.store.ports import StoreUnavailable
from mqtt_broker.store.redis.policy import PARTS_PER_CALL_MAX, PolicyReader
from mqtt_broker.store.redis.wire import Argument
from support.redis_rig import Rig, settings_for
from support.redis_server import RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
async def rig(server: RedisServer) -> AsyncIterator[Rig]:
    rig = Rig(settings_for(server))
    yield rig
    await rig.connection.close()


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


class Operator:
    """Writes policies as an operator does: the parts first, then the pointer."""

    def __init__(self, rig: Rig, server: RedisServer) -> None:
        self.keys = rig.keys
        self.server = server

    def write(self, revision: int, *parts: bytes) -> None:
        for part in parts:
            self.server.execute("SET", self.keys.policy_part(digest(part)), part)
        self.point(revision, *parts)

    def point(self, revision: int, *parts: bytes, meant: Sequence[bytes] = ()) -> None:
        """`meant`: the parts that the digest is made of, where those are others."""
        names = " ".join(digest(part) for part in parts)
        whole = parts_digest(digest(part) for part in meant or parts)
        fields = ("revision", revision, "fence", 1, "digest", whole, "parts", names)
        self.server.execute("HSET", self.keys.policy, *fields)


@pytest.fixture
def operator(rig: Rig, server: RedisServer) -> Operator:
    return Operator(rig, server)


@pytest.fixture
def reader(rig: Rig) -> PolicyReader:
    return PolicyReader(rig.keys)


@pytest.fixture
def asked(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Argument, ...]]:
    """The commands that the reader sent."""
    sent: list[tuple[Argument, ...]] = []
    command = rig.connection.command

    async def record(*arguments: Argument) -> object:
        sent.append(arguments)
        return await command(*arguments)

    monkeypatch.setattr(rig.connection, "command", record)
    return sent


async def test_no_policy_is_none_also_while_only_the_fence_was_taken(
    rig: Rig, reader: PolicyReader, operator: Operator, server: RedisServer
) -> None:
    assert await reader.read(rig.connection, -1) is None
    server.execute("HSET", rig.keys.policy, "fence", 3)
    assert await reader.read(rig.connection, -1) is None


async def test_the_document_is_its_parts_in_order(rig: Rig, reader: PolicyReader, operator: Operator) -> None:
    operator.write(1, b"one,", b"two,", b"one,")
    assert await reader.read(rig.connection, 0) == (b"one,", b"two,", b"one,")


async def test_a_revision_that_is_known_or_lower_is_not_read(
    rig: Rig, reader: PolicyReader, operator: Operator, asked: list[tuple[Argument, ...]]
) -> None:
    operator.write(7, b"seven")
    assert await reader.read(rig.connection, 7) is None
    assert await reader.read(rig.connection, 8) is None
    assert [command[0] for command in asked] == ["HMGET", "HMGET"]


async def test_only_parts_that_are_new_are_fetched(
    rig: Rig, reader: PolicyReader, operator: Operator, asked: list[tuple[Argument, ...]]
) -> None:
    operator.write(1, b"a", b"b", b"c")
    await reader.read(rig.connection, 0)
    operator.write(2, b"a", b"B", b"c")
    asked.clear()
    assert await reader.read(rig.connection, 1) == (b"a", b"B", b"c")
    assert [command[1:] for command in asked if command[0] == "MGET"] == [(rig.keys.policy_part(digest(b"B")),)]


async def test_many_parts_come_in_several_calls(rig: Rig, reader: PolicyReader, operator: Operator) -> None:
    parts = tuple(b"part %d;" % number for number in range(3 * PARTS_PER_CALL_MAX))
    operator.write(1, *parts)
    assert await reader.read(rig.connection, 0) == parts


async def test_a_missing_part_keeps_the_policy_in_force_and_is_said_once(
    rig: Rig, reader: PolicyReader, operator: Operator, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    operator.write(1, b"a")
    operator.point(2, b"a", b"b")
    assert await reader.read(rig.connection, 1) is None
    assert await reader.read(rig.connection, 1) is None
    assert caplog.text.count("is missing") == 1
    server.execute("SET", rig.keys.policy_part(digest(b"b")), b"b")
    assert await reader.read(rig.connection, 1) == (b"a", b"b")


async def test_a_part_that_is_not_what_it_is_called_is_not_believed(
    rig: Rig, reader: PolicyReader, operator: Operator, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    operator.write(1, b"deny")
    server.execute("SET", rig.keys.policy_part(digest(b"deny")), b"allow")
    assert await reader.read(rig.connection, 0) is None
    assert "is not what its digest says" in caplog.text


async def test_parts_in_another_order_are_not_the_document(
    rig: Rig, reader: PolicyReader, operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    operator.write(1, b"a", b"b")
    operator.point(2, b"b", b"a", meant=(b"a", b"b"))
    assert await reader.read(rig.connection, 0) is None
    assert "does not have the digest" in caplog.text


async def test_a_pointer_that_moved_on_meanwhile_is_followed(
    rig: Rig, reader: PolicyReader, operator: Operator, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.write(1, b"old")
    command = rig.connection.command

    async def overtaken(*arguments: Argument) -> object:
        if arguments[0] == "MGET" and digest(b"old") in str(arguments):
            server.execute("DEL", rig.keys.policy_part(digest(b"old")))
            operator.write(3, b"new")
        return await command(*arguments)

    monkeypatch.setattr(rig.connection, "command", overtaken)
    assert await reader.read(rig.connection, 0) == (b"new",)


async def test_a_pointer_that_is_not_understood_is_no_policy(
    rig: Rig, reader: PolicyReader, server: RedisServer
) -> None:
    server.execute("HSET", rig.keys.policy, "revision", "many", "digest", "x", "parts", "y")
    with pytest.raises(StoreUnavailable, match="pointer is not understood"):
        await reader.read(rig.connection, 0)
