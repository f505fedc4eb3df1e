"""What a local Kubernetes consists of: which program is built from which Go module, at which version.

The versions stand in hack/kubernetes/*/go.mod and are read from there. Knows nothing of building and running.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MODULES = ROOT / "hack" / "kubernetes"


@dataclass(frozen=True)
class Module:
    """A folder of hack/kubernetes with a go.mod. `upstream`: the module whose version names the whole."""

    name: str
    upstream: str
    packages: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return MODULES / self.name

    @cached_property
    def version(self) -> str:
        """Of the upstream module, `v1.2.3`."""
        text = (self.folder / "go.mod").read_text(encoding="utf-8")
        found = re.search(rf"^\s*(?:require )?{re.escape(self.upstream)} (v\S+)", text, re.MULTILINE)
        assert found is not None, f"{self.folder}/go.mod requires no {self.upstream}"
        return found[1]

    def package(self, program: str) -> str:
        """The Go package that is built into this program."""
        return next(package for package in self.packages if self.program(package) == program)

    def program(self, package: str) -> str:
        """What `go build` calls the program of a package, except for etcd's server and for our own ones."""
        if package == ".":
            return self.name
        if package == _ETCD:
            return "etcd"
        return package.rpartition("/")[2]


_ETCD = "go.etcd.io/etcd/server/v3"
_KUBERNETES = tuple(
    f"k8s.io/kubernetes/cmd/{name}"
    for name in ("kube-apiserver", "kube-controller-manager", "kubectl", "kube-scheduler", "kube-proxy", "kubelet")
)
_CONTAINERD = tuple(
    f"github.com/containerd/containerd/v2/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")
)

KUBERNETES = Module("kubernetes", "k8s.io/kubernetes", (_ETCD, *_KUBERNETES))
CONTAINERD = Module("containerd", "github.com/containerd/containerd/v2", _CONTAINERD)
COREDNS = Module("coredns", "github.com/coredns/coredns", (".",))
CERT_MANAGER = Module("cert-manager", "github.com/cert-manager/cert-manager", (".",))
PROMETHEUS_OPERATOR = Module("prometheus-operator", "github.com/prometheus-operator/prometheus-operator")

FAST = {KUBERNETES: ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")}
FULL = {
    KUBERNETES: (*FAST[KUBERNETES], "kube-scheduler", "kube-proxy", "kubelet"),
    CONTAINERD: ("containerd", "containerd-shim-runc-v2", "ctr"),
    COREDNS: ("coredns",),
    CERT_MANAGER: ("cert-manager",),
}

# What the full tier takes from the system, and Debian's package of each.
SYSTEM_PROGRAMS = {
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "runc": "runc",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "busybox": "busybox-static",
}
NETWORK_PLUGINS = Path("/usr/lib/cni")  # containernetworking-plugins
