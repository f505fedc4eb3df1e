"""Amounts of bytes and lengths of time: as Kubernetes and Go write them, and in base units.

Knows how they are written, what they mean, and their schema; does not know which field uses them.
"""

import math
import re
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from mqtt_api.kinds.markers import mistake

_BYTE_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_UNITS = {"m": Decimal("0.001"), "P": Decimal(10**15), "Pi": Decimal(2**50)} | {
    unit: Decimal(amount) for unit, amount in _BYTE_UNITS.items()
}
_SECONDS = {"h": 3_600, "m": 60, "s": 1}
_CHARS_MAX = 32


class _Written(str):
    """A text of one form, kept as it was written. Each kind says which form, and what people are told of another."""

    __slots__ = ()

    pattern: ClassVar[str]
    must_be: ClassVar[str]

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises a mistake for anything that is not of this form."""
        if not isinstance(value, str) or re.fullmatch(cls.pattern, value) is None:
            raise mistake(cls.must_be)
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse, serialization=core_schema.to_string_ser_schema())


class _IntOrText(_Written):
    """The same, where a plain whole number stands for its text, as in Kubernetes quantities."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return super().parse(str(value) if is_whole else value)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "pattern": cls.pattern,
            "maxLength": _CHARS_MAX,
        }


class Bytes(_IntOrText):
    """An amount of bytes as a Kubernetes quantity: `1Mi`, `1.5Gi`, `500k`, `4096`."""

    __slots__ = ()

    pattern = r"^[0-9]{1,15}(\.[0-9]{1,3})?(k|M|G|T|Ki|Mi|Gi|Ti)?$"
    must_be = "must be an amount of bytes such as 1Mi, 256Ki or 4096"

    @property
    def bytes(self) -> int:
        """The amount; parts of a byte are rounded up, as Kubernetes does."""
        number = self.rstrip("kKMGTi")
        return math.ceil(Decimal(number) * _BYTE_UNITS[self[len(number) :]])


class Quantity(_IntOrText):
    """An amount of anything as a Kubernetes quantity: `500m` of a processor, `1Gi`, `2`."""

    __slots__ = ()

    pattern = r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
    must_be = "must be an amount such as 500m, 2 or 1Gi"

    @property
    def amount(self) -> Decimal:
        number = self.rstrip("mkKMGTPi")
        return Decimal(number) * _UNITS[self[len(number) :]]


class Duration(_Written):
    """A length of time in whole seconds as a Go duration: `90s`, `1h30m`, `2160h`."""

    __slots__ = ()

    pattern = r"^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?$"
    must_be = "must be a length of time such as 90s, 1h30m or 24h"

    @property
    def seconds(self) -> int:
        return sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)([hms])", self))

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises a mistake for no text at all too, though every part of it may be missing."""
        return super().parse(value or None)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "minLength": 2, "maxLength": _CHARS_MAX, "pattern": cls.pattern}


class BytesBetween(NamedTuple):
    """Marks an amount of bytes with its bounds, both allowed."""

    low: str
    high: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        low, high = (f"quantity(string(self)).compareTo(quantity('{bound}'))" for bound in self)
        rule = f"{low} >= 0 && {high} <= 0"
        return {**handler(schema), "x-kubernetes-validations": [{"rule": rule, "message": self._message}]}

    @property
    def _message(self) -> str:
        return f"must be between {self.low} and {self.high}"

    def _checked(self, value: Bytes) -> Bytes:
        if not Bytes(self.low).bytes <= value.bytes <= Bytes(self.high).bytes:
            raise mistake(self._message)
        return value


class DurationBetween(NamedTuple):
    """Marks a length of time with its bounds, both allowed."""

    low: str
    high: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        rule = f"duration(self) >= duration('{self.low}') && duration(self) <= duration('{self.high}')"
        return {**handler(schema), "x-kubernetes-validations": [{"rule": rule, "message": self._message}]}

    @property
    def _message(self) -> str:
        return f"must be between {self.low} and {self.high}"

    def _checked(self, value: Duration) -> Duration:
        if not Duration(self.low).seconds <= value.seconds <= Duration(self.high).seconds:
            raise mistake(self._message)
        return value
