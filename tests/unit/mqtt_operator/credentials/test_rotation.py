"""A password that is made for somebody: another follows in time, and nobody is locked out in between."""

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_operator.credentials import rotation
from mqtt_operator.credentials.rotation import Generated, Schedule, due_at

START = datetime(2026, 1, 1, tzinfo=UTC)
HOURLY = Schedule(every_s=3600, overlap_s=600)

step = partial(rotation.step, is_former_nowhere=True)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def new() -> bytes:
    return b"new"


FIRST = Generated(password=b"first", made_at=START)


def test_the_first_is_made_at_once() -> None:
    made = step(None, HOURLY, START, new, is_staged_everywhere=False)
    assert made == Generated(password=b"new", made_at=START)
    assert made.good == (b"new",)


def test_without_a_schedule_it_stays() -> None:
    assert step(FIRST, Schedule(), after(1e9), new, is_staged_everywhere=True) == FIRST
    assert due_at(FIRST, Schedule()) is None


def test_before_its_time_nothing_changes() -> None:
    assert step(FIRST, HOURLY, after(3599), new, is_staged_everywhere=True) == FIRST
    assert due_at(FIRST, HOURLY) == after(3600)


def test_the_next_is_good_before_anybody_is_told_it() -> None:
    staged = step(FIRST, HOURLY, after(3600), new, is_staged_everywhere=False)
    assert (staged.password, staged.staged) == (b"first", b"new")
    assert staged.good == (b"first", b"new")
    assert step(staged, HOURLY, after(9000), new, is_staged_everywhere=False) == staged
    assert due_at(staged, HOURLY) is None


def test_the_old_one_stays_good_for_the_overlap_and_no_longer() -> None:
    staged = Generated(password=b"first", made_at=START, staged=b"second")
    both = step(staged, HOURLY, after(4000), new, is_staged_everywhere=True)
    assert both.good == (b"second", b"first")
    assert due_at(both, HOURLY) == after(4600)
    assert step(both, HOURLY, after(4599), new, is_staged_everywhere=True) == both
    alone = step(both, HOURLY, after(4600), new, is_staged_everywhere=True)
    assert alone == Generated(password=b"second", made_at=after(4000))


def test_the_old_one_is_not_forgotten_before_every_node_refuses_it() -> None:
    both = Generated(password=b"second", made_at=after(0), staged=b"third", former=b"first", former_until=after(600))
    known = step(both, HOURLY, after(9000), new, is_staged_everywhere=True, is_former_nowhere=False)
    assert known == both
    assert known.expired_at(after(9000)) == (b"first",)
    assert step(both, HOURLY, after(9000), new, is_staged_everywhere=True).good == (b"third", b"second")


def test_without_an_overlap_the_old_one_is_gone_at_once() -> None:
    staged = Generated(password=b"first", made_at=START, staged=b"second")
    none = Schedule(every_s=3600, overlap_s=0)
    assert step(staged, none, after(4000), new, is_staged_everywhere=True).good == (b"second",)


@pytest.mark.parametrize(("every_s", "overlap_s"), [(3600, 360), (90 * 86400, 86400)])
def test_the_overlap_is_a_tenth_and_at_most_a_day_unless_written(every_s: float, overlap_s: float) -> None:
    assert Schedule(every_s=every_s).overlap == timedelta(seconds=overlap_s)


def test_what_is_staged_goes_when_there_is_no_schedule_any_more() -> None:
    staged = Generated(password=b"first", made_at=START, staged=b"second")
    assert step(staged, Schedule(), after(1), new, is_staged_everywhere=True) == FIRST


def test_no_password_is_shown() -> None:
    shown = repr(Generated(password=b"hunter1", made_at=START, staged=b"hunter2", former=b"hunter3"))
    assert "hunter" not in shown


@given(st.lists(st.tuples(st.floats(0, 5000), st.booleans()), max_size=30))
def test_a_password_is_good_for_the_whole_overlap_after_it_was_replaced(steps: list[tuple[float, bool]]) -> None:
    numbers = count()
    known: Generated | None = None
    replaced_at: dict[bytes, datetime] = {}
    now = START
    for wait_s, is_everywhere in steps:
        now += timedelta(seconds=wait_s)
        before = known
        known = step(known, HOURLY, now, lambda: b"%d" % next(numbers), is_staged_everywhere=is_everywhere)
        assert step(known, HOURLY, now, new, is_staged_everywhere=False) == known
        if before is not None and before.password != known.password:
            assert known.password == before.staged
            replaced_at[before.password] = now
        for password, moment in replaced_at.items():
            assert (password in known.good) == (now < moment + HOURLY.overlap)
