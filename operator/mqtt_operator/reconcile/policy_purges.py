"""User names of clients that were deleted for good: asked for until a node says that their sessions have ended.

Knows when they end, and who may have such a user name meanwhile; does not know nodes, or how a policy is written. Pure:
the time comes in, in seconds since 1970.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from msgspec.structs import replace

from mqtt_api.conditions import Reason
from mqtt_api.node_facts import Purged
from mqtt_api.policy import Policy, Principal, Purge
from mqtt_api.resources import MQTTClient
from mqtt_operator.status.verdict import Problem

PURGE_DELAY_S = 3_600  # a deletion by mistake can be taken back until then


class Purges:
    """Of one broker. `in_force`: the policy that was there before us, None = none."""

    def __init__(self, in_force: Policy | None) -> None:
        self._wanted: dict[str, Purge] = {} if in_force is None else dict(in_force.purges)
        self._since = {} if in_force is None else dict.fromkeys(self._wanted, in_force.revision)

    @property
    def wanted(self) -> Mapping[str, Purge]:
        """As in Policy. None of these user names is a principal's."""
        return MappingProxyType(self._wanted)

    def ask(self, gone: Principal, now: float) -> None:
        """This client was deleted for good."""
        self._put(gone.username, Purge(due_at=int(now) + PURGE_DELAY_S, namespace=gone.namespace))

    def makes_way(self, client: MQTTClient, now: float) -> bool:
        """True if the client may have its user name now. One of the same namespace takes the deletion back in time.

        For any other the sessions end at once, and it waits for that: they are not its own.
        """
        purge = self._wanted.get(client.username)
        if purge is None:
            return True
        if now < purge.due_at and purge.namespace == client.metadata.namespace:
            del self._wanted[client.username]
            return True
        if now < purge.due_at:
            self._put(client.username, replace(purge, due_at=int(now)))
        return False

    def refusal(self, client: MQTTClient) -> Problem | None:
        """Why the client takes no part yet, if it has to wait."""
        if client.username not in self._wanted:
            return None
        sentence = (
            f"The user name {client.username!r} was that of a client that is deleted: its sessions end first, "
            "within a minute while a node runs."
        )
        return Problem(Reason.PENDING, sentence)

    def written(self, revision: int) -> None:
        """The policy in force asks for all of them, since this revision at the latest."""
        for username in self._wanted:
            self._since.setdefault(username, revision)

    def ended(self, told: Iterable[Purged]) -> set[str]:
        """Of what nodes tell: whose sessions have ended. These user names are free, and not asked for any more."""
        told = list(told)
        free = {
            username
            for username, purge in self._wanted.items()
            if (since := self._since.get(username)) is not None
            and any(each.revision >= since and each.until >= purge.due_at for each in told)
        }
        for username in free:
            del self._wanted[username], self._since[username]
        return free

    def _put(self, username: str, purge: Purge) -> None:
        self._wanted[username] = purge
        self._since.pop(username, None)
