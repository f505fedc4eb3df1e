"""How many nodes may be taken away at a time by whoever empties machines.

Knows the object; does not know why machines are emptied. The managed store has none: it is one pod, which a budget
would tie to its machine.
"""

from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.kinds import POD_DISRUPTION_BUDGET
from mqtt_operator.desired.labels import Component, selector
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import owned


def disruption_budget(broker: MQTTBroker, inputs: Inputs) -> Manifest:
    """A node that is not ready holds nobody's connections, and may always go."""
    name = broker.metadata.name
    spec = {
        "maxUnavailable": broker.spec.pod_disruption_budget.max_unavailable,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": selector(name, Component.BROKER)},
    }
    return owned(broker, inputs, POD_DISRUPTION_BUDGET, names.disruption_budget(name), spec=spec)
