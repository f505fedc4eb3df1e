"""Volumes that should be larger: the claims are grown, and the StatefulSet makes way for one with the new size.

Knows that a StatefulSet's claim templates cannot change, and that its pods outlive it if they are told to; does not
know how large a volume should be.
"""

from mqtt_operator.desired.kinds import PERSISTENT_VOLUME_CLAIM, STATEFUL_SET
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import Kube, Propagation


async def make_way(kube: Kube, wanted: Manifest, now: Manifest | None) -> str:
    """Grow the claims of this StatefulSet and delete it, if `wanted` asks for larger volumes; its pods stay.

    Returns what was done, "" = nothing. The StatefulSet is gone a moment later, and can be applied then. Raises
    KubeError, also where the StorageClass lets nothing grow: nothing is deleted then.
    """
    if now is None or "deletionTimestamp" in now["metadata"]:
        return "" if now is None else "The StatefulSet is about to be made again."
    sizes, sizes_now = _sizes(wanted), _sizes(now)
    if sizes == sizes_now or not sizes:
        return ""
    metadata = now["metadata"]
    for number in range(now["spec"].get("replicas", 1)):
        for claim, size in sizes.items():
            body = {"spec": {"resources": {"requests": {"storage": size}}}}
            name = f"{claim}-{metadata['name']}-{number}"
            await kube.patch(PERSISTENT_VOLUME_CLAIM, metadata["namespace"], name, body)
    await kube.delete(
        STATEFUL_SET, metadata["namespace"], metadata["name"], uid=metadata["uid"], propagation=Propagation.ORPHAN
    )
    return f"Growing the volumes of {metadata['name']} to {', '.join(sizes.values())}."


def _sizes(stateful_set: Manifest) -> dict[str, str]:
    templates = stateful_set["spec"].get("volumeClaimTemplates", ())
    return {each["metadata"]["name"]: each["spec"]["resources"]["requests"]["storage"] for each in templates}
