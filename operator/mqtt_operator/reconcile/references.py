"""Which Secrets and ConfigMaps an object names.

Knows the shapes of references; does not know whether what they name exists, or what it is for. Pure.
"""

from collections.abc import Iterator

from pydantic import BaseModel

from mqtt_api.kinds.common import DataKind, DataRef, SecretRef
from mqtt_api.kinds.mqttclient import PasswordSecretRef
from mqtt_api.kinds.session_store import RedisCredentialsRef
from mqtt_api.resources import MQTTBroker, MQTTClient, TopicPermission
from mqtt_operator.reconcile.keys import DataKey

SECRET_REFS = (SecretRef, PasswordSecretRef, RedisCredentialsRef)
"""The shapes that stand for a Secret in the namespace of the object."""

MADE_SECRET = "secret_name"  # noqa: S105 - the name of a field
"""The field, of whatever shape, that names a Secret which is made because the object says so."""


def references(resource: MQTTBroker | MQTTClient | TopicPermission) -> frozenset[DataKey]:
    """All of them, those that the operator makes itself because the object says so included."""
    namespace = resource.metadata.namespace
    return frozenset(
        DataKey(kind, namespace, name)
        for part in parts_of(resource.spec)
        if (found := _named(part))
        for kind, name in [found]
    )


def _named(part: BaseModel) -> tuple[DataKind, str] | None:
    if isinstance(part, DataRef):
        return part.kind, part.name
    name = part.name if isinstance(part, SECRET_REFS) else getattr(part, MADE_SECRET, None)
    return None if name is None else (DataKind.SECRET, name)


def parts_of(value: object) -> Iterator[BaseModel]:
    """The value and everything in it that has a shape."""
    if isinstance(value, BaseModel):
        yield value
        for field in value.__dict__.values():
            yield from parts_of(field)
    elif isinstance(value, tuple):
        for entry in value:
            yield from parts_of(entry)
