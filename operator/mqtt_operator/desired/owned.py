"""What every object made for a broker has around its content: kind, name, namespace, labels, owner.

Knows metadata; does not know any kind of object.
"""

import base64
from collections.abc import Mapping
from typing import Any

from mqtt_api.kinds.shape import Shape
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.kinds import SECRET, Kind
from mqtt_operator.desired.labels import Component, labels, owner_reference
from mqtt_operator.desired.manifest import Manifest


def owned(
    broker: MQTTBroker,
    inputs: Inputs,
    kind: Kind,
    name: str,
    *,
    component: Component = Component.BROKER,
    annotations: Mapping[str, str] | None = None,
    more_labels: Mapping[str, str] | None = None,
    **content: Any,
) -> Manifest:
    """The object, which ends with its broker. `content` are its fields beside metadata. No label replaces ours."""
    metadata: Manifest = {
        "name": name,
        "namespace": broker.metadata.namespace,
        "labels": {**(more_labels or {}), **labels(broker.metadata.name, component, inputs.version)},
        "ownerReferences": [owner_reference(broker)],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **content}


def owned_secret(
    broker: MQTTBroker,
    inputs: Inputs,
    name: str,
    content: Mapping[str, bytes],
    *,
    component: Component = Component.BROKER,
) -> Manifest:
    """A Secret with these entries."""
    return owned(broker, inputs, SECRET, name, component=component, type="Opaque", data=encoded(content))


def encoded(content: Mapping[str, bytes]) -> dict[str, str]:
    """The entries of a Secret, as the API wants them."""
    return {key: base64.b64encode(value).decode("ascii") for key, value in content.items()}


def as_written(shape: Shape) -> Manifest:
    """The part of a custom resource as a part of a Kubernetes object: only what somebody wrote."""
    return shape.model_dump(mode="json", by_alias=True, exclude_unset=True)
