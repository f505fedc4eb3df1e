"""One leader at a time, whatever happens between the candidates and the API server."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.election import LEASE_S, RENEW_S_MAX, RETRY_S, Election, LeaseLostError
from mqtt_operator.kube.port import ConflictError, Kube, KubeAwayError


class World:
    """One Lease, one clock, and what an API server does to concurrent writers."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lease: Manifest | None = None
        self.version = 0
        self.is_away = False

    async def get(self, _kind: Kind, _namespace: str, _name: str) -> Manifest | None:
        self._check()
        return self.lease

    async def create(self, manifest: Manifest) -> Manifest:
        self._check()
        if self.lease is not None:
            raise ConflictError("already exists")
        return self._write(manifest["spec"])

    async def patch(self, _kind: Kind, _namespace: str, _name: str, body: Manifest) -> Manifest | None:
        self._check()
        if self.lease is None:
            return None
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ConflictError("modified")
        return self._write({**self.lease["spec"], **body["spec"]})

    def _check(self) -> None:
        if self.is_away:
            raise KubeAwayError("away")

    def _write(self, spec: Manifest) -> Manifest:
        self.version += 1
        self.lease = {"metadata": {"resourceVersion": str(self.version)}, "spec": spec}
        return self.lease

    @property
    def spec(self) -> Manifest:
        assert self.lease is not None
        return cast("Manifest", self.lease["spec"])


class PatienceError(Exception):
    """It waited for longer than the test does."""


def candidate(
    world: World, identity: str, *, until: float = 300.0, at: Callable[[], Awaitable[None]] | None = None
) -> Election:
    """Its pauses move the clock of the world; `at` is called in each of them."""

    async def sleep(seconds: float) -> None:
        world.now += seconds
        if at is not None:
            await at()
        if world.now > until:
            raise PatienceError

    wall = datetime(2026, 1, 31, 12, tzinfo=UTC)
    kube = cast("Kube", world)
    return Election(kube, "stoa", "stoa-operator", identity, clock=lambda: world.now, wall=lambda: wall, sleep=sleep)


async def test_the_first_one_makes_the_lease_and_leads() -> None:
    """In 37.0.2 the client library's own election fails right here: its Lease cannot be created."""
    world = World()
    await candidate(world, "a").acquire()
    assert world.spec == {
        "holderIdentity": "a",
        "leaseDurationSeconds": LEASE_S,
        "renewTime": "2026-01-31T12:00:00.000000Z",
        "acquireTime": "2026-01-31T12:00:00.000000Z",
        "leaseTransitions": 1,
    }
    assert world.now == 100.0  # at once


async def test_the_second_one_waits_for_as_long_as_the_first_renews() -> None:
    world = World()
    first = candidate(world, "a")
    await first.acquire()

    async def renew() -> None:
        await first._renew()

    with pytest.raises(PatienceError):
        await candidate(world, "b", at=renew).acquire()
    assert world.spec["holderIdentity"] == "a"


async def test_the_second_one_leads_when_the_lease_has_run_out_and_not_before() -> None:
    world = World()
    await candidate(world, "a").acquire()
    world.now += 1_000  # however old it is: the time counts from when it is first seen
    seen_at = world.now
    await candidate(world, "b", until=2_000).acquire()
    assert LEASE_S <= world.now - seen_at < LEASE_S + 2 * RETRY_S
    assert (world.spec["holderIdentity"], world.spec["leaseTransitions"]) == ("b", 2)


async def test_of_two_that_reach_for_it_at_once_one_gets_it() -> None:
    world = World()
    first, second = candidate(world, "a"), candidate(world, "b")
    await first.acquire()
    await first.release()
    stale = world.lease
    assert stale is not None
    await candidate(world, "c").acquire()

    class Stale(World):
        async def get(self, _kind: Kind, _namespace: str, _name: str) -> Manifest | None:
            return stale

    blind = Stale()
    blind.lease, blind.version = world.lease, world.version
    second = candidate(blind, "b", until=120.0)
    with pytest.raises(PatienceError):
        await second.acquire()
    assert blind.spec["holderIdentity"] == "c"


async def test_a_leader_that_cannot_renew_gives_up_before_others_may_begin() -> None:
    world = World()
    leader = candidate(world, "a")
    await leader.acquire()
    world.is_away = True
    with pytest.raises(LeaseLostError, match="could not be renewed"):
        await leader.hold()
    assert world.now - 100.0 <= RENEW_S_MAX + RETRY_S < LEASE_S


async def test_a_leader_survives_an_api_server_that_was_away_for_a_moment() -> None:
    world = World()

    async def heal() -> None:
        world.is_away = world.now < 100.0 + RENEW_S_MAX / 2

    leader = candidate(world, "a", until=160.0, at=heal)
    await leader.acquire()
    world.is_away = True
    with pytest.raises(PatienceError):
        await leader.hold()


async def test_a_leader_that_another_one_followed_leaves_at_once() -> None:
    """It slept for longer than its lease: a paused machine."""
    world = World()
    leader = candidate(world, "a")
    await leader.acquire()
    world.now += LEASE_S + 1
    await candidate(world, "b").acquire()
    with pytest.raises(LeaseLostError):
        await leader.hold()
    assert world.spec["holderIdentity"] == "b"


async def test_an_instance_of_the_same_name_begins_at_once_and_the_older_one_leaves() -> None:
    """A container that was started again in its pod need not wait for itself; of two that live, one gives way."""
    world = World()
    older, newer = candidate(world, "a"), candidate(world, "a")
    await older.acquire()
    before = world.now
    await newer.acquire()
    assert world.now == before
    with pytest.raises(LeaseLostError, match="another one"):
        await older.hold()


async def test_a_lease_that_somebody_deleted_is_lost() -> None:
    world = World()
    leader = candidate(world, "a")
    await leader.acquire()
    world.lease = None
    with pytest.raises(LeaseLostError):
        await leader.hold()


async def test_a_released_lease_is_taken_at_once() -> None:
    world = World()
    first = candidate(world, "a")
    await first.acquire()
    await first.release()
    assert world.spec["holderIdentity"] == ""
    before = world.now
    await candidate(world, "b").acquire()
    assert world.now == before


async def test_a_release_that_fails_is_no_error_and_one_who_never_led_releases_nothing() -> None:
    world = World()
    first = candidate(world, "a")
    await first.release()
    await first.acquire()
    world.is_away = True
    await first.release()
    world.is_away = False
    assert world.spec["holderIdentity"] == "a"


@pytest.mark.parametrize("spec", [{}, {"holderIdentity": None, "leaseDurationSeconds": None}])
async def test_a_lease_that_says_nothing_is_free(spec: dict[str, Any]) -> None:
    world = World()
    world._write(spec)
    await candidate(world, "a").acquire()
    assert world.spec["holderIdentity"] == "a"
