"""The token bucket: a pure function of what was spent and when."""

from hypothesis import given
from hypothesis import strategies as st

from mqtt_broker.node.rate import TokenBucket


def test_one_seconds_worth_may_be_spent_at_once() -> None:
    bucket = TokenBucket(10, now=0.0)
    assert bucket.take(10, now=0.0) == 0.0


def test_what_is_over_the_rate_is_paid_by_waiting() -> None:
    bucket = TokenBucket(10, now=0.0)
    assert bucket.take(15, now=0.0) == 0.5


def test_waiting_fills_the_bucket_but_never_above_one_seconds_worth() -> None:
    bucket = TokenBucket(10, now=0.0)
    bucket.take(10, now=0.0)
    assert bucket.take(10, now=100.0) == 0.0
    assert bucket.take(1, now=100.0) > 0.0


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 2)), max_size=50), st.integers(1, 100))
def test_who_waits_as_told_never_exceeds_the_rate(steps: list[tuple[int, float]], per_second: int) -> None:
    now, spent, bucket = 0.0, 0, TokenBucket(per_second, now=0.0)
    for amount, idle_s in steps:
        now += idle_s
        spent += amount
        now += bucket.take(amount, now)
        assert spent <= per_second * (now + 1) + 1e-6


def test_a_burst_may_be_larger_or_smaller_than_one_seconds_worth() -> None:
    assert TokenBucket(10, now=0.0, burst=30).take(30, now=0.0) == 0.0
    assert TokenBucket(10, now=0.0, burst=2).take(3, now=0.0) == 0.1
