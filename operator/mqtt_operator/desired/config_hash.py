"""One word for everything that a running pod cannot change: pods whose word is another one must be replaced.

Knows what counts; does not know who replaces pods. Certificates, CAs, passwords, policies and limits do not count:
nodes take those while they run.
"""

from hashlib import sha256
from typing import Any

import msgspec

from mqtt_api.node_settings import NodeSettings
from mqtt_operator.desired.labels import VERSION_LABEL
from mqtt_operator.desired.manifest import Manifest

HASH_CHARACTERS = 16

# What a node reads when it starts, and only then. Its listeners are not among them: their ports and files are in the
# pod, and the rest of them it changes while it runs.
FIXED_SETTINGS = ("broker", "world", "store", "store_bytes_max", "policy_file", "admin_socket", "http", "log_format")


def config_hash(template: Manifest, settings: NodeSettings) -> str:
    """`template`: of the pods, without anything that has the hash in it. Equal words: nothing needs to restart."""
    fixed = {name: getattr(settings, name) for name in FIXED_SETTINGS}
    content = msgspec.json.encode([_lasting(template), fixed], order="deterministic")
    return sha256(content).hexdigest()[:HASH_CHARACTERS]


def _lasting(template: Manifest) -> Manifest:
    """Without the label that only says what the image is called, and the grace period, which the next pod will have."""
    metadata: dict[str, Any] = template["metadata"]
    labels = {key: value for key, value in metadata["labels"].items() if key != VERSION_LABEL}
    spec = {key: value for key, value in template["spec"].items() if key != "terminationGracePeriodSeconds"}
    return {"metadata": {**metadata, "labels": labels}, "spec": spec}
