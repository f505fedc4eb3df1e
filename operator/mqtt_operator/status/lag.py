"""Since when nodes have not come to a policy that is waited for. Pure: memory and time come in.

Knows revisions and moments; does not know what follows for whoever waits (ready.py). It is not the newest policy that
counts: where something changes all the time, that one is always young, and nodes are always behind it.
"""

from datetime import datetime

from mqtt_api.conditions import ConditionStatus, ConditionType, Reason
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.status.observation import Lag, Observation

_BEHIND = (ConditionType.PROGRAMMED, ConditionStatus.FALSE, Reason.NODES_BEHIND)


def lag_now(seen: Observation, before: Lag | None) -> Lag | None:
    """`before`: as of the last pass. None: no node is behind."""
    revision = seen.policy.revision
    if revision is None or not seen.awaits_nodes:
        return None
    if before is None:
        return Lag(revision=revision, since=seen.now)
    if seen.has_reached(before.revision):
        return Lag(revision=revision, since=seen.now, is_next=True)
    return before


def lag_told(status: Manifest) -> Lag | None:
    """What a status says of it: so another operator goes on counting."""
    revision = status.get("policy", {}).get("revision")
    for each in status.get("conditions", ()) if revision is not None else ():
        if (each["type"], each["status"], each["reason"]) == _BEHIND:
            return Lag(revision=revision, since=datetime.fromisoformat(each["lastTransitionTime"]))
    return None
