"""Secrets that cert-manager writes for listeners of a broker get that broker as an owner: keys go when it goes.

Knows which Secrets those are; their content is cert-manager's. It owns none of them by itself, and nobody is sure to be
there to remove them after the broker.
"""

from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.kinds import SECRET
from mqtt_operator.desired.labels import part_owner_reference
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.objects import ISSUED_FOR_ANNOTATION
from mqtt_operator.kube.port import Kube
from mqtt_operator.reconcile.observe import Found


async def own_issued_secrets(kube: Kube, broker: MQTTBroker, found: Found) -> list[str]:
    """A sentence for each that was changed. A Secret of the people's own is never touched. Raises KubeError."""
    did = []
    for listener in broker.spec.listeners:
        if listener.tls is None or listener.tls.issuer_ref is None:
            continue
        secret = found.child(SECRET, names.tls(broker.metadata.name, listener.name))
        if secret is not None and _is_issued(secret) and not _is_owned(secret, broker):
            await kube.apply(_owner_of(secret, broker), manager=names.OWNER_FIELD_MANAGER)
            did.append(f"Secret {secret['metadata']['name']} goes with the broker from now on.")
    return did


def _is_issued(secret: Manifest) -> bool:
    metadata = secret["metadata"]
    return bool(metadata.get("annotations", {}).get(ISSUED_FOR_ANNOTATION) == metadata["name"])


def _is_owned(secret: Manifest, broker: MQTTBroker) -> bool:
    return broker.metadata.uid in [owner["uid"] for owner in secret["metadata"].get("ownerReferences", ())]


def _owner_of(secret: Manifest, broker: MQTTBroker) -> Manifest:
    """Of this very Secret, and nothing else of it."""
    known = {field: secret["metadata"][field] for field in ("name", "namespace", "uid")}
    metadata = {**known, "ownerReferences": [part_owner_reference(broker)]}
    return {"apiVersion": SECRET.api_version, "kind": SECRET.kind, "metadata": metadata}
