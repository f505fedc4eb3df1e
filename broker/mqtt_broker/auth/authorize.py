"""What an identity may do, asked of the policy: the decision itself is mqtt_api.policy's.

Knows which question belongs to CONNECT, and keeps resolved rights for who asks often; does not know rules, templates,
packets' bytes or where the policy comes from.
"""

from collections.abc import Callable

from mqtt_api.policy import Facts, Policy, Resolver, Rights, client_id_allowed
from mqtt_broker.auth.principal import Identity, Refused
from mqtt_broker.wire.packets import Will
from mqtt_broker.wire.reasons import ReasonCode

RIGHTS_ENTRIES_MAX = 50_000  # above the connections of a node; a few KiB each

_FactsKey = tuple[str, str, str, str, bool, str, str, tuple[tuple[str, str], ...]]


def may_connect(
    identity: Identity, client_id: str, will: Will | None, rights_of: Callable[[Facts], Rights]
) -> Refused | None:
    """None = yes. The client id must be one of the identity's; a will must be one that it may publish now.

    A will that may not be published is refused here, not found out when it is due; it is decided again then.
    """
    if not client_id_allowed(identity.client_ids, identity.facts.username, client_id):
        return Refused(
            ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
            f"the client id is none of {', '.join(identity.client_ids)}: add it to clientIDs to allow it",
        )
    if will is None:
        return None
    decision = rights_of(identity.facts).may_publish(will.topic, will.qos, will.retain)
    if decision.allowed:
        return None
    return Refused(
        ReasonCode.NOT_AUTHORIZED, f"will on {will.topic}: rule: {decision.rule or 'none'} ({decision.reason})"
    )


class RightsCache:
    """Resolved rights under the newest policy seen. Bounded: the entry unused for longest goes first."""

    def __init__(self, entries_max: int = RIGHTS_ENTRIES_MAX) -> None:
        self._entries_max = entries_max
        self._policy: Policy | None = None
        self._resolver = Resolver(Policy())
        self._rights: dict[_FactsKey, Rights] = {}
        self.rules_resolved = 0

    def __len__(self) -> int:
        return len(self._rights)

    def rights(self, policy: Policy, facts: Facts) -> Rights:
        """`resolve(policy, facts)`, computed once. Another policy than the last one empties the cache."""
        if self._policy is not policy:
            self._policy = policy
            self._resolver = Resolver(policy)
            self._rights.clear()
        key = _key(facts)
        rights = self._rights.pop(key, None)
        if rights is None:
            before = self._resolver.work
            rights = self._resolver.resolve(facts)
            self.rules_resolved += self._resolver.work - before
            if len(self._rights) >= self._entries_max:
                del self._rights[next(iter(self._rights))]
        self._rights[key] = rights  # last in order: used just now
        return rights

    def forget(self, facts: Facts) -> None:
        """Nobody will ask for these soon. Idempotent."""
        self._rights.pop(_key(facts), None)


def _key(facts: Facts) -> _FactsKey:
    """Every fact: two clients that differ in one may differ in their rights."""
    return (
        facts.client_id,
        facts.username,
        facts.namespace,
        facts.source,
        facts.anonymous,
        facts.certificate_cn,
        facts.certificate_san_dns,
        tuple(sorted(facts.attributes.items())),
    )
