"""Percentiles, medians and ranks; who loses messages has no rank."""

import pytest

from bench.accounting import parse_ps_line
from bench.figures import Result, Summary, percentile, ranking, ratio, spread


@pytest.mark.parametrize(
    ("values", "share", "wanted"),
    [
        ([5.0], 0.99, 5.0),
        (list(range(1, 101)), 0.5, 50),
        (list(range(1, 101)), 0.99, 99),
        ([3, 1, 2], 1.0, 3),
        ([3, 1, 2], 0.0, 1),
    ],
)
def test_percentiles_by_nearest_rank(values: list[float], share: float, wanted: float) -> None:
    assert percentile(values, share) == wanted


def good(cpu_us: float, **more: object) -> Summary:
    fields: dict[str, object] = {"count": 1_000, "seconds": 1.0, "cpu_s": cpu_us / 1_000, **more}
    return Summary((Result(**fields),))  # type: ignore[arg-type]


def test_the_leanest_comes_first() -> None:
    assert ranking({"a": good(3), "b": good(1), "c": good(2)}) == ["b", "c", "a"]


@pytest.mark.parametrize("fault", ["lost", "duplicated", "reordered", "corrupt", "refused"])
def test_whoever_spoils_one_message_has_no_rank(fault: str) -> None:
    assert ranking({"a": good(3), "b": good(1, **{fault: 1})}) == ["a"]


def test_a_fault_in_one_round_of_many_counts() -> None:
    summary = Summary((Result(count=1, seconds=1, cpu_s=1), Result(count=1, seconds=1, cpu_s=1, lost=2)))
    assert not summary.is_ranked
    assert summary.faults == {"lost": 2}


def test_a_broken_round_leaves_no_median_over_the_lucky_ones() -> None:
    summary = Summary((Result(count=1, seconds=1, cpu_s=1), Result(problem="closed")))
    assert summary.cpu_us is None
    assert not summary.is_ranked
    assert summary.problem == "closed"


def test_a_run_that_delivered_nothing_has_no_figure() -> None:
    assert Result(count=0, seconds=1.0, cpu_s=0.0).cpu_us is None
    assert ranking({"a": Summary((Result(seconds=1.0, lost=5),))}) == []


def test_a_broker_that_was_waiting_is_below_its_limit() -> None:
    assert Summary((Result(count=1, seconds=2.0, cpu_s=0.4),)).is_below_limit
    assert not Summary((Result(count=1, seconds=2.0, cpu_s=1.98),)).is_below_limit


def test_spread_and_ratio() -> None:
    found = spread([3.0, 1.0, 2.0])
    assert found is not None
    assert (found.median, found.low, found.high) == (2.0, 1.0, 3.0)
    assert ratio(spread([4.0]), found) == 2.0
    assert ratio(None, found) is None
    assert spread([]) is None


def test_the_longest_stall_ranks_where_it_was_measured() -> None:
    slow, lean = (Result(count=1_000, seconds=1.0, cpu_s=cpu_s, stall_ms=ms) for cpu_s, ms in ((0.1, 80.0), (0.2, 9.0)))
    assert ranking({"a": Summary((slow,)), "b": Summary((lean,))}) == ["b", "a"]


def test_memory_ranks_where_it_was_measured() -> None:
    assert ranking({"a": Summary((Result(memory_kib=9.0),)), "b": Summary((Result(memory_kib=2.0),))}) == ["b", "a"]


@pytest.mark.parametrize(("clock", "seconds"), [("0:01.50", 1.5), ("01:02:03", 3_723.0), ("2-00:00:01", 172_801.0)])
def test_cpu_time_as_ps_writes_it(clock: str, seconds: float) -> None:
    assert parse_ps_line(f" 12 1 {clock} 2048").cpu_s == seconds
