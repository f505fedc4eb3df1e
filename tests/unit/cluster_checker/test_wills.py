"""I7: the judge of wills."""

import pytest

from cluster.chaos.record import How
from support.chaos_story import Story
from unit.cluster_checker.conftest import Accused


def test_a_will_that_is_published_twice_is_seen(story: Story, accused: Accused) -> None:
    will = story.offers_will("mortal", "t/w").will_of("mortal")
    story.ends("mortal").receives("sub", will, "t/w")
    assert accused(story, "I7") == []
    assert accused(story.receives("sub", will, "t/w"), "I7") == [f"{will} was published 2 times"]


def test_a_repetition_with_dup_is_the_same_will(story: Story, accused: Accused) -> None:
    will = story.offers_will("mortal", "t/w").will_of("mortal")
    story.ends("mortal").receives("sub", will, "t/w").comes_back("sub").receives("sub", will, "t/w", dup=True)
    assert accused(story, "I7") == []


@pytest.mark.parametrize("how", [How.CLOSED, How.ABORTED])
def test_a_will_that_is_due_and_never_published_is_seen(story: Story, accused: Accused, how: How) -> None:
    will = story.offers_will("mortal", "t/w").will_of("mortal")
    assert accused(story.ends("mortal", how), "I7") == [f"{will} was not published to sub"]


def test_a_will_after_a_goodbye_is_seen(story: Story, accused: Accused) -> None:
    """[MQTT-3.14.4-3]"""
    will = story.offers_will("mortal", "t/w").will_of("mortal")
    story.ends("mortal", How.GOODBYE)
    assert accused(story, "I7") == []
    assert "left well" in accused(story.receives("sub", will, "t/w"), "I7")[0]


def test_a_node_killed_at_the_moment_of_the_goodbye_may_not_have_noted_it(story: Story, accused: Accused) -> None:
    will = story.offers_will("mortal", "t/w").will_of("mortal")
    story.fault("kill").wait(-0.5).ends("mortal", How.GOODBYE).receives("sub", will, "t/w")
    assert accused(story, "I7") == []


def test_a_node_killed_before_the_store_was_back_could_not_note_the_goodbye(story: Story, accused: Accused) -> None:
    will = story.offers_will("mortal", "t/w").will_of("mortal")
    story.fault("primary-partition", target="store", seconds=10).ends("mortal", How.GOODBYE)
    story.wait(4).fault("kill", number=1)
    assert accused(story.receives("sub", will, "t/w"), "I7") == []


def test_a_node_killed_after_the_store_was_back_has_noted_the_goodbye(story: Story, accused: Accused) -> None:
    will = story.offers_will("mortal", "t/w").will_of("mortal")
    story.fault("primary-partition", target="store", seconds=3).ends("mortal", How.GOODBYE)
    story.wait(5).fault("kill", number=1)
    assert "left well" in accused(story.receives("sub", will, "t/w"), "I7")[0]


def test_a_node_killed_before_it_noticed_that_the_store_was_back_could_not_note_the_goodbye(
    story: Story, accused: Accused
) -> None:
    will = story.offers_will("mortal", "t/w").will_of("mortal")
    story.fault("store-readonly", target="store", seconds=3).ends("mortal", How.GOODBYE)
    story.wait(3).fault("kill", number=1)
    assert accused(story.receives("sub", will, "t/w"), "I7") == []


def test_a_node_that_leaves_while_the_store_is_away_cannot_note_the_goodbye(story: Story, accused: Accused) -> None:
    will = story.offers_will("mortal", "t/w").will_of("mortal")
    story.fault("primary-pause", target="store", seconds=10).ends("mortal", How.GOODBYE)
    story.fault("drain", seconds=8, number=1)
    assert accused(story.receives("sub", will, "t/w"), "I7") == []


def test_a_node_that_leaves_while_the_store_answers_has_noted_the_goodbye(story: Story, accused: Accused) -> None:
    will = story.offers_will("mortal", "t/w").will_of("mortal")
    story.ends("mortal", How.GOODBYE).wait(-0.9).fault("drain")
    assert "left well" in accused(story.receives("sub", will, "t/w"), "I7")[0]


def test_a_will_whose_client_was_back_before_the_delay_is_seen(story: Story, accused: Accused) -> None:
    """[MQTT-3.1.3-9]"""
    will = story.offers_will("mortal", "t/w", delay_s=10).will_of("mortal")
    story.ends("mortal", How.ABORTED).connects("mortal", present=True)
    assert accused(story, "I7") == []
    assert "came back" in accused(story.receives("sub", will, "t/w"), "I7")[0]


def test_no_delay_outlives_the_session(story: Story, accused: Accused) -> None:
    will = story.offers_will("mortal", "t/w", delay_s=10, lasts=False).will_of("mortal")
    story.ends("mortal", How.ABORTED).connects("mortal", lasts=False).receives("sub", will, "t/w")
    assert accused(story, "I7") == []


def test_a_connection_that_was_never_confirmed_promises_nothing(story: Story, accused: Accused) -> None:
    story.offers_will("mortal", "t/w")
    del story.record[-1]
    assert accused(story, "I7") == []
