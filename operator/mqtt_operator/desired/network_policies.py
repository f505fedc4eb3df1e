"""Who reaches the pods, and whom they reach: nothing is allowed that is not said here.

Knows ports and peers; does not know who enforces it. Probes come from the pod's own machine, which no policy stops.
"""

import ipaddress

from mqtt_api.kinds.mqttbroker import Listener
from mqtt_api.kinds.session_store import RedisMode, RedisStore
from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import names
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.kinds import NETWORK_POLICY
from mqtt_operator.desired.labels import COMPONENT_LABEL, Component, selector
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import as_written, owned

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
OPERATOR_COMPONENT = "operator"

_BOTH = ["Ingress", "Egress"]
# A resolver may be on the machine itself, where no selector finds it. Its pods may listen at 5353 (OpenShift).
_DNS: Manifest = {"ports": [{"protocol": protocol, "port": port} for port in (53, 5353) for protocol in ("UDP", "TCP")]}
# Sentinels say where the primary is, and nobody else knows its port. Kubernetes' own ports are mostly below.
_ANY_REDIS: Manifest = {"ports": [{"protocol": "TCP", "port": 1024, "endPort": 65_535}]}


def network_policies(broker: MQTTBroker, inputs: Inputs) -> list[Manifest]:
    """That of the nodes, and that of the managed store if there is one."""
    policies = [_nodes(broker, inputs)]
    return [*policies, _store(broker, inputs)] if broker.spec.session_store.managed is not None else policies


def _nodes(broker: MQTTBroker, inputs: Inputs) -> Manifest:
    metrics = {
        "ports": [_tcp(names.HTTP_PORT)],
        "from": [_operator(inputs), *inputs.metrics_peers],
    }
    spec = {
        "podSelector": _pods(broker, Component.BROKER),
        "policyTypes": _BOTH,
        "ingress": [*(_clients(listener) for listener in broker.spec.listeners), metrics],
        **_egress(_to_store(broker)),
    }
    return owned(broker, inputs, NETWORK_POLICY, names.nodes_network_policy(broker.metadata.name), spec=spec)


def _clients(listener: Listener) -> Manifest:
    """Without peers: from everywhere, also from outside the cluster."""
    rule: Manifest = {"ports": [_tcp(listener.port)]}
    if listener.network_policy_peers is not None:
        rule["from"] = [as_written(peer) for peer in listener.network_policy_peers]
    return rule


def _to_store(broker: MQTTBroker) -> list[Manifest]:
    store = broker.spec.session_store
    if store.embedded is not None:
        return []
    if store.redis is None:
        return [_DNS, {"ports": [_tcp(names.REDIS_PORT)], "to": [{"podSelector": _pods(broker, Component.STORE)}]}]
    return [_DNS, *_to_redis(store.redis)]


def _to_redis(redis: RedisStore) -> list[Manifest]:
    """By address where there is one. A name may mean any address, and a Service whose pods have Redis' usual port."""
    if redis.mode is RedisMode.SENTINEL:
        return [_ANY_REDIS]
    host, _, port = redis.addresses[0].rpartition(":")
    block = _ip_block(host.strip("[]"))
    if block is None:
        return [{"ports": [_tcp(each) for each in sorted({int(port), names.REDIS_PORT})]}]
    return [{"ports": [_tcp(int(port))], "to": [{"ipBlock": block}]}]


def _ip_block(host: str) -> Manifest | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return {"cidr": f"{address}/{address.max_prefixlen}"}


def _store(broker: MQTTBroker, inputs: Inputs) -> Manifest:
    """Its own nodes and the operator; it asks nobody anything."""
    peers = [{"podSelector": _pods(broker, Component.BROKER)}, _operator(inputs)]
    spec = {
        "podSelector": _pods(broker, Component.STORE),
        "policyTypes": _BOTH,
        "ingress": [{"ports": [_tcp(names.REDIS_PORT)], "from": peers}],
        **_egress([]),
    }
    name = names.store_network_policy(broker.metadata.name)
    return owned(broker, inputs, NETWORK_POLICY, name, component=Component.STORE, spec=spec)


def _egress(rules: list[Manifest]) -> Manifest:
    """No rules are no field: the API server drops an empty list, and to bring it back would be a change each time."""
    return {"egress": rules} if rules else {}


def _pods(broker: MQTTBroker, component: Component) -> Manifest:
    return {"matchLabels": selector(broker.metadata.name, component)}


def _operator(inputs: Inputs) -> Manifest:
    return {
        "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: inputs.operator_namespace}},
        "podSelector": {"matchLabels": {COMPONENT_LABEL: OPERATOR_COMPONENT}},
    }


def _tcp(port: int) -> Manifest:
    return {"protocol": "TCP", "port": port}
