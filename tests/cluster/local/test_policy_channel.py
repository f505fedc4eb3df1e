"""The operator's way to the store, on a real server and with its real users: identity, policy, members, and orders."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import pytest
import redis

from cluster.local.places import Place
from mqtt_api.node_facts import NodeFacts
from mqtt_api.node_settings import RedisSettings
from mqtt_api.policy import Policy, encode_policy
from mqtt_api.policy_lines import parts_of
from mqtt_broker.store.cluster import Drain, PolicyWritten, Positions
from mqtt_broker.store.ports import Membership, StoreMismatch
from mqtt_broker.store.redis.store import RedisStore
from mqtt_operator.channel.connection import connect
from mqtt_operator.channel.policy import PARTS_PER_CALL_MAX, read_parts
from mqtt_operator.channel.shared_store import SharedStore
from mqtt_operator.channel.terms import (
    Found,
    Identity,
    RevisionTakenError,
    RolledBackError,
    SharedStoreError,
    StoreAwayError,
    Writer,
)
from mqtt_operator.channel.verifiers import ENTRIES_PER_CALL_MAX, read_verifiers
from support.processes import free_port

T = TypeVar("T")
WORLD = "the-world"


def begun(place: Place) -> tuple[SharedStore, Writer]:
    """The operator after it began."""
    store = SharedStore(place.operator)
    found = store.found(WORLD, may_be_new=True)
    return store, Writer(world=WORLD, fence=found.fence)


def as_node(place: Place, story: Callable[[RedisStore, Membership], Awaitable[T]]) -> T:
    """What a node that has joined sees."""

    async def run() -> T:
        store = await RedisStore.open(place.node)
        try:
            return await story(store, await store.join("plant-0", WORLD))
        finally:
            await store.close()

    return asyncio.run(run())


def read_by_node(place: Place, known_revision: int = -1) -> bytes | None:
    lines = as_node(place, lambda store, _: store.read_policy(known_revision))
    return None if lines is None else b"".join(lines)


def parts_in(place: Place) -> set[bytes]:
    return set(place.server.execute("KEYS", f"{place.keys.policy}:*"))


def test_a_new_store_gets_its_identity_once(place: Place) -> None:
    store = SharedStore(place.operator)
    assert store.found(WORLD, may_be_new=True) == Found(identity=Identity.OURS, id=WORLD, fence=1, revision=-1)
    assert store.found(WORLD, may_be_new=False) == Found(identity=Identity.OURS, id=WORLD, fence=2, revision=-1)
    assert store.found("another", may_be_new=True) == Found(identity=Identity.OTHER, id=WORLD, fence=0, revision=-1)


def test_an_empty_store_that_may_not_be_new_stays_empty(place: Place) -> None:
    found = SharedStore(place.operator).found(WORLD, may_be_new=False)
    assert found.identity is Identity.EMPTY
    assert place.server.execute("EXISTS", place.keys.world) == 0


def test_what_the_operator_writes_a_node_reads(place: Place) -> None:
    store, writer = begun(place)
    document = encode_policy(Policy(revision=7, digest="d"))
    assert store.write_policy(writer, 7, document).is_new
    assert read_by_node(place) == document
    assert read_by_node(place, known_revision=7) is None
    assert store.found(WORLD, may_be_new=False).revision == 7


def test_a_document_of_many_parts_arrives_whole(place: Place) -> None:
    store, writer = begun(place)
    document = b"".join(b"line %d\n" % number for number in range(3 * PARTS_PER_CALL_MAX)) + b"end"
    store.write_policy(writer, 1, document)
    assert read_by_node(place) == document
    assert b"".join(read_parts(place.operator) or ()) == document


def test_parts_that_are_there_are_not_sent_again_unless_they_are_missing(place: Place) -> None:
    store, writer = begun(place)
    first, second = parts_of(b"a\nb\n"), parts_of(b"a\nc\n")
    store.write_parts(writer, 1, first)
    place.server.execute("SET", place.keys.policy_part(first[0].digest), "spoilt")
    store.write_parts(writer, 2, second, {part.digest for part in first})
    assert place.server.execute("GET", place.keys.policy_part(first[0].digest)) == b"spoilt"
    assert read_parts(place.operator) is None
    place.server.execute("DEL", place.keys.policy_part(first[0].digest))
    store.write_parts(writer, 3, first, {part.digest for part in first})
    assert read_by_node(place) == b"a\nb\n"


def test_nodes_are_told_by_the_feed(place: Place) -> None:
    store, writer = begun(place)

    async def follow(node: RedisStore, membership: Membership) -> None:
        start = await node.enter(membership, NodeFacts())
        await asyncio.to_thread(store.write_policy, writer, 3, b"policy")
        news = await node.follow(membership, Positions(feed=start), 5.0)
        (entry,) = news.feed
        assert (entry.origin, entry.changes) == ("", (PolicyWritten(revision=3),))
        assert store.members().feed_end == entry.position

    as_node(place, follow)


def test_the_same_again_writes_nothing(place: Place) -> None:
    store, writer = begun(place)
    store.write_policy(writer, 1, b"policy")
    before = store.members().feed_end
    assert not store.write_policy(writer, 1, b"policy").is_new
    assert store.members().feed_end == before


@pytest.mark.parametrize(("revision", "document"), [(4, b"older"), (5, b"other")])
def test_a_revision_never_goes_back_and_never_changes_its_content(place: Place, revision: int, document: bytes) -> None:
    store, writer = begun(place)
    store.write_policy(writer, 5, b"policy")
    with pytest.raises(RevisionTakenError) as refused:
        store.write_policy(writer, revision, document)
    assert refused.value.in_force == 5
    assert read_by_node(place) == b"policy"


def test_whoever_began_before_another_writes_no_more(place: Place) -> None:
    store, first = begun(place)
    _, second = begun(place)
    store.write_policy(second, 1, b"policy")
    with pytest.raises(SharedStoreError, match="Another operator has begun"):
        store.write_policy(first, 2, b"late")
    assert read_by_node(place) == b"policy"


def test_parts_that_nobody_reads_any_more_go_but_not_those_somebody_may_be_reading(place: Place) -> None:
    store, writer = begun(place)
    for revision in range(1, 5):
        store.write_policy(writer, revision, b"policy %d" % revision)
    written = place.keys.policy_part("written").encode()
    assert len(parts_in(place) - {written}) == 2
    assert read_by_node(place) == b"policy 4"


def test_a_node_cannot_write_a_policy_or_an_identity(place: Place) -> None:
    begun(place)
    with connect(place.node) as node:
        for command in (
            ("HSET", place.keys.policy, "revision", "9"),
            ("SET", place.keys.policy_part("x"), "rules"),
            ("HSET", place.keys.world, "id", "mine"),
            ("DEL", place.keys.policy),
            ("EVAL", f"return redis.call('DEL', '{place.keys.world}')", "0"),
        ):
            with pytest.raises(redis.exceptions.RedisError, match=r"(?i)permission"):
                node.execute_command(*command)
    assert place.server.execute("HGET", place.keys.world, "id") == WORLD.encode()


def test_an_operator_cannot_write_what_belongs_to_nodes(place: Place) -> None:
    with connect(place.operator) as operator:
        for command in (
            ("SET", f"{place.keys.data}x", "1"),
            ("HSET", place.keys.leases, "plant-0", "1"),
            ("FLUSHALL",),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                operator.execute_command(*command)


def test_a_store_that_lost_its_identity_gets_no_policy(place: Place) -> None:
    store, writer = begun(place)
    store.write_policy(writer, 1, b"policy")
    place.server.execute("DEL", place.keys.world)
    with pytest.raises(SharedStoreError, match="has lost its identity"):
        store.write_policy(writer, 2, b"next")


def test_a_store_that_was_rolled_back_serves_again_once_it_is_accepted(place: Place) -> None:
    store, writer = begun(place)
    store.write_policy(writer, 1, b"policy")
    place.server.execute("SET", f"{place.keys.data}generation", "2")
    with pytest.raises(StoreMismatch, match="rolled back"):
        read_by_node(place)
    with pytest.raises(RolledBackError):
        store.write_policy(msgspec.structs.replace(writer, accepts=False), 1, b"policy")
    assert store.write_policy(writer, 1, b"policy").accepted == 2
    assert read_by_node(place) == b"policy"
    assert store.write_policy(writer, 1, b"policy").accepted == 0


def test_members_are_those_that_hold_a_lease_and_a_drain_reaches_them(place: Place) -> None:
    store, writer = begun(place)
    store.write_policy(writer, 4, b"policy")

    async def live(node: RedisStore, membership: Membership) -> None:
        position = await node.enter(membership, NodeFacts(connections=3, policy_revision=4))
        await node.renew(membership, NodeFacts(applied=position, connections=5, policy_revision=4, is_draining=True))
        members = await asyncio.to_thread(store.members)
        (member,) = members.nodes.values()
        assert (member.node, member.token, member.renewals) == ("plant-0", membership.token, 1)
        facts = member.facts
        assert (facts.applied, facts.connections, facts.policy_revision) == (position, 5, 4)
        assert facts.is_draining
        assert (members.feed_end, members.policy_revision) == (position, 4)
        await asyncio.to_thread(store.order_to_drain, "plant-0", membership.token)
        news = await node.follow(membership, Positions(feed=position), 5.0)
        assert [entry.command for entry in news.control] == [Drain()]
        await node.leave(membership)

    as_node(place, live)
    assert store.members().nodes == {}


def test_a_lease_that_cannot_be_read_is_named(place: Place) -> None:
    place.server.execute("HSET", place.keys.leases, "plant-9", "what is this")
    with pytest.raises(SharedStoreError, match=r"lease of plant-9 cannot be read"):
        SharedStore(place.operator).members()


def test_a_server_that_is_not_there_is_told(place: Place) -> None:
    gone = msgspec.structs.replace(place.operator, addresses=(f"127.0.0.1:{free_port()}",))
    with pytest.raises(StoreAwayError, match="does not answer"):
        SharedStore(gone).members()


def test_a_wrong_password_is_told_without_it(place: Place) -> None:
    wrong = msgspec.structs.replace(place.operator, password_file=place.node.password_file)
    with pytest.raises(SharedStoreError, match="does not let us in") as refused:
        SharedStore(wrong).members()
    assert "secret-of" not in str(refused.value)


def test_verifiers_survive_beside_the_policy(place: Place) -> None:
    store, writer = begun(place)
    many = {f"{number:064d}": b"verifier %d" % number for number in range(3 * ENTRIES_PER_CALL_MAX)}
    store.change_verifiers(many, ())
    store.change_verifiers({"another": b"one"}, [f"{number:064d}" for number in range(2 * ENTRIES_PER_CALL_MAX)])
    left = {name: value for name, value in many.items() if int(name) >= 2 * ENTRIES_PER_CALL_MAX}
    assert store.read_verifiers() == {**left, "another": b"one"}
    for revision in range(1, 4):  # parts that nobody needs any more are swept; these are no parts
        store.write_policy(writer, revision, b"policy %d" % revision)
    assert len(store.read_verifiers()) == ENTRIES_PER_CALL_MAX + 1


def test_a_node_cannot_change_a_verifier(place: Place) -> None:
    begun(place)
    with connect(place.node) as node, pytest.raises(redis.exceptions.NoPermissionError):
        node.hset(place.keys.policy_part("verifiers"), "x", "y")


def test_reading_from_a_store_that_is_away_says_so() -> None:
    nowhere = RedisSettings(addresses=("127.0.0.1:1",), key_prefix="p")
    for ask in (read_parts, read_verifiers):
        with pytest.raises(StoreAwayError):
            ask(nowhere)
