"""Sessions of clients that were deleted for good: ended when the policy says, and told when that is durable.

Knows the policy's list of user names and moments; does not know who made it, or why, or who is told.
"""

from mqtt_api.node_facts import Purged
from mqtt_api.policy import Policy, Purge
from mqtt_broker.node.hub import Hub
from mqtt_broker.store.ports import End

# From when it is due, as far as this node knows: then nobody is connected any more by what the policy said before, at
# whatever node, and nodes that were lost own nothing.
SETTLE_S = 30.0


class Purges:
    """Remembers what it saw to. A node that takes over goes through all of it once more, which does no harm."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._due_since: dict[tuple[str, Purge], float] = {}
        self._done: set[tuple[str, Purge]] = set()

    def look(self) -> None:
        """End what is due. Whoever is connected, or has a principal again, is left alone."""
        policy, now = self._hub.policy, self._hub.store_now()
        if policy is None or not (policy.purges or self._due_since):
            return
        due = [each for each in policy.purges.items() if each[1].due_at <= now]
        self._due_since = {each: self._due_since.get(each, now) for each in due}
        self._done &= self._due_since.keys()
        settled = {each for each, since in self._due_since.items() if since + SETTLE_S <= now} - self._done
        if settled:
            self._end({username for username, _ in settled if username not in policy.principals})
            self._done |= settled
        self._tell_when_written(policy, now)

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

    def _tell_when_written(self, policy: Policy, now: float) -> None:
        waiting = [purge.due_at for username, purge in self._due_since.keys() - self._done]
        told = Purged(revision=policy.revision, until=min(waiting, default=int(now) + 1) - 1)

        def tell() -> None:
            self._hub.purged = told

        self._hub.pump.when_written(tell)
