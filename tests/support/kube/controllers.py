"""kube-controller-manager: what makes an API server behave like a cluster.

Without a node only the controllers that act on any object run. Workloads stay as they are written there, so that a test
can say how many pods of a StatefulSet are ready.
"""

from support.kube.daemons import Daemon
from support.kube.place import Tier
from support.kube.plan import Plan

WITHOUT_NODE = (
    "clusterrole-aggregation-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
)

# Autoscalers look this often, and believe in the load of a pod this soon: the defaults are for weeks, not for minutes.
_SOONER = (
    "--horizontal-pod-autoscaler-sync-period=5s",
    "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
    "--horizontal-pod-autoscaler-cpu-initialization-period=15s",
)


def start(plan: Plan, tier: Tier) -> None:
    """Return at once: that it works shows in what it makes."""
    config = plan.kubeconfig("system:kube-controller-manager", file="kube-controller-manager")
    ca = plan.authority.pair
    Daemon(
        plan.place,
        "kube-controller-manager",
        [
            plan.program("kube-controller-manager"),
            f"--kubeconfig={config}",
            f"--controllers={'*' if tier is Tier.FULL else ','.join(WITHOUT_NODE)}",
            f"--root-ca-file={ca.certificate}",
            f"--service-account-private-key-file={plan.authority.token_key()}",
            f"--cluster-signing-cert-file={ca.certificate}",
            f"--cluster-signing-key-file={ca.key}",
            f"--flex-volume-plugin-dir={plan.place.root / 'volume-plugins'}",  # else it makes one in /usr
            *(_SOONER if tier is Tier.FULL else ()),
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--secure-port=0",
        ],
    )
