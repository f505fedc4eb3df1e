"""The overload level: entered when it is no accident, left slowly, one step at a time."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_broker.node.overload import BUFFERED_BYTES_MAX, CALM_S, Overload


@pytest.mark.parametrize(
    ("lag_s", "part", "level"),
    [(0.0, 0.0, 0), (0.2, 0.0, 1), (0.5, 0.0, 2), (2.0, 0.0, 3), (0.0, 0.6, 1), (0.2, 0.95, 3)],
)
def test_the_worse_of_lag_and_memory_sets_the_level(lag_s: float, part: float, level: int) -> None:
    overload = Overload()
    for tenth in range(2):
        overload.measure(lag_s, int(part * BUFFERED_BYTES_MAX), now=tenth / 10)
    assert overload.level == level


def test_one_late_turn_is_no_overload() -> None:
    overload = Overload()
    for tenth, lag_s in enumerate((0.0, 5.0, 0.0, 0.0, 5.0, 0.05)):
        overload.measure(lag_s, 0, now=tenth / 10)
        assert overload.level == 0


def test_memory_that_fills_up_is_overload_at_once() -> None:
    overload = Overload()
    overload.measure(0.0, BUFFERED_BYTES_MAX, now=0.0)
    assert overload.level == 3


def test_a_level_is_left_one_at_a_time_and_only_after_a_calm_while() -> None:
    overload = Overload()
    for tenth in range(2):
        overload.measure(2.0, 0, now=tenth / 10)
    levels = []
    for tenth in range(2, 40):
        overload.measure(0.0, 0, now=tenth / 10)
        levels.append(overload.level)
    assert levels[0] == 3
    assert levels[-1] == 0
    assert all(before - after in (0, 1) for before, after in itertools.pairwise(levels))
    assert levels.count(2) >= 10 * CALM_S - 1


def test_a_measurement_just_below_the_limit_does_not_leave_the_level() -> None:
    overload = Overload()
    for second in range(2):
        overload.measure(0.11, 0, now=float(second))
    for second in range(2, 10):
        overload.measure(0.09, 0, now=float(second))
    assert overload.level == 1


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 2 * BUFFERED_BYTES_MAX)), max_size=30))
def test_the_level_stays_in_its_range_and_says_when_it_changed(measurements: list[tuple[float, int]]) -> None:
    overload, now = Overload(), 0.0
    for lag_s, buffered in measurements:
        now += 0.7
        before = overload.level
        assert overload.measure(lag_s, buffered, now) == (overload.level != before)
        assert 0 <= overload.level <= 3
