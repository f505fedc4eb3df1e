"""Who the pods are towards Kubernetes: somebody of their own, with no right and no token.

Knows the object; does not know the pods.
"""

from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.kinds import SERVICE_ACCOUNT
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import owned


def service_account(broker: MQTTBroker, inputs: Inputs) -> Manifest:
    """Shared by the nodes and the managed store."""
    name = names.service_account(broker.metadata.name)
    return owned(broker, inputs, SERVICE_ACCOUNT, name, automountServiceAccountToken=False)
