"""RetainedIndex: topics found by a filter."""

from hypothesis import given
from hypothesis import strategies as st

from mqtt_api.topics import matches
from mqtt_broker.routing.retained import RetainedIndex


def index_of(*topics: str) -> RetainedIndex:
    index = RetainedIndex()
    for topic in topics:
        index.add(topic)
    return index


def test_an_exact_filter_finds_its_topic_alone() -> None:
    index = index_of("a", "a/b", "a/b/c")
    assert index.match("a/b") == ["a/b"]
    assert index.match("a/x") == []
    assert index.match("a/b/c/d") == []


def test_plus_finds_one_level() -> None:
    index = index_of("a", "a/b", "a/", "a/b/c", "b/b")
    assert sorted(index.match("a/+")) == ["a/", "a/b"]
    assert sorted(index.match("+/b")) == ["a/b", "b/b"]
    assert index.match("+/b/c") == ["a/b/c"]
    assert index.match("x/+") == []


def test_hash_finds_the_parent_and_everything_below() -> None:
    """MQTT 5.0, 4.7.1.2."""
    index = index_of("a", "a/b", "a/b/c", "ab")
    assert sorted(index.match("a/#")) == ["a", "a/b", "a/b/c"]
    assert sorted(index.match("#")) == ["a", "a/b", "a/b/c", "ab"]
    assert sorted(index.match("+/#")) == ["a", "a/b", "a/b/c", "ab"]
    assert sorted(index.match("a/+/#")) == ["a/b", "a/b/c"]


def test_a_leading_wildcard_never_finds_a_dollar_topic() -> None:
    """[MQTT-4.7.2-1] [3.1.1 MQTT-4.7.2-1]"""
    index = index_of("$SYS/a", "$SYS", "x/$y")
    assert index.match("#") == ["x/$y"]
    assert index.match("+") == []
    assert index.match("+/#") == ["x/$y"]
    assert sorted(index.match("$SYS/#")) == ["$SYS", "$SYS/a"]
    assert index.match("x/+") == ["x/$y"]


def test_adding_and_removing_are_idempotent() -> None:
    index = index_of("a/b", "a/b")
    assert len(index) == 1
    assert "a/b" in index
    index.remove("a/b")
    index.remove("a/b")
    assert len(index) == 0
    assert "a/b" not in index


def test_removing_a_topic_keeps_those_above_and_below() -> None:
    index = index_of("a", "a/b", "a/b/c")
    index.remove("a/b")
    assert sorted(index.match("#")) == ["a", "a/b/c"]
    index.remove("a/b/c")
    assert index.match("#") == ["a"]


def test_an_emptied_index_keeps_no_level() -> None:
    topics = ["a/b/c", "a", "/", "$SYS/x"]
    index = index_of(*topics)
    for topic in topics:
        index.remove(topic)
    assert index._root.is_empty


def test_a_level_that_no_topic_ends_at_is_none() -> None:
    index = index_of("a/b/c")
    assert index.match("a/+") == []
    assert "a/b" not in index


def test_a_topic_of_very_many_levels_needs_no_recursion() -> None:
    deep = "/".join(["a"] * 30_000)
    index = index_of(deep)
    assert index.match("#") == [deep]
    index.remove(deep)
    assert index._root.is_empty


def test_a_hundred_thousand_topics_are_found_by_one_hash() -> None:
    index = index_of(*(f"site/{number % 100}/pump/{number}" for number in range(100_000)))
    assert len(index.match("#")) == 100_000
    assert len(index.match("site/7/+/#")) == 1_000


LEVELS = st.sampled_from(["a", "b", "", "$x"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = st.one_of(
    st.lists(st.one_of(LEVELS, st.just("+")), min_size=1, max_size=4).map("/".join).filter(bool),
    st.lists(st.one_of(LEVELS, st.just("+")), max_size=3).map(lambda levels: "/".join([*levels, "#"])),
)


@given(st.sets(TOPICS, max_size=15), st.data(), FILTERS)
def test_the_index_agrees_with_the_definition_of_matching(
    topics: set[str], data: st.DataObject, topic_filter: str
) -> None:
    """Against mqtt_api.topics.matches, topic by topic, after random removals."""
    index = index_of(*topics)
    gone = data.draw(st.sets(st.sampled_from(sorted(topics)))) if topics else set()
    for topic in gone:
        index.remove(topic)
    expected = sorted(topic for topic in topics - gone if matches(topic_filter, topic))
    assert sorted(index.match(topic_filter)) == expected


KNOWN_TOPICS = ["a", "b", "a/a", "a/b", "b/a", "a/a/a", "a/b/a", "$x/a"]
KNOWN_FILTERS = ["#", "a/#", "+/+", "+/a", "a/+/a", "+/+/#", "a/b", "$x/#"]


@given(
    kept=st.sets(st.sampled_from(KNOWN_TOPICS)),
    passing=st.sets(st.sampled_from(KNOWN_TOPICS)),
    topic_filter=st.sampled_from(KNOWN_FILTERS),
    changes=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(KNOWN_TOPICS)), max_size=20),
)
def test_a_walk_shows_what_stays_exactly_once_whatever_comes_and_goes(
    kept: set[str], passing: set[str], topic_filter: str, changes: list[tuple[int, str]]
) -> None:
    index = index_of(*kept, *passing)
    walk = index.walk(topic_filter)
    found: list[str | None] = []
    for steps, name in changes:
        found += [topic for _, topic in zip(range(steps), walk, strict=False)]
        if name not in kept:
            index.remove(name) if name in index else index.add(name)
    found += walk
    topics = [topic for topic in found if topic is not None]
    assert len(topics) == len(set(topics))
    assert {topic for topic in kept if matches(topic_filter, topic)} <= set(topics)
    assert all(matches(topic_filter, topic) for topic in topics)
