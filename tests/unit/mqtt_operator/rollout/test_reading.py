"""From pods as the API server gives them to what the plan looks at."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mqtt_api.node_facts import NodeFacts
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.rollout.reading import (
    ENDED_AFTER_GRACE,
    READY_WITHIN,
    SCHEDULED_WITHIN,
    read_pod,
    read_pods,
    replicas_of,
    revision_of,
)
from mqtt_operator.rollout.snapshot import Health

MADE = datetime(2026, 1, 1, tzinfo=UTC)
SOON, LATE = MADE + timedelta(seconds=10), MADE + timedelta(hours=1)
STATEFUL_SET: Manifest = {"metadata": {"name": "plant", "uid": "set-1", "generation": 3}, "spec": {"replicas": 2}}


def condition(kind: str, status: str, reason: str = "") -> Manifest:
    return {"type": kind, "status": status, "reason": reason, "lastTransitionTime": "2026-01-01T00:00:00Z"}


def pod(name: str = "plant-7", *, owner: str = "set-1", **parts: Any) -> Manifest:
    """`metadata` is merged, the rest are parts of the status."""
    metadata = {
        "name": name,
        "uid": f"uid-of-{name}",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"controller-revision-hash": "rev-1"},
        "ownerReferences": [{"uid": owner}],
        **parts.pop("metadata", {}),
    }
    spec = {
        "initContainers": [{"name": "first", "image": "tools:1"}],
        "containers": [{"name": "broker", "image": "b:2"}],
    }
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": parts}


def waiting(reason: str, where: str = "containerStatuses") -> Manifest:
    return {where: [{"name": "broker", "state": {"waiting": {"reason": reason}}}]}


def ended(log: str) -> Manifest:
    """It crashed, and this is the end of its log."""
    state = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"message": log}}}
    return {"containerStatuses": [{"name": "broker", **state}]}


READY: dict[str, Any] = {"conditions": [condition("Ready", "True")]}


@pytest.mark.parametrize(
    ("status", "now", "health", "problem"),
    [
        pytest.param(READY, SOON, Health.READY, "", id="ready"),
        pytest.param({}, SOON, Health.STARTING, "", id="nothing known yet"),
        pytest.param({"conditions": [condition("Ready", "False")]}, SOON, Health.STARTING, "", id="not ready yet"),
        pytest.param(
            {"conditions": [condition("Ready", "False")]},
            MADE + READY_WITHIN + timedelta(seconds=1),
            Health.FAILING,
            "is not ready for 5 minutes; its log says why",
            id="not ready for too long",
        ),
        pytest.param(
            {}, LATE, Health.FAILING, "is not ready for 5 minutes; its log says why", id="nothing for too long"
        ),
        pytest.param(
            waiting("CrashLoopBackOff"),
            SOON,
            Health.FAILING,
            "ends again and again; its log says why (CrashLoopBackOff)",
            id="it crashes",
        ),
        pytest.param(
            ended('{"ts": "x", "message": "starting"}\n{"ts": "x", "message": "the store holds no world."}\n\n'),
            SOON,
            Health.FAILING,
            "ends again and again; its log says why (CrashLoopBackOff): the store holds no world",
            id="it crashes and said why",
        ),
        pytest.param(
            ended("Segmentation\x1b fault" + "!" * 1_000),
            SOON,
            Health.FAILING,
            f"ends again and again; its log says why (CrashLoopBackOff): Segmentation fault{'!' * 382}",
            id="it crashes with many odd words",
        ),
        pytest.param(
            waiting("ImagePullBackOff", "initContainerStatuses"),
            SOON,
            Health.FAILING,
            "cannot get its image b:2 (ImagePullBackOff): correct spec.image, or set it back",
            id="no image",
        ),
        pytest.param(
            waiting("ErrImageNeverPull"),
            SOON,
            Health.FAILING,
            "has no image b:2, and none may be pulled (ErrImageNeverPull): correct spec.image, or set it back",
            id="no image, and none may be pulled",
        ),
        pytest.param(
            {"containerStatuses": [{"name": "side", "image": "c:3", "state": {"waiting": {"reason": "ErrImagePull"}}}]},
            SOON,
            Health.FAILING,
            "cannot get its image c:3 (ErrImagePull): correct spec.image, or set it back",
            id="no image of a container that somebody added",
        ),
        pytest.param(waiting("ContainerCreating"), SOON, Health.STARTING, "", id="it is being made"),
        pytest.param(
            {"conditions": [condition("PodScheduled", "False", "Unschedulable")]},
            SOON,
            Health.STARTING,
            "finds no machine with room for it",
            id="no machine yet",
        ),
        pytest.param(
            {"conditions": [condition("PodScheduled", "False", "Unschedulable")]},
            MADE + SCHEDULED_WITHIN + timedelta(seconds=1),
            Health.FAILING,
            "finds no machine with room for it",
            id="no machine for too long",
        ),
    ],
)
def test_health_is_what_kubelet_and_scheduler_say(
    status: Manifest, now: datetime, health: Health, problem: str
) -> None:
    seen = read_pod(pod(**status), now, None)
    assert (seen.health, seen.problem) == (health, problem)


@pytest.mark.parametrize(
    ("facts", "health", "problem"),
    [
        pytest.param(NodeFacts(ready=True), Health.READY, "", id="it says so too"),
        pytest.param(None, Health.STARTING, "has no lease in the store yet", id="no lease"),
        pytest.param(NodeFacts(ready=False), Health.STARTING, "does not take clients yet", id="it says no"),
        pytest.param(
            NodeFacts(ready=True, is_draining=True), Health.STARTING, "sends its clients away", id="it is leaving"
        ),
    ],
)
def test_a_node_that_the_kubelet_calls_ready_must_say_so_itself(
    facts: NodeFacts | None, health: Health, problem: str
) -> None:
    told = {} if facts is None else {"plant-7": facts}
    seen = read_pod(pod(**READY), SOON, told)
    assert (seen.health, seen.problem) == (health, problem)


def test_name_number_uid_and_revision_are_those_of_the_pod() -> None:
    seen = read_pod(pod(**READY), SOON, None)
    assert (seen.name, seen.ordinal, seen.uid, seen.revision) == ("plant-7", 7, "uid-of-plant-7", "rev-1")
    assert not seen.is_leaving


@pytest.mark.parametrize(("after", "overdue"), [(timedelta(0), False), (timedelta(seconds=1), True)])
def test_a_pod_that_outlives_its_grace_period_is_overdue(after: timedelta, overdue: bool) -> None:
    leaving = pod(metadata={"deletionTimestamp": "2026-01-01T00:00:30Z"}, **READY)
    seen = read_pod(leaving, MADE + timedelta(seconds=30) + ENDED_AFTER_GRACE + after, None)
    assert (seen.is_leaving, seen.is_overdue, seen.is_ready) == (True, overdue, False)


def test_only_pods_of_this_stateful_set_count_in_the_order_of_their_numbers() -> None:
    pods = [pod("plant-10"), pod("plant-9"), pod("plant-8", owner="another")]
    assert [each.name for each in read_pods(pods, STATEFUL_SET, SOON, None)] == ["plant-9", "plant-10"]


def test_the_revision_is_unknown_until_the_controller_has_seen_the_newest_template() -> None:
    status = {"observedGeneration": 2, "updateRevision": "rev-1"}
    assert revision_of({**STATEFUL_SET, "status": status}) is None
    assert revision_of({**STATEFUL_SET, "status": {**status, "observedGeneration": 3}}) == "rev-1"
    assert revision_of(STATEFUL_SET) is None


def test_a_stateful_set_that_says_no_number_has_one_pod() -> None:
    assert (replicas_of(STATEFUL_SET), replicas_of({"spec": {}})) == (2, 1)
