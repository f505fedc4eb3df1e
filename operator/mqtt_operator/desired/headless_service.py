"""The Service that gives each node a DNS name, whether it is ready or not.

Knows the object; does not know who looks nodes up.
"""

from mqtt_api import keys
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.kinds import SERVICE
from mqtt_operator.desired.labels import Component, selector
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import owned
from mqtt_operator.desired.service_ports import service_ports

HEADLESS_LABEL = f"{keys.GROUP}/headless"
"""Tells this Service from those for clients: metrics are read from each node once."""


def headless_service(broker: MQTTBroker, inputs: Inputs) -> Manifest:
    """Prometheus finds the nodes through it as well; one that is not ready has the most to tell."""
    name = broker.metadata.name
    metrics = {
        "name": names.HTTP_PORT_NAME,
        "port": names.HTTP_PORT,
        "targetPort": names.HTTP_PORT_NAME,
        "protocol": "TCP",
        "appProtocol": "http",
    }
    spec = {
        "type": "ClusterIP",
        "clusterIP": "None",
        "ipFamilyPolicy": "PreferDualStack",
        "publishNotReadyAddresses": True,
        "selector": selector(name, Component.BROKER),
        "ports": [*service_ports(broker.spec.listeners), metrics],
    }
    labels = {HEADLESS_LABEL: "true"}
    return owned(broker, inputs, SERVICE, names.headless_service(name), more_labels=labels, spec=spec)
