"""One table of the policy, kept as the lines of its document while entries come, change and go.

Knows which line an entry stands in; does not know what an entry says. Always the lines that `policy_lines` would make
of the same entries from scratch, but only those are made again of which an entry changed. Pure.
"""

from bisect import bisect_right, insort
from collections.abc import Iterator

from mqtt_api.policy_lines import Part, Section, begins_line, part, section_lines

_FIRST = ""  # sorts before every name: the group of what comes before the first name that begins a line


class LineTable:
    """Entries in groups: a group is what stands from one name that begins a line to the next."""

    def __init__(self, section: Section) -> None:
        self._section = section
        self._starts = [_FIRST]
        self._groups: dict[str, dict[str, bytes]] = {_FIRST: {}}
        self._parts: dict[str, tuple[Part, ...]] = {}

    def put(self, name: str, entry: bytes) -> None:
        """The entry of this name is this one now."""
        start = self._start_of(name)
        if begins_line(name) and start != name:
            self._split(start, name)
            start = name
        self._groups[start][name] = entry
        self._parts.pop(start, None)

    def drop(self, name: str) -> None:
        """There is no entry of this name any more. Idempotent."""
        start = self._start_of(name)
        group = self._groups[start]
        if group.pop(name, None) is None:
            return
        self._parts.pop(start, None)
        if start == name:
            self._join_to_the_one_before(name)

    def has(self, name: str) -> bool:
        return name in self._groups[self._start_of(name)]

    def parts(self) -> Iterator[Part]:
        """The lines, in order."""
        for start in self._starts:
            if start not in self._parts:
                entries = sorted(self._groups[start].items())
                self._parts[start] = tuple(part(line) for line in section_lines(self._section, entries))
            yield from self._parts[start]

    def _start_of(self, name: str) -> str:
        return self._starts[bisect_right(self._starts, name) - 1]

    def _split(self, start: str, name: str) -> None:
        group = self._groups[start]
        self._groups[name] = {each: group.pop(each) for each in list(group) if each > name}
        insort(self._starts, name)
        self._parts.pop(start, None)

    def _join_to_the_one_before(self, name: str) -> None:
        self._starts.remove(name)
        before = self._start_of(name)
        self._groups[before].update(self._groups.pop(name))
        self._parts.pop(before, None)
