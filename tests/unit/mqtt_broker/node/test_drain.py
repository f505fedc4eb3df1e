"""How often too many connections are a reason to send some away, and how long that may take."""

import pytest

from mqtt_broker.node.drain import (
    LEAVE_S,
    REBALANCE_S,
    REBALANCE_S_MAX,
    STEP_S,
    Patience,
    last_writes_s,
    paced_s,
)


def test_an_attempt_that_helped_is_followed_by_the_next_look_as_usual() -> None:
    patience = Patience(lambda: 0.0)
    assert [patience.next_s(beyond) for beyond in (100, 40, 10, 0)] == [REBALANCE_S] * 4


def test_attempts_that_do_not_help_become_rare() -> None:
    """Clients that know one address only come back to where they were."""
    patience = Patience(lambda: 0.0)
    waits = [patience.next_s(100) for _ in range(10)]
    assert waits[:4] == [REBALANCE_S, 2 * REBALANCE_S, 4 * REBALANCE_S, 8 * REBALANCE_S]
    assert waits[-1] == REBALANCE_S_MAX
    assert patience.next_s(0) == REBALANCE_S


def test_nodes_do_not_all_look_at_one_moment() -> None:
    assert Patience(lambda: 0.5).next_s(0) == 1.5 * REBALANCE_S


@pytest.mark.parametrize("grace_s", [3, 5, 15, 60, 600])
def test_sending_away_and_last_writes_fit_into_the_grace(grace_s: int) -> None:
    assert paced_s(grace_s) + last_writes_s(grace_s) + LEAVE_S <= grace_s + STEP_S


def test_a_longer_grace_is_for_the_clients() -> None:
    assert (paced_s(15), paced_s(100)) == (8.0, 93.0)
