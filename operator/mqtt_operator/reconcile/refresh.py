"""Makes kubelets bring new content of Secrets and ConfigMaps to running pods at once, instead of within two minutes.

Knows that a kubelet looks at a pod's volumes whenever the pod changes; does not know what the content is. The mark is
made of versions, never of content.
"""

import hashlib
from collections.abc import Iterable

from mqtt_operator.desired.kinds import POD
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.names import CERTIFICATES_ANNOTATION
from mqtt_operator.kube.port import Kube
from mqtt_operator.reconcile.seen import DataObject

MARK_BYTES = 8


def mark_of(mounted: Iterable[DataObject]) -> str:
    """Another one whenever any of these objects is."""
    versions = sorted(f"{each.key} {each.uid} {each.resource_version}" for each in mounted)
    return hashlib.blake2b("\n".join(versions).encode(), digest_size=MARK_BYTES).hexdigest()


async def refresh(kube: Kube, pods: Iterable[Manifest], mark: str) -> int:
    """Mark the pods that are not marked so, but for those on their way out; how many these were. Raises KubeError."""
    done = 0
    for pod in pods:
        metadata = pod["metadata"]
        is_marked = metadata.get("annotations", {}).get(CERTIFICATES_ANNOTATION) == mark
        if is_marked or "deletionTimestamp" in metadata:
            continue
        body = {"metadata": {"uid": metadata["uid"], "annotations": {CERTIFICATES_ANNOTATION: mark}}}
        await kube.patch(POD, metadata["namespace"], metadata["name"], body)
        done += 1
    return done
