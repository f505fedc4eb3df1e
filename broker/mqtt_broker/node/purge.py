"""Sessions of clients that were deleted for good: ended when the policy says, once.

Knows the policy's list of user names and moments; does not know who made it, or why.
"""

from mqtt_broker.node.hub import Hub
from mqtt_broker.store.ports import End


class Purges:
    """Remembers which moments have come. A node that takes over goes through them once more, which does no harm."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._done: set[tuple[str, int]] = set()

    def look(self) -> None:
        """End what is due. Whoever is connected, or has a principal again, is left alone."""
        policy, now = self._hub.policy, self._hub.store_now()
        if policy is None or not policy.purges:
            return
        due = {(name, moment) for name, moment in policy.purges.items() if moment <= now} - self._done
        if not due:
            return
        self._done |= due
        self._end({name for name, _ in due if name not in policy.principals})

    def _end(self, usernames: set[str]) -> None:
        hub = self._hub
        for session in list(hub.sessions.values()):
            facts = session.facts
            is_theirs = not facts.anonymous and facts.username in usernames
            is_used = session.outlet is not None or session.owner is not None or session.client_id in hub.connecting
            if is_theirs and not is_used:
                if not hub.peers.follow_feed:
                    hub.forget(session)
                hub.pump.submit(End(client_id=session.client_id, incarnation=session.incarnation))
