"""I5: the judge of retained values."""

from support.chaos_story import Story
from unit.cluster_checker.conftest import Accused


def written(story: Story, *numbers: int) -> Story:
    for number in numbers:
        story.publishes("pub", number, "r", retain=True)
    return story


def test_the_last_acknowledged_value_is_right_and_an_earlier_one_is_not(story: Story, accused: Accused) -> None:
    assert accused(written(story, 1, 2).finds("r", "pub.2"), "I5") == []
    assert accused(story.finds("r", "pub.1", is_final=False), "I5") == ["r holds an old value"]


def test_a_later_value_of_unknown_outcome_may_be_there_or_not(story: Story, accused: Accused) -> None:
    written(story, 1).sends("pub", 2, "r", retain=True)
    assert accused(story.finds("r", "pub.1", is_final=False).finds("r", "pub.2"), "I5") == []


def test_nodes_that_do_not_agree_are_seen(story: Story, accused: Accused) -> None:
    written(story, 1).sends("pub", 2, "r", retain=True)
    assert accused(story.finds("r", "pub.1", "a").finds("r", "pub.2", "b"), "I5") == ["nodes do not agree on r"]


def test_a_value_that_vanished_is_seen(story: Story, accused: Accused) -> None:
    assert accused(written(story, 1).finds("r", ""), "I5") == ["r has lost its value"]


def test_a_deletion_that_was_undone_is_seen(story: Story, accused: Accused) -> None:
    written(story, 1).sends("pub", 2, "r", retain=True, deletes=True).acknowledged("pub", 2)
    assert accused(story.finds("r", ""), "I5") == []
    assert "r holds an old value" in accused(story.finds("r", "pub.1"), "I5")


def test_a_value_of_another_topic_is_seen(story: Story, accused: Accused) -> None:
    assert accused(written(story, 1).finds("other", "pub.1"), "I5") == ["other holds what nobody wrote there"]
