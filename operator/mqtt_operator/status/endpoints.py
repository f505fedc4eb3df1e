"""status.endpoints: where clients connect. Pure."""

from collections.abc import Iterator

from mqtt_api.kinds.broker_status import ENDPOINTS_MAX
from mqtt_api.kinds.services import Service, ServiceType
from mqtt_operator.desired import names
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.status.observation import Observation


def endpoints(seen: Observation) -> list[Manifest]:
    """Those reached from outside first, in the order of spec.services; then those within the cluster."""
    return [*_outside(seen), *_inside(seen)][:ENDPOINTS_MAX]


def has_addresses(seen: Observation) -> bool:
    """Every load balancer that was asked for has an address."""
    wanted = [entry for entry in seen.broker.spec.services if entry.type is ServiceType.LOAD_BALANCER]
    return all(_hosts(seen, entry) for entry in wanted)


def _outside(seen: Observation) -> Iterator[Manifest]:
    for entry in seen.broker.spec.services:
        ports = _ports(seen, entry)
        for listener in entry.listeners:
            for host in _hosts(seen, entry):
                if listener in ports:
                    yield _endpoint(host, ports[listener], listener, entry.name)


def _inside(seen: Observation) -> Iterator[Manifest]:
    metadata = seen.broker.metadata
    host = names.service_dns_name(names.service(metadata.name), metadata.namespace)
    for listener in seen.broker.spec.listeners:
        yield _endpoint(host, listener.port, listener.name)


def _hosts(seen: Observation, entry: Service) -> list[str]:
    """The name that people gave it, or what the load balancer says of itself; a node port has no host of its own."""
    if entry.advertised_address is not None:
        return [entry.advertised_address]
    if entry.type is ServiceType.CLUSTER_IP:
        name = names.extra_service(seen.broker.metadata.name, entry.name)
        return [names.service_dns_name(name, seen.broker.metadata.namespace)]
    ingress = _service(seen, entry).get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    return [host for each in ingress if (host := each.get("hostname") or each.get("ip"))]


def _ports(seen: Observation, entry: Service) -> dict[str, int]:
    """By listener. Clients of a node port come to the port of the machines."""
    field = "nodePort" if entry.type is ServiceType.NODE_PORT else "port"
    ports = _service(seen, entry).get("spec", {}).get("ports", ())
    return {port["name"]: port[field] for port in ports if field in port}


def _service(seen: Observation, entry: Service) -> Manifest:
    return seen.services.get(names.extra_service(seen.broker.metadata.name, entry.name), {})


def _endpoint(host: str, port: int, listener: str, service: str | None = None) -> Manifest:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    found: Manifest = {"listener": listener, "address": address}
    return found if service is None else {"service": service, **found}
