"""Any bytes, read as a policy: ValueError or a policy, which then can be written, read again and decided by."""

import contextlib

from mqtt_api.policy import Facts, Policy, decode_policy, encode_policy, resolve

PEOPLE = (Facts(client_id="a", username="a"), Facts(client_id="", username="", anonymous=True))
TOPICS = ("a", "a/b", "$x/a", "")
FILTERS = ("#", "a/+", "$x/#")
RULES_MAX = 50


def run(data: bytes) -> None:
    policy = None
    with contextlib.suppress(ValueError):
        policy = decode_policy(data)
    if policy is None:
        return
    written = encode_policy(policy)
    assert encode_policy(policy) == written
    if all(rule.topics for rule in policy.rules):  # one that was not understood has none left, and cannot be written
        again = decode_policy(written)
        assert again == policy, f"{policy} was read again as {again}"
    if len(policy.rules) <= RULES_MAX:
        _decide(policy)


def _decide(policy: Policy) -> None:
    """Every question has an answer, and a filter is not granted where the default says no and no rule says yes."""
    for facts in PEOPLE:
        rights = resolve(policy, facts)
        for topic in TOPICS[:-1]:
            decision = rights.may_publish(topic, 1, retain=True)
            assert not (decision.allowed and not policy.rules and policy.default_effect == "Deny"), policy
            rights.may_receive(topic, 2, None)
        for topic_filter in FILTERS:
            grant = rights.may_subscribe(topic_filter, 2, "g")
            assert grant.qos is None or 0 <= grant.qos <= 2, grant
