"""The kubelet of the only node: runs the pods that the scheduler gives it."""

import json
from pathlib import Path

from support.kube import containerd
from support.kube.daemons import Daemon
from support.kube.plan import NODE_NAME, Plan
from support.kube.sandbox import Sandbox
from support.kube.sandbox_init import HELD

FOLDER = HELD / "kubelet"  # a short path to the cluster's folder: it puts sockets there, whose names are bounded
PODS_MAX = 200  # the network has addresses for 253


def start(plan: Plan, sandbox: Sandbox) -> Daemon:
    """Return at once: that it works shows in a node that is Ready."""
    login = plan.kubeconfig(f"system:node:{NODE_NAME}", "system:nodes", file="kubelet")
    config = plan.place.file("kubelet.json", json.dumps(_configuration(plan), indent=2))
    command: list[str | Path] = [
        plan.program("kubelet"),
        f"--config={config}",
        f"--kubeconfig={login}",
        f"--root-dir={FOLDER}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={plan.network.node}",
    ]
    return Daemon(plan.place, "kubelet", sandbox.inside(*command))


def _configuration(plan: Plan) -> dict[str, object]:
    shown = plan.authority.server("kubelet-server", [plan.network.node, NODE_NAME])
    folder = plan.place.root
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": plan.network.node,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(plan.authority.pair.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(shown.certificate),
        "tlsPrivateKeyFile": str(shown.key),
        "clusterDNS": [plan.network.dns_service],
        "clusterDomain": "cluster.local",
        "resolvConf": str(plan.place.file("resolv.conf", "options ndots:1\n", mode=0o644)),
        "containerRuntimeEndpoint": f"unix://{containerd.SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{plan.place.machine_name}",
        "failCgroupV1": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        # Images come from archives and cannot be fetched again, so the disk is never made free of them.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "podLogsDir": str(folder / "pod-logs"),
        "volumePluginDir": str(folder / "volume-plugins"),
        "maxPods": PODS_MAX,
        # Probes and volumes are looked at this often; the default of a minute makes tests wait.
        "syncFrequency": "10s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
    }
