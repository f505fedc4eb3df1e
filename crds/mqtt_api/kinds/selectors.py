"""Selectors: objects by their labels.

Knows how they are written and which operators need values; does not know what is selected.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mqtt_api.kinds.common import LABEL_KEY_PATTERN, LabelValue
from mqtt_api.kinds.markers import Entries, Items, Text
from mqtt_api.kinds.shape import Rule, Shape

MATCH_LABELS_MAX = 16
MATCH_EXPRESSIONS_MAX = 16
EXPRESSION_VALUES_MAX = 32
LABEL_KEY_CHARACTERS_MAX = 317  # prefix, slash and name

LABEL_KEYS_MESSAGE = "must have keys in the form of Kubernetes labels"

LabelKey = Annotated[
    str,
    Text(
        "must have the form of a Kubernetes label: NAME or PREFIX/NAME",
        pattern=LABEL_KEY_PATTERN,
        characters_max=LABEL_KEY_CHARACTERS_MAX,
    ),
]


class SelectorOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class Selector(Shape):
    """Objects by at least one of their labels: it never means everything."""

    match_labels: Annotated[
        Mapping[str, LabelValue], Entries(MATCH_LABELS_MAX, LABEL_KEYS_MESSAGE, LABEL_KEY_PATTERN, count_min=1)
    ] = Field(description="Labels the object must have, all of them.")


class SelectorExpression(Shape):
    """One condition on a label."""

    key: LabelKey = Field(description="The label.")
    operator: SelectorOperator = Field(
        description="In and NotIn compare with values; Exists and DoesNotExist ask for the label alone."
    )
    values: Annotated[tuple[LabelValue, ...], Items(EXPRESSION_VALUES_MAX, unique=True)] = Field(
        default=(), description="Only for In and NotIn: the values."
    )

    invariants = (
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            message="goes with operator: In or NotIn, which need at least one",
            holds=lambda self: (
                (self.operator in (SelectorOperator.IN, SelectorOperator.NOT_IN)) == (len(self.values) > 0)
            ),
            field="values",
        ),
    )


class LabelSelector(Shape):
    """Objects by their labels, as Kubernetes selects: {} means all of them."""

    match_labels: Annotated[
        Mapping[str, LabelValue], Entries(MATCH_LABELS_MAX, LABEL_KEYS_MESSAGE, LABEL_KEY_PATTERN)
    ] = Field(default={}, description="Labels the object must have, all of them.")
    match_expressions: Annotated[tuple[SelectorExpression, ...], Items(MATCH_EXPRESSIONS_MAX)] = Field(
        default=(), description="Conditions that must hold as well, all of them."
    )
