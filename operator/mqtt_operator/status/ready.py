"""Ready: the object holds, everywhere: the condition to wait for. Pure: it follows from the others."""

from collections.abc import Mapping

from mqtt_api.conditions import ConditionType, Reason
from mqtt_operator.status.observation import Observation
from mqtt_operator.status.verdict import Verdict, fails, holds

KIND = ConditionType.READY

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
        if not others[kind].is_true:
            return fails(KIND, others[kind].reason, others[kind].message)
    certificates = others[ConditionType.CERTIFICATES_READY]
    if certificates.reason in _BAD_CERTIFICATES:
        return fails(KIND, certificates.reason, certificates.message)
    wanted = seen.broker.spec.replicas
    if seen.ready_nodes < wanted:
        return fails(KIND, Reason.NODES_NOT_READY, f"{seen.ready_nodes} of {wanted} nodes accept clients.")
    programmed = others[ConditionType.PROGRAMMED]
    if not programmed.is_true:
        return fails(KIND, programmed.reason, programmed.message)
    return holds(KIND, Reason.ALL_READY, f"{seen.ready_nodes} of {wanted} nodes accept clients.")
