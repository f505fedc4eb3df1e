"""Topic names and topic filters: what is well formed, what matches, what one filter says about another.

Knows the grammar of MQTT 5 section 4.7 and of shared subscriptions (4.8.2); does not know permissions, packets or who
subscribes. Nothing is normalised: two strings are one topic only if they are equal character by character
[MQTT-4.7.3-4]. Everything here takes time linear in the length of its arguments.

Every function that compares expects names and filters that `validate_topic_name` or `validate_filter` accepted.
"""

from collections.abc import Sequence

TOPIC_BYTES_MAX = 65_535  # a UTF-8 string of MQTT carries its length in two bytes
LEVELS_MAX = 128  # deep enough for any tree people draw, shallow enough that no walk over levels costs much

SHARE_PREFIX = "$share/"

Levels = Sequence[str]


class TopicError(ValueError):
    """A topic name or filter is not well formed. The text says what is wrong, and never repeats the topic."""


def validate_topic_name(topic: str, levels_max: int = LEVELS_MAX) -> None:
    """Raises TopicError unless `topic` may be published to (MQTT 5, 4.7)."""
    _validate_text(topic, levels_max, "topic name")
    if "+" in topic or "#" in topic:  # [MQTT-4.7.0-1]
        raise TopicError("a topic name must not hold the wildcards '+' and '#'")


def validate_filter(topic_filter: str, levels_max: int = LEVELS_MAX) -> None:
    """Raises TopicError unless `topic_filter` may be subscribed to (MQTT 5, 4.7.1).

    A shared subscription passes whole: `parse_shared` checks the share name, this checks the rest.
    """
    _validate_text(topic_filter, levels_max, "topic filter")
    if "+" not in topic_filter and "#" not in topic_filter:
        return
    levels = topic_filter.split("/")
    for number, level in enumerate(levels, start=1):
        if "#" in level and (level != "#" or number != len(levels)):  # [MQTT-4.7.1-1]
            raise TopicError("'#' must be a level of its own and the last one of the topic filter")
        if "+" in level and level != "+":  # [MQTT-4.7.1-2]
            raise TopicError("'+' must be a level of its own in the topic filter")


def parse_shared(topic_filter: str) -> tuple[str | None, str]:
    """The share name and the filter inside: `$share/group/filter` gives (group, filter), any other one (None, itself).

    Raises TopicError if the share name is missing or holds a wildcard, or if no filter follows it.
    """
    if not topic_filter.startswith(SHARE_PREFIX):
        return None, topic_filter
    group, slash, inner = topic_filter[len(SHARE_PREFIX) :].partition("/")
    if not group:  # [MQTT-4.8.2-1]
        raise TopicError("a shared subscription needs a share name: $share/NAME/FILTER")
    if "+" in group or "#" in group:  # [MQTT-4.8.2-2]
        raise TopicError("the share name of a shared subscription must not hold '+' or '#'")
    if not slash or not inner:  # [MQTT-4.8.2-2]
        raise TopicError("a shared subscription needs a topic filter after its share name: $share/NAME/FILTER")
    return group, inner


def matches(topic_filter: str, topic: str) -> bool:
    """True if a message published to `topic` is meant by `topic_filter`."""
    # A name is a filter without wildcards: what it covers and what it matches are the same.
    return covers(topic_filter, topic)


def covers(wide: str, narrow: str) -> bool:
    """True if every topic that `narrow` matches is matched by `wide` as well."""
    wider, narrower = filter_levels(wide), filter_levels(narrow)
    if hides_root(wider, narrower):
        return False
    for position, level in enumerate(wider):
        if level == "#":
            return True
        if position == len(narrower) or narrower[position] == "#":
            return False
        if level not in ("+", narrower[position]):
            return False
    return len(wider) == len(narrower)


def overlaps(one: str, other: str) -> bool:
    """True if some topic is matched by both filters."""
    ones, others = filter_levels(one), filter_levels(other)
    if hides_root(ones, others) or hides_root(others, ones):
        return False
    for level, counterpart in zip(ones, others, strict=False):
        if "#" in (level, counterpart):
            return True
        if level != counterpart and "+" not in (level, counterpart):
            return False
    common = min(len(ones), len(others))
    return all(rest == ["#"] for rest in (ones[common:], others[common:]) if rest)


def filter_levels(topic_filter: str) -> list[str]:
    """The levels in the form that all comparisons here use: '#' stands for zero or more levels after the first.

    As no topic is empty [MQTT-4.7.3-1], '#' means the same as '+/#', and '/#' the same as '/+/#'.
    """
    levels = topic_filter.split("/")
    if topic_filter in ("#", "/#"):
        levels.insert(-1, "+")
    return levels


def hides_root(wide: Levels, narrow: Levels) -> bool:
    """True if `wide` begins with a wildcard, which cannot mean the '$' that `narrow` begins with.

    Both in the form of `filter_levels`.
    """
    return wide[0] == "+" and narrow[0].startswith("$")  # [MQTT-4.7.2-1]


def _validate_text(text: str, levels_max: int, what: str) -> None:
    if not text:  # [MQTT-4.7.3-1]
        raise TopicError(f"a {what} must not be empty")
    if "\0" in text:  # [MQTT-4.7.3-2]
        raise TopicError(f"a {what} must not hold the character U+0000")
    if _utf8_bytes(text, what) > TOPIC_BYTES_MAX:  # [MQTT-4.7.3-3]
        raise TopicError(f"a {what} must not be longer than {TOPIC_BYTES_MAX} bytes of UTF-8")
    if text.count("/") >= levels_max:
        raise TopicError(f"a {what} must not have more than {levels_max} levels")


def _utf8_bytes(text: str, what: str) -> int:
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:  # [MQTT-1.5.4-1]
        raise TopicError(f"a {what} must not hold surrogates") from None
