"""What changes the number of nodes by their load.

Knows the object; does not know how nodes are added or taken away: it sets replicas of the MQTTBroker, as people do.
"""

from mqtt_api.kinds.workload import Autoscaling
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.kinds import HORIZONTAL_POD_AUTOSCALER, MQTT_BROKER
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import owned

CONNECTIONS_METRIC = "stoa_connections"
SHRINK_AFTER_S = 300
SHRINK_PERIOD_S = 60
"""One node in so many seconds: each that leaves sends its clients to the others."""


def autoscaler(broker: MQTTBroker, inputs: Inputs) -> list[Manifest]:
    """One, or none if nobody asked for it."""
    scaling = broker.spec.autoscaling
    if scaling is None:
        return []
    name = broker.metadata.name
    spec = {
        "scaleTargetRef": {"apiVersion": MQTT_BROKER.api_version, "kind": MQTT_BROKER.kind, "name": name},
        "minReplicas": scaling.min_replicas,
        "maxReplicas": scaling.max_replicas,
        "metrics": _metrics(scaling),
        "behavior": {
            "scaleDown": {
                "stabilizationWindowSeconds": SHRINK_AFTER_S,
                "policies": [{"type": "Pods", "value": 1, "periodSeconds": SHRINK_PERIOD_S}],
            }
        },
    }
    return [owned(broker, inputs, HORIZONTAL_POD_AUTOSCALER, names.autoscaler(name), spec=spec)]


def _metrics(scaling: Autoscaling) -> list[Manifest]:
    metrics: list[Manifest] = []
    if scaling.target_cpu_utilization is not None:
        target = {"type": "Utilization", "averageUtilization": scaling.target_cpu_utilization}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if scaling.target_connections_per_node is not None:
        target = {"type": "AverageValue", "averageValue": str(scaling.target_connections_per_node)}
        metrics.append({"type": "Pods", "pods": {"metric": {"name": CONNECTIONS_METRIC}, "target": target}})
    return metrics
