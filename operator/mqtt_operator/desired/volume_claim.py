"""The volume that a store keeps its data on.

Knows the claim, and what becomes of it when its broker is deleted; does not know which store writes there.
"""

from mqtt_api.kinds.session_store import STORAGE_DEFAULT, EmbeddedStore, ManagedStore
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.labels import Component, selector
from mqtt_operator.desired.manifest import Manifest


def volume_claim(broker: MQTTBroker, component: Component, store: EmbeddedStore | ManagedStore) -> Manifest:
    """The template of it. A StatefulSet refuses any change of its templates: whoever grows a volume makes a new one."""
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": str(store.storage or STORAGE_DEFAULT)}},
    }
    if store.storage_class_name is not None:
        spec["storageClassName"] = store.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": names.DATA_VOLUME, "labels": selector(broker.metadata.name, component)},
        "spec": spec,
    }


def retention(broker: MQTTBroker) -> Manifest:
    """The volume outlives its pods, and its broker unless that asks for the opposite."""
    return {"whenDeleted": broker.spec.deletion_policy.value, "whenScaled": "Retain"}
