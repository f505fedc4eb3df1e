"""The CAs that certificates of clients are verified by, as one ConfigMap: an entry for each listener that does so.

Knows the entries; does not know where people keep their CAs. They are gathered here, rather than mounted from there, so
that the list itself is content: a CA that is added to it or taken away replaces no pod.
"""

from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.kinds import CONFIG_MAP
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import owned


def client_cas(broker: MQTTBroker, inputs: Inputs) -> list[Manifest]:
    """None if no listener verifies clients."""
    if not inputs.client_cas:
        return []
    data = {names.client_cas_key(listener): pem for listener, pem in inputs.client_cas.items()}
    return [owned(broker, inputs, CONFIG_MAP, names.client_cas(broker.metadata.name), data=data)]
