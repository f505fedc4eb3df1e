"""I10: the judge of how long clients go without."""

from math import inf

from cluster.chaos.record import How
from support.chaos_story import Story
from unit.cluster_checker.conftest import Accused


def test_a_client_that_is_served_in_time_after_a_kill_is_well(story: Story, accused: Accused) -> None:
    story.fault("kill").ends("sub").wait(5).connects("sub", present=True).ends("pub").connects("pub", present=True)
    assert accused(story, "I10") == []


def test_a_client_that_waits_too_long_after_a_kill_is_seen(story: Story, accused: Accused) -> None:
    story.fault("kill").ends("sub").wait(12).connects("sub", present=True)
    assert [sentence.split(" waited")[0] for sentence in accused(story, "I10")] == ["sub"]


def test_a_client_that_is_never_served_again_is_seen(story: Story, accused: Accused) -> None:
    story.fault("kill").ends("sub", How.CLOSED)
    assert accused(story, "I10") == [f"sub waited {inf} s after kill of node-0, 10 s are allowed"]


def test_a_second_fault_starts_the_clock_anew(story: Story, accused: Accused) -> None:
    story.fault("kill").ends("sub").wait(8).fault("store-slow", number=1).wait(4).connects("sub", present=True)
    assert accused(story, "I10") == []


def test_a_store_that_is_back_and_gives_no_acknowledgement_is_seen(story: Story, accused: Accused) -> None:
    story.fault("store-kill", target="store").wait(12).publishes("pub", 1)
    assert [sentence.split(" waited")[0] for sentence in accused(story, "I10")] == ["anybody"]


def test_a_planned_end_leaves_its_clients_alone_for_a_second_at_most(story: Story, accused: Accused) -> None:
    story.fault("drain", seconds=0.1).ends("sub").connects("sub", present=True)
    assert [sentence.split(" waited")[0] for sentence in accused(story, "I10")] == ["sub"]


def test_a_planned_end_while_the_store_is_away_is_measured_as_a_lost_node(story: Story, accused: Accused) -> None:
    story.fault("drain").ends("sub").fault("store-hang", target="store", number=1).wait(6).connects("sub", present=True)
    assert accused(story, "I10") == []


def test_a_planned_end_while_the_store_is_away_is_not_for_ever(story: Story, accused: Accused) -> None:
    story.fault("drain").ends("sub").fault("store-hang", target="store", number=1).wait(12)
    story.connects("sub", present=True)
    assert [sentence.split(" waited")[0] for sentence in accused(story, "I10")] == ["sub"]
