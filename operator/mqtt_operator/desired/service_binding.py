"""The Secret with all that a client needs to connect, where its password was made up for it.

Knows the entries that the service-binding specification names; does not know how passwords are made, or when.
"""

from collections.abc import Mapping

from msgspec import Struct

from mqtt_api.kinds.mqttbroker import Listener, ListenerProtocol
from mqtt_api.resources import MQTTBroker, MQTTClient
from mqtt_operator.desired import names
from mqtt_operator.desired.entrance import best_listener
from mqtt_operator.desired.kinds import SECRET
from mqtt_operator.desired.labels import client_labels, owner_reference
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.owned import encoded

BINDING_TYPE = "mqtt"
SECRET_TYPE = "servicebinding.io/mqtt"  # noqa: S105 - the type of a Secret
PROVIDER = "stoa"

# By (protocol, has TLS).
_SCHEMES = {
    (ListenerProtocol.MQTT, False): "mqtt",
    (ListenerProtocol.MQTT, True): "mqtts",
    (ListenerProtocol.WEB_SOCKET, False): "ws",
    (ListenerProtocol.WEB_SOCKET, True): "wss",
}


class Endpoint(Struct, frozen=True, kw_only=True):
    """Where a client finds the broker. `path` only for WebSocket; `ca` is PEM, None = plain text or a public CA."""

    scheme: str
    host: str
    port: int
    path: str = ""
    ca: bytes | None = None

    @property
    def uri(self) -> str:
        """Without user name and password, which would end up in logs with it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def client_endpoint(broker: MQTTBroker, addresses: Mapping[str, str], ca: bytes | None) -> Endpoint:
    """Where clients are told to go: the easiest listener, from outside if it is reached there, else from inside.

    `addresses`: what the load balancers of spec.services got, by name of the entry; an advertised address comes first.
    `ca`: the entry ca.crt of that listener's Secret.
    """
    listener = best_listener(broker.spec.listeners)
    inside = names.service_dns_name(names.service(broker.metadata.name), broker.metadata.namespace)
    return Endpoint(
        scheme=_SCHEMES[listener.protocol, listener.tls is not None],
        host=_outside(broker, listener, addresses) or inside,
        port=listener.port,
        path=(listener.web_socket.path or "/") if listener.protocol is ListenerProtocol.WEB_SOCKET else "",
        ca=ca if listener.tls is not None else None,
    )


def service_binding(client: MQTTClient, secret_name: str, password: str, endpoint: Endpoint) -> Manifest:
    """In the client's namespace; it ends with the client."""
    content = {
        "type": BINDING_TYPE.encode(),
        "provider": PROVIDER.encode(),
        "host": endpoint.host.encode(),
        "port": str(endpoint.port).encode(),
        "uri": endpoint.uri.encode(),
        names.USERNAME_KEY: client.username.encode(),
        names.PASSWORD_KEY: password.encode(),
    }
    if endpoint.ca is not None:
        content[names.CA_KEY] = endpoint.ca
    metadata = {
        "name": secret_name,
        "namespace": client.metadata.namespace,
        "labels": client_labels(),
        "ownerReferences": [owner_reference(client)],
    }
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "metadata": metadata,
        "type": SECRET_TYPE,
        "data": encoded(content),
    }


def _outside(broker: MQTTBroker, listener: Listener, addresses: Mapping[str, str]) -> str | None:
    leading = [each for each in broker.spec.services if listener.name in each.listeners]
    known = (each.advertised_address or addresses.get(each.name) for each in leading)
    return next((address for address in known if address), None)
