"""I3: the judge of order and of repetitions."""

from support.chaos_story import Story
from unit.cluster_checker.conftest import Accused


def test_a_later_message_first_is_seen(story: Story, accused: Accused) -> None:
    story.publishes("pub", 1).publishes("pub", 2).receives("sub", "pub.2").receives("sub", "pub.1")
    assert accused(story, "I3") == ["sub got pub.1 after pub.2"]


def test_other_topics_and_qualities_have_an_order_of_their_own(story: Story, accused: Accused) -> None:
    story.publishes("pub", 1).publishes("pub", 2, qos=2).publishes("pub", 3, topic="t/other")
    story.receives("sub", "pub.3", "t/other").receives("sub", "pub.2", qos=2).receives("sub", "pub.1")
    assert accused(story, "I3") == []


def test_qos_0_through_two_connections_of_a_publisher_may_change_places(story: Story, accused: Accused) -> None:
    story.sends("pub", 1, qos=0).sends("pub", 2).acknowledged("pub", 2).comes_back("pub").sends("pub", 3, qos=0)
    story.sends("pub", 4).acknowledged("pub", 4)
    story.receives("sub", "pub.3", qos=0).receives("sub", "pub.1", qos=0)
    assert accused(story, "I3") == []
    assert accused(story.receives("sub", "pub.4").receives("sub", "pub.2"), "I3") == ["sub got pub.2 after pub.4"]


def test_a_repetition_with_dup_after_a_reconnect_is_lawful(story: Story, accused: Accused) -> None:
    story.publishes("pub", 1).publishes("pub", 2).receives("sub", "pub.1").receives("sub", "pub.2")
    story.comes_back("sub").receives("sub", "pub.1", dup=True).receives("sub", "pub.2", dup=True)
    assert accused(story, "I3") == []


def test_a_repetition_without_dup_is_seen(story: Story, accused: Accused) -> None:
    story.publishes("pub", 1).receives("sub", "pub.1").comes_back("sub").receives("sub", "pub.1")
    assert accused(story, "I3") == ["sub got pub.1 again without DUP"]


def test_a_repetition_on_the_same_connection_is_seen(story: Story, accused: Accused) -> None:
    """[MQTT-4.4.0-1]"""
    story.publishes("pub", 1).receives("sub", "pub.1").receives("sub", "pub.1", dup=True)
    assert "sub got pub.1 again on one connection" in accused(story, "I3")


def test_a_publisher_that_sent_twice_may_cause_two_copies_at_qos_1_only(story: Story, accused: Accused) -> None:
    for number, qos in ((1, 1), (2, 2)):
        story.sends("pub", number, qos=qos).sends("pub", number, qos=qos, again=True).acknowledged("pub", number)
        story.receives("sub", f"pub.{number}", qos=qos).receives("sub", f"pub.{number}", qos=qos)
    assert accused(story, "I3") == ["sub got pub.2 again on one connection", "sub got pub.2 again without DUP"]


def test_dup_in_a_new_session_is_seen(accused: Accused) -> None:
    story = Story().connects("pub").connects("sub").subscribes("sub", "t").publishes("pub", 1)
    assert accused(story.receives("sub", "pub.1", dup=True), "I3") == ["sub got pub.1 with DUP in a new session"]
