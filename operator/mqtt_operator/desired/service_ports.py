"""From listeners to the ports of a Service.

Knows how Kubernetes and IANA name what is spoken; does not know which Service it is for.
"""

from collections.abc import Iterable

from mqtt_api.kinds.mqttbroker import Listener, ListenerProtocol
from mqtt_operator.desired.manifest import Manifest

# By (protocol, has TLS). mqtt and secure-mqtt are IANA's; kubernetes.io/ws and wss are Kubernetes' own.
_APP_PROTOCOLS = {
    (ListenerProtocol.MQTT, False): "mqtt",
    (ListenerProtocol.MQTT, True): "secure-mqtt",
    (ListenerProtocol.WEB_SOCKET, False): "kubernetes.io/ws",
    (ListenerProtocol.WEB_SOCKET, True): "kubernetes.io/wss",
}


def service_ports(listeners: Iterable[Listener]) -> list[Manifest]:
    """One port each, under the listener's name: the pods' port of that name, whatever its number is in each of them."""
    return [
        {
            "name": listener.name,
            "port": listener.port,
            "targetPort": listener.name,
            "protocol": "TCP",
            "appProtocol": _APP_PROTOCOLS[listener.protocol, listener.tls is not None],
        }
        for listener in listeners
    ]
