"""Many clients gone at once wait for a person; a few do not, and neither do many over a long time."""

import pytest

from mqtt_operator.policy.removal_guard import COUNT_MIN, WINDOW_S, RemovalGuard


@pytest.mark.parametrize(
    ("present", "removing", "allowed"),
    [
        (10_000, 2_000, True),
        (10_000, 2_001, False),
        (100, 20, True),
        (100, 21, False),
        (COUNT_MIN, COUNT_MIN - 1, True),
        (COUNT_MIN, COUNT_MIN, False),
        (0, 0, True),
    ],
)
def test_a_fifth_at_once_is_the_most(present: int, removing: int, allowed: bool) -> None:
    assert RemovalGuard().allows(0.0, present, removing) is allowed


def test_a_deletion_that_comes_piece_by_piece_is_one() -> None:
    guard, present, gone = RemovalGuard(), 100, 0
    for second in range(40):
        if guard.allows(float(second), present, 1):
            guard.note(float(second), 1)
            present, gone = present - 1, gone + 1
    assert gone == 20


def test_what_goes_slowly_goes() -> None:
    guard, present = RemovalGuard(), 100
    for step in range(100):
        now = step * WINDOW_S / 5
        assert guard.allows(now, present, 1)
        guard.note(now, 1)
        present -= 1
    assert present == 0
