"""etcd: what the API server remembers. Nothing is synced to the disk; the data is gone with the cluster."""

from pathlib import Path

from support.kube.daemons import Daemon
from support.kube.plan import Plan
from support.kube.probes import accepts

READY_S_MAX = 60.0


def start(plan: Plan) -> None:
    """Return when it takes connections: it opens its port last."""
    pair = plan.authority.server("etcd", ["localhost", "127.0.0.1"])
    url, peer_url = f"https://127.0.0.1:{plan.etcd_port}", f"https://127.0.0.1:{plan.etcd_peer_port}"
    command: list[str | Path] = [
        plan.program("etcd"),
        f"--data-dir={plan.place.root / 'etcd'}",
        "--name=etcd",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=etcd={peer_url}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]
    for side in ("", "peer-"):
        command += [
            f"--{side}client-cert-auth",
            f"--{side}trusted-ca-file={plan.authority.pair.certificate}",
            f"--{side}cert-file={pair.certificate}",
            f"--{side}key-file={pair.key}",
        ]
    Daemon(plan.place, "etcd", command).wait_until(lambda: accepts("127.0.0.1", plan.etcd_port), READY_S_MAX)
