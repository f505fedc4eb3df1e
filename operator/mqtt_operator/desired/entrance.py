"""Which listener to tell people and devices about, if they ask for one.

Knows what makes a listener easy to reach; does not know addresses.
"""

from collections.abc import Iterable

from mqtt_api.kinds.mqttbroker import ClientAuth, Listener, ListenerProtocol


def best_listener(listeners: Iterable[Listener]) -> Listener:
    """Reached without a proxy, MQTT over TCP, TLS, no client certificate asked for; in that order. First of equals."""
    return min(
        listeners,
        key=lambda each: (
            each.proxy_protocol is not None,
            each.protocol is not ListenerProtocol.MQTT,
            each.tls is None,
            each.tls is not None and each.tls.client_auth is ClientAuth.REQUIRED,
        ),
    )
