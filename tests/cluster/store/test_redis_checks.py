"""Whether a server is fit to be the store: what is refused at the start, and that the sentence says what to do."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from cluster.store.servers import redis_server, valkey_server
from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_broker.store.ports import StoreMismatch, StoreUnavailable
from mqtt_broker.store.redis.checks import Findings, problems
from mqtt_broker.store.redis.clock import CORRECTIONS_MAX, JUMPS_MAX, Reading, StoreClock
from mqtt_broker.store.redis.store import RedisStore
from support.redis_rig import password_file, settings_for
from support.redis_server import RedisServer, ServerOptions
from support.waiting import wait_until

SAFE = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}


def settings(durability: str = "Disk", verification: str = "Required", replicas: int = 0) -> RedisSettings:
    return RedisSettings(
        addresses=("127.0.0.1:1",),
        key_prefix="p",
        durability=durability,
        verification=verification,
        replicas=replicas,
    )


def findings(
    config: Mapping[str, str] | None = SAFE, version: str = "7.0.15", may_write: tuple[str, ...] = ()
) -> Findings:
    return Findings(version=version, config=config, may_write=may_write)


# The decision --------------------------------------------------------------------------------------------------------


def test_a_server_that_is_as_declared_is_fit() -> None:
    assert problems(settings(), findings()) == []
    assert problems(settings("Memory"), findings({**SAFE, "appendonly": "no"})) == []
    assert problems(settings("Replicated", replicas=2), findings({**SAFE, "appendonly": "no"})) == []


@pytest.mark.parametrize(
    ("declared", "found", "says"),
    [
        (settings(), findings(version="6.2.14"), "version 6.2.14, 7 or later"),
        (settings(), findings(version=""), "7 or later"),
        (settings(), findings({**SAFE, "maxmemory-policy": "allkeys-lru"}), "set noeviction"),
        (settings(), findings({**SAFE, "appendonly": "no"}), "needs appendonly yes, or declare durability Memory"),
        (settings(), findings({**SAFE, "appendfsync": "everysec"}), "needs appendfsync always, it is everysec"),
        (settings("Replicated"), findings(), "needs the number of replicas"),
        (settings("Memory"), findings(None), "allow +config|get, or set verification to Declared"),
        (settings("Memory"), findings(may_write=("{p}:policy",)), "may write {p}:policy"),
    ],
)
def test_each_thing_that_would_break_a_promise_is_named(declared: RedisSettings, found: Findings, says: str) -> None:
    (problem,) = problems(declared, found)
    assert says in problem


def test_what_is_declared_is_believed_but_the_version_is_looked_at() -> None:
    unsafe = findings({"maxmemory-policy": "allkeys-lru"}, may_write=("{p}:policy",))
    assert problems(settings(verification="Declared"), unsafe) == []
    assert problems(settings(verification="Declared"), findings(None)) == []
    assert problems(settings(verification="Declared"), findings(version="5.0")) != []


def test_all_problems_are_told_at_once() -> None:
    assert len(problems(settings(), findings({"maxmemory-policy": "volatile-lru"}, version="6.0"))) == 3


# Real servers --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[redis_server, valkey_server])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    with request.param(tmp_path / "server") as server:
        yield server


def as_node(server: RedisServer, folder: Path, **changes: object) -> RedisSettings:
    """Settings with a user as nodes have it."""
    settings = settings_for(
        server, verification="Required", username="node", password_file=password_file(folder, "secret"), **changes
    )
    rules = StoreKeys(settings.key_prefix).broker_rules
    server.execute("ACL", "SETUSER", "node", "reset", "on", ">secret", *rules)
    return settings


async def refused(settings: RedisSettings) -> str:
    with pytest.raises(StoreMismatch) as caught:
        await RedisStore.open(settings)
    return str(caught.value)


async def test_a_fit_server_is_taken_and_an_unfit_one_refused(server: RedisServer, tmp_path: Path) -> None:
    fit = as_node(server, tmp_path)
    await (await RedisStore.open(fit)).close()
    disk = as_node(server, tmp_path, durability="Disk")
    assert "needs appendonly yes" in await refused(disk)
    server.execute("CONFIG", "SET", "appendonly", "yes")
    assert "needs appendfsync always" in await refused(disk)
    server.execute("CONFIG", "SET", "appendfsync", "always")
    await (await RedisStore.open(disk)).close()
    wait_until(lambda: not server.execute("INFO", "persistence")["aof_rewrite_in_progress"])  # else it would not stop
    server.execute("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    assert "set noeviction" in await refused(disk)


async def test_settings_that_cannot_be_read_are_refused_unless_declared(server: RedisServer, tmp_path: Path) -> None:
    settings = as_node(server, tmp_path)
    server.execute("ACL", "SETUSER", "node", "-config|get")
    assert "allow +config|get" in await refused(settings)


async def test_the_user_without_limits_is_refused(server: RedisServer, tmp_path: Path) -> None:
    problem = await refused(settings_for(server, verification="Required"))
    assert "may write" in problem
    assert "a user of its own" in problem


async def test_a_server_that_is_not_there_is_unavailable_and_nothing_stays_open(tmp_path: Path) -> None:
    gone = redis_server(tmp_path / "gone", ServerOptions())
    with pytest.raises(StoreUnavailable, match="cannot connect"):
        await RedisStore.open(settings_for(gone))


# The clock that goes by the server's time ----------------------------------------------------------------------------


class Steady:
    def __init__(self) -> None:
        self.time = 50.0

    def __call__(self) -> float:
        return self.time


def test_the_stores_time_goes_on_between_readings() -> None:
    steady = Steady()
    clock = StoreClock(steady=steady)
    assert clock.learn(1_000.0, clock.steady()) == 0.0
    steady.time += 2.5
    assert clock.now() == 1_002.5


def test_a_slow_answer_makes_no_jump_and_a_small_difference_is_taken() -> None:
    steady = Steady()
    clock = StoreClock(steady=steady)
    clock.learn(1_000.0, clock.steady())
    asked_at = clock.steady()
    steady.time += 6.0
    assert clock.learn(1_000.0, asked_at) == 0.0  # it was read at any moment of these six seconds
    assert clock.now() == 1_006.0
    assert clock.learn(1_006.5, clock.steady()) == 0.0
    assert clock.now() == 1_006.5


def test_a_first_answer_that_was_slow_is_improved_by_the_next() -> None:
    steady = Steady()
    clock = StoreClock(steady=steady)
    asked_at = clock.steady()
    steady.time += 6.0
    clock.learn(1_006.0, asked_at)
    assert clock.learn(1_006.0, clock.steady()) == 0.0
    assert clock.now() == 1_006.0


def test_time_never_goes_back() -> None:
    steady = Steady()
    clock = StoreClock(steady=steady)
    clock.learn(1_000.0, clock.steady())
    assert clock.now() == 1_000.0
    clock.learn(999.5, clock.steady())
    assert clock.now() == 1_000.0
    steady.time += 1.0
    assert clock.now() == 1_000.5


def settled(steady: Steady) -> StoreClock:
    """A clock that agreed with a server at 1,000 s."""
    clock = StoreClock(steady=steady)
    clock.learn(1_000.0, clock.steady())
    assert clock.now() == 1_000.0
    return clock


def test_a_jump_is_reported_to_the_one_who_corrects_and_not_followed() -> None:
    steady = Steady()
    clock = settled(steady)
    steady.time += 10.0
    assert clock.learn(4_610.0, clock.steady(), corrects=True) == 3_600.0
    assert clock.now() == 1_010.0


def test_whoever_does_not_correct_waits_for_the_correction_but_not_for_ever() -> None:
    steady = Steady()
    clock = settled(steady)
    for _ in range(JUMPS_MAX):
        assert clock.learn(4_600.0, clock.steady()) == 0.0
        assert clock.now() == 1_000.0
    clock.learn(4_600.0, clock.steady())
    assert clock.now() == 4_600.0


def test_whoever_comes_to_correct_does_so_however_long_nobody_has() -> None:
    steady = Steady()
    clock = settled(steady)
    for _ in range(JUMPS_MAX):
        clock.learn(4_600.0, clock.steady())
    assert clock.learn(4_600.0, clock.steady(), corrects=True) == 3_600.0
    assert clock.now() == 1_000.0


@pytest.mark.parametrize(
    ("store_time", "is_doubtful"),
    [(1_000.0, False), (1_009.0, False), (999.0, False), (1_011.0, True), (4_600.0, True), (997.0, True)],
)
def test_a_time_far_from_what_a_node_saw_last_is_in_doubt(store_time: float, is_doubtful: bool) -> None:
    assert Reading(store_time, seen=1_000.0).is_doubtful is is_doubtful
    assert not Reading(store_time, seen=None).is_doubtful


def test_a_jump_that_others_undo_again_and_again_was_ours_and_is_followed() -> None:
    steady = Steady()
    clock = settled(steady)
    for _ in range(CORRECTIONS_MAX):
        assert clock.learn(4_600.0, clock.steady(), corrects=True) == 3_600.0
    assert clock.learn(4_600.0, clock.steady(), corrects=True) == 0.0
    assert clock.now() == 4_600.0


def test_a_server_whose_clock_jumps_there_and_back_is_corrected_each_time() -> None:
    steady = Steady()
    clock = settled(steady)
    for _ in range(CORRECTIONS_MAX):
        for jump_s in (3_600.0, -3_600.0):
            assert clock.learn(1_000.0 + jump_s, clock.steady(), corrects=True) == jump_s
            assert clock.learn(1_000.0, clock.steady(), corrects=True) == 0.0  # it was taken out
    assert clock.now() == 1_000.0


def test_scripts_are_told_our_estimate_once_there_is_one() -> None:
    steady = Steady()
    clock = StoreClock(steady=steady)
    assert clock.told == ""
    clock.learn(1_000.0, clock.steady())
    steady.time += 5.0
    assert clock.told == f"~{1_005.0!r}"
    assert StoreClock(lambda: 5.0).told == "5.0"


def test_a_given_clock_is_told_to_scripts_and_never_goes_back() -> None:
    times = iter([5.25, 4.0, 6.0])
    clock = StoreClock(lambda: next(times))
    assert [clock.given, clock.given, clock.given] == ["5.25", "5.25", "6.0"]
    assert clock.learn(99.0, clock.steady()) == 0.0
