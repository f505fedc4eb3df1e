"""How pods are wired: each has a wire of its own to the node, which routes between them.

Not a bridge: what passes between two ports of a bridge is seen by no packet filter, so neither a Service that leads
back to the same node nor a network policy would act on it.
"""

import json
from pathlib import Path

from support.kube.plan import Plan


def write(plan: Plan) -> Path:
    """The configuration for the network plugins; returns the folder that it is in."""
    addresses = {
        "type": "host-local",
        "dataDir": "/run/cni",  # the node has a /run of its own
        "ranges": [[{"subnet": plan.network.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    document = {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {"type": "ptp", "ipam": addresses},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    return plan.place.file("networks/pods.conflist", json.dumps(document, indent=2)).parent
