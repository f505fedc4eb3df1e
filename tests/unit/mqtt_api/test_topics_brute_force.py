"""Matching, covering and overlapping, against the definition tried on every topic of a small world."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_api.filter_index import FilterIndex, bits, lowest
from mqtt_api.topics import covers, filter_levels, matches, overlaps
from support.topic_oracle import FILTERS, TOPICS, do_overlap, does_cover, is_matched

LEVEL = st.sampled_from(["", "a", "b", "$s", "+"])
DEEP_FILTERS = st.builds(
    lambda levels, tail: "/".join([*levels, *tail]) or "#",
    st.lists(LEVEL, max_size=6),
    st.sampled_from([[], ["#"]]),
)


def test_every_small_filter_matches_exactly_the_topics_of_the_definition() -> None:
    """[MQTT-3.3.2-3] [MQTT-4.7.2-1] [3.1.1 MQTT-3.3.2-3] [3.1.1 MQTT-4.7.2-1]"""
    wrong = [(f, t) for f in FILTERS for t in TOPICS if matches(f, t) != is_matched(f, t)]
    assert wrong == []


def test_every_small_filter_covers_exactly_the_filters_of_the_definition() -> None:
    wrong = [
        (wide, narrow) for wide in FILTERS for narrow in FILTERS if covers(wide, narrow) != does_cover(wide, narrow)
    ]
    assert wrong == []


def test_every_small_filter_overlaps_exactly_the_filters_of_the_definition() -> None:
    wrong = [(one, other) for one in FILTERS for other in FILTERS if overlaps(one, other) != do_overlap(one, other)]
    assert wrong == []


@settings(deadline=None)
@given(DEEP_FILTERS, DEEP_FILTERS)
def test_covering_implies_overlapping_and_overlapping_has_no_direction(one: str, other: str) -> None:
    assert overlaps(one, other) == overlaps(other, one)
    assert covers(one, one)
    if covers(one, other):
        assert overlaps(one, other)


@settings(max_examples=300, deadline=None)
@given(st.lists(DEEP_FILTERS, max_size=40), DEEP_FILTERS)
def test_index_of_filters_agrees_with_comparing_one_by_one(filters: list[str], asked: str) -> None:
    """[MQTT-4.7.2-1] [3.1.1 MQTT-4.7.2-1]"""
    index = FilterIndex([(number, filter_levels(one)) for number, one in enumerate(filters)])
    levels = filter_levels(asked)
    assert index.covering(levels) == bits(n for n, one in enumerate(filters) if covers(one, asked))
    assert index.overlapping(levels) == bits(n for n, one in enumerate(filters) if overlaps(one, asked))


@settings(deadline=None)
@given(st.sets(st.integers(min_value=0, max_value=500), min_size=1))
def test_bits_are_a_set_of_numbers(numbers: set[int]) -> None:
    assert bits(numbers) == sum(1 << number for number in numbers)
    assert lowest(bits(numbers)) == min(numbers)
