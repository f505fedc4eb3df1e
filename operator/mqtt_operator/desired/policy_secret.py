"""The policy for a node that has a store of its own: a file for it, as nothing else brings it there.

Knows the object; does not know what stands in a policy. It is a Secret because verifiers of passwords are in it.
"""

from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import owned_secret


def policy_secret(broker: MQTTBroker, inputs: Inputs) -> list[Manifest]:
    """None where nodes share a store, or while there is no policy: a pod without it waits."""
    if broker.spec.session_store.embedded is None or inputs.policy is None:
        return []
    return [owned_secret(broker, inputs, names.policy_secret(broker.metadata.name), {names.POLICY_KEY: inputs.policy})]
