"""kube-apiserver: schemas, CEL, server-side apply, RBAC and watches as users meet them."""

from pathlib import Path

from support.kube.daemons import Daemon
from support.kube.place import Tier
from support.kube.plan import Plan
from support.kube.probes import is_ready

READY_S_MAX = 120.0
ADMINISTRATORS = "system:masters"


def start(plan: Plan, tier: Tier) -> None:
    """Return when it says that it is ready."""
    # Without a node nobody could reach an address that it advertises, and it refuses to advertise the loopback.
    advertised = ["--endpoint-reconciler-type=none"] if tier is Tier.FAST else [f"--advertise-address={plan.address}"]
    command: list[str | Path] = [
        plan.program("kube-apiserver"),
        f"--bind-address={plan.address}",
        f"--secure-port={plan.port}",
        f"--external-hostname={plan.address}",
        f"--service-cluster-ip-range={plan.network.services}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        "--profiling=false",
        *advertised,
        *_trust(plan),
        *_tokens(plan),
        *_etcd(plan),
        *_kubelets(plan),
        *_aggregation(plan),
    ]
    Daemon(plan.place, "kube-apiserver", command).wait_until(lambda: is_ready(plan), READY_S_MAX)


def _trust(plan: Plan) -> list[str]:
    names = ["localhost", "127.0.0.1", plan.address, plan.network.kubernetes_service]
    services = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    pair = plan.authority.server("kube-apiserver", dict.fromkeys([*names, *services]))
    return [
        f"--client-ca-file={plan.authority.pair.certificate}",
        f"--tls-cert-file={pair.certificate}",
        f"--tls-private-key-file={pair.key}",
    ]


def _tokens(plan: Plan) -> list[str]:
    return [
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-signing-key-file={plan.authority.token_key()}",
        f"--service-account-key-file={plan.authority.token_check}",
    ]


def _etcd(plan: Plan) -> list[str]:
    pair = plan.authority.client("etcd-client")
    return [
        f"--etcd-servers=https://127.0.0.1:{plan.etcd_port}",
        f"--etcd-cafile={plan.authority.pair.certificate}",
        f"--etcd-certfile={pair.certificate}",
        f"--etcd-keyfile={pair.key}",
    ]


def _kubelets(plan: Plan) -> list[str]:
    pair = plan.authority.client("kubelet-client", [ADMINISTRATORS])
    return [
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-certificate-authority={plan.authority.pair.certificate}",
        f"--kubelet-client-certificate={pair.certificate}",
        f"--kubelet-client-key={pair.key}",
    ]


def _aggregation(plan: Plan) -> list[str]:
    """So that another server can stand behind this one, as one for metrics does."""
    pair = plan.authority.client("front-proxy")
    return [
        f"--requestheader-client-ca-file={plan.authority.pair.certificate}",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pair.certificate}",
        f"--proxy-client-key-file={pair.key}",
        "--enable-aggregator-routing",
    ]
