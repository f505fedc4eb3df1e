"""Topics and filters by brute force: the definition of the standard, tried on every topic of a small world.

The world holds two levels that no filter of it names ("b", "$x") and topics one level deeper than any filter, so that
what holds for all of its topics holds for all topics.
"""

from functools import cache
from itertools import product

LITERALS = ("", "a", "aa", "$s")
FILTER_LEVELS_MAX = 3

TOPICS = tuple(
    topic
    for length in range(1, FILTER_LEVELS_MAX + 2)
    for levels in product((*LITERALS, "b", "$x"), repeat=length)
    if (topic := "/".join(levels))
)
FILTERS = tuple(
    topic_filter
    for length in range(FILTER_LEVELS_MAX + 1)
    for levels in product((*LITERALS, "+"), repeat=length)
    for topic_filter in ("/".join(levels), "/".join((*levels, "#")))
    if topic_filter
)


def is_matched(topic_filter: str, topic: str) -> bool:
    """The definition: wildcards at the root do not reach '$', '+' is one level, '#' is any number of them."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    return _follow(topic_filter.split("/"), topic.split("/"))


def _follow(pattern: list[str], levels: list[str]) -> bool:
    if not pattern or pattern[0] == "#":
        return bool(pattern) or not levels
    return bool(levels) and pattern[0] in ("+", levels[0]) and _follow(pattern[1:], levels[1:])


@cache
def topics_of(topic_filter: str) -> int:
    """The topics of the world that the filter matches, as bits in the order of TOPICS."""
    return sum(1 << number for number, topic in enumerate(TOPICS) if is_matched(topic_filter, topic))


def does_cover(wide: str, narrow: str) -> bool:
    return not topics_of(narrow) & ~topics_of(wide)


def do_overlap(one: str, other: str) -> bool:
    return bool(topics_of(one) & topics_of(other))
