"""kube-proxy inside the node: leads the addresses of Services to pods, by packet filter rules of the node's own."""

import json

from support.kube.daemons import Daemon
from support.kube.plan import NODE_NAME, Plan
from support.kube.sandbox import Sandbox


def start(plan: Plan, sandbox: Sandbox) -> None:
    """Return at once: that it works shows in Services that answer."""
    login = plan.kubeconfig("system:kube-proxy", file="kube-proxy")
    config = plan.place.file("kube-proxy.json", json.dumps(_configuration(plan, str(login)), indent=2))
    Daemon(plan.place, "kube-proxy", sandbox.inside(plan.program("kube-proxy"), f"--config={config}"))


def _configuration(plan: Plan, login: str) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": login},
        "hostnameOverride": NODE_NAME,
        "bindAddress": plan.network.node,
        "clusterCIDR": plan.network.pods,
        "mode": "iptables",
        # Zero leaves the machine's own settings alone, which a namespace may not change anyway.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
