"""I0, I8 and I9: the judges of what is made up, what has expired, and what grows."""

from cluster.chaos.record import Misbehaved
from support.chaos_story import Story
from unit.cluster_checker.conftest import Accused


def test_a_message_that_nobody_sent_is_seen(story: Story, accused: Accused) -> None:
    assert accused(story.receives("sub", "pub.9"), "I0") == ["received what nobody sent to that topic"]


def test_a_message_on_another_topic_is_seen(story: Story, accused: Accused) -> None:
    story.publishes("pub", 1, "t/a").receives("sub", "pub.1", "t/b")
    assert accused(story, "I0") == ["received what nobody sent to that topic"]


def test_a_process_that_ended_by_itself_is_seen(story: Story, accused: Accused) -> None:
    assert accused(story.then(Misbehaved(9.0, "node-1", "ended")), "I0") == ["node-1: ended"]


def test_a_delivery_on_a_connection_made_after_the_time_is_seen(story: Story, accused: Accused) -> None:
    story.sends("pub", 1, expiry_s=1).acknowledged("pub", 1).wait(5).comes_back("sub").receives("sub", "pub.1")
    assert accused(story, "I8") == ["sub got pub.1 after its time"]


def test_a_delivery_that_began_in_time_may_end_late(story: Story, accused: Accused) -> None:
    story.sends("pub", 1, expiry_s=1).acknowledged("pub", 1).wait(5).receives("sub", "pub.1")
    story.comes_back("sub").receives("sub", "pub.1", dup=True)
    assert accused(story, "I8") == []


def test_a_node_that_grows_or_hoards_descriptors_is_seen(story: Story, accused: Accused) -> None:
    terms = story.terms
    story.samples("node-0", terms.node_rss_bytes_max, terms.node_fds_max)
    assert accused(story, "I9") == []
    story.samples("node-0", terms.node_rss_bytes_max + 1).samples("node-1", 0, fds=terms.node_fds_max + 1)
    assert len(accused(story, "I9")) == 2


def test_a_store_that_is_not_nearly_empty_in_the_end_is_seen(story: Story, accused: Accused) -> None:
    left = story.terms.store_bytes_left_max + 1
    assert accused(story.samples("store", left), "I9") == []
    assert len(accused(story.samples("store", left, is_final=True), "I9")) == 1
