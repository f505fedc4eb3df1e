"""A broker in a namespace of its own, with an operator that looks after that namespace: what tests do to it, and see.

Knows kubectl, Helm and our kinds; does not know what a test wants. Everything waits with a deadline, and one that
passes shows what there was.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.kube import helm, kubectl, product_image
from support.kube.place import Place
from support.kube.problems import ClusterError
from support.waiting import NotInTimeError, wait_until

Manifest = dict[str, Any]

API = "mqtt.stoa.dev/v1alpha1"
OPERATOR_CHART = helm.CHARTS / "stoa-operator"
RELEASE = "operator"
CA = "ca"
READY_S_MAX = 180.0
GONE_S_MAX = 60.0
PLAIN, SECURE = 1883, 8883
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def operator_values(**more: Any) -> dict[str, Any]:
    """Of the chart: the images that the cluster has."""
    repository, tag = product_image.TAG.rsplit(":", 1)
    store_registry, store_repository = product_image.REDIS_TAG.rsplit(":", 1)[0].split("/", 1)
    return {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "storeImage": {
            "registry": store_registry,
            "repository": store_repository,
            "tag": product_image.REDIS_TAG.rsplit(":", 1)[1],
        },
        "crds": {"enabled": False},
        "allowedImageRepositories": [repository],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        **more,
    }


@dataclass(frozen=True)
class Plant:
    """The broker `name` of a namespace. `home`: where its operator is, if not there too."""

    place: Place
    namespace: str
    name: str = "plant"
    home: str = ""

    # --- doing -------------------------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str | Path, stdin: str = "") -> str:
        return kubectl.call(self.place, f"--namespace={self.namespace}", *arguments, stdin=stdin)

    def apply(self, *documents: Manifest) -> None:
        kubectl.apply(self.place, documents)

    def settle(self, **values: Any) -> None:
        """Make the namespace, put the operator where it belongs and wait for it."""
        for name in {self.namespace, self.operator_namespace}:
            self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
        watched = {"watchNamespaces": [self.namespace]} if self.home else {}
        helm.install(self.place, OPERATOR_CHART, RELEASE, self.operator_namespace, operator_values(**watched, **values))
        self.apply(*self._authority())

    def upgrade_operator(self, tag: str) -> None:
        """`helm upgrade` to the release in this image."""
        repository, _, name = tag.rpartition(":")
        values = operator_values(image={"repository": repository, "tag": name, "pullPolicy": "Never"})
        helm.install(self.place, OPERATOR_CHART, RELEASE, self.operator_namespace, values)

    def remove_operator(self) -> None:
        helm.uninstall(self.place, RELEASE, self.operator_namespace)

    @property
    def operator_namespace(self) -> str:
        return self.home or self.namespace

    def broker(self, **spec: Any) -> Manifest:
        """Three nodes with a store of their own: TLS with passwords, and plain text for anybody."""
        listeners = [
            {"name": "mqtts", "port": SECURE, "tls": {"issuerRef": {"name": CA}}},
            {
                "name": "mqtt",
                "port": PLAIN,
                "allowPlaintext": True,
                "authentication": [{"name": "anyone", "type": "Anonymous"}],
            },
        ]
        usual = {
            "replicas": 3,
            "sessionStore": {"managed": {"storage": "256Mi"}},
            "authentication": [{"name": "passwords", "type": "Password"}],
            "listeners": listeners,
            "podTemplate": {"spec": {"resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}}},
        }
        return self._of_ours("MQTTBroker", self.name, {**usual, **spec})

    def client(self, name: str, **spec: Any) -> Manifest:
        """With a generated password in the Secret NAME-mqtt."""
        passwords = [{"generate": {"secretName": f"{name}-mqtt"}}]
        usual = {"brokerRef": {"name": self.name}, "credentials": {"passwords": passwords}}
        return self._of_ours("MQTTClient", name, {**usual, **spec})

    def permission(self, name: str, subjects: list[Manifest], topics: list[str], activity: str = "All") -> Manifest:
        rules = [{"name": "rule", "effect": "Allow", "activity": activity, "topics": topics}]
        spec = {"brokerRef": {"name": self.name}, "subjects": subjects, "rules": rules}
        return self._of_ours("TopicPermission", name, spec)

    def open_to_anybody(self) -> None:
        """Who is let in without a name may do everything."""
        self.apply(self.permission("anybody", [{"kind": "Anonymous"}], ["#"]))

    def annotate(self, kind: str, name: str, **annotations: str) -> None:
        self.kubectl("annotate", "--overwrite", kind, name, *(f"{key}={value}" for key, value in annotations.items()))

    def patch(self, spec: Mapping[str, Any], kind: str = "mqttbroker", name: str = "") -> None:
        self.kubectl("patch", kind, name or self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def patch_status(self, kind: str, name: str, status: Mapping[str, Any]) -> None:
        body = json.dumps({"status": status})
        self.kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", body)

    def clear(self) -> None:
        """Brokers first, while there is an operator; then everything else, without waiting for it."""
        try:
            self.kubectl("delete", "mqttbrokers", "--all", f"--timeout={GONE_S_MAX:.0f}s")
        finally:
            for name in {self.namespace, self.operator_namespace}:
                kubectl.call(self.place, "delete", "namespace", name, "--wait=false", "--ignore-not-found")

    def delete_namespace(self) -> None:
        self.kubectl("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found")

    # --- seeing ------------------------------------------------------------------------------------------------------

    def get(self, kind: str, name: str = "") -> Manifest:
        """The object, or with no name all of the kind; empty if there is no such thing."""
        said = self.kubectl("get", kind, *([name] if name else []), "-o", "json", "--ignore-not-found")
        found: Manifest = json.loads(said) if said else {}
        return found

    def status(self) -> Manifest:
        status: Manifest = self.get("mqttbroker", self.name).get("status", {})
        return status

    def condition(self, kind: str, *, of: str = "mqttbroker", name: str = "") -> Manifest:
        """The condition of this type; empty if it is not there."""
        conditions = self.get(of, name or self.name).get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == kind), {})

    def pods(self, component: str = "broker") -> dict[str, Manifest]:
        """By name."""
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"
        listed = json.loads(self.kubectl("get", "pods", f"--selector={selector}", "-o", "json"))
        return {item["metadata"]["name"]: item for item in listed["items"]}

    def restarts(self) -> int:
        """Of all containers of nodes and operator."""
        listed = self.get("pods")["items"]
        return sum(one.get("restartCount", 0) for pod in listed for one in pod["status"].get("containerStatuses", []))

    def address(self, service: str = "") -> str:
        """Where the Service is reached from inside, and from this machine."""
        address: str = self.get("service", service or self.name)["spec"]["clusterIP"]
        return address

    def secret(self, name: str) -> dict[str, bytes]:
        """Its entries; empty if there is no such Secret."""
        return {key: base64.b64decode(value) for key, value in self.get("secret", name).get("data", {}).items()}

    def operator_log(self) -> str:
        selector = "--selector=app.kubernetes.io/component=operator"
        return kubectl.call(self.place, f"--namespace={self.operator_namespace}", "logs", selector, "--tail=-1")

    # --- waiting -----------------------------------------------------------------------------------------------------

    def wait_ready(self, nodes: int | None = None, deadline_s: float = READY_S_MAX) -> None:
        """Until the broker is Ready as it is wanted now, with so many nodes."""

        def is_ready() -> bool:
            broker = self.get("mqttbroker", self.name)
            wanted = broker["spec"]["replicas"] if nodes is None else nodes
            status, ready = broker.get("status", {}), self.condition("Ready")
            return (
                ready.get("status") == "True"
                and ready.get("observedGeneration") == broker["metadata"]["generation"]
                and status.get("readyReplicas") == wanted
                and len(self.pods()) == wanted
            )

        self.wait(is_ready, deadline_s, f"{self.name} is Ready")

    def wait_settled(self, kind: str, name: str, deadline_s: float = READY_S_MAX) -> None:
        """Until a client or permission is Ready."""
        self.wait(
            lambda: self.condition("Ready", of=kind, name=name).get("status") == "True", deadline_s, f"{name} is Ready"
        )

    def wait(self, condition: Callable[[], object], deadline_s: float, what: str) -> None:
        """As wait_until; what goes wrong on the way is asked again, and at the end everything is shown."""

        def holds() -> object:
            try:
                return condition()
            except ClusterError:
                return False

        try:
            wait_until(holds, deadline_s, what, interval_s=0.5)
        except NotInTimeError as problem:
            raise NotInTimeError(f"{problem}\n{self.report()}") from None

    def report(self) -> str:
        """What a person would look at."""
        parts = []
        for title, (where, *arguments) in _REPORT.items():
            namespace = self.operator_namespace if where == "operator" else self.namespace
            try:
                said = kubectl.call(self.place, f"--namespace={namespace}", *arguments)
            except ClusterError as problem:
                said = str(problem)
            parts.append(f"--- {title}\n{said}")
        return "\n".join(parts)

    def _of_ours(self, kind: str, name: str, spec: Manifest) -> Manifest:
        return {"apiVersion": API, "kind": kind, "metadata": self._metadata(name), "spec": spec}

    def _metadata(self, name: str) -> Manifest:
        return {"name": name, "namespace": self.namespace}

    def _authority(self) -> list[Manifest]:
        """An issuer that signs with a CA of this namespace."""
        version = "cert-manager.io/v1"
        return [
            {"apiVersion": version, "kind": "Issuer", "metadata": self._metadata("self"), "spec": {"selfSigned": {}}},
            {
                "apiVersion": version,
                "kind": "Certificate",
                "metadata": self._metadata(CA),
                "spec": {"isCA": True, "commonName": CA, "secretName": CA, "issuerRef": {"name": "self"}},
            },
            {
                "apiVersion": version,
                "kind": "Issuer",
                "metadata": self._metadata(CA),
                "spec": {"ca": {"secretName": CA}},
            },
        ]


# By title: whose namespace, and what kubectl is asked there.
_REPORT = {
    "objects": ("broker", "get", "mqtt,pods,statefulsets,services,certificates,pvc", "-o", "wide"),
    "brokers": ("broker", "get", "mqttbrokers", "-o", "jsonpath={range .items[*]}{.status}{end}"),
    "events": ("broker", "get", "events", "--sort-by=.lastTimestamp"),
    "operator": ("operator", "logs", "--selector=app.kubernetes.io/component=operator", "--tail=40"),
    "nodes": ("broker", "logs", "--selector=app.kubernetes.io/component=broker", "--tail=15", "--prefix"),
}
