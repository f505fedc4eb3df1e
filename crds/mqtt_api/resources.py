"""The custom resources as typed values: read one from a document, or learn every mistake in it.

Knows the three kinds and how a mistake is told to a person; does not know files, Kubernetes, or what the objects cause.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from mqtt_api import keys
from mqtt_api.kinds.mqttbroker import MQTTBroker
from mqtt_api.kinds.mqttclient import MQTTClient
from mqtt_api.kinds.shape import MISTAKE
from mqtt_api.kinds.topicpermission import TopicPermission

__all__ = [
    "KINDS",
    "InvalidResource",
    "MQTTBroker",
    "MQTTClient",
    "Mistake",
    "TopicPermission",
    "parse_document",
]

KINDS: Mapping[str, type[MQTTBroker] | type[MQTTClient] | type[TopicPermission]] = {
    keys.BROKER_KIND: MQTTBroker,
    keys.CLIENT_KIND: MQTTClient,
    keys.PERMISSION_KIND: TopicPermission,
}


class Mistake(NamedTuple):
    """`field` is the path in the words of the YAML, such as `spec.listeners[0].port`, or "" for the whole document.

    `message` continues it: "must be at least 1".
    """

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field or 'the document'}: {self.message}"


class InvalidResource(ValueError):  # noqa: N818 - it names what the document is
    """A document that is not one of the custom resources. `mistakes` are all of them."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("; ".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


def parse_document(document: object) -> MQTTBroker | MQTTClient | TopicPermission:
    """The custom resource that this document (as YAML or JSON gave it) stands for, with defaults filled in.

    Raises InvalidResource with every mistake. No value of the document is repeated in a message: it might be a secret
    in the wrong place. A `status` is read leniently, as a later version may have written it.
    """
    if not isinstance(document, Mapping):
        raise InvalidResource((Mistake("", "must be a mapping with apiVersion, kind, metadata and spec"),))
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidResource((Mistake("kind", f"must be one of {', '.join(KINDS)}"),))
    mistakes = _empty_values(document["spec"]) if "spec" in document else []
    try:
        resource = KINDS[kind].model_validate(document)
    except ValidationError as error:
        told = {mistake.field for mistake in mistakes}
        found = (Mistake(_path(details["loc"]), _sentence(details)) for details in error.errors(include_url=False))
        raise InvalidResource((*mistakes, *(mistake for mistake in found if mistake.field not in told))) from None
    if mistakes:
        raise InvalidResource(tuple(mistakes))
    return resource


def _empty_values(spec: object) -> list[Mistake]:
    """`tls:` with nothing behind it is null in YAML, which looks like a value and means none: say so."""
    mistakes: list[Mistake] = []
    seen: set[int] = set()  # aliases of YAML can make nine lines stand for a billion values, or one contain itself
    waiting: list[tuple[tuple[object, ...], object]] = [(("spec",), spec)]
    while waiting:
        location, value = waiting.pop()
        entries: Any = ()
        if value is None:
            mistakes.append(Mistake(_path(location), "is empty: give it a value or leave the line out"))
        elif isinstance(value, Mapping | list) and id(value) not in seen:
            seen.add(id(value))
            entries = value.items() if isinstance(value, Mapping) else enumerate(value)
        waiting += [((*location, key), entry) for key, entry in entries]
    return sorted(mistakes)


_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+")


def _path(location: tuple[object, ...]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif isinstance(part, str) and _PLAIN_NAME.fullmatch(part):
            path += f".{part}" if path else part
        else:
            path += f"[{json.dumps(str(part))}]"  # escapes what could disturb a terminal or a log
    return path


# How each kind of error of pydantic is told; `{...}` are its facts.
_SENTENCES = {
    "missing": "is required",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be text; numbers and words like yes need quotes",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "model_type": "must be a mapping of fields",
    "mapping_type": "must be a mapping of names to text",
    "recursion_loop": "must not contain itself",
    "invalid_key": "must have text as the names of its fields",
}


def _sentence(details: Any) -> str:
    if details["type"] == MISTAKE:
        return str(details["msg"])
    sentence = _SENTENCES.get(details["type"])
    return sentence.format(**details.get("ctx", {})) if sentence else str(details["msg"])
