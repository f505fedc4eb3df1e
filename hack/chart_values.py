"""The values of a chart, as its values.yaml explains them: the table of its README and the descriptions of its schema.

Knows that a comment `# -- text` explains the key below it; does not know any chart.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

TABLE_BEGIN, TABLE_END = "<!-- values: generated from values.yaml -->", "<!-- end of values -->"
_KEY = re.compile(r"^( *)([A-Za-z]\w*):")
_EXPLAINED = re.compile(r"^ *# -- (.+)$")
_GOES_ON = re.compile(r"^ *# ?(.*)$")


class Value(NamedTuple):
    """`key`: its path with dots. `default`: as JSON."""

    key: str
    default: str
    text: str


def explained(chart: Path) -> list[Value]:
    """Every key with an explanation, in the order of values.yaml."""
    text = (chart / "values.yaml").read_text(encoding="utf-8")
    defaults = yaml.safe_load(text)
    return [Value(key, json.dumps(_at(defaults, key)), words) for key, words in _comments(text)]


def table(values: list[Value]) -> str:
    """The table for people."""
    rows = [f"| `{value.key}` | `{value.default}` | {value.text} |" for value in values]
    return "\n".join(["| key | default | what |", "| --- | --- | --- |", *rows])


def readme_with_table(readme: str, values: list[Value]) -> str:
    """The README with the table between its two marks."""
    before, _, rest = readme.partition(TABLE_BEGIN)
    _, _, after = rest.partition(TABLE_END)
    return f"{before}{TABLE_BEGIN}\n\n{table(values)}\n\n{TABLE_END}{after}"


def described(schema: Mapping[str, Any], values: list[Value]) -> dict[str, Any]:
    """The schema with each explanation as the description of its property."""
    whole: dict[str, Any] = json.loads(json.dumps(schema))
    for value in values:
        node = whole
        for part in value.key.split("."):
            node = node["properties"][part]
        rest = {keyword: content for keyword, content in node.items() if keyword != "description"}
        node.clear()
        node.update({"description": value.text, **rest})
    return whole


def _comments(text: str) -> Iterator[tuple[str, str]]:
    path: list[tuple[int, str]] = []
    words: list[str] = []
    for line in text.splitlines():
        if explains := _EXPLAINED.match(line):
            words = [explains[1]]
        elif words and (goes_on := _GOES_ON.match(line)):
            words.append(goes_on[1])
        elif key := _KEY.match(line):
            depth = len(key[1])
            path = [*(part for part in path if part[0] < depth), (depth, key[2])]
            if words:
                yield ".".join(name for _, name in path), " ".join(words)
            words = []


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values
