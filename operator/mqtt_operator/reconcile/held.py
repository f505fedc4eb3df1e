"""Keeps nodes as they are while their upgrade is held back, whatever the operator's own release would make of them now.

Knows a word for what people want of a broker; does not know why an upgrade is held. Pure. Without it a new release of
the operator, which builds pods a little differently, would replace the nodes that `upgradePolicy: Manual` keeps.
"""

import hashlib

from mqtt_api import keys
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import kinds, names
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.reconcile.observe import name_of

SPEC_ANNOTATION = f"{keys.GROUP}/spec"
"""On the StatefulSet of the nodes: what it was made of."""
WORD_BYTES = 8


def spec_word(broker: MQTTBroker) -> str:
    """Another one whenever people want something else of the nodes, but for how many there are."""
    spec = broker.spec.model_dump_json(by_alias=True, exclude_unset=True, exclude={"replicas", "autoscaling"})
    restart = broker.metadata.annotations.get(names.RESTARTED_AT_ANNOTATION, "")
    return hashlib.blake2b(f"{restart}\n{spec}".encode(), digest_size=WORD_BYTES).hexdigest()


def marked(manifest: Manifest, broker: MQTTBroker) -> Manifest:
    """The object, with the word on it if it is the StatefulSet of the nodes."""
    if not is_stateful_set(manifest, broker):
        return manifest
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), SPEC_ANNOTATION: spec_word(broker)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def stays(manifest: Manifest, broker: MQTTBroker, stateful_set: Manifest | None) -> bool:
    """Whether this object is left as it is while an upgrade is held: people want nothing else than they did."""
    if stateful_set is None or not (is_stateful_set(manifest, broker) or _is_settings(manifest, broker)):
        return False
    word = stateful_set["metadata"].get("annotations", {}).get(SPEC_ANNOTATION)
    return word is not None and str(word) == spec_word(broker)


def is_stateful_set(manifest: Manifest, broker: MQTTBroker) -> bool:
    """That of the nodes."""
    name = names.stateful_set(broker.metadata.name)
    return name_of(manifest) == (kinds.STATEFUL_SET.kind, name)


def _is_settings(manifest: Manifest, broker: MQTTBroker) -> bool:
    name = names.settings_config_map(broker.metadata.name)
    return name_of(manifest) == (kinds.CONFIG_MAP.kind, name)
