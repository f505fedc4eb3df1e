"""The nodes.

Knows the StatefulSet; does not know when which pod is replaced. It makes all pods at once and replaces none by itself:
that is done one by one, by whoever knows whether the others can do without it.
"""

from mqtt_api.node_settings import NodeSettings
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.config_hash import config_hash
from mqtt_operator.desired.config_map import settings_key
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.kinds import STATEFUL_SET
from mqtt_operator.desired.labels import Component, selector
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import owned
from mqtt_operator.desired.pod import pod_template
from mqtt_operator.desired.volume_claim import retention, volume_claim
from mqtt_operator.desired.volumes import node_volumes

REVISIONS_KEPT_MAX = 3


def node_config_hash(broker: MQTTBroker, inputs: Inputs, settings: NodeSettings) -> str:
    """What the pods are marked with, and their entry of the settings ConfigMap is named after."""
    return config_hash(pod_template(broker, inputs, node_volumes(broker, settings_key("")), _restart(broker)), settings)


def stateful_set(broker: MQTTBroker, inputs: Inputs, word: str) -> Manifest:
    """`word`: the config hash. Pods that lack it are out of date."""
    name = broker.metadata.name
    marks = {**_restart(broker), names.CONFIG_HASH_ANNOTATION: word}
    spec: Manifest = {
        "replicas": broker.spec.replicas if inputs.replicas is None else inputs.replicas,
        "serviceName": names.headless_service(name),
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
        "revisionHistoryLimit": REVISIONS_KEPT_MAX,
        "selector": {"matchLabels": selector(name, Component.BROKER)},
        "template": pod_template(broker, inputs, node_volumes(broker, settings_key(word)), marks),
    }
    embedded = broker.spec.session_store.embedded
    if embedded is not None:
        spec["volumeClaimTemplates"] = [volume_claim(broker, Component.BROKER, embedded)]
        spec["persistentVolumeClaimRetentionPolicy"] = retention(broker)
    return owned(broker, inputs, STATEFUL_SET, names.stateful_set(name), spec=spec)


def _restart(broker: MQTTBroker) -> dict[str, str]:
    """A person asked for new pods, at that moment."""
    moment = broker.metadata.annotations.get(names.RESTARTED_AT_ANNOTATION)
    return {} if moment is None else {names.RESTARTED_AT_ANNOTATION: moment}
