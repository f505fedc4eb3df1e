"""What is remembered between passes: turns, progress, what was last seen, what lies in files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mqtt_api.node_settings import RedisSettings, RedisTLSSettings
from mqtt_operator.desired.store_access import StoreAccess, StoreSecrets
from mqtt_operator.reconcile.keys import BrokerKey
from mqtt_operator.reconcile.lags import Lags
from mqtt_operator.reconcile.observe import Found
from mqtt_operator.reconcile.progress import MOVES_WITHIN, Progress
from mqtt_operator.reconcile.registry import Registry
from mqtt_operator.reconcile.sights import LOOK_AGAIN_AFTER, Sights
from mqtt_operator.reconcile.store_files import StoreFiles
from mqtt_operator.reconcile.turns import Turns
from mqtt_operator.status.observation import Lag
from unit.mqtt_operator.status.observations import node, observed

A, B, C = BrokerKey("mqtt", "a"), BrokerKey("mqtt", "b"), BrokerKey("other", "a")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_nobody_begins_before_all_others_have_told_where_they_are() -> None:
    turns = Turns()
    assert turns.before(A, [A, B, C]) == B
    turns.tell(B, is_upgrading=False)
    assert turns.before(A, [A, B, C]) == C
    turns.tell(C, is_upgrading=False)
    assert turns.before(A, [A, B, C]) is None


def test_one_that_is_upgraded_is_waited_for_until_it_is_over_or_gone() -> None:
    turns = Turns()
    turns.tell(A, is_upgrading=True)
    assert turns.before(B, [A, B]) == A
    assert turns.before(A, [A]) is None  # nobody waits for itself
    turns.tell(A, is_upgrading=False)
    assert turns.before(B, [A, B]) is None
    turns.tell(A, is_upgrading=True)
    turns.forget(A)
    assert turns.before(B, [B]) is None


def test_one_that_never_gets_as_far_as_its_nodes_keeps_nobody_waiting() -> None:
    turns = Turns()
    turns.tell_first(A)
    assert turns.before(B, [A, B]) is None
    turns.tell(A, is_upgrading=True)
    turns.tell_first(A)
    assert turns.before(B, [A, B]) == A


def test_what_looks_the_same_for_too_long_is_overdue() -> None:
    progress = Progress()
    assert not progress.is_overdue(A, "starting", NOW)
    assert not progress.is_overdue(A, "starting", NOW + MOVES_WITHIN)
    assert progress.is_overdue(A, "starting", NOW + MOVES_WITHIN + timedelta(seconds=1))
    assert not progress.is_overdue(A, "ready", NOW + MOVES_WITHIN * 2)
    assert not progress.is_overdue(A, "starting", NOW + MOVES_WITHIN * 2)
    progress.forget(A)
    assert not progress.is_overdue(A, "starting", NOW + MOVES_WITHIN * 9)


def test_since_when_nodes_are_behind_is_remembered_until_the_broker_is_gone() -> None:
    lags, nodes = Lags(), (node(0, policy_revision=6), node(1))
    behind = observed(now=NOW, nodes=nodes)
    assert lags.look(A, behind, {}) == Lag(revision=7, since=NOW)
    later = observed(now=NOW + timedelta(seconds=9), nodes=nodes)
    assert lags.look(A, later, {}) == Lag(revision=7, since=NOW)
    assert lags.look(B, later, {}) == Lag(revision=7, since=later.now)
    lags.forget(A)
    assert lags.look(A, later, {}) == Lag(revision=7, since=later.now)


class Looker:
    """Counts how often it had to look."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self) -> Found:
        self.times += 1
        return Found({}, (), frozenset())


async def test_what_was_seen_holds_until_something_says_that_it_changed_or_for_a_while() -> None:
    sights, looker = Sights(Registry()), Looker()
    first = await sights.look(A, NOW, looker)
    assert await sights.look(A, NOW, looker) is first
    sights.spoil(A)
    await sights.look(A, NOW, looker)
    assert looker.times == 2
    await sights.look(A, NOW + LOOK_AGAIN_AFTER, looker)
    assert looker.times == 3


async def test_a_change_while_it_was_looked_at_makes_what_was_seen_worth_nothing() -> None:
    sights, looker = Sights(Registry()), Looker()

    async def changes_meanwhile() -> Found:
        found = await looker()
        sights.spoil(A)
        return found

    await sights.look(A, NOW, changes_meanwhile)
    await sights.look(A, NOW, looker)
    assert looker.times == 2


async def test_a_child_that_the_registry_hears_of_spoils_what_was_seen() -> None:
    registry, looker = Registry(), Looker()
    sights = Sights(registry)
    await sights.look(A, NOW, looker)
    labels = {"mqtt.stoa.dev/broker": "a"}
    metadata = {"namespace": "mqtt", "name": "a-0", "uid": "u", "resourceVersion": "1", "labels": labels}
    registry.see({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
    await sights.look(A, NOW, looker)
    assert looker.times == 2
    sights.forget(A)
    sights.forget(A)


def access(*addresses: str, **secrets: str) -> StoreAccess:
    settings = RedisSettings(addresses=addresses, key_prefix="mqtt.a", tls=RedisTLSSettings())
    return StoreAccess(settings=settings, secrets=StoreSecrets(**secrets))


def test_secrets_lie_in_files_that_nobody_else_reads_and_go_with_the_broker(tmp_path: Path) -> None:
    files = StoreFiles(tmp_path)
    given = access("redis.example.org:6379", password="word", sentinel_password="watch", ca_pem="CA")
    settings = files.settings(A, "operator", given)
    assert settings.password_file is not None
    assert settings.sentinel_password_file is not None
    assert settings.tls is not None
    written = [Path(each) for each in (settings.password_file, settings.sentinel_password_file, *settings.tls.ca_files)]
    assert [path.read_text() for path in written] == ["word", "watch", "CA"]
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    assert written[0].parent.stat().st_mode & 0o777 == 0o700
    files.forget(A)
    files.forget(A)
    assert list(tmp_path.iterdir()) == []


def test_a_new_password_replaces_the_old_one_and_users_do_not_share_files(tmp_path: Path) -> None:
    files = StoreFiles(tmp_path)
    first = files.settings(A, "operator", access("r:1", password="one"))
    other = files.settings(A, "admin", access("r:1", password="another"))
    again = files.settings(A, "operator", access("r:1", password="two"))
    assert again == first
    assert (Path(again.password_file or "").read_text(), Path(other.password_file or "").read_text()) == (
        "two",
        "another",
    )


def test_how_a_store_was_logged_in_to_is_known_until_the_broker_is_gone(tmp_path: Path) -> None:
    files = StoreFiles(tmp_path)
    assert files.known(A, "operator") is None
    settings = files.settings(A, "operator", access("r:1", password="one"))
    others = files.settings(B, "operator", access("r:1", password="another"))
    assert files.known(A, "operator") == settings
    assert files.known(A, "admin") is None
    files.forget(A)
    assert files.known(A, "operator") is None
    assert files.known(B, "operator") == others


def test_without_secrets_no_file_is_named(tmp_path: Path) -> None:
    settings = StoreFiles(tmp_path).settings(A, "operator", access("redis.example.org:6379"))
    assert (settings.password_file, settings.sentinel_password_file) == (None, None)
    assert settings.tls == RedisTLSSettings()


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("redis:6379", "redis.mqtt.svc:6379"),
        ("redis.data:6379", "redis.data:6379"),
        ("10.0.0.7:6379", "10.0.0.7:6379"),
        ("[fd00::7]:6379", "[fd00::7]:6379"),
        ("localhost:6379", "localhost:6379"),
    ],
)
def test_a_name_that_only_pods_of_the_broker_would_find_is_completed(address: str, found: str, tmp_path: Path) -> None:
    assert StoreFiles(tmp_path).settings(A, "operator", access(address)).addresses == (found,)


def test_a_turn_is_taken_when_it_is_given_not_when_the_pass_is_over() -> None:
    """Passes of two brokers are under way at the same time: the second one must see the first."""
    turns = Turns()
    for each in (A, B):
        turns.tell(each, is_upgrading=False)
    with turns.taken(A):
        assert turns.before(B, [A, B]) == A
    assert turns.before(B, [A, B]) == A


def test_a_pass_that_fails_gives_its_turn_back() -> None:
    turns = Turns()
    turns.tell(B, is_upgrading=False)
    with pytest.raises(LookupError), turns.taken(A):
        raise LookupError
    assert turns.before(B, [A, B]) is None
