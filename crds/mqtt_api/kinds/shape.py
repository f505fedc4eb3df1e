"""The base of every shape in the custom resources, and the rules that span several of its fields.

Knows how YAML names map to Python names, how a rule is written once for both Python and the API server, and how all
mistakes of an object are gathered in one go; does not know any particular kind.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

# Kubernetes writes these in capitals wherever they are not the first word of a name.
_CAPITALS = {
    "ca": "CA",
    "cidrs": "CIDRs",
    "cpu": "CPU",
    "dns": "DNS",
    "ip": "IP",
    "id": "ID",
    "ids": "IDs",
    "qos": "QoS",
    "uri": "URI",
}

MISTAKE = "mistake"
"""The type of every error of our own: its message is already a sentence for people."""


def yaml_name(python_name: str) -> str:
    """`client_ca_refs` -> `clientCARefs`."""
    first, *rest = python_name.split("_")
    return first + "".join(_CAPITALS.get(word, word.capitalize()) for word in rest)


class Rule(NamedTuple):
    """A rule across fields, written twice: as CEL for the API server and as Python for everybody else.

    `holds` gets the model and is asked only if the fields it reads are right by themselves. A rule about how an object
    may change has no `holds`: only the API server sees both versions. `field` (a YAML name) is where the mistake is
    shown.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None = None
    field: str | None = None

    def as_schema(self) -> dict[str, str]:
        """The rule as an entry of `x-kubernetes-validations`."""
        entry = {"rule": self.cel, "message": self.message}
        return entry if self.field is None else {**entry, "fieldPath": f".{self.field}"}


class Shape(BaseModel):
    """A part of a custom resource: frozen, camelCase outside, snake_case inside, no unknown fields."""

    model_config = ConfigDict(
        alias_generator=yaml_name, validate_by_alias=True, validate_by_name=True, extra="forbid", frozen=True
    )

    invariants: ClassVar[tuple[Rule, ...]] = ()

    def given(self, *fields: str) -> bool:
        """True if one of these fields (Python names) was written down rather than defaulted."""
        return not self.model_fields_set.isdisjoint(fields)

    @model_validator(mode="wrap")
    @classmethod
    def _gather_every_mistake(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        # A validator of pydantic stops at the first broken rule, and asks none if a field is wrong; a person who mends
        # a file wants the whole list at once.
        try:
            shape = handler(data)
        except ValidationError as error:
            found = error.errors(include_url=False)
            mistakes = [_in_our_words(cls, details) for details in found]
            if cls.invariants and isinstance(data, Mapping):
                wrong = {str(details["loc"][0]) for details in found if details["loc"]}
                mistakes += _broken_rules(cls, _sound_part(cls, data, wrong))
            raise ValidationError.from_exception_data(cls.__name__, mistakes) from None
        if mistakes := list(_broken_rules(cls, shape)):
            raise ValidationError.from_exception_data(cls.__name__, mistakes)
        return shape

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        if cls.invariants:
            schema["x-kubernetes-validations"] = [rule.as_schema() for rule in cls.invariants]
        return schema


class Observed(Shape):
    """A part that others write too, or that a later version may have written: unknown fields are let through."""

    model_config = ConfigDict(extra="ignore")


def _broken_rules(cls: type[Shape], shape: Shape) -> Iterable[InitErrorDetails]:
    for rule in cls.invariants:
        if not _holds(rule, shape):
            location = () if rule.field is None else (rule.field,)
            yield InitErrorDetails(type=PydanticCustomError(MISTAKE, rule.message), loc=location, input=None)


def _holds(rule: Rule, shape: Shape) -> bool:
    if rule.holds is None:
        return True
    try:
        return rule.holds(shape)
    except AttributeError:
        # Only a partial shape lacks a field: that field has a mistake of its own, which is shown already.
        if _is_partial(shape):
            return True
        raise


def _is_partial(shape: Shape) -> bool:
    return any(name not in shape.__dict__ for name in type(shape).model_fields)


def _sound_part(cls: type[Shape], data: Mapping[Any, Any], wrong: set[str]) -> Shape:
    """The shape made of the fields that are right; the others are absent, so that reading one raises AttributeError."""
    sound: dict[str, Any] = {}
    absent: list[str] = []
    for name, field in cls.model_fields.items():
        key = field.alias if field.alias in data else name
        if not wrong.isdisjoint((name, field.alias)):
            absent.append(name)
        elif key in data:
            sound[name] = TypeAdapter(field.rebuild_annotation()).validate_python(data[key])
    partial = cls.model_construct(_fields_set={*sound, *absent}, **sound)
    for name in absent:
        partial.__dict__.pop(name, None)
    return partial


def _in_our_words(cls: type[Shape], details: Any) -> InitErrorDetails:
    location = details["loc"]
    if details["type"] == "extra_forbidden" and len(location) == 1:
        message = _unknown_field(cls, str(location[0]))
        return InitErrorDetails(type=PydanticCustomError(MISTAKE, message), loc=location, input=None)
    if details["type"] == MISTAKE:
        custom = PydanticCustomError(MISTAKE, details["msg"])
        return InitErrorDetails(type=custom, loc=location, input=None)
    error = InitErrorDetails(type=details["type"], loc=location, input=details["input"])
    if "ctx" in details:
        error["ctx"] = details["ctx"]
    return error


def _unknown_field(cls: type[Shape], name: str) -> str:
    known = sorted(field.alias or name for name, field in cls.model_fields.items())
    similar = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {similar[0]}?" if similar else "known here: " + ", ".join(known)
    return f"is not a known field; {hint}"
