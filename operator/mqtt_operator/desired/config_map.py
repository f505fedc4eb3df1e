"""The settings of the nodes, as a ConfigMap: one entry for each sort of pod that there is.

Knows the entries; does not know volumes, or which pods there are. A pod reads the entry that is named after its config
hash. Those of older pods stay as they are until the last one is gone: a listener whose files an old pod does not have,
or a word that an older release does not know, must not reach it.
"""

from collections.abc import Iterable

import msgspec

from mqtt_api.node_settings import NodeSettings
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.kinds import CONFIG_MAP
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import owned


def settings_config_map(broker: MQTTBroker, inputs: Inputs, settings: NodeSettings, config_hash: str) -> Manifest:
    """With `settings` for the pods of this hash, and whatever older pods still read."""
    document = msgspec.json.format(msgspec.json.encode(settings)).decode()
    data = {**inputs.settings_in_force, settings_key(config_hash): document}
    return owned(broker, inputs, CONFIG_MAP, names.settings_config_map(broker.metadata.name), data=data)


def settings_key(config_hash: str) -> str:
    """The entry for pods of this hash."""
    return f"settings-{config_hash}.json"


def in_force(config_map: Manifest | None, hashes: Iterable[str]) -> dict[str, str]:
    """The entries of the ConfigMap as it is that pods of these hashes read: for `Inputs.settings_in_force`."""
    data = {} if config_map is None else config_map.get("data") or {}
    keys = sorted({settings_key(each) for each in hashes})
    return {key: data[key] for key in keys if key in data}
