"""Short ways to write down a moment of a broker's nodes."""

from typing import Any

from mqtt_operator.rollout.snapshot import Health, NodePod, Snapshot

OLD, NEW = "rev-1", "rev-2"


def pod(number: int, revision: str = NEW, health: Health = Health.READY, **facts: Any) -> NodePod:
    """plant-NUMBER, ready and of the revision in force unless it is said otherwise."""
    return NodePod(
        name=f"plant-{number}", uid=f"uid-{number}", ordinal=number, revision=revision, health=health, **facts
    )


def moment(*pods: NodePod, wanted: int | None = None, replicas: int | None = None, **facts: Any) -> Snapshot:
    """As many pods as are wanted, and a store that answers, unless it is said otherwise."""
    count = len(pods) if replicas is None else replicas
    told: dict[str, Any] = {"revision": NEW, "store_answers": True, **facts}
    return Snapshot(wanted=count if wanted is None else wanted, replicas=count, pods=pods, **told)
