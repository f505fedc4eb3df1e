"""A node of its own on this machine: a network, mounts and processes that nobody else sees, and a wire to the machine.

Knows Linux namespaces; does not know what runs inside. See sandbox_init.py for the other end.
"""

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from support.kube import sandbox_init
from support.kube.daemons import Daemon, running
from support.kube.place import Place
from support.kube.plan import NETWORKS_MAX, Network
from support.kube.problems import ClusterError

READY_S_MAX = 30.0


@dataclass(frozen=True)
class Sandbox:
    """`pid`: its first process, as the machine counts."""

    pid: int

    def inside(self, *command: str | Path) -> list[str]:
        """The command that runs this one inside."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--"]
        return [*enter, *map(str, command)]


def start(place: Place) -> Sandbox:
    """Make the namespaces of a node. They are gone when their first process is."""
    namespaces = ["--mount", "--propagation=private", "--net", "--pid", "--mount-proc", "--fork", "--kill-child"]
    init = [sys.executable, str(Path(sandbox_init.__file__)), str(place.root)]
    daemon = Daemon(place, "sandbox", ["unshare", *namespaces, "--", *init])
    daemon.wait_until(lambda: sandbox_init.READY in daemon.log(), READY_S_MAX)
    found = find(place)
    assert found is not None, "it said that it is ready"
    return found


def find(place: Place) -> Sandbox | None:
    """The node of a cluster that runs; None if it has none."""
    for pid in running(place):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
            if len(numbers) > 1 and numbers[-1] == "1":
                return Sandbox(pid)
    return None


def connect(sandbox: Sandbox) -> Network:
    """Lay a wire to it. The first free number is taken: making the link is also what claims it, for this machine."""
    network = _claim(sandbox)
    link, wire = network.link, "eth0"
    _call(["ip", "address", "add", f"{network.host}/30", "dev", link])
    _call(["ip", "link", "set", link, "up"])
    _call(sandbox.inside("ip", "address", "add", f"{network.node}/30", "dev", wire))
    _call(sandbox.inside("ip", "link", "set", wire, "up"))
    for addresses in (network.pods, network.services):
        _call(["ip", "route", "add", addresses, "via", network.node, "dev", link])
    # No default route inside: nothing in a cluster can reach further than this machine.
    for addresses in (network.load_balancers, network.customers):
        _call(["ip", "route", "add", "local", addresses, "dev", link])
        _call(sandbox.inside("ip", "route", "add", addresses, "via", network.host, "dev", wire))
    return network


def _claim(sandbox: Sandbox) -> Network:
    for number in range(NETWORKS_MAX):
        network = Network(number)
        command = ["ip", "link", "add", network.link, "type", "veth", "peer", "name", "eth0", "netns", str(sandbox.pid)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.returncode:
            return network
        if "File exists" not in done.stderr:
            raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
    raise ClusterError(f"all {NETWORKS_MAX} networks of this machine are taken; ./hack/cluster status lists clusters")


def _call(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
