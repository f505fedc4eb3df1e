"""The lines a node writes about itself, as values.

Knows the shape of a log line; does not know which events exist or what follows from one.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct


class NodeEvent(Struct, frozen=True, kw_only=True):
    """One line of a node's log. `fields` are all members of the line that have no name of their own here."""

    ts: str = ""
    level: str = "info"
    event: str = ""
    message: str = ""
    fields: Mapping[str, Any] = {}

    @property
    def is_refusal(self) -> bool:
        """Somebody was told no: at connect, or later."""
        return self.event in {"authz.denied", "connect.refused"}

    @property
    def is_failure(self) -> bool:
        return self.level in {"error", "critical"}


_NAMED = ("ts", "level", "event", "message")


def parse_line(line: bytes) -> NodeEvent | None:
    """The event in one line of a node's stderr; a line that is no JSON (a crash) is an error's text; blank is None."""
    text = line.decode("utf-8", "replace").rstrip()
    if not text:
        return None
    try:
        members = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return NodeEvent(level="error", event="node.stderr", message=_printable(text))
    named = {name: _printable(str(members.pop(name))) for name in _NAMED if name in members}
    return NodeEvent(**named, fields=members)


def _printable(text: str) -> str:
    """Nothing that a line is made of may steer the terminal it is shown on."""
    return "".join(character if character.isprintable() else "?" for character in text)
