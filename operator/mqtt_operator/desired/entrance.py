"""Which listener to tell people and devices about, if they ask for one.

Knows what makes a listener easy to reach; does not know addresses.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from mqtt_api.kinds.mqttbroker import ClientAuth, ListenerProtocol


class Secured(Protocol):
    """Its TLS."""

    @property
    def client_auth(self) -> str: ...


class Reachable(Protocol):
    """A listener as it is declared, or as a node is told of it."""

    @property
    def proxy_protocol(self) -> object | None: ...

    @property
    def protocol(self) -> str: ...

    @property
    def tls(self) -> Secured | None: ...


ListenerT = TypeVar("ListenerT", bound=Reachable)


def best_listener(listeners: Iterable[ListenerT]) -> ListenerT:
    """Reached without a proxy, MQTT over TCP, TLS, no client certificate asked for; in that order. First of equals."""
    return min(
        listeners,
        key=lambda each: (
            each.proxy_protocol is not None,
            each.protocol != ListenerProtocol.MQTT,
            each.tls is None,
            each.tls is not None and each.tls.client_auth == ClientAuth.REQUIRED,
        ),
    )
