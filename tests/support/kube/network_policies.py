"""Enforces NetworkPolicies in the node's network: looks at every packet that is routed to or from a pod.

A process inside the node. It wants no more of the kernel than kube-proxy does; other engines want queues of nftables,
which not every machine has. What the node itself sends is never held back, so that the kubelet's probes arrive, as the
API has it.
"""

import argparse
import asyncio
import subprocess
import sys
from pathlib import Path

from support.kube import policy_rules
from support.kube.daemons import Daemon
from support.kube.mirror import Cluster, Mirror, follow_all
from support.kube.plan import Plan
from support.kube.policy_rules import ROOT_CHAIN, World
from support.kube.sandbox import Sandbox

NAME = "network-policies"
SETTLE_S = 0.05  # changes that come together are written together


def start(plan: Plan, sandbox: Sandbox) -> None:
    """Return at once: policies act a moment after they are written."""
    login = plan.kubeconfig("network-policies", "system:masters", file=NAME)
    command = sandbox.inside(sys.executable, "-m", "support.kube.network_policies", login)
    Daemon(plan.place, NAME, command, plan.python_environment)


class Enforcer:
    """Writes the rules of what it is told. Chains of pods that are gone go with the next change."""

    def __init__(self) -> None:
        self._chains: set[str] = set()
        self._text = ""

    def begin(self) -> None:
        _call("iptables", "-w", "-t", "mangle", "-N", ROOT_CHAIN)
        # Not in the table where kube-proxy puts its own rules in front of all others.
        _call("iptables", "-w", "-t", "mangle", "-I", "FORWARD", "-j", ROOT_CHAIN)

    def enforce(self, world: World) -> None:
        text, chains = policy_rules.table(world, self._chains)
        if text != self._text:
            _call("iptables-restore", "-w", "--noflush", stdin=text)
            self._chains, self._text = chains, text


async def run(kubeconfig: Path) -> None:
    namespaces, pods = Mirror("/api/v1/namespaces"), Mirror("/api/v1/pods")
    policies = Mirror("/apis/networking.k8s.io/v1/networkpolicies")
    enforcer, changed = Enforcer(), asyncio.Event()
    enforcer.begin()
    mirrors = (namespaces, pods, policies)
    async with Cluster(kubeconfig) as cluster, asyncio.TaskGroup() as tasks:
        tasks.create_task(follow_all(cluster, mirrors, changed))
        while True:
            await changed.wait()
            await asyncio.sleep(SETTLE_S)
            changed.clear()
            if all(mirror.is_complete for mirror in mirrors):
                enforcer.enforce(World(*(tuple(mirror.objects.values()) for mirror in mirrors)))


def _call(*command: str, stdin: str = "") -> None:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}\n{stdin}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kubeconfig", type=Path)
    asyncio.run(run(parser.parse_args().kubeconfig))


if __name__ == "__main__":
    main()
