"""kube-scheduler: gives pods their node."""

from support.kube.daemons import Daemon
from support.kube.plan import Plan


def start(plan: Plan) -> None:
    """Return at once: that it works shows in pods that get a node."""
    config = plan.kubeconfig("system:kube-scheduler", file="kube-scheduler")
    options = [f"--kubeconfig={config}", "--leader-elect=false", "--secure-port=0"]
    Daemon(plan.place, "kube-scheduler", [plan.program("kube-scheduler"), *options])
