"""I1: the judge of acknowledged messages that never arrive."""

import pytest

from support.chaos_story import Story
from unit.cluster_checker.conftest import Accused


def test_an_acknowledged_message_that_never_arrives_is_a_loss(story: Story, accused: Accused) -> None:
    assert accused(story.publishes("pub", 1), "I1") == ["pub.1 never reached sub"]


def test_one_that_arrives_on_a_later_connection_is_not_lost(story: Story, accused: Accused) -> None:
    story.publishes("pub", 1).comes_back("sub").receives("sub", "pub.1", dup=True)
    assert accused(story, "I1") == []


def test_no_acknowledgement_is_no_promise(story: Story, accused: Accused) -> None:
    story.sends("pub", 1).sends("pub", 2).acknowledged("pub", 2, reason=0x97).sends("pub", 3, qos=0)
    assert accused(story, "I1") == []


def test_no_matching_subscribers_said_of_a_message_that_matches_is_a_loss(story: Story, accused: Accused) -> None:
    assert accused(story.sends("pub", 1).acknowledged("pub", 1, reason=0x10), "I1") == ["pub.1 never reached sub"]


def test_what_was_sent_before_the_suback_is_not_owed(accused: Accused) -> None:
    story = Story().connects("pub").connects("sub").sends("pub", 1).subscribes("sub", "t").acknowledged("pub", 1)
    assert accused(story, "I1") == []


def test_a_session_that_ends_with_its_connection_is_owed_nothing(accused: Accused) -> None:
    story = Story().connects("pub").connects("brief", lasts=False).subscribes("brief", "t").publishes("pub", 1)
    assert accused(story, "I1") == []


@pytest.mark.parametrize("receiver", ["one", "two"])
def test_any_member_of_a_group_may_get_the_message(receiver: str, accused: Accused) -> None:
    story = Story().connects("pub")
    for member in ("one", "two"):
        story.connects(member).subscribes(member, "$share/g/t")
    story.publishes("pub", 1)
    assert accused(story, "I1") == ["pub.1 never reached one nor two"]
    assert accused(story.receives(receiver, "pub.1"), "I1") == []


def test_a_message_that_may_expire_is_not_owed(story: Story, accused: Accused) -> None:
    assert accused(story.sends("pub", 1, expiry_s=1).acknowledged("pub", 1), "I1") == []
