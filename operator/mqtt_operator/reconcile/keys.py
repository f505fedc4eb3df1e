"""How objects are named in the operator's memory: values that are equal when they mean the same object.

Knows namespaces and names only.
"""

from typing import NamedTuple

from mqtt_api.kinds.common import DataKind


class BrokerKey(NamedTuple):
    """Which MQTTBroker; there may be none of this name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ObjectKey(NamedTuple):
    """Which MQTTClient, or which TopicPermission."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class DataKey(NamedTuple):
    """Which Secret or ConfigMap."""

    kind: DataKind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"
