"""The words users see under `status.conditions`, and the status every new object starts with.

Knows the vocabulary and its shape; does not know when a condition becomes true.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mqtt_api.kinds.markers import Items, Text
from mqtt_api.kinds.shape import Observed


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


READY = "Ready"
"""The condition to wait for: the object holds, everywhere. The same word on all three kinds."""

REASON_PENDING = "Pending"
"""Nobody has looked at this generation of the object yet."""

ConditionWord = Annotated[
    str,
    Text(
        "must start with a letter and hold letters, digits, '_', ',', ':', '.' and '-' only",
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:./-]*[A-Za-z0-9_])?$",
        characters_max=316,
    ),
]


class Condition(Observed):
    """One thing that holds, or does not, with the reason: the shape of metav1.Condition."""

    type: ConditionWord = Field(description="What this condition is about, such as Ready.")
    status: ConditionStatus = Field(description="Whether it holds: True, False, or Unknown while nobody can tell.")
    reason: ConditionWord = Field(description="One word for programs that says why the condition has this status.")
    message: Annotated[str, Text("must be text", characters_min=0, characters_max=32_768)] = Field(
        description="A sentence for people: what was seen and what to do next."
    )
    last_transition_time: Annotated[
        str, Text("must be a time such as 2026-01-31T12:00:00Z", characters_max=64, format="date-time")
    ] = Field(description="When the status last changed, in RFC 3339 form.")
    observed_generation: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        default=None, description="The metadata.generation this condition was decided for."
    )


Conditions = Annotated[tuple[Condition, ...], Items(count_max=32, key="type")]

# A new object is Pending before anybody has looked at it: tools that see no condition at all would call it ready.
# The API server fills this in as the schema's default, so the time cannot be the real one.
PENDING = Condition(
    type=READY,
    status=ConditionStatus.UNKNOWN,
    reason=REASON_PENDING,
    message="Waiting for the operator.",
    last_transition_time="1970-01-01T00:00:00Z",
)
