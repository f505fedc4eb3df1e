"""From the objects of a StatefulSet, as the API server gives them, to a snapshot for the plan.

Knows where Kubernetes writes what, and how long a node may take; does not know how the objects were read. Pure: the
time comes in.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from mqtt_api.node_facts import NodeFacts
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.rollout.snapshot import Health, NodePod

READY_WITHIN = timedelta(minutes=5)  # a node with a full store of its own reads it first
SCHEDULED_WITHIN = timedelta(minutes=2)  # an autoscaler adds machines in that time
ENDED_AFTER_GRACE = timedelta(minutes=1)  # beyond the grace period a kubelet needs seconds, unless it is gone

LAST_WORDS_CHARACTERS_MAX = 400

REVISION_LABEL = "controller-revision-hash"

# Why a container does not start, as kubelets say it, and what that means to people.
_WAITING = {
    "CrashLoopBackOff": "ends again and again; its log says why",
    "CreateContainerConfigError": "misses a Secret or ConfigMap; its events say which",
    "CreateContainerError": "cannot be started; its events say why",
    "RunContainerError": "cannot be run; its events say why",
}
# The same, where the image is to blame, whose name is put in.
_WAITING_FOR_IMAGE = {
    "ErrImageNeverPull": "has no image {}, and none may be pulled",
    "ErrImagePull": "cannot get its image {}",
    "ImageInspectError": "cannot look at its image {}",
    "ImagePullBackOff": "cannot get its image {}",
    "InvalidImageName": "has an image of an impossible name, {},",
}


def replicas_of(stateful_set: Manifest) -> int:
    """How many pods it is told to have; Kubernetes' own default where that is not said."""
    return int(stateful_set["spec"].get("replicas", 1))


def revision_of(stateful_set: Manifest) -> str | None:
    """The revision of new pods; None while the controller has not looked at the newest template."""
    status = stateful_set.get("status", {})
    if status.get("observedGeneration", 0) < stateful_set["metadata"].get("generation", 0):
        return None
    revision: str | None = status.get("updateRevision")
    return revision


def read_pods(
    pods: Iterable[Manifest], stateful_set: Manifest, now: datetime, facts: Mapping[str, NodeFacts] | None
) -> tuple[NodePod, ...]:
    """The pods that this StatefulSet owns, by number. See `read_pod`."""
    uid = stateful_set["metadata"]["uid"]
    own = (pod for pod in pods if any(owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences", ())))
    return tuple(sorted((read_pod(pod, now, facts) for pod in own), key=lambda pod: pod.ordinal))


def read_pod(pod: Manifest, now: datetime, facts: Mapping[str, NodeFacts] | None) -> NodePod:
    """`facts`: what nodes say of themselves, by pod; None: nobody could be asked, so that the kubelet's word counts."""
    metadata = pod["metadata"]
    name: str = metadata["name"]
    health, problem = _health(pod, now)
    if health is Health.READY and facts is not None:
        health, problem = _health_told(facts.get(name))
    ends_at = metadata.get("deletionTimestamp")
    return NodePod(
        name=name,
        uid=metadata["uid"],
        ordinal=int(name.rpartition("-")[2]),
        revision=metadata.get("labels", {}).get(REVISION_LABEL, ""),
        health=health,
        problem=problem,
        is_leaving=ends_at is not None,
        is_overdue=ends_at is not None and now > read_time(ends_at) + ENDED_AFTER_GRACE,
    )


def read_time(text: str) -> datetime:
    """A time as Kubernetes writes it."""
    return datetime.fromisoformat(text)


def _health(pod: Manifest, now: datetime) -> tuple[Health, str]:
    """What the kubelet and the scheduler say."""
    conditions = {condition["type"]: condition for condition in pod.get("status", {}).get("conditions", ())}
    ready = conditions.get("Ready", {})
    if ready.get("status") == "True":
        return Health.READY, ""
    if problem := _waiting_problem(pod):
        return Health.FAILING, problem
    created = pod["metadata"]["creationTimestamp"]
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("reason") == "Unschedulable":
        is_late = now > _since(scheduled, created) + SCHEDULED_WITHIN
        return Health.FAILING if is_late else Health.STARTING, "finds no machine with room for it"
    if now > _since(ready, created) + READY_WITHIN:
        return Health.FAILING, f"is not ready for {READY_WITHIN.seconds // 60} minutes; its log says why"
    return Health.STARTING, ""


def _health_told(facts: NodeFacts | None) -> tuple[Health, str]:
    """What the node itself says, where the kubelet calls it ready: probes come seconds later."""
    if facts is None:
        return Health.STARTING, "has no lease in the store yet"
    if facts.is_draining:
        return Health.STARTING, "sends its clients away"
    return (Health.READY, "") if facts.ready else (Health.STARTING, "does not take clients yet")


def _waiting_problem(pod: Manifest) -> str:
    status = pod.get("status", {})
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        reason = container.get("state", {}).get("waiting", {}).get("reason", "")
        if reason in _WAITING_FOR_IMAGE:
            problem = _WAITING_FOR_IMAGE[reason].format(_image_of(pod, container))
            return f"{problem} ({reason}): correct spec.image, or set it back"
        if reason in _WAITING:
            last_words = _last_words(container.get("lastState", {}).get("terminated", {}).get("message", ""))
            return f"{_WAITING[reason]} ({reason}){f': {last_words}' if last_words else ''}"
    return ""


def _image_of(pod: Manifest, status: Mapping[str, Any]) -> str:
    """As it was asked for: kubelets may tell another name of it."""
    spec = pod.get("spec", {})
    asked = (*spec.get("initContainers", ()), *spec.get("containers", ()))
    told = str(status.get("image", ""))
    return next((str(each["image"]) for each in asked if each["name"] == status.get("name")), told)


def _last_words(log: str) -> str:
    """What a node wrote last before it ended, as far as its kubelet kept it: one of our log lines, or any text."""
    line = next((line for line in reversed(log.splitlines()) if line.strip()), "")
    try:
        text = str(json.loads(line)["message"])
    except (ValueError, TypeError, KeyError):
        text = line
    printable = "".join(character for character in text if character.isprintable())
    return printable[:LAST_WORDS_CHARACTERS_MAX].rstrip(". ")


def _since(condition: Mapping[str, Any], created: str) -> datetime:
    return read_time(condition.get("lastTransitionTime") or created)
