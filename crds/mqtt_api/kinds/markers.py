"""How a field is bounded: text, lists and maps, each with its check in Python and its part of the schema in one place.

Knows bounds, patterns and the sentences about them; does not know what any field means.
"""

import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from mqtt_api.kinds.shape import MISTAKE

NAME_CHARACTERS_MAX = 253  # RFC 1123 subdomain, the longest name of a Kubernetes object


def mistake(message: str) -> PydanticCustomError:
    """The error a value raises about itself; `message` continues the field's name: "must be ..."."""
    return PydanticCustomError(MISTAKE, message)


class CEL(NamedTuple):
    """A rule of one value for the API server alone; Python has the same check under another form."""

    rule: str
    message: str


class Text(NamedTuple):
    """Marks a string with its bounds, pattern and the sentence shown when it does not fit.

    `pattern` is anchored and keeps to what Python's `re` and RE2 read alike. `check` is a check beyond the pattern that
    raises ValueError with a sentence; `cel` is its twin for the API server.
    """

    message: str
    pattern: str | None = None
    characters_max: int = NAME_CHARACTERS_MAX
    characters_min: int = 1
    format: str | None = None
    check: Callable[[str], object] | None = None
    cel: tuple[CEL, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, core_schema.str_schema(strict=True))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        facts: JsonSchemaValue = {"type": "string", "maxLength": self.characters_max}
        if self.characters_min:
            facts["minLength"] = self.characters_min
        if self.pattern is not None:
            facts["pattern"] = self.pattern
        if self.format is not None:
            facts["format"] = self.format
        if self.cel:
            facts["x-kubernetes-validations"] = [entry._asdict() for entry in self.cel]
        return facts

    def _checked(self, value: str) -> str:
        if len(value) < self.characters_min:
            raise mistake("must not be empty; leave the line out if there is nothing to say")
        if len(value) > self.characters_max:
            raise mistake(f"must have at most {self.characters_max} characters")
        if self.pattern is not None and re.fullmatch(self.pattern, value) is None:
            raise mistake(self.message)
        if self.check is not None:
            try:
                self.check(value)
            except ValueError as error:
                raise mistake(str(error)) from None
        return value


class Items(NamedTuple):
    """Marks a list with its bounds and how writers share it.

    `unique`: a set of plain values. `key`: a map by that field of its entries. The API server enforces both through the
    type of the list. Neither: one writer owns the whole list, in its order.
    """

    count_max: int
    count_min: int = 0
    unique: bool = False
    key: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        facts = handler(schema)
        facts["maxItems"] = self.count_max
        if self.count_min:
            facts["minItems"] = self.count_min
        facts["x-kubernetes-list-type"] = "set" if self.unique else "map" if self.key else "atomic"
        if self.key:
            facts["x-kubernetes-list-map-keys"] = [self.key]
        return facts

    def _checked(self, value: object, handler: core_schema.ValidatorFunctionWrapHandler) -> object:
        if not isinstance(value, list | tuple):
            raise mistake("must be a list")
        if len(value) < self.count_min:
            raise mistake(f"must have at least {self.count_min} {'entry' if self.count_min == 1 else 'entries'}")
        if len(value) > self.count_max:
            raise mistake(f"must have at most {self.count_max} entries")
        entries = handler(value)
        for entry in _repeated(entries, self.key) if self.unique or self.key else ():
            raise mistake(f"must not list {entry} twice")
        return entries


def _repeated(entries: tuple[Any, ...], key: str | None) -> list[Hashable]:
    identities = [entry if key is None else getattr(entry, key) for entry in entries]
    return [identity for place, identity in enumerate(identities) if identity in identities[:place]]


class Entries(NamedTuple):
    """Marks a map with its bounds, and the pattern of its keys with the sentence about it.

    `reserved`: what no key may begin with, because the operator writes those itself.
    """

    count_max: int
    key_message: str
    key_pattern: str
    count_min: int = 0
    reserved: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        facts = handler(schema)
        facts["maxProperties"] = self.count_max
        if self.count_min:
            facts["minProperties"] = self.count_min
        rules = [CEL(f"self.all(key, key.matches({cel_text(self.key_pattern)}))", self.key_message)]
        if self.reserved:
            free = " && ".join(f"!key.startsWith({cel_text(prefix)})" for prefix in self.reserved)
            rules.append(CEL(f"self.all(key, {free})", self._reserved_message))
        facts["x-kubernetes-validations"] = [rule._asdict() for rule in rules]
        return facts

    @property
    def _reserved_message(self) -> str:
        return f"must not have keys that begin with {' or '.join(self.reserved)}: the operator writes those"

    def _checked(self, value: object, handler: core_schema.ValidatorFunctionWrapHandler) -> object:
        if not isinstance(value, Mapping):
            raise mistake("must be a mapping of names to values")
        if len(value) < self.count_min:
            raise mistake(f"must have at least {self.count_min} {'entry' if self.count_min == 1 else 'entries'}")
        if len(value) > self.count_max:
            raise mistake(f"must have at most {self.count_max} entries")
        if not all(isinstance(key, str) and re.fullmatch(self.key_pattern, key) for key in value):
            raise mistake(self.key_message)
        if any(key.startswith(self.reserved) for key in value):
            raise mistake(self._reserved_message)
        return handler(value)


def cel_text(text: str) -> str:
    """`text` as a string literal of CEL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
