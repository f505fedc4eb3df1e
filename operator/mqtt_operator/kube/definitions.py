"""Whether the API server knows our kinds as this version of the operator needs them.

Knows the API server's published schemas; does not know any kind. It asks for no right on CustomResourceDefinitions:
schemas are open to everybody who may log in. Nothing is ever written.
"""

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.errors import ExpectedError
from mqtt_operator.kube.session import Answer

FIELDS_TOLD_MAX = 3
_GVK = "x-kubernetes-group-version-kind"


class DefinitionsError(ExpectedError):
    """The CustomResourceDefinitions are missing, or older than this operator."""


def schema_path(definition: Manifest) -> str:
    """Where the API server publishes the schemas of the group and version of this CustomResourceDefinition."""
    spec = definition["spec"]
    return f"/openapi/v3/apis/{spec['group']}/{spec['versions'][0]['name']}"


def check(answer: Answer, definitions: Iterable[Manifest]) -> None:
    """Raises DefinitionsError unless everything in these definitions is served. `answer` is that of `schema_path`.

    What is served and not in them is fine: then the definitions are newer than this operator.
    """
    served = answer.document() if answer.code == HTTPStatus.OK else {}
    schemas = _by_kind(served)
    for definition in definitions:
        kind = definition["spec"]["names"]["kind"]
        if kind not in schemas:
            raise DefinitionsError(
                f"The API server does not know the kind {kind}.",
                to_do="Install the CustomResourceDefinitions: stoa crds | kubectl apply --server-side -f -",
            )
        wanted = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        if missing := list(_missing(wanted, schemas[kind], "")):
            told = ", ".join(missing[:FIELDS_TOLD_MAX]) + (" and more" if len(missing) > FIELDS_TOLD_MAX else "")
            raise DefinitionsError(
                f"The CustomResourceDefinition of {kind} is older than this operator: it lacks {told}.",
                to_do="Bring it up to date: stoa crds | kubectl apply --server-side -f -",
            )


def _by_kind(served: Manifest) -> dict[str, Mapping[str, Any]]:
    schemas = served.get("components", {}).get("schemas", {}).values()
    return {entry["kind"]: schema for schema in schemas for entry in schema.get(_GVK, ())}


def _missing(wanted: Mapping[str, Any], served: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, field in wanted.get("properties", {}).items():
        place = f"{path}.{name}" if path else name
        if place == "metadata":
            continue  # every kind has it, and it is published as a reference
        if name not in served.get("properties", {}):
            yield place
        else:
            yield from _missing(field, served["properties"][name], place)
    for part, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(wanted.get(part), Mapping):
            yield from _missing(wanted[part], served.get(part, {}), path + mark)
    if new := [word for word in wanted.get("enum", ()) if word not in served.get("enum", ())]:
        yield f"{path}: {', '.join(map(str, new))}"
