"""What an API server checks of a structural schema and of an object against it, but for CEL: enough for unit tests.

Knows the keywords that our CRDs use; an unknown one is an error, so that a new keyword cannot go unchecked.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

_CHECKED = {
    "type", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "minProperties",
    "maxProperties", "required", "properties", "additionalProperties", "items", "anyOf", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields",
}  # fmt: skip
_SILENT = {"description", "default", "format", "x-kubernetes-validations"}
_NOT_OURS = {".apiVersion", ".kind", ".metadata"}  # every object has these, and the API server checks them itself
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": (list, tuple),
    "string": str,
    "integer": int,
    "boolean": bool,
}


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema inside this one, with its path as `kubectl explain` would write it; lists add [], maps {}."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


def structural_faults(schema: Schema) -> list[str]:
    """What makes the API server refuse the schema, or a CEL rule in it for its cost."""
    ours = [(path, node) for path, node in nodes(schema) if path not in _NOT_OURS]
    return [f"{path}: {fault}" for path, node in ours for fault in _node_faults(node)]


def _node_faults(node: Schema) -> Iterator[str]:
    for keyword in node.keys() - _CHECKED - _SILENT:
        yield f"keyword {keyword}"
    if node.get("x-kubernetes-int-or-string"):
        if "type" in node or node.get("anyOf") != _INT_OR_STRING:
            yield "int-or-string needs anyOf of integer and string, and no type"
    elif "type" not in node or "anyOf" in node:
        yield "needs a type and no union"
    if "properties" in node and "additionalProperties" in node:
        yield "both properties and additionalProperties"
    if set(node.get("required", ())) - node.get("properties", {}).keys():
        yield "requires an unknown field"
    kind = node.get("type")
    if kind == "array" and not {"items", "maxItems", "x-kubernetes-list-type"} <= node.keys():
        yield "a list without items, bound or list type"
    if not _is_anchored(node.get("pattern", "^$")):
        yield "a pattern that is not anchored: it would accept more than it shows"
    if kind == "string" and not {"maxLength", "enum"} & node.keys() and "additionalProperties" not in node:
        yield "text without a bound"
    if kind == "object" and "additionalProperties" in node and "maxProperties" not in node:
        yield "a map without a bound"


def _is_anchored(pattern: str) -> bool:
    return pattern.startswith("^") and pattern.endswith("$")


def violations(schema: Schema, value: object, path: str = "") -> list[str]:
    """Why the API server refuses the value, CEL aside; empty = accepted. Unknown fields count, as kubectl is strict."""
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, int | str) or isinstance(value, bool):
            return [f"{path}: neither integer nor string"]
    elif not _has_type(schema["type"], value):
        return [f"{path}: not of type {schema['type']}"]
    found = [f"{path}: {fault}" for fault in _value_faults(schema, value)]
    if isinstance(value, Mapping) and path != ".metadata":
        found += _field_violations(schema, value, path)
    if isinstance(value, list | tuple):
        for place, entry in enumerate(value):
            found += violations(schema["items"], entry, f"{path}[{place}]")
    return found


def _has_type(name: str, value: object) -> bool:
    return isinstance(value, _TYPES[name]) and (name != "integer" or not isinstance(value, bool))


def _field_violations(schema: Schema, value: Mapping[str, Any], path: str) -> list[str]:
    found = [f"{path}.{name}: required" for name in schema.get("required", ()) if name not in value]
    for name, entry in value.items():
        field = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
        if field is None and schema.get("x-kubernetes-preserve-unknown-fields"):
            continue
        found += [f"{path}.{name}: unknown"] if field is None else violations(field, entry, f"{path}.{name}")
    return found


def _value_faults(schema: Schema, value: Any) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield "not in the enumeration"
    if isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            yield "length"
        if "pattern" in schema and re.fullmatch(schema["pattern"], value) is None:
            yield "pattern"
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield "out of range"
    if isinstance(value, list | tuple):
        yield from _list_faults(schema, value)
    if isinstance(value, Mapping):
        yield from _map_faults(schema, value)


def _map_faults(schema: Schema, value: Mapping[str, Any]) -> Iterator[str]:
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value)):
        yield "number of entries"


def _list_faults(schema: Schema, value: Sequence[Any]) -> Iterator[str]:
    if not schema.get("minItems", 0) <= len(value) <= schema["maxItems"]:
        yield "number of entries"
    identities = value
    if schema["x-kubernetes-list-type"] == "map":
        keys = schema["x-kubernetes-list-map-keys"]
        identities = [tuple(entry.get(key) for key in keys) for entry in value if isinstance(entry, Mapping)]
    if schema["x-kubernetes-list-type"] != "atomic" and any(identities.count(each) > 1 for each in identities):
        yield "repeated entry"
