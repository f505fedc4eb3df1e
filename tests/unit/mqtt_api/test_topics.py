"""The grammar of topic names, topic filters and shared subscriptions."""

import pytest

from mqtt_api.topics import (
    LEVELS_MAX,
    TOPIC_BYTES_MAX,
    TopicError,
    covers,
    matches,
    overlaps,
    parse_shared,
    validate_filter,
    validate_topic_name,
)

NAMES = [
    "a",
    "a/b",
    "/",
    "/a",
    "a/",
    "a//b",
    "$SYS/x",
    "sport tennis",
    "ä/ö",
    "\N{ZERO WIDTH NO-BREAK SPACE}",
    "$share",
]
FILTERS = [*NAMES, "#", "+", "+/+", "/+", "+/", "a/#", "a/+/b", "+/tennis/#", "$SYS/#", "$share/g/a/#", "+/#", "//#"]
BAD_TEXTS = [
    pytest.param("", "empty", id="empty [MQTT-4.7.3-1] [3.1.1 MQTT-4.7.3-1]"),
    pytest.param("a\0b", r"U\+0000", id="null character [MQTT-4.7.3-2] [3.1.1 MQTT-4.7.3-2]"),
    pytest.param("x" * (TOPIC_BYTES_MAX + 1), "65535 bytes", id="a byte too long [MQTT-4.7.3-3] [3.1.1 MQTT-4.7.3-3]"),
    pytest.param("ä" * (TOPIC_BYTES_MAX // 2 + 1), "65535 bytes", id="too long in UTF-8 only [MQTT-4.7.3-3]"),
    pytest.param("a\ud800", "surrogates", id="surrogate [MQTT-1.5.4-1]"),
    pytest.param("/" * LEVELS_MAX, "128 levels", id="one level too many"),
]


@pytest.mark.parametrize("topic", NAMES)
def test_well_formed_name_is_accepted_as_name_and_as_filter(topic: str) -> None:
    validate_topic_name(topic)
    validate_filter(topic)


@pytest.mark.parametrize("topic_filter", FILTERS)
def test_well_formed_filter_is_accepted(topic_filter: str) -> None:
    validate_filter(topic_filter)


@pytest.mark.parametrize("text", ["x" * TOPIC_BYTES_MAX, "ä" * (TOPIC_BYTES_MAX // 2), "/" * (LEVELS_MAX - 1)])
def test_longest_and_deepest_are_accepted(text: str) -> None:
    validate_topic_name(text)
    validate_filter(text)


@pytest.mark.parametrize(("text", "words"), BAD_TEXTS)
def test_malformed_text_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(TopicError, match=f"topic name .*{words}"):
        validate_topic_name(text)
    with pytest.raises(TopicError, match=f"topic filter .*{words}"):
        validate_filter(text)


@pytest.mark.parametrize("topic", ["+", "#", "a/+", "a/#", "a+b", "a#"])
def test_wildcard_in_a_topic_name_is_refused(topic: str) -> None:
    """[MQTT-4.7.0-1] [3.1.1 MQTT-4.7.1-1]"""
    with pytest.raises(TopicError, match="must not hold the wildcards"):
        validate_topic_name(topic)


@pytest.mark.parametrize("topic_filter", ["#/a", "a/#/b", "a#", "#a", "a/b#", "a/#b", "##", "#/", "#/#", "+#"])
def test_multi_level_wildcard_must_be_alone_and_last(topic_filter: str) -> None:
    """[MQTT-4.7.1-1] [3.1.1 MQTT-4.7.1-2]"""
    with pytest.raises(TopicError, match="'#' must be"):
        validate_filter(topic_filter)


@pytest.mark.parametrize("topic_filter", ["a+", "+a", "a/b+", "++", "a/+b/c", "a+/#"])
def test_single_level_wildcard_must_fill_its_level(topic_filter: str) -> None:
    """[MQTT-4.7.1-2] [3.1.1 MQTT-4.7.1-3]"""
    with pytest.raises(TopicError, match=r"'\+' must be"):
        validate_filter(topic_filter)


def test_own_bound_of_levels_is_applied() -> None:
    validate_topic_name("a/b", levels_max=2)
    validate_filter("a/#", levels_max=2)
    with pytest.raises(TopicError, match="more than 2 levels"):
        validate_topic_name("a/b/c", levels_max=2)
    with pytest.raises(TopicError, match="more than 2 levels"):
        validate_filter("a/b/#", levels_max=2)


@pytest.mark.parametrize(
    ("topic_filter", "parsed"),
    [
        ("a/b", (None, "a/b")),
        ("$share", (None, "$share")),
        ("$SHARE/g/a", (None, "$SHARE/g/a")),
        ("$shared/g/a", (None, "$shared/g/a")),
        ("a/$share/g/b", (None, "a/$share/g/b")),
        ("$share/g/a", ("g", "a")),
        ("$share/g//", ("g", "/")),
        ("$share/g/#", ("g", "#")),
        ("$share/g/$SYS/x", ("g", "$SYS/x")),
        ("$share/$g/+/b", ("$g", "+/b")),
    ],
)
def test_shared_subscription_is_taken_apart(topic_filter: str, parsed: tuple[str | None, str]) -> None:
    assert parse_shared(topic_filter) == parsed


@pytest.mark.parametrize("topic_filter", ["$share/", "$share//", "$share//f"])
def test_shared_subscription_without_a_share_name_is_refused(topic_filter: str) -> None:
    """[MQTT-4.8.2-1]"""
    with pytest.raises(TopicError, match="needs a share name"):
        parse_shared(topic_filter)


@pytest.mark.parametrize("topic_filter", ["$share/+/x", "$share/#", "$share/#/x", "$share/a+b/x", "$share/a#/x"])
def test_wildcard_in_a_share_name_is_refused(topic_filter: str) -> None:
    """[MQTT-4.8.2-2]"""
    with pytest.raises(TopicError, match=r"share name .* must not hold"):
        parse_shared(topic_filter)


@pytest.mark.parametrize("topic_filter", ["$share/g", "$share/g/"])
def test_shared_subscription_without_a_filter_is_refused(topic_filter: str) -> None:
    """[MQTT-4.8.2-2]"""
    with pytest.raises(TopicError, match="needs a topic filter"):
        parse_shared(topic_filter)


@pytest.mark.parametrize(
    ("topic_filter", "topic"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1"),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
        ("sport/#", "sport"),
        ("#", "a/b/c"),
        ("#", "/"),
        ("sport/+", "sport/"),
        ("+/+", "/finance"),
        ("/+", "/finance"),
        ("+/tennis/#", "sport/tennis"),
        ("$SYS/#", "$SYS/monitor/clients"),
        ("$SYS/monitor/+", "$SYS/monitor/clients"),
        ("a/+", "a/$b"),
    ],
)
def test_filter_matches_as_the_standard_shows(topic_filter: str, topic: str) -> None:
    """[MQTT-3.3.2-3] [3.1.1 MQTT-3.3.2-3]"""
    assert matches(topic_filter, topic)


@pytest.mark.parametrize(
    ("topic_filter", "topic"),
    [
        ("sport/+", "sport"),
        ("sport/tennis/+", "sport/tennis/player1/ranking"),
        ("+", "/finance"),
        ("a", "A"),
        ("a", "/a"),
        ("a/#", "ab"),
        ("e\N{COMBINING ACUTE ACCENT}", "\N{LATIN SMALL LETTER E WITH ACUTE}"),  # [MQTT-4.7.3-4]
    ],
)
def test_filter_does_not_match_more_than_it_says(topic_filter: str, topic: str) -> None:
    """[MQTT-3.3.2-3] [MQTT-4.7.3-4] [3.1.1 MQTT-3.3.2-3] [3.1.1 MQTT-4.7.3-4]"""
    assert not matches(topic_filter, topic)


@pytest.mark.parametrize("topic_filter", ["#", "+", "+/monitor/clients", "+/#", "+/+/+"])
def test_wildcard_at_the_root_does_not_reach_dollar_topics(topic_filter: str) -> None:
    """[MQTT-4.7.2-1] [3.1.1 MQTT-4.7.2-1]"""
    assert not matches(topic_filter, "$SYS/monitor/clients")
    assert not covers(topic_filter, "$SYS/monitor/clients")
    assert not overlaps(topic_filter, "$SYS/#")


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [("a/#", "a"), ("a/#", "a/+/#"), ("#", "+/#"), ("+/#", "#"), ("a/+", "a/b"), ("+/+/#", "/#"), ("/+/#", "/#")],
)
def test_wide_filter_covers_narrow_one(wide: str, narrow: str) -> None:
    assert covers(wide, narrow)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("a/#", "+/secret"),
        ("a/#", "#"),
        ("a/+/#", "a/#"),
        ("a/+", "a/+/b"),
        ("a/b", "a/+"),
        ("a/b", "a//b"),
        ("a/b", "a/b/"),
        ("#", "$SYS/#"),
        ("a/+", "a/#"),
    ],
)
def test_coverage_is_not_a_matter_of_prefixes(wide: str, narrow: str) -> None:
    assert not covers(wide, narrow)


def test_longest_filters_are_compared_in_one_pass() -> None:
    """Half a million comparisons of levels a second would already do; a walk that branches would never return."""
    pluses, names = "/".join("+" * 32_768), "/".join("a" * 32_768)
    assert matches(pluses, names)
    assert not matches(pluses + "/b", names)
    assert covers(pluses[:-1] + "#", pluses)
    assert overlaps(pluses, names)
