"""The values of a chart that are parts of our objects: their schema is that of the definitions, and as strict.

Without it a field that is misspelt in values would be dropped by the API server without a word. Knows which value is
which part; does not know what a field means.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

Schema = dict[str, Any]


class Part(NamedTuple):
    """`value` is described as `field` of the spec of `kind`, both as paths in their schemas.

    `lacks`: what the chart fills in, and nobody may set. `is_whole`: what is required there is required here; else the
    chart fills in some of it.
    """

    value: tuple[str, ...]
    kind: str
    field: tuple[str, ...] = ()
    is_whole: bool = True
    lacks: str = ""


PARTS = (
    Part(("spec",), "MQTTBroker", is_whole=False),
    Part(("listeners", "items"), "MQTTBroker", ("listeners", "items")),
    Part(("authentication", "items"), "MQTTBroker", ("authentication", "items")),
    Part(("services", "items"), "MQTTBroker", ("services", "items")),
    Part(("store", "properties", "redis"), "MQTTBroker", ("sessionStore", "properties", "redis"), is_whole=False),
    Part(("store", "properties", "durability"), "MQTTBroker", ("sessionStore", "properties", "durability")),
    Part(("clients", "additionalProperties"), "MQTTClient", lacks="brokerRef"),
    Part(("permissions", "additionalProperties"), "TopicPermission", lacks="brokerRef"),
)


def with_parts(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """The schema of the values with each part as the definitions have it. `definitions`: by kind, as structural."""
    properties = dict(schema["properties"])
    for part in PARTS:
        properties = _replaced(properties, part.value, _part(part, definitions[part.kind]))
    return {**schema, "properties": properties}


def _part(part: Part, definition: Schema) -> Schema:
    spec = definition["properties"]["spec"]
    found = strict(_at(spec["properties"], part.field) if part.field else spec)
    if not part.is_whole:
        found.pop("required", None)
    if part.lacks:
        found["required"] = [name for name in found["required"] if name != part.lacks]
        found["properties"] = {**found["properties"], part.lacks: False}
    return found


def strict(schema: Schema) -> Schema:
    """Without what only the API server reads, and without room for fields that nobody declared."""
    plain = {key: _strict(key, value) for key, value in schema.items() if not key.startswith("x-kubernetes-")}
    if "properties" in plain:
        plain.setdefault("additionalProperties", False)
    return plain


def _strict(key: str, value: Any) -> Any:
    if key == "properties":
        return {name: strict(each) for name, each in value.items()}
    if key in ("items", "additionalProperties") and isinstance(value, dict):
        return strict(value)
    return value


def _at(schema: Schema, path: tuple[str, ...]) -> Schema:
    for step in path:
        schema = schema[step]
    return schema


def _replaced(schema: Schema, path: tuple[str, ...], content: Schema) -> Schema:
    first, *rest = path
    return {**schema, first: _replaced(schema[first], tuple(rest), content) if rest else content}
