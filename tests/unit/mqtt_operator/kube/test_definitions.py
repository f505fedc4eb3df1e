"""Whether the API server knows our kinds as this version needs them."""

import copy
import json
from typing import Any

import pytest

from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.definitions import DefinitionsError, check, schema_path
from mqtt_operator.kube.session import Answer

SPEC: Manifest = {
    "type": "object",
    "properties": {
        "mode": {"type": "string", "enum": ["A", "B"]},
        "list": {"type": "array", "items": {"type": "object", "properties": {"port": {"type": "integer"}}}},
        "map": {
            "type": "object",
            "additionalProperties": {"type": "object", "properties": {"key": {"type": "string"}}},
        },
    },
}
SCHEMA: Manifest = {"type": "object", "properties": {"metadata": {"type": "object"}, "spec": SPEC}}


def definition(schema: Manifest) -> Manifest:
    version = {"name": "v1alpha1", "schema": {"openAPIV3Schema": schema}}
    return {"spec": {"group": "mqtt.stoa.dev", "names": {"kind": "MQTTBroker"}, "versions": [version]}}


def served(schema: Manifest, kind: str = "MQTTBroker") -> Answer:
    entry = {**schema, "x-kubernetes-group-version-kind": [{"group": "mqtt.stoa.dev", "kind": kind}]}
    return Answer(200, None, json.dumps({"components": {"schemas": {"dev.stoa": entry, "other": {}}}}).encode())


def without(*path: str) -> Manifest:
    schema = copy.deepcopy(SCHEMA)
    place: Any = schema
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return schema


def test_the_schemas_are_asked_for_by_group_and_version() -> None:
    assert schema_path(definition(SCHEMA)) == "/openapi/v3/apis/mqtt.stoa.dev/v1alpha1"


def test_what_is_served_as_needed_or_with_more_is_fine() -> None:
    check(served(SCHEMA), [definition(SCHEMA)])
    check(served(SCHEMA), [definition(without("properties", "spec", "properties", "list"))])


def test_metadata_is_published_as_a_reference_and_not_compared() -> None:
    published = copy.deepcopy(SCHEMA)
    published["properties"]["metadata"] = {"allOf": [{"$ref": "#/components/schemas/ObjectMeta"}]}
    check(served(published), [definition(SCHEMA)])


@pytest.mark.parametrize("answer", [Answer(404, None, b"404 page not found"), served(SCHEMA, "MQTTClient")])
def test_a_kind_that_is_not_served_is_named_with_how_to_install_it(answer: Answer) -> None:
    with pytest.raises(DefinitionsError, match="does not know the kind MQTTBroker") as refusal:
        check(answer, [definition(SCHEMA)])
    assert "stoa crds | kubectl apply" in refusal.value.to_do


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (("properties", "spec", "properties", "mode"), "lacks spec.mode."),
        (("properties", "spec", "properties", "list", "items", "properties", "port"), r"lacks spec.list\[\].port."),
        (
            ("properties", "spec", "properties", "map", "additionalProperties", "properties", "key"),
            r"lacks spec.map\{\}.key.",
        ),
    ],
)
def test_a_field_that_is_not_served_is_named(path: tuple[str, ...], field: str) -> None:
    with pytest.raises(DefinitionsError, match=field):
        check(served(without(*path)), [definition(SCHEMA)])


def test_a_word_that_is_not_served_is_named() -> None:
    older = copy.deepcopy(SCHEMA)
    older["properties"]["spec"]["properties"]["mode"]["enum"] = ["A"]
    with pytest.raises(DefinitionsError, match=r"lacks spec.mode: B\."):
        check(served(older), [definition(SCHEMA)])


def test_of_many_missing_fields_the_first_ones_are_named() -> None:
    newer = copy.deepcopy(SCHEMA)
    newer["properties"]["spec"]["properties"] |= {f"field{number}": {"type": "string"} for number in range(9)}
    with pytest.raises(DefinitionsError, match=r"lacks spec.field0, spec.field1, spec.field2 and more\."):
        check(served(SCHEMA), [definition(newer)])
