"""What is left when something is deleted, and that nothing ever waits for what is gone already."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from mqtt_api.store_keys import StoreKeys
from support.kube import kubectl, product_image
from support.kube.plant import GONE_S_MAX, Plant

KINDS = "statefulsets,pods,configmaps,secrets,poddisruptionbudgets,networkpolicies,certificates,services"
LOG_IN = "redis"  # the Secret with which nodes and operator log in to a Redis of the people's own
REDIS = 6379
WORD = "word"


def _small(plant: Plant, **spec: object) -> Plant:
    """Its pods are granted a minute: where some are left, Kubernetes looks at a namespace again when half is over."""
    plant.apply(plant.broker(replicas=1, drain={"connectionsPerSecond": 1_000}, **spec))
    plant.apply(plant.client("pump-1"))
    plant.wait_ready(1)
    plant.wait_settled("mqttclient", "pump-1")
    return plant


def _is_gone(plant: Plant) -> bool:
    listed = json.loads(kubectl.call(plant.place, "get", "namespaces", "-o", "json"))
    return plant.namespace not in {item["metadata"]["name"] for item in listed["items"]}


def _of(plant: Plant) -> str:
    return f"--selector=app.kubernetes.io/instance={plant.name}"


def _names(plant: Plant, kinds: str, selector: str) -> list[str]:
    return plant.kubectl("get", kinds, selector, "-o", "name").split()


def test_a_deleted_broker_takes_everything_of_it_along_but_what_it_keeps(settle: Callable[..., Plant]) -> None:
    plant = _small(settle())
    _renew(plant)
    assert [owner["kind"] for owner in _key(plant)["metadata"]["ownerReferences"]] == ["MQTTBroker"]
    assert "finalizers" not in plant.get("mqttbroker", plant.name)["metadata"]
    started_at = time.monotonic()
    plant.kubectl("delete", "mqttbroker", plant.name, f"--timeout={GONE_S_MAX:.0f}s")
    selector = f"--selector=mqtt.stoa.dev/broker={plant.name}"
    plant.wait(lambda: not _names(plant, KINDS, selector), GONE_S_MAX, "nothing of it is left")
    print(f"everything of a broker was gone after {time.monotonic() - started_at:.1f} s")
    assert _names(plant, "persistentvolumeclaims", _of(plant)), "deletionPolicy: Retain keeps the data"

    def is_told() -> bool:
        return bool(plant.condition("Ready", of="mqttclient", name="pump-1")["status"] == "False")

    plant.wait(is_told, GONE_S_MAX, "its client is told")


def _key(plant: Plant) -> dict[str, Any]:
    """The Secret that cert-manager keeps the listener's private key in."""
    return plant.get("secret", f"{plant.name}-mqtts-tls")


def _renew(plant: Plant) -> None:
    """As `cmctl renew` does, until there is another key."""
    before = _key(plant)["data"]
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    condition = {"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "lastTransitionTime": moment}
    plant.patch_status("certificate", f"{plant.name}-mqtts-tls", {"conditions": [condition]})
    plant.wait(lambda: _key(plant)["data"] != before, GONE_S_MAX, "the certificate is renewed")


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
    _end(plant, f"{'beside' if apart else 'with'} the operator, {first.__name__}, {policy}")


# Keys in a Redis of the people's own: the only thing for which a finalizer holds a broker -----------------------------


@pytest.mark.parametrize("first", ["nothing", "the log-ins", "the store"])
@pytest.mark.parametrize("apart", [False, True], ids=["with the operator", "beside the operator"])
def test_a_namespace_ends_and_keys_in_a_redis_elsewhere_go_with_it(
    apart: bool, first: str, settle: Callable[..., Plant]
) -> None:
    plant = settle(apart=apart)
    store = OwnRedis(plant)
    _small(plant, sessionStore={"redis": store.spec}, deletionPolicy="Delete")
    assert plant.get("mqttbroker", plant.name)["metadata"]["finalizers"] == ["mqtt.stoa.dev/finalizer"]
    assert store.keys()
    if first == "the log-ins":
        plant.kubectl("delete", "secret", LOG_IN)
    elif first == "the store":
        kubectl.call(
            plant.place, "delete", "pod", "redis", f"--namespace={store.namespace}", "--grace-period=0", "--force"
        )
    _end(plant, f"{'beside' if apart else 'with'} the operator, {first} in a Redis of one's own")
    if first != "the store":
        plant.wait(lambda: not store.keys(), GONE_S_MAX, "its keys are gone")
    store.remove()


def _end(plant: Plant, what: str) -> None:
    started_at = time.monotonic()
    plant.delete_namespace()
    plant.wait(lambda: _is_gone(plant), GONE_S_MAX, "the namespace is gone")
    print(f"{what}: the namespace was gone after {time.monotonic() - started_at:.1f} s")


class OwnRedis:
    """One in a namespace of its own, with the two users of docs/cluster.md; the plant gets the log-ins."""

    def __init__(self, plant: Plant) -> None:
        self._place = plant.place
        self._prefix = StoreKeys(f"mqtt.{plant.namespace}.{plant.name}")
        self.namespace = f"{plant.namespace}-redis"
        users = {"nodes": self._prefix.broker_rules, "operator": self._prefix.operator_rules}
        self._apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        self._apply(self._pod(users))
        ports = [{"port": REDIS}]
        self._apply(self._object("Service", "redis", {"selector": {"app": "redis"}, "ports": ports}))
        for name in users:
            data = {"username": name, "password": WORD}
            plant.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {
                        "name": LOG_IN if name == "operator" else f"{LOG_IN}-{name}",
                        "namespace": plant.namespace,
                    },
                    "stringData": data,
                }
            )
        kubectl.call(
            plant.place, "wait", "--for=condition=Ready", "pod/redis", f"--namespace={self.namespace}", "--timeout=120s"
        )

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "addresses": [f"redis.{self.namespace}.svc:{REDIS}"],
            "keyPrefix": self._prefix.prefix,
            "credentialsRef": {"name": f"{LOG_IN}-nodes", "usernameKey": "username"},
            "operatorCredentialsRef": {"name": LOG_IN, "usernameKey": "username"},
        }

    def keys(self) -> list[bytes]:
        """Those of the broker."""
        pod = json.loads(
            kubectl.call(self._place, "get", "pod", "redis", f"--namespace={self.namespace}", "-o", "json")
        )
        with redis.Redis(host=pod["status"]["podIP"], username="operator", password=WORD) as client:
            return [*client.scan_iter(f"{self._prefix.tag}*")]

    def remove(self) -> None:
        kubectl.call(self._place, "delete", "namespace", self.namespace, "--wait=false")

    def _apply(self, document: dict[str, Any]) -> None:
        kubectl.apply(self._place, [document])

    def _object(self, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.namespace, "labels": {"app": name}}
        return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}

    def _pod(self, users: dict[str, tuple[str, ...]]) -> dict[str, Any]:
        lines = [
            "dir /tmp",
            "bind * -::*",
            "protected-mode no",
            "appendonly yes",
            "appendfsync always",
            "maxmemory-policy noeviction",
            "user default off resetpass ~* &* +@all",
            *(f"user {name} on >{WORD} {' '.join(rules)}" for name, rules in users.items()),
        ]
        metadata = {"name": "redis.conf", "namespace": self.namespace}
        self._apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"redis.conf": "\n".join(lines)}}
        )
        container = {
            "name": "redis",
            "image": product_image.REDIS_TAG,
            "imagePullPolicy": "Never",
            "command": ["redis-server", "/etc/redis/redis.conf"],
            "volumeMounts": [{"name": "conf", "mountPath": "/etc/redis"}],
        }
        return self._object(
            "Pod",
            "redis",
            {"containers": [container], "volumes": [{"name": "conf", "configMap": {"name": "redis.conf"}}]},
        )
