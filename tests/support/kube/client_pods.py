"""Clients of others in pods: mosquitto's, and anything that opens a connection.

Knows the image of clients and kubectl; does not know brokers.
"""

import subprocess
from dataclasses import dataclass
from typing import Any

from support.kube import kubectl
from support.kube.place import Place
from support.kube.tool_images import CLIENTS_TAG

READY_S_MAX = 60
ANSWER_S_MAX = 30.0
CONNECT_S_MAX = 3  # what a policy holds back gets no answer at all


@dataclass(frozen=True)
class ClientPod:
    """A pod that waits until somebody has something to do for it."""

    place: Place
    namespace: str
    name: str

    def start(self, labels: dict[str, str] | None = None, *secrets: str) -> None:
        """Return when it can be used. Each Secret is mounted at /secrets/NAME."""
        kubectl.apply(self.place, [self._pod(labels or {}, secrets)])
        kubectl.call(
            self.place,
            f"--namespace={self.namespace}",
            "wait",
            "--for=condition=Ready",
            f"pod/{self.name}",
            f"--timeout={READY_S_MAX}s",
        )

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A command in it, to its end."""
        return subprocess.run(
            self.command(*command), input=stdin, capture_output=True, text=True, check=False, timeout=ANSWER_S_MAX
        )

    def command(self, *command: str) -> list[str]:
        """The command line that runs this one in the pod."""
        return [str(self.place.kubectl), f"--namespace={self.namespace}", "exec", "-i", self.name, "--", *command]

    def connects(self, host: str, port: int) -> bool:
        """Whether somebody takes connections there, as far as this pod may ask."""
        # Once connected it becomes a program that ends at once.
        done = self.run("busybox", "nc", "-w", str(CONNECT_S_MAX), host, str(port), "-e", "busybox", "true")
        return done.returncode == 0

    def _pod(self, labels: dict[str, str], secrets: tuple[str, ...]) -> dict[str, Any]:
        container = {
            "name": "clients",
            "image": CLIENTS_TAG,
            "imagePullPolicy": "Never",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [{"name": name, "mountPath": f"/secrets/{name}"} for name in secrets],
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": labels},
            "spec": {
                "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [container],
                "volumes": [{"name": name, "secret": {"secretName": name}} for name in secrets],
                "terminationGracePeriodSeconds": 0,
            },
        }
