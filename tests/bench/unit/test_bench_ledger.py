"""Nobody wins by losing messages: the ledger finds what is missing, double, late or foreign."""

import random

import pytest

from bench.driver import ledger as module
from bench.driver.ledger import Ledger

SENT = 1_000


def after(sequence: list[int]) -> Ledger:
    """A ledger that was told of these messages of stream 0, regular ones the fast way."""
    ledger = Ledger(1)
    for number in sequence:
        if ledger.next[0] == number:
            ledger.next[0] += 1
        else:
            ledger.irregular(0, number)
    return ledger


def test_all_in_order_is_no_fault() -> None:
    ledger = after(list(range(SENT)))
    assert (ledger.lost({0: SENT}), ledger.duplicated, ledger.reordered) == (0, 0, 0)


@pytest.mark.parametrize("missing", [{0}, {500}, {SENT - 1}, {3, 4, 5, 900}, set(range(SENT))])
def test_lost_messages_are_counted_wherever_they_were(missing: set[int]) -> None:
    ledger = after([n for n in range(SENT) if n not in missing])
    assert ledger.lost({0: SENT}) == len(missing)
    assert (ledger.duplicated, ledger.reordered) == (0, 0)


def test_duplicates_do_not_make_up_for_losses() -> None:
    ledger = after([0, 1, 1, 3])
    assert (ledger.lost({0: 4}), ledger.duplicated) == (1, 1)


def test_a_late_message_is_reordered_not_lost() -> None:
    ledger = after([0, 2, 3, 1])
    assert (ledger.lost({0: 4}), ledger.reordered, ledger.duplicated) == (0, 1, 0)


def test_a_late_message_that_comes_twice_is_a_duplicate_the_second_time() -> None:
    ledger = after([0, 2, 1, 1])
    assert (ledger.reordered, ledger.duplicated) == (1, 1)


def test_streams_are_counted_apart() -> None:
    ledger = Ledger(2)
    ledger.irregular(1, 1)
    assert ledger.lost({0: 1, 1: 2}) == 2  # message 0 of each


def test_a_stream_that_nobody_sends_is_corrupt() -> None:
    ledger = Ledger(1)
    ledger.irregular(7, 0)
    assert ledger.corrupt == 1


def test_a_gap_beyond_what_is_tracked_still_counts_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MISSING_TRACKED_MAX", 10)
    assert after([0, 500]).lost({0: 501}) == 499


def test_any_mixture_of_faults_adds_up() -> None:
    chance = random.Random(7)
    dropped = set(chance.sample(range(SENT), 100))
    kept = [n for n in range(SENT) if n not in dropped]
    doubled = chance.sample(kept, 50)
    arrived = kept + doubled
    chance.shuffle(arrived)
    ledger = after(arrived)
    assert ledger.lost({0: SENT}) == 100
    assert ledger.duplicated == 50
    assert ledger.reordered > 0
