"""What a node says of itself: whether it serves as declared or why not, its certificates, its figures.

Reads; never changes anything. Does not know who asks, or in which form.
"""

from collections.abc import Callable
from typing import Any

from mqtt_api.node_facts import ListenerCertificate
from mqtt_broker.node import readings
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.listener import Listener


class Serving:
    """One node from when it has joined its store until it has left.

    `lacks_listeners`: one is not as declared. `has_begun` is for the node to set, once they are open.
    """

    def __init__(self, hub: Hub, listeners: Callable[[], list[Listener]], lacks_listeners: Callable[[], bool]) -> None:
        self.hub = hub
        self.listeners = listeners
        self._lacks_listeners = lacks_listeners
        self.has_begun = False

    @property
    def is_ready(self) -> bool:
        """True if new clients are served as declared: policy, store and listeners are there, nobody drains."""
        return not self.lacks

    @property
    def lacks(self) -> str:
        """Why new clients are not served as declared, for people; "" if they are.

        A store without room is no reason: clients that take what waits for them are what makes room again.
        """
        hub = self.hub
        reasons = {
            "the node is starting": not self.has_begun,
            "this node is fenced": hub.fenced.is_set(),
            "this node is leaving": hub.draining,
            "the lease has run out, and the store does not answer": hub.is_frozen,
            "the store does not answer": not (hub.peers.is_in_touch and (hub.pump.available or hub.pump.is_full)),
            "there is no policy yet": hub.policy is None,
            "a listener is not as declared": self._lacks_listeners(),
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    def certificates(self) -> dict[str, ListenerCertificate]:
        """What each listener with TLS shows to new clients."""
        return {
            listener.name: ListenerCertificate(
                serial=listener.tls.serial,
                not_after=listener.tls.not_after.isoformat(),
                client_cas=listener.tls.client_cas,
            )
            for listener in self.listeners()
            if listener.tls is not None
        }

    def status(self) -> dict[str, Any]:
        """Totals since the start, and what each listener serves."""
        hub, counters, certificates = self.hub, self.hub.counters, self.certificates()
        return {
            "node": hub.settings.node,
            "version": readings.release(),
            "ready": self.is_ready,
            "lacks": self.lacks,
            "policy_revision": hub.revision,
            "purged": {"revision": hub.purged.revision, "until": hub.purged.until},
            "store_available": hub.pump.available and hub.peers.is_in_touch,
            "connections": len(hub.connections),
            "sessions": len(hub.sessions),
            "subscriptions": len(hub.tree),
            "retained": len(hub.retained),
            "messages_received": counters.messages_received,
            "messages_sent": counters.messages_sent,
            "messages_dropped": counters.messages_dropped,
            "dropped": counters.dropped,
            "denials": counters.denials,
            "overload_level": hub.overload.level,
            "draining": hub.draining,
            "cluster": hub.peers.status(),
            "listeners": {
                listener.name: {
                    "port": listener.port,
                    "connections": len(listener.connections),
                    "serial": None if (shown := certificates.get(listener.name)) is None else shown.serial,
                    "not_after": None if shown is None else shown.not_after,
                    "client_cas": "" if shown is None else shown.client_cas,
                }
                for listener in self.listeners()
            },
        }
