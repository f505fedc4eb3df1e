"""SessionStoreReachable: the operator reaches the store, and it is the broker's own. Pure.

Unknown until the store has answered once, and never again: whoever finds the store empty learns from this whether
anything can have been lost.
"""

from mqtt_api.conditions import ConditionType, Reason
from mqtt_operator.status.observation import Contact, Observation, StoreSeen
from mqtt_operator.status.verdict import Problem, Verdict, fails, holds, unknown

KIND = ConditionType.SESSION_STORE_REACHABLE


def session_store(seen: Observation) -> Verdict:
    store = seen.store
    if seen.broker.spec.session_store.embedded is not None:
        return holds(KIND, Reason.STORE_EMBEDDED, "The store is a file of the one node.")
    if store is None:
        verdict = fails if seen.was_reached else unknown
        return verdict(KIND, Reason.PENDING, "The store was not asked: something else has to be mended first.")
    problem = store.problem or store.rolled_back
    if problem is None:
        return holds(KIND, Reason.STORE_REACHABLE, f"The store answers. {store.note}".rstrip())
    return _unusable(store, problem)


def _unusable(store: StoreSeen, problem: Problem) -> Verdict:
    return unknown(KIND, *problem) if store.contact is Contact.NEVER else fails(KIND, *problem)
