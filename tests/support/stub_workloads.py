"""StatefulSets come to life without a scheduler or a kubelet: pods are made, replaced and called ready by this.

Plays Kubernetes' controller as far as a rollout sees it: pods of the newest revision for the places that are empty,
none beyond the number, a status that says which revision that is. Volumes are claims without anything behind them.
"""

import hashlib
import json
from datetime import UTC, datetime

from mqtt_operator.desired import kinds
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import Kube

MANAGER = "stub-controller"


class StubWorkloads:
    """Of one namespace. `made` and `deleted` are pods, in order. `finalizers` keep pods until somebody lets them go."""

    def __init__(self, kube: Kube, namespace: str, *, finalizers: tuple[str, ...] = ()) -> None:
        self._kube = kube
        self._namespace = namespace
        self._finalizers = list(finalizers)
        self._ready: dict[str, tuple[bool, str]] = {}
        self.deleted: list[str] = []
        self.made: list[str] = []

    async def act(self, *, ready: bool = True) -> None:
        """What the controller does next for every StatefulSet; with `ready`, all its pods are ready at once."""
        for stateful_set in await self._kube.list(kinds.STATEFUL_SET, self._namespace):
            await self._follow(stateful_set)
            if ready:
                for pod in await self.pods(stateful_set["metadata"]["name"]):
                    await self.set_ready(pod["metadata"]["name"])

    async def pods(self, owner: str) -> list[Manifest]:
        """Those of this StatefulSet, by number."""
        found = await self._kube.list(kinds.POD, self._namespace)
        named = [pod for pod in found if pod["metadata"]["name"].rpartition("-")[0] == owner]
        return sorted(named, key=lambda pod: str(pod["metadata"]["name"]))

    async def set_ready(self, name: str, *, ready: bool = True, waiting: str = "") -> None:
        """As a kubelet would say it. `waiting`: the reason why its container does not run."""
        status: Manifest = {
            "phase": "Running",
            "podIP": f"10.9.0.{name.rpartition('-')[2]}",
            "conditions": [
                {"type": "Ready", "status": str(ready), "lastTransitionTime": self._since(name, ready=ready)},
            ],
        }
        if waiting:
            state = {"waiting": {"reason": waiting}}
            status["containerStatuses"] = [
                {"name": "broker", "ready": False, "restartCount": 3, "image": "", "imageID": "", "state": state}
            ]
        await self._kube.patch_status(kinds.POD, self._namespace, name, status, manager=MANAGER)

    def _since(self, name: str, *, ready: bool) -> str:
        """When the pod became ready, or began to be otherwise."""
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        was, since = self._ready.get(name, (None, moment))
        self._ready[name] = (ready, since if was == ready else moment)
        return self._ready[name][1]

    async def _follow(self, stateful_set: Manifest) -> None:
        metadata, spec = stateful_set["metadata"], stateful_set["spec"]
        name, revision = metadata["name"], _revision(stateful_set)
        wanted = {f"{name}-{number}" for number in range(spec.get("replicas", 1))}
        pods = await self.pods(name)
        there = {pod["metadata"]["name"] for pod in pods}
        leaving = {pod["metadata"]["name"] for pod in pods if "deletionTimestamp" in pod["metadata"]}
        for name_of_pod in sorted(there - wanted - leaving):
            await self._kube.delete(kinds.POD, self._namespace, name_of_pod)
            self.deleted.append(name_of_pod)
        for name_of_pod in sorted(wanted - there):
            await self._make(stateful_set, name_of_pod, revision)
        for name_of_pod in sorted(wanted & there):
            await self._adopt(stateful_set, name_of_pod)
        status = {
            "observedGeneration": metadata["generation"],
            "replicas": len(wanted),
            "updateRevision": revision,
            "currentRevision": revision,
        }
        await self._kube.patch_status(kinds.STATEFUL_SET, self._namespace, name, status, manager=MANAGER)

    async def _adopt(self, stateful_set: Manifest, name: str) -> None:
        """A pod whose StatefulSet was deleted without it becomes that of the next one."""
        pod = await self._kube.get(kinds.POD, self._namespace, name)
        if pod is not None and not pod["metadata"].get("ownerReferences"):
            body = {"metadata": {"ownerReferences": [_owner(stateful_set)]}}
            await self._kube.patch(kinds.POD, self._namespace, name, body, manager=MANAGER)

    async def _make(self, stateful_set: Manifest, name: str, revision: str) -> None:
        template = stateful_set["spec"]["template"]
        metadata = {
            "name": name,
            "namespace": self._namespace,
            "labels": {**template["metadata"]["labels"], "controller-revision-hash": revision},
            "annotations": template["metadata"].get("annotations", {}),
            "ownerReferences": [_owner(stateful_set)],
            "finalizers": self._finalizers,
        }
        claims = [
            {
                "name": claim["metadata"]["name"],
                "persistentVolumeClaim": {"claimName": f"{claim['metadata']['name']}-{name}"},
            }
            for claim in stateful_set["spec"].get("volumeClaimTemplates", ())
        ]
        spec = {**template["spec"], "volumes": [*template["spec"].get("volumes", ()), *claims]}
        self._ready.pop(name, None)
        await self._kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        self.made.append(name)


def _owner(stateful_set: Manifest) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "name": stateful_set["metadata"]["name"],
        "uid": stateful_set["metadata"]["uid"],
        "controller": True,
    }


def _revision(stateful_set: Manifest) -> str:
    template = json.dumps(stateful_set["spec"]["template"], sort_keys=True)
    return f"{stateful_set['metadata']['name']}-{hashlib.sha256(template.encode()).hexdigest()[:10]}"
