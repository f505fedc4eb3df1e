"""Many filters asked at once: which of them cover, or overlap, the filter or topic in question.

Knows filters by their number only; does not know rules, effects or clients. Every answer is a set of numbers written
as the bits of an integer, so that the cost is one pass over the question's levels with a few operations on whole sets:
linear whatever the filters are, where a tree would have to follow '+' and literal branches side by side.

All levels are in the form of `topics.filter_levels`.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mqtt_api.topics import Levels


def bits(numbers: Iterable[int]) -> int:
    """The set of these numbers."""
    octets = bytearray()
    for number in numbers:
        octet = number >> 3
        if octet >= len(octets):
            octets.extend(bytes(octet + 1 - len(octets)))
        octets[octet] |= 1 << (number & 7)
    return int.from_bytes(octets, "little")


def lowest(numbers: int) -> int:
    """The smallest number of a set, which must not be empty."""
    return (numbers & -numbers).bit_length() - 1


class _Depth(NamedTuple):
    """The filters as seen at one depth. `plus` have '+' there, `rest` have '#', `ends` ended just before it.

    `met_by_plus` have a level there that a '+' at the same place can mean as well.
    """

    literals: dict[str, int]
    plus: int
    rest: int
    ends: int
    met_by_plus: int


class FilterIndex:
    """An immutable set of numbered filters. Of filters that share a number, any may match for it.

    Those must not differ in more than one level, or a mixture of them would match as well.
    """

    __slots__ = ("_below", "_depths")

    def __init__(self, filters: Sequence[tuple[int, Levels]]) -> None:
        deepest = max((len(levels) for _, levels in filters), default=0)
        # One depth more than there are levels: there all filters have ended, and every longer question fails.
        self._depths = tuple(_depth(filters, depth) for depth in range(deepest + 1))
        # What `covering` reads of every depth but the first, made ready: a publish with a new topic waits for it.
        self._below = tuple((seen.literals, seen.plus, seen.rest) for seen in self._depths[1:])

    def covering(self, levels: Levels) -> int:
        """The filters that match every topic that `levels` matches. A topic's own levels ask which filters match it."""
        open_end = levels[-1] == "#"
        body = levels[:-1] if open_end else levels
        root = self._depths[0]
        alive = root.literals.get(body[0], 0)
        if not body[0].startswith("$"):  # [MQTT-4.7.2-1]
            alive |= root.plus
        found = 0
        # A '+' in the question is no key of `literals`, so that only '+' and '#' cover it.
        for level, (literals, plus, rest) in zip(body[1:], self._below, strict=False):
            if not alive:
                return found
            found |= alive & rest
            alive &= literals.get(level, 0) | plus
        return found | self._ended(alive, len(body), open_end)

    def overlapping(self, levels: Levels) -> int:
        """The filters that share at least one topic with `levels`."""
        open_end = levels[-1] == "#"
        body = levels[:-1] if open_end else levels
        alive, found = -1, 0
        for depth, (level, seen) in enumerate(zip(body, self._depths, strict=False)):
            found |= alive & seen.rest
            if level == "+":
                alive &= seen.met_by_plus
            elif depth == 0 and level.startswith("$"):  # [MQTT-4.7.2-1]
                alive &= seen.literals.get(level, 0)
            else:
                alive &= seen.literals.get(level, 0) | seen.plus
            if not alive:
                return found
        return found | (alive if open_end else self._ended(alive, len(body), open_end))

    def _ended(self, alive: int, depth: int, open_end: bool) -> int:
        """Of those that agreed on every level of a question that ended before `depth`: the ones that go no further.

        What stands for more than its own levels (`open_end`) is only covered by a filter that does so too.
        """
        if depth >= len(self._depths):
            return 0
        seen = self._depths[depth]
        return alive & (seen.rest if open_end else seen.rest | seen.ends)


class FilterIndexes:
    """Two indexes asked as one."""

    __slots__ = ("_one", "_other")

    def __init__(self, one: FilterIndex, other: FilterIndex) -> None:
        self._one = one
        self._other = other

    def covering(self, levels: Levels) -> int:
        return self._one.covering(levels) | self._other.covering(levels)

    def overlapping(self, levels: Levels) -> int:
        return self._one.overlapping(levels) | self._other.overlapping(levels)


def _depth(filters: Sequence[tuple[int, Levels]], depth: int) -> _Depth:
    by_level: dict[str, list[int]] = {}
    ends: list[int] = []
    for number, levels in filters:
        if depth < len(levels):
            by_level.setdefault(levels[depth], []).append(number)
        elif depth == len(levels):
            ends.append(number)
    plus = bits(by_level.pop("+", ()))
    rest = bits(by_level.pop("#", ()))
    # Most levels of a fleet's rules stand in one filter each.
    literals = {level: 1 << n[0] if len(n) == 1 else bits(n) for level, n in by_level.items()}
    # [MQTT-4.7.2-1]
    met = [n for level, numbers in by_level.items() if depth or not level.startswith("$") for n in numbers]
    return _Depth(literals, plus, rest, bits(ends), plus | bits(met))
