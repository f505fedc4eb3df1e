"""How long a pod may take to leave: long enough to send its clients elsewhere at the declared pace.

Knows the arithmetic; does not know how a node drains.
"""

import math

from mqtt_api.resources import MQTTBroker

LAST_WRITES_S = 10
"""What is owed to clients and store after the last one was sent away."""
KUBELET_S = 10
"""Between the end of the process, at the latest, and the signal that nobody survives."""
STEPS_S = (60, 120, 300, 600)
"""Few values, for a pod that has another one must be replaced. The last is what a cluster autoscaler grants unless told
otherwise; a node with more clients drains quicker than declared.
"""


def pod_grace_s(broker: MQTTBroker) -> int:
    """terminationGracePeriodSeconds of a node's pod."""
    connections_max = sum(listener.max_connections_per_node for listener in broker.spec.listeners)
    paced_s = math.ceil(connections_max / broker.spec.drain.connections_per_second)
    needed_s = paced_s + LAST_WRITES_S + KUBELET_S
    return next((step_s for step_s in STEPS_S if step_s >= needed_s), STEPS_S[-1])


def drain_grace_s(broker: MQTTBroker) -> int:
    """How long after SIGTERM a node has left at the latest, in seconds, however many clients it has."""
    return pod_grace_s(broker) - KUBELET_S
