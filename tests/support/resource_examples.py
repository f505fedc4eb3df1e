"""Custom resources that are right, and ones with exactly the mistakes that are named beside them.

One corpus for the models and for the schemas: what one refuses, the other has to refuse as well.
"""

import copy
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

Document = dict[str, Any]

_CORPUS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")

BROKER: Document = _CORPUS["bases"]["MQTTBroker"]
CLIENT: Document = _CORPUS["bases"]["MQTTClient"]
PERMISSION: Document = _CORPUS["bases"]["TopicPermission"]


class Example(NamedTuple):
    """`mistakes` maps each field that is to be blamed to words of its message; empty = the document is right.

    `models_only`: the schema alone has nothing to say about it.
    """

    title: str
    document: Document
    mistakes: Mapping[str, str]
    models_only: bool


def changed(base: Document, changes: Mapping[str, object], without: Iterable[str] = ()) -> Document:
    """A copy of the document with these paths (`spec.listeners[0].port`) set and those taken away."""
    document = copy.deepcopy(base)
    for path, value in changes.items():
        place, last = _place(document, path)
        if isinstance(place, list) and last == len(place):
            place.append(value)
        else:
            place[last] = value
    for path in without:
        place, last = _place(document, path)
        del place[last]
    return document


def _place(document: Document, path: str) -> tuple[Any, str | int]:
    *way, last = [int(number) if number else name for number, name in _STEP.findall(path)]
    place: Any = document
    for step in way:
        place = place[step]
    return place, last


def _examples(section: str) -> list[Example]:
    return [
        Example(
            title=entry["title"],
            document=changed(_CORPUS["bases"][entry["kind"]], entry.get("set", {}), entry.get("without", ())),
            mistakes=entry.get("mistakes", {}),
            models_only=entry.get("models only", False),
        )
        for entry in _CORPUS[section]
    ]


GOOD = _examples("good")
BAD_VALUES = _examples("bad values")
BAD_COMBINATIONS = _examples("bad combinations")
