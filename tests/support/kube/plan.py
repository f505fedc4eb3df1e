"""What the processes of one cluster have to know of each other: addresses, ports, whom to trust.

Decides nothing and starts nothing.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from support.kube import kubeconfig, login
from support.kube.building import program_path
from support.kube.certificates import Authority
from support.kube.components import FULL, ROOT
from support.kube.place import Place

NODE_NAME = "node-1"
NETWORKS_MAX = 200  # numbers of networks on one machine: the third part of an address


@dataclass(frozen=True)
class Network:
    """The addresses of a cluster with a node. No two clusters of a machine have the same `number`."""

    number: int

    @property
    def link(self) -> str:
        """The machine's end of the wire to the node."""
        return f"stoa{self.number}"

    @property
    def host(self) -> str:
        """The machine, seen from the node: where the API server listens."""
        return f"10.90.{self.number}.1"

    @property
    def node(self) -> str:
        return f"10.90.{self.number}.2"

    @property
    def pods(self) -> str:
        return f"10.91.{self.number}.0/24"

    @property
    def services(self) -> str:
        return f"10.92.{self.number}.0/24"

    @property
    def load_balancers(self) -> str:
        """Where the cloud's balancers listen: on the machine."""
        return f"10.93.{self.number}.0/24"

    @property
    def customers(self) -> str:
        """Free for clients on the machine: they may ask from any of these."""
        return f"10.94.{self.number}.0/24"

    @property
    def kubernetes_service(self) -> str:
        return f"10.92.{self.number}.1"

    @property
    def dns_service(self) -> str:
        return f"10.92.{self.number}.10"


@dataclass(frozen=True)
class Plan:
    """A cluster about to be started. `address`: where its API server listens."""

    place: Place
    network: Network
    address: str
    port: int
    etcd_port: int
    etcd_peer_port: int
    metrics_port: int
    monitors_port: int

    @cached_property
    def authority(self) -> Authority:
        return Authority(self.place.keys)

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.port}"

    @property
    def python_environment(self) -> dict[str, str]:
        """For components that are ours."""
        return {"PYTHONPATH": str(ROOT / "tests"), "PYTHONUNBUFFERED": "1"}

    def program(self, name: str) -> Path:
        module = next(module for module, programs in FULL.items() if name in programs)
        return program_path(module, name)

    def kubeconfig(self, user: str, *groups: str, file: str) -> Path:
        """For a component that logs in under this name."""
        pair = self.authority.client(user, groups, file)
        path = self.place.keys / f"{file}.kubeconfig"
        return kubeconfig.write(self.place, str(path), self.server, self.authority.pair.certificate, pair)


def network_of(place: Place) -> Network:
    """The addresses of a cluster that runs."""
    server = login.read(place.kubeconfig).server
    return Network(int(server.split(".")[2]))
