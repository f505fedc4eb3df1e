"""Filters and names from any text, compared with the definition by brute force.

Each byte of the input is a character of a small alphabet in which trouble is frequent; zero bytes separate three texts.
"""

from mqtt_api.topics import TopicError, covers, matches, overlaps, parse_shared, validate_filter, validate_topic_name
from support.topic_oracle import is_matched

ALPHABET = ("/", "/", "/", "+", "+", "#", "$", "a", "b", "$share/", "ü", "a/", "/+", "/#", " ", "\0")
LEVELS_MAX = 6  # the definition tries every way, so it must not be asked for deep ones


def run(data: bytes) -> None:
    one, other, third = [_text(part) for part in (*data.split(b"\0", 2), b"", b"")[:3]]
    for text in (one, other, third):
        _grammar(text)
    if _is_filter(one) and _is_name(other):
        assert matches(one, other) == is_matched(one, other), (one, other)
    if _is_filter(one) and _is_filter(other):
        _relations(one, other, third)


def _text(data: bytes) -> str:
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in data)


def _is_filter(text: str) -> bool:
    try:
        validate_filter(text, LEVELS_MAX)
    except TopicError:
        return False
    return True


def _is_name(text: str) -> bool:
    try:
        validate_topic_name(text, LEVELS_MAX)
    except TopicError:
        return False
    return True


def _grammar(text: str) -> None:
    """What is accepted, by the words of the standard (MQTT 5.0, 4.7 and 4.8.2)."""
    levels = text.split("/")
    is_text = bool(text) and "\0" not in text and len(levels) <= LEVELS_MAX
    assert _is_name(text) == (is_text and not set(text) & {"+", "#"}), text
    lonely = all(level in ("+", "#") or not set(level) & {"+", "#"} for level in levels)
    assert _is_filter(text) == (is_text and lonely and "#" not in levels[:-1]), text
    try:
        group, inner = parse_shared(text)
    except TopicError:
        assert text.startswith("$share/"), text
        return
    if group is None:
        assert inner == text, text
        assert not text.startswith("$share/"), text
    else:
        assert text == f"$share/{group}/{inner}", text
        assert inner, text
        assert not set(group) & {"+", "#", "/"}, text


def _relations(one: str, other: str, topic: str) -> None:
    covering, overlapping = covers(one, other), overlaps(one, other)
    assert overlapping == overlaps(other, one), (one, other)
    assert covers(one, one)
    if covering:
        assert overlapping, (one, other)
    for name in (topic, _filled(one, "a"), _filled(other, "a"), _filled(other, "b"), _filled(other, "")):
        if _is_name(name):
            in_one, in_other = is_matched(one, name), is_matched(other, name)
            assert not (covering and in_other and not in_one), (one, other, name)
            assert overlapping or not (in_one and in_other), (one, other, name)


def _filled(topic_filter: str, level: str) -> str:
    """A name that the filter means."""
    return "/".join(level if part in ("+", "#") else part for part in topic_filter.split("/"))
