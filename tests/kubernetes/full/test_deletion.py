"""What is left when something is deleted, and that nothing ever waits for what is gone already."""

import json
from collections.abc import Callable

import pytest

from support.kube import kubectl
from support.kube.plant import GONE_S_MAX, Plant


def _small(plant: Plant, **spec: object) -> Plant:
    plant.apply(plant.broker(replicas=1, **spec))
    plant.apply(plant.client("pump-1"))
    plant.wait_ready(1)
    plant.wait_settled("mqttclient", "pump-1")
    return plant


def _namespaces(plant: Plant) -> set[str]:
    listed = json.loads(kubectl.call(plant.place, "get", "namespaces", "-o", "json"))
    return {item["metadata"]["name"] for item in listed["items"]}


def _is_gone(plant: Plant) -> bool:
    return plant.namespace not in _namespaces(plant)


def test_a_deleted_broker_takes_everything_of_it_along_but_what_it_keeps(settle: Callable[..., Plant]) -> None:
    plant = _small(settle())
    plant.kubectl("delete", "mqttbroker", plant.name, f"--timeout={GONE_S_MAX:.0f}s")
    kinds = "statefulsets,pods,configmaps,secrets,poddisruptionbudgets,networkpolicies,certificates,services"
    selector = f"--selector=mqtt.stoa.dev/broker={plant.name}"
    plant.wait(lambda: not _names(plant, kinds, selector), GONE_S_MAX, "nothing of it is left")
    assert _names(plant, "persistentvolumeclaims", _of(plant)), "deletionPolicy: Retain keeps the data"
    assert plant.condition("Ready", of="mqttclient", name="pump-1")["status"] == "False"


def test_with_deletion_policy_delete_the_data_is_gone_too(settle: Callable[..., Plant]) -> None:
    plant = _small(settle(), deletionPolicy="Delete")
    plant.kubectl("delete", "mqttbroker", plant.name, f"--timeout={GONE_S_MAX:.0f}s")
    plant.wait(lambda: not _names(plant, "persistentvolumeclaims", _of(plant)), GONE_S_MAX, "its data is gone")


def _without_store(plant: Plant) -> None:
    plant.kubectl("delete", "statefulset", f"{plant.name}-store", "--wait=false")
    plant.kubectl("delete", "pods", "--selector=app.kubernetes.io/component=store", "--grace-period=0", "--force")


def _without_secrets(plant: Plant) -> None:
    plant.kubectl("delete", "secrets", f"--selector=mqtt.stoa.dev/broker={plant.name}")


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@pytest.mark.parametrize("first", [_without_store, _without_secrets, Plant.remove_operator])
@pytest.mark.parametrize("apart", [False, True], ids=["with the operator", "beside the operator"])
def test_a_namespace_ends_whatever_of_it_is_gone_first(
    apart: bool, first: Callable[[Plant], None], policy: str, settle: Callable[..., Plant]
) -> None:
    plant = _small(settle(apart=apart), deletionPolicy=policy)
    first(plant)
    plant.delete_namespace()
    plant.wait(lambda: _is_gone(plant), GONE_S_MAX, "the namespace is gone")


def _of(plant: Plant) -> str:
    return f"--selector=app.kubernetes.io/instance={plant.name}"


def _names(plant: Plant, kinds: str, selector: str) -> list[str]:
    return plant.kubectl("get", kinds, selector, "-o", "name").split()
