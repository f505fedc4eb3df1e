"""DurabilityVerified: the store shows the settings that the declared durability needs. Pure."""

from mqtt_api.conditions import ConditionType, Reason
from mqtt_api.kinds.session_store import Verification
from mqtt_operator.status.observation import Observation
from mqtt_operator.status.verdict import Verdict, fails, holds, unknown

KIND = ConditionType.DURABILITY_VERIFIED
_ONE_USER = (
    "Nodes log in to the store as the operator does, and will refuse it where that user may write what is the "
    "operator's alone: give each a user of its own (credentialsRef, operatorCredentialsRef; the rules are in "
    "docs/cluster.md), or set durability.verification to Declared."
)


def durability(seen: Observation) -> Verdict:
    declared = seen.broker.spec.session_store.durability
    if seen.broker.spec.session_store.embedded is not None:
        return holds(KIND, Reason.STORE_EMBEDDED, "What is acknowledged is on the disk of the one node.")
    if declared.verification is Verification.DECLARED:
        return unknown(KIND, Reason.DURABILITY_DECLARED, f"{declared.level} is believed: verification is Declared.")
    if seen.store is None or seen.store.problem is not None:
        return unknown(KIND, Reason.PENDING, "The store has not shown its settings yet.")
    if seen.store.durability is not None:
        return fails(KIND, *seen.store.durability)
    if _is_one_user(seen) and not seen.told:
        return unknown(KIND, Reason.STORE_NOT_FIT, _ONE_USER)
    return holds(KIND, Reason.DURABILITY_SHOWN, f"The store shows the settings that {declared.level} needs.")


def _is_one_user(seen: Observation) -> bool:
    """Nodes refuse a store where they could write what the operator writes."""
    redis = seen.broker.spec.session_store.redis
    return redis is not None and redis.operator_credentials_ref in (None, redis.credentials_ref)


def store_summary(seen: Observation) -> str:
    """status.store: kind and durability, as kubectl shows it."""
    store = seen.broker.spec.session_store
    kind = "Embedded" if store.embedded is not None else "Managed" if store.managed is not None else "Redis"
    return f"{kind} ({store.durability.level})"
