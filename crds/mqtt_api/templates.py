"""Topic filters with placeholders: reading them, and filling in what is known of one client.

Knows the grammar of a template and which values may stand in a topic level; does not know clients, rules or effects.
A value can never add a level, a wildcard or another tree: one that would is unusable, and the template says so.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from mqtt_api.topics import TopicError, filter_levels, validate_filter

PLACEHOLDERS = ("clientid", "username", "cert.cn", "cert.san.dns", "namespace")
ATTRIBUTE_PREFIX = "attr."

_FORBIDDEN_IN_VALUE = {"+": "'+'", "#": "'#'", "/": "'/'", "\0": "U+0000"}
_TEMPLATES_CACHED_MAX = 16_384  # templates repeat for every client of a fleet; their parsed forms are shared


class _Placeholder(NamedTuple):
    name: str

    def __str__(self) -> str:
        return f"${{{self.name}}}"


_Part = str | _Placeholder


class Filled(NamedTuple):
    """A template with the values of one client. `problem` None: `filters` holds the one filter it means.

    Else `problem` says in words why it means none, and `filters` holds everything it may have meant: every level with
    an unusable value reads as '+'. Filters are levels in the form of `topics.filter_levels`.
    """

    filters: tuple[tuple[str, ...], ...]
    problem: str | None = None


def check_template(template: str) -> None:
    """Raises TopicError unless `template` is a well-formed filter whatever its placeholders stand for.

    A placeholder that this version does not know is well formed: it has no value.
    """
    _parse(template)


class _Template(NamedTuple):
    """Each level: its text, or its parts if it holds a placeholder. `literal`: none does."""

    levels: tuple[str | tuple[_Part, ...], ...]
    literal: Filled | None


def fill(template: str, values: Mapping[str, str]) -> Filled:
    """`values` holds what is known by the name between the braces. Raises TopicError like `check_template`."""
    parsed = _parse(template)
    if parsed.literal:
        return parsed.literal
    levels: list[str] = []
    problems: list[str] = []
    for parts in parsed.levels:
        if isinstance(parts, str):
            levels.append(parts)
            continue
        unusable = [problem for part in parts if (problem := _problem(part, values))]
        problems += unusable
        levels.append("+" if unusable else _text(parts, values))
    filters = [tuple(levels)]
    first = parsed.levels[0][:1]
    if isinstance(first, tuple) and isinstance(first[0], _Placeholder) and levels[0].startswith("$"):
        problems.append(f"the value of {first[0]} would make the topic begin with '$'")
        # A '+' does not reach the topics under '$', so a deny needs the filter as it was filled in as well.
        filters.append(("+", *levels[1:]))
    return Filled(tuple(filters), "; ".join(problems) or None)


def literal_filter(template: str) -> tuple[str, ...] | None:
    """The levels of a template without placeholders, which mean the same for everybody; None for any other.

    Raises TopicError like `check_template`.
    """
    literal = _parse(template).literal
    return None if literal is None else literal.filters[0]


@lru_cache(maxsize=_TEMPLATES_CACHED_MAX)
def _parse(template: str) -> _Template:
    levels: list[list[_Part]] = [[]]
    rest = template
    while rest:
        literal, opening, rest = rest.partition("${")
        beginning, *further = literal.split("/")
        levels[-1].append(beginning)
        levels += [[level] for level in further]
        if opening:
            name, closing, rest = rest.partition("}")
            if not closing or "${" in name:
                raise TopicError("a placeholder is not closed: write ${NAME}")
            levels[-1].append(_Placeholder(name))
    # An 'x' for each placeholder, as the grammar asks only what is literal: a wildcard must be alone in its level.
    validate_filter("/".join("".join(part if isinstance(part, str) else "x" for part in level) for level in levels))
    parsed = tuple(_joined([part for part in level if part]) for level in levels)
    is_literal = all(isinstance(level, str) for level in parsed)
    return _Template(parsed, Filled((tuple(filter_levels(template)),)) if is_literal else None)


def _joined(parts: list[_Part]) -> str | tuple[_Part, ...]:
    literal = [part for part in parts if isinstance(part, str)]
    return "".join(literal) if len(literal) == len(parts) else tuple(parts)


def _problem(part: _Part, values: Mapping[str, str]) -> str | None:
    if isinstance(part, str):
        return None
    value = values.get(part.name)
    if value:
        for character, shown in _FORBIDDEN_IN_VALUE.items():
            if character in value:
                return f"the value of {part} holds {shown}"
        return None
    if part.name in PLACEHOLDERS or part.name.startswith(ATTRIBUTE_PREFIX):
        return f"{part} has no value for this client"
    return f"{part} is not a placeholder that this version knows"


def _text(parts: tuple[_Part, ...], values: Mapping[str, str]) -> str:
    return "".join(part if isinstance(part, str) else values[part.name] for part in parts)
