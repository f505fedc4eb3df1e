"""Ready: the object holds, everywhere: the condition to wait for. Pure: it follows from the others.

Every change of a client or a permission leaves nodes behind for a moment. That is what Programmed says; a broker that
was ready stays so, unless they do not catch up.
"""

from collections.abc import Mapping
from datetime import timedelta

from mqtt_api.conditions import ConditionStatus, ConditionType, Reason
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.status.observation import Observation
from mqtt_operator.status.verdict import Verdict, fails, holds

KIND = ConditionType.READY

BEHIND_S_MAX = 30.0  # nodes need less than one: who has not caught up by then does not get what is written

# Without one of these the broker does not hold, in the order in which people should mend them.
_NEEDED = (
    ConditionType.ACCEPTED,
    ConditionType.RESOLVED_REFS,
    ConditionType.SESSION_STORE_REACHABLE,
)
# A certificate that is about to end, or that not all nodes have read yet, keeps nobody out.
_BAD_CERTIFICATES = (Reason.CERTIFICATE_PENDING, Reason.CERTIFICATE_EXPIRED, Reason.CERTIFICATE_INVALID)


def ready(seen: Observation, others: Mapping[ConditionType, Verdict]) -> Verdict:
    """`others`: all other verdicts, by what they are about."""
    for kind in _NEEDED:
        if not others[kind].is_true and not _is_for_later(seen, kind):
            return fails(KIND, others[kind].reason, others[kind].message)
    certificates = others[ConditionType.CERTIFICATES_READY]
    if certificates.reason in _BAD_CERTIFICATES:
        return fails(KIND, certificates.reason, certificates.message)
    wanted = seen.broker.spec.replicas
    if seen.ready_nodes < wanted:
        return fails(KIND, Reason.NODES_NOT_READY, f"{seen.ready_nodes} of {wanted} nodes accept clients.")
    programmed = others[ConditionType.PROGRAMMED]
    if not programmed.is_true and not _may_catch_up(seen, programmed):
        return fails(KIND, programmed.reason, programmed.message)
    return holds(KIND, Reason.ALL_READY, f"{seen.ready_nodes} of {wanted} nodes accept clients.")


def was_ready(status: Manifest, generation: int) -> bool:
    """The status says that it holds, of this generation."""
    wanted = (KIND, ConditionStatus.TRUE, generation)
    told = ((each["type"], each["status"], each.get("observedGeneration")) for each in status.get("conditions", ()))
    return wanted in told


def _is_for_later(seen: Observation, kind: ConditionType) -> bool:
    """What cannot be used is needed by nobody yet."""
    return kind is ConditionType.RESOLVED_REFS and not seen.unresolved


def _may_catch_up(seen: Observation, programmed: Verdict) -> bool:
    """Nodes had what was waited for before, and have not been without the next for long."""
    if programmed.reason is not Reason.NODES_BEHIND or seen.lag is None:
        return False
    has_held = seen.was_ready or seen.lag.is_next
    return has_held and seen.now - seen.lag.since < timedelta(seconds=BEHIND_S_MAX)
