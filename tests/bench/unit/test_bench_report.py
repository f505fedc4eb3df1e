"""Tables and plots say what was measured, and why somebody has no rank."""

import xml.etree.ElementTree as ET

import pytest

from bench import plot, report
from bench.figures import Result, Summary
from bench.peers.base import PeerError
from bench.peers.external import External
from bench.report import Section


def section(**peers: Result) -> Section:
    return Section("w", "a <workload>", {name: Summary((result,)) for name, result in peers.items()})


SOUND = Result(count=1_000, seconds=1.0, cpu_s=0.002)
LOSSY = Result(count=1_000, seconds=1.0, cpu_s=0.001, lost=1_234)


def test_a_lossy_peer_is_shown_without_rank_and_with_its_loss() -> None:
    ours, theirs = report.rows(section(ours=SOUND, theirs=LOSSY))
    assert ours[0] == "1"
    assert theirs[0] == "-"
    assert "lost 1,234" in theirs[-1]


def test_a_rate_below_the_brokers_limit_is_marked() -> None:
    assert report.rows(section(ours=SOUND))[0][2].startswith("> ")
    full = Result(count=1_000, seconds=1.0, cpu_s=0.99)
    assert not report.rows(section(ours=full))[0][2].startswith(">")


def test_the_conditions_stand_below_every_form() -> None:
    sections = [section(ours=SOUND)]
    drawn = plot.chart(sections[0], ["on a slow machine"])
    assert drawn is not None
    for text in (
        report.plain(sections, ["on a slow machine"]),
        report.markdown(sections, ["on a slow machine"]),
        drawn,
    ):
        assert "on a slow machine" in text


def test_a_chart_is_well_formed_and_escapes_titles() -> None:
    drawn = plot.chart(section(ours=SOUND, theirs=LOSSY), [])
    assert drawn is not None
    ET.fromstring(drawn)


def test_a_stall_is_shown_and_drawn_in_milliseconds() -> None:
    stalled = section(ours=Result(count=1_000, seconds=1.0, cpu_s=0.002, stall_ms=12.5))
    assert "12.5" in report.rows(stalled)[0]
    assert "ms, less is better" in (plot.chart(stalled, []) or "")


def test_nothing_measured_gives_no_chart() -> None:
    assert plot.chart(section(ours=Result(problem="closed")), []) is None


def test_another_broker_is_named_by_port_and_process() -> None:
    assert External("mine=127.0.0.1:1883,42").name == "mine"


@pytest.mark.parametrize("text", ["mine", "mine=127.0.0.1:1883", "mine=127.0.0.1:x,1", "mine=10.0.0.1:1883,42"])
def test_a_broker_elsewhere_or_without_process_is_refused(text: str) -> None:
    with pytest.raises(PeerError):
        External(text)
