"""Secrets that cert-manager writes get an owner: keys go with the broker whose listener they are for, or the client.

Knows which Secrets those are; their content is cert-manager's. It owns none of them by itself, and nobody is sure to be
there to remove them after the broker or the client.
"""

from mqtt_api.kinds.common import Resource
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
            metadata = secret["metadata"]
            await _own(kube, ownership(broker, metadata["namespace"], metadata["name"], metadata["uid"]))
            did.append(f"Secret {metadata['name']} goes with the broker from now on.")
    return did


async def own_issued_secret(kube: Kube, wanted: Manifest) -> None:
    """`wanted` is an `ownership`. A Secret of the people's own is never touched. Raises KubeError."""
    metadata = wanted["metadata"]
    found = await kube.get(SECRET, metadata["namespace"], metadata["name"])
    if found is not None and found["metadata"]["uid"] == metadata["uid"] and _is_issued(found):
        await _own(kube, wanted)


def ownership(owner: Resource, namespace: str, name: str, uid: str) -> Manifest:
    """Of this very Secret, and nothing else of it."""
    metadata = {"name": name, "namespace": namespace, "uid": uid, "ownerReferences": [part_owner_reference(owner)]}
    return {"apiVersion": SECRET.api_version, "kind": SECRET.kind, "metadata": metadata}


async def _own(kube: Kube, wanted: Manifest) -> None:
    await kube.apply(wanted, manager=names.OWNER_FIELD_MANAGER)


def _is_issued(secret: Manifest) -> bool:
    metadata = secret["metadata"]
    return bool(metadata.get("annotations", {}).get(ISSUED_FOR_ANNOTATION) == metadata["name"])


def _is_owned(secret: Manifest, broker: MQTTBroker) -> bool:
    return broker.metadata.uid in [owner["uid"] for owner in secret["metadata"].get("ownerReferences", ())]
