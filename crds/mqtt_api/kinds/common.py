"""What all kinds share: names, references to other objects, and metadata.

Knows how each is written in YAML; does not know which kind uses it.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mqtt_api import keys
from mqtt_api.kinds.markers import Entries, Text
from mqtt_api.kinds.shape import Observed, Rule, Shape

LABEL_CHARACTERS_MAX = 63  # RFC 1123 label
KEY_CHARACTERS_MAX = 253  # a key of a Secret or ConfigMap

ObjectName = Annotated[
    str,
    Text(
        "must be lower-case letters, digits, '-' and '.', with a letter or digit at both ends",
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]
LabelName = Annotated[
    str,
    Text(
        "must be lower-case letters, digits and '-', with a letter or digit at both ends",
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        characters_max=LABEL_CHARACTERS_MAX,
    ),
]
DataKey = Annotated[
    str,
    Text(
        "must be letters, digits, '-', '_' and '.'",
        pattern=r"^[-._a-zA-Z0-9]+$",
        characters_max=KEY_CHARACTERS_MAX,
    ),
]
LabelValue = Annotated[
    str,
    Text(
        "must be letters, digits, '-', '_' and '.', with a letter or digit at both ends",
        pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
        characters_max=LABEL_CHARACTERS_MAX,
        characters_min=0,
    ),
]
LABEL_KEY_PATTERN = (
    r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"  # prefix/name
)
ATTRIBUTE_KEY = r"[-A-Za-z0-9_.]{1,63}"
"""The KEY of an attribute and of ${attr.KEY}, without anchors."""

PLAIN_TEXT_PATTERN = r"^[^\x00-\x1F\x7F]+$"
"""Any characters but control characters, which would break lines of logs apart."""

Labels = Annotated[
    Mapping[str, LabelValue], Entries(64, "must have keys in the form of Kubernetes labels", LABEL_KEY_PATTERN)
]


class DataKind(StrEnum):
    SECRET = "Secret"  # noqa: S105 - the name of a kind
    CONFIG_MAP = "ConfigMap"


class DeletionPolicy(StrEnum):
    RETAIN = "Retain"
    DELETE = "Delete"


class SecretRef(Shape):
    """A Secret as a whole, in the namespace of the object that names it."""

    name: ObjectName = Field(description="Name of the Secret, in the same namespace.")


class DataRef(Shape):
    """One entry of a Secret or ConfigMap, in the namespace of the object that names it."""

    kind: DataKind = Field(description="Where the entry is kept: Secret or ConfigMap.")
    name: ObjectName = Field(description="Name of that Secret or ConfigMap, in the same namespace.")
    key: DataKey = Field(description="Which entry of its data, such as ca.crt.")


class BrokerRef(Shape):
    """The MQTTBroker an object belongs to."""

    name: ObjectName = Field(description="Name of the MQTTBroker.")
    namespace: LabelName | None = Field(
        default=None, description="Namespace of the MQTTBroker. Absent: the namespace of this object."
    )


IMMUTABLE_BROKER_REF = Rule(
    cel="self.brokerRef == oldSelf.brokerRef",
    message="cannot move to another broker: delete this object and create it anew",
    field="brokerRef",
)


class ObjectMeta(Observed):
    """The part of Kubernetes metadata that means something here; the rest passes unread."""

    name: ObjectName
    namespace: LabelName = "default"
    labels: Labels = Field(default={})
    annotations: Mapping[str, str] = Field(default={})
    uid: str | None = None
    generation: int | None = None


class Resource(Shape):
    """What all three kinds have around their spec."""

    api_version: Annotated[str, Text(f"must be {keys.API_VERSION}", pattern=f"^{re.escape(keys.API_VERSION)}$")]
    metadata: ObjectMeta

    @property
    def reference(self) -> str:
        """namespace/name: how people and rules cite the object."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
