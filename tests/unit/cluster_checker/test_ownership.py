"""I4: the judge of two connections with one client id, and of session present."""

from cluster.chaos.record import FaultEnded, Stray
from support.chaos_story import Story
from unit.cluster_checker.conftest import Accused


def test_a_packet_on_the_old_connection_after_the_new_connack_is_seen(story: Story, accused: Accused) -> None:
    old = story.link_of("sub")
    story.stray("sub", old).connects("sub", present=True)
    assert accused(story, "I4") == []
    assert accused(story.stray("sub", old), "I4") == ["sub: a packet on a connection that was taken over"]


def test_a_write_that_a_stopped_node_was_about_to_do_arrives_when_it_goes_on_and_nothing_after_it(
    story: Story, accused: Accused
) -> None:
    old = story.link_of("sub")
    story.fault("pause-long", seconds=9.0).connects("sub", present=True)
    resumed_at = next(event.at for event in story.record if isinstance(event, FaultEnded))
    assert resumed_at > story.at
    story.then(Stray(resumed_at + 0.01, "sub", old, "PubAck"))
    assert accused(story, "I4") == []
    story.then(Stray(resumed_at + 0.1, "sub", old, "PubAck"))
    assert accused(story, "I4") == ["sub: a packet on a connection that was taken over"]


def test_a_session_that_is_gone_without_reason_is_seen(story: Story, accused: Accused) -> None:
    story.ends("sub").connects("sub", present=False)
    assert accused(story, "I4") == ["sub is told that its session is gone"]


def test_a_session_that_never_was_is_seen(accused: Accused) -> None:
    assert accused(Story().connects("sub", present=True), "I4") == ["sub is told of a session that never was"]


def test_a_connect_without_an_answer_may_have_made_the_session(accused: Accused) -> None:
    story = Story().connects("sub", present=False)
    del story.record[-1]
    assert accused(story.connects("sub", present=True), "I4") == []


def test_a_clean_start_that_finds_a_session_is_seen(story: Story, accused: Accused) -> None:
    """[MQTT-3.2.2-2]"""
    story.ends("sub").connects("sub", lasts=False, present=True)
    assert accused(story, "I4") == ["sub asked for a new session and is told of an old one"]
