"""Nodes that are behind the policy: since when, and for how long a broker stays ready nevertheless."""

from datetime import timedelta
from typing import Any

from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.status.broker import broker_status
from mqtt_operator.status.lag import lag_now, lag_told
from mqtt_operator.status.observation import Lag, Observation, PolicySeen
from mqtt_operator.status.ready import BEHIND_S_MAX, was_ready
from unit.mqtt_operator.status.observations import NOW, node, observed

GENERATION = 4


class Passes:
    """One after the other, as an operator makes them. `forget`: another one goes on."""

    def __init__(self) -> None:
        self.now = NOW
        self.lag: Lag | None = None
        self.status: Manifest = {}

    def look(
        self, revision: int, nodes: int | tuple[int, int, int], *, later_s: float = 1.0, **facts: Any
    ) -> tuple[str, str]:
        """Status and reason of Ready while this is in force and `nodes` is what nodes decide by, all or each."""
        self.now += timedelta(seconds=later_s)
        seen = self._seen(revision, nodes, **facts)
        self.lag = lag_now(seen, self.lag)
        self.status = broker_status(self._seen(revision, nodes, lag=self.lag, **facts), self.status)
        return self.condition("Ready")[:2]

    def forget(self) -> None:
        self.lag = lag_told(self.status)

    def condition(self, kind: str) -> tuple[str, str, str]:
        (found,) = [each for each in self.status["conditions"] if each["type"] == kind]
        return found["status"], found["reason"], found["lastTransitionTime"]

    def _seen(self, revision: int, nodes: int | tuple[int, int, int], **facts: Any) -> Observation:
        revisions = (nodes,) * 3 if isinstance(nodes, int) else nodes
        deciding = tuple(node(number, policy_revision=each) for number, each in enumerate(revisions))
        known: dict[str, Any] = {"nodes": deciding, "was_ready": was_ready(self.status, GENERATION)}
        return observed(now=self.now, policy=PolicySeen(revision=revision), **{**known, **facts})


def test_a_broker_that_was_ready_stays_so_while_nodes_catch_up() -> None:
    passes = Passes()
    assert passes.look(7, 7) == ("True", "AllReady")
    since = passes.condition("Ready")[2]
    assert passes.look(8, 7) == ("True", "AllReady")
    assert passes.condition("Programmed")[:2] == ("False", "NodesBehind")
    assert passes.look(8, 8) == ("True", "AllReady")
    assert passes.condition("Ready")[2] == since


def test_nodes_that_do_not_catch_up_are_told_after_a_while() -> None:
    passes = Passes()
    passes.look(7, 7)
    passes.look(8, 7)
    assert passes.look(8, 7, later_s=BEHIND_S_MAX - 1) == ("True", "AllReady")
    assert passes.look(9, 7) == ("False", "NodesBehind")
    assert passes.look(9, 9) == ("True", "AllReady")


def test_where_something_changes_all_the_time_nodes_that_follow_are_never_late() -> None:
    passes = Passes()
    passes.look(0, 0)
    for revision in range(1, 3 * int(BEHIND_S_MAX)):
        assert passes.look(revision, revision - 1) == ("True", "AllReady")
        assert passes.condition("Programmed")[:2] == ("False", "NodesBehind")


def test_who_is_a_few_seconds_late_all_the_time_is_never_too_late() -> None:
    passes = Passes()
    passes.look(4, 4)
    for revision in range(5, 3 * int(BEHIND_S_MAX)):
        assert passes.look(revision, revision - 4) == ("True", "AllReady")


def test_one_node_that_hangs_is_late_however_much_changes() -> None:
    passes = Passes()
    passes.look(0, 0)
    told = [passes.look(revision, (revision, 0, revision)) for revision in range(1, int(BEHIND_S_MAX) + 2)]
    assert set(told[:-1]) == {("True", "AllReady")}
    assert told[-1] == ("False", "NodesBehind")


def test_another_operator_goes_on_counting() -> None:
    passes = Passes()
    passes.look(7, 7)
    passes.look(8, 7)
    passes.look(8, 7, later_s=BEHIND_S_MAX - 2)
    passes.forget()
    assert passes.look(8, 7) == ("True", "AllReady")
    assert passes.look(8, 7) == ("False", "NodesBehind")


def test_another_operator_goes_on_from_the_newest_that_was_waited_for() -> None:
    passes = Passes()
    passes.look(0, 0)
    for revision in range(1, 2 * int(BEHIND_S_MAX)):
        passes.look(revision, revision - 1)
    passes.forget()
    assert passes.look(2 * int(BEHIND_S_MAX), 2 * int(BEHIND_S_MAX) - 2) == ("True", "AllReady")
    assert passes.condition("Programmed")[2] == "2026-01-01T00:01:00Z"  # it was true unseen, a second before


def test_a_broker_is_not_ready_before_its_nodes_have_a_policy() -> None:
    passes = Passes()
    assert passes.look(0, -1) == ("False", "NodesBehind")
    assert passes.look(1, -1) == ("False", "NodesBehind")
    assert passes.look(2, 0) == ("True", "AllReady")  # the newest one is not what was waited for


def test_another_generation_of_the_broker_waits_for_its_nodes() -> None:
    passes = Passes()
    passes.look(7, 7)
    assert not was_ready(passes.status, GENERATION + 1)
    assert passes.look(8, 7, was_ready=was_ready(passes.status, GENERATION + 1)) == ("False", "NodesBehind")


def test_where_nobody_knows_of_a_policy_nobody_is_behind() -> None:
    assert lag_now(observed(policy=PolicySeen()), None) is None
    assert lag_told({}) is None
    assert lag_told({"policy": {"revision": 7}}) is None


def test_what_is_not_programmed_for_another_reason_is_no_lag() -> None:
    passes = Passes()
    passes.look(8, 7)
    for each in passes.status["conditions"]:
        each["reason"] = "RollingOut"
    assert lag_told(passes.status) is None
