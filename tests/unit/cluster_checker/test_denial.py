"""I6: the judge of what is denied and happens all the same."""

from support.chaos_story import Story
from unit.cluster_checker.conftest import Accused


def test_an_impostor_who_gets_in_is_seen(story: Story, accused: Accused) -> None:
    assert accused(story.is_refused("impostor-1"), "I6") == []
    assert accused(story.connects("impostor-1"), "I6") == ["impostor-1 got in"]


def test_a_denied_message_that_is_accepted_is_seen(story: Story, accused: Accused) -> None:
    story.sends("pub", 1, "a/denied/b").acknowledged("pub", 1, reason=0x87)
    assert accused(story, "I6") == []
    assert accused(story.publishes("pub", 2, "a/denied/b"), "I6") == ["pub.2 was accepted for a/denied/b"]


def test_a_denied_filter_that_is_granted_is_seen(story: Story, accused: Accused) -> None:
    assert accused(story.subscribes("sub", "a/unheard/#", granted=0x87), "I6") == []
    assert accused(story.subscribes("sub", "a/unheard/#", granted=1), "I6") == ["sub was granted a/unheard/#"]


def test_a_denied_topic_that_is_heard_is_seen(story: Story, accused: Accused) -> None:
    story.publishes("pub", 1, "a/unheard/b").receives("sub", "pub.1", "a/unheard/b")
    assert accused(story, "I6") == ["sub heard a/unheard/b"]
