"""The policy: who may do what, as a value both programs share, and the pure decision over it.

This is the door: everything about the policy is imported from here. Knows rules, templates, coverage and precedence;
does not know where the policy came from, who asks, packets or time.

Semantics
- No rule means no. Among the rules that match, the highest priority wins; at equal priority deny wins.
- A template whose placeholder has no value, an empty one, or one with '+', '#', '/' or U+0000, or one that makes the
  topic start with '$': an allow rule does not match (and the walk says why), a deny rule matches with that level read
  as '+'. Where the value makes the topic start with '$', the deny matches the filter as filled in too, as '+' does not
  reach it.
- A filter is granted if one allow rule covers it and no deny that covers it outranks that allow. Denies that overlap it
  stay as exceptions, and the decision is taken again per topic at delivery.
"""

from mqtt_api.client_ids import client_id_allowed
from mqtt_api.policy_document import PolicyDecoder, decode_policy, encode_policy
from mqtt_api.policy_values import (
    NO_LIMITS,
    Activity,
    CertificateMatch,
    ClientLimits,
    Decision,
    Effect,
    Facts,
    Grant,
    Policy,
    Principal,
    Purge,
    Retained,
    Rule,
    Sharing,
    Step,
)
from mqtt_api.rights import Resolver, Rights, resolve
from mqtt_api.scram import ScramMechanism, ScramVerifier

__all__ = [
    "Effect",
    "Activity",
    "Retained",
    "Sharing",
    "Rule",
    "CertificateMatch",
    "ClientLimits",
    "NO_LIMITS",
    "ScramMechanism",
    "ScramVerifier",
    "Principal",
    "Purge",
    "Policy",
    "PolicyDecoder",
    "Facts",
    "Step",
    "Decision",
    "Grant",
    "Resolver",
    "Rights",
    "resolve",
    "client_id_allowed",
    "encode_policy",
    "decode_policy",
]
