"""I2: the judge of QoS 2 messages that are handed over twice."""

from support.chaos_story import Story
from unit.cluster_checker.conftest import Accused


def test_a_second_hand_over_is_seen_also_on_another_connection(story: Story, accused: Accused) -> None:
    story.publishes("pub", 1, qos=2).receives("sub", "pub.1", qos=2)
    assert accused(story, "I2") == []
    story.comes_back("sub").receives("sub", "pub.1", qos=2, dup=True)
    assert accused(story, "I2") == ["pub.1 was handed over 2 times for t/#"]


def test_a_repetition_that_the_client_holds_back_is_no_hand_over(story: Story, accused: Accused) -> None:
    story.publishes("pub", 1, qos=2).receives("sub", "pub.1", qos=2)
    story.comes_back("sub").receives("sub", "pub.1", qos=2, dup=True, is_new=False)
    assert accused(story, "I2") == []


def test_two_members_of_a_group_that_get_one_message_are_seen(accused: Accused) -> None:
    story = Story().connects("pub")
    for member in ("one", "two"):
        story.connects(member).subscribes(member, "$share/g/t")
    story.publishes("pub", 1, qos=2).receives("one", "pub.1", qos=2).receives("two", "pub.1", qos=2)
    assert accused(story, "I2") == ["pub.1 was handed over 2 times for $share/g/t"]


def test_qos_1_may_come_twice(story: Story, accused: Accused) -> None:
    story.publishes("pub", 1).receives("sub", "pub.1").comes_back("sub").receives("sub", "pub.1", dup=True)
    assert accused(story, "I2") == []
