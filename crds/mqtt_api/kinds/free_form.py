"""A part that Kubernetes itself defines and checks: taken over as it is written, within bounds.

Knows what JSON is and how large and deep such a part may be; does not know what its fields mean.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from mqtt_api.kinds.markers import mistake

FREE_FORM_BYTES_MAX = 16_384  # as JSON; a dozen of long affinity terms, and no way to fill etcd
FREE_FORM_LEVELS_MAX = 12  # the deepest path of Kubernetes' own affinity has nine


class _FreeForm(NamedTuple):
    """Marks a mapping whose fields are not ours."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_checked)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


FreeForm = Annotated[Mapping[str, Any], _FreeForm()]
"""A mapping of JSON values. Must not be changed by those who read it."""


def _checked(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise mistake("must be a mapping of fields")
    if not _is_json(value, FREE_FORM_LEVELS_MAX):
        raise mistake(f"must hold text, numbers, true, false, lists and mappings, at most {FREE_FORM_LEVELS_MAX} deep")
    if len(json.dumps(value, default=dict)) > FREE_FORM_BYTES_MAX:
        raise mistake(f"must have at most {FREE_FORM_BYTES_MAX} bytes")
    return value


def _is_json(value: object, levels: int) -> bool:
    """A value that contains itself runs out of levels."""
    if isinstance(value, str | int | float):
        return True
    if levels == 0:
        return False
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_json(entry, levels - 1) for key, entry in value.items())
    return isinstance(value, list) and all(_is_json(entry, levels - 1) for entry in value)
