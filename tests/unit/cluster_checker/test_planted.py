"""Judges are put to the test with bugs planted into what was recorded, one for each of them."""

import pytest

from cluster.chaos import checker
from cluster.chaos.history import History
from cluster.chaos.planted import PLANTS
from cluster.chaos.record import How
from cluster.chaos.report import examine, render, total
from cluster.chaos.verdict import Finding
from support.chaos_story import Story


@pytest.fixture
def whole() -> Story:
    """A healthy story that has a place for each of the planted bugs."""
    story = Story().connects("pub").connects("sub").subscribes("sub", "t/#")
    for number in (1, 2):
        story.publishes("pub", number, qos=2).receives("sub", f"pub.{number}", qos=2)
    story.comes_back("sub")
    story.publishes("pub", 3, "r", retain=True).publishes("pub", 4, "r", retain=True).finds("r", "pub.4")
    story.sends("pub", 5, "a/denied/b").acknowledged("pub", 5, reason=0x87)
    story.offers_will("mortal", "t/w").ends("mortal", How.ABORTED).receives("sub", story.will_of("mortal"), "t/w")
    story.sends("pub", 6, expiry_s=1).acknowledged("pub", 6).wait(3).comes_back("sub")
    return story.samples("node-0", 1).fault("kill")


def test_a_healthy_story_is_clean_and_every_planted_bug_is_seen(whole: Story) -> None:
    report = examine(whole.record, whole.terms)
    assert (report.violations, report.blind, report.untried) == ([], [], [])
    assert report.is_clean
    assert set(PLANTS) == set(checker.JUDGES)


def test_a_story_without_a_place_for_a_bug_says_so(whole: Story) -> None:
    report = examine(Story().connects("pub").record, whole.terms)
    assert "I7" in report.untried
    assert report.is_clean


@pytest.mark.parametrize("invariant", PLANTS)
def test_a_judge_that_sees_nothing_is_found_out(whole: Story, invariant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(history: History) -> Finding:
        return Finding(invariant, "sees nothing")

    monkeypatch.setitem(checker.JUDGES, invariant, blind)
    report = examine(whole.record, whole.terms)
    assert report.blind == [invariant]
    assert not report.is_clean
    assert "PLANTED BUGS MISSED" in render(report)


def test_rounds_add_up(whole: Story) -> None:
    report = examine(whole.record, whole.terms)
    both = total([report, report])
    assert (both.acknowledged, both.received) == (2 * report.acknowledged, 2 * report.received)
    assert both.faults["kill"].struck == 2
    assert "violations: 0" in render(both)


def test_a_judge_that_has_proven_itself_in_a_round_is_not_tested_in_the_next(whole: Story) -> None:
    first = examine(whole.record, whole.terms)
    second = examine(whole.record, whole.terms, proven=first.caught)
    assert (second.caught, second.blind) == ([], [])
    assert total([first, second]).untried == []


def test_a_violation_is_shown_with_its_evidence(whole: Story) -> None:
    report = examine(whole.publishes("pub", 7).record, whole.terms)
    assert "I1: pub.7 never reached sub" in render(report)
    assert "Sent(" in render(report)
