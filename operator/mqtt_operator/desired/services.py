"""The Services that clients connect to: one with all listeners for those within the cluster, and the declared ones.

Knows the objects; does not know which address a load balancer got.
"""

from mqtt_api.kinds.services import Service, ServiceType
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.kinds import SERVICE
from mqtt_operator.desired.labels import Component, selector
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import owned
from mqtt_operator.desired.service_ports import service_ports


def services(broker: MQTTBroker, inputs: Inputs) -> list[Manifest]:
    """All of them, that for within the cluster first."""
    return [_inside(broker, inputs), *(_declared(broker, inputs, each) for each in broker.spec.services)]


def _inside(broker: MQTTBroker, inputs: Inputs) -> Manifest:
    spec = {"type": "ClusterIP", **_basics(broker), "ports": service_ports(broker.spec.listeners)}
    return owned(broker, inputs, SERVICE, names.service(broker.metadata.name), spec=spec)


def _declared(broker: MQTTBroker, inputs: Inputs, service: Service) -> Manifest:
    listeners = [listener for listener in broker.spec.listeners if listener.name in service.listeners]
    spec: Manifest = {"type": service.type.value, **_basics(broker), "ports": service_ports(listeners)}
    if service.external_traffic_policy is not None:
        spec["externalTrafficPolicy"] = service.external_traffic_policy.value
    if service.type is ServiceType.LOAD_BALANCER:
        spec |= _load_balancer(service)
    return owned(
        broker,
        inputs,
        SERVICE,
        names.extra_service(broker.metadata.name, service.name),
        annotations=service.annotations,
        more_labels=service.labels,
        spec=spec,
    )


def _basics(broker: MQTTBroker) -> Manifest:
    return {
        "ipFamilyPolicy": "PreferDualStack",
        "selector": selector(broker.metadata.name, Component.BROKER),
    }


def _load_balancer(service: Service) -> Manifest:
    spec: Manifest = {}
    if service.load_balancer_class is not None:
        spec["loadBalancerClass"] = service.load_balancer_class
    if service.load_balancer_source_ranges is not None:
        spec["loadBalancerSourceRanges"] = list(service.load_balancer_source_ranges)
    return spec
