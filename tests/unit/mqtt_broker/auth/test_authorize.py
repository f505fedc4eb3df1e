"""What CONNECT asks of the policy, and the rights that are kept."""

import pytest

from mqtt_api.policy import Activity, Effect, Facts, Policy, Principal, Resolver, Retained, Rights, Rule, resolve
from mqtt_broker.auth import authorize
from mqtt_broker.auth.authorize import RightsCache, may_connect
from mqtt_broker.auth.principal import Identity, Refused
from mqtt_broker.wire.packets import Will
from mqtt_broker.wire.reasons import ReasonCode

RULE = Rule(
    permission="mqtt/pumps",
    name="own-data",
    effect=Effect.ALLOW,
    activity=Activity.PUBLISH,
    topics=("plant/${clientid}/#",),
    qos=(0, 1),
    retain=Retained.NOT_RETAINED,
)
PERMISSIONS = {RULE.permission: (RULE,)}
PUMP = Principal(username="pump-7", permissions=(RULE.permission,))
POLICY = Policy(revision=1, permissions=PERMISSIONS, principals={"pump-7": PUMP})


def facts(client_id: str = "pump-7", username: str = "pump-7") -> Facts:
    return Facts(client_id=client_id, username=username)


def ask(client_id: str = "pump-7", will: Will | None = None) -> Refused | None:
    mine = facts(client_id)
    identity = Identity(facts=mine, client_ids=("${username}", "${username}-*"))
    return may_connect(identity, client_id, will, lambda facts: resolve(POLICY, mine))


@pytest.mark.parametrize("client_id", ["pump-7", "pump-7-a"])
def test_a_client_id_of_the_principal_is_good(client_id: str) -> None:
    assert ask(client_id) is None


@pytest.mark.parametrize("client_id", ["pump-8", "pump-77", "", "PUMP-7"])
def test_any_other_client_id_is_refused(client_id: str) -> None:
    refusal = ask(client_id)
    assert refusal is not None
    assert refusal.reason is ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
    assert "${username}-*" in refusal.detail


def test_a_will_that_may_be_published_is_good() -> None:
    assert ask(will=Will("plant/pump-7/gone", b"", qos=1, retain=False)) is None


@pytest.mark.parametrize(
    "will",
    [
        Will("plant/pump-8/gone", b"", qos=1, retain=False),
        Will("plant/pump-7/gone", b"", qos=2, retain=False),
        Will("plant/pump-7/gone", b"", qos=1, retain=True),
    ],
)
def test_a_will_that_may_not_be_published_is_refused_at_connect(will: Will) -> None:
    """Threat 36: topic, QoS and retain each decide."""
    refusal = ask(will=will)
    assert refusal is not None
    assert refusal.reason is ReasonCode.NOT_AUTHORIZED
    assert will.topic in refusal.detail


def test_the_client_id_is_decided_before_the_will() -> None:
    refusal = ask("pump-8", Will("plant/pump-7/gone", b"", qos=1, retain=False))
    assert refusal is not None
    assert refusal.reason is ReasonCode.CLIENT_IDENTIFIER_NOT_VALID


class Counting:
    """`Resolver.resolve`, counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[Facts] = []
        resolve = Resolver.resolve

        def counted(resolver: Resolver, who: Facts) -> Rights:
            self.calls.append(who)
            return resolve(resolver, who)

        monkeypatch.setattr(Resolver, "resolve", counted)


def test_rights_are_resolved_once_per_policy_and_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    counting, cache = Counting(monkeypatch), RightsCache()
    first = cache.rights(POLICY, facts())
    assert cache.rights(POLICY, facts()) is first
    assert len(counting.calls) == 1


@pytest.mark.parametrize(
    "other",
    [
        Facts(client_id="other", username="u"),
        Facts(client_id="c", username="other"),
        Facts(client_id="c", username="u", namespace="other"),
        Facts(client_id="c", username="u", source="other"),
        Facts(client_id="c", username="u", anonymous=True),
        Facts(client_id="c", username="u", attributes={"line": "other"}),
        Facts(client_id="c", username="u", certificate_cn="other"),
        Facts(client_id="c", username="u", certificate_san_dns="other"),
    ],
)
def test_facts_that_differ_in_one_field_never_share_rights(other: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    counting, cache = Counting(monkeypatch), RightsCache()
    cache.rights(POLICY, Facts(client_id="c", username="u"))
    cache.rights(POLICY, other)
    assert len(counting.calls) == 2


def test_every_field_of_the_facts_is_part_of_the_key() -> None:
    """A fact that is added to the contract must be added here, or two clients would share rights."""
    assert len(authorize._key(facts())) == len(Facts.__struct_fields__)


def test_another_policy_empties_the_cache_even_at_the_same_revision() -> None:
    cache = RightsCache()
    before = cache.rights(POLICY, facts())
    nothing = Policy(revision=POLICY.revision)
    assert before.may_publish("plant/pump-7/x", 0, retain=False).allowed
    assert not cache.rights(nothing, facts()).may_publish("plant/pump-7/x", 0, retain=False).allowed
    assert len(cache) == 1


def test_the_entry_unused_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    counting, cache = Counting(monkeypatch), RightsCache(entries_max=2)
    for client_id in ("a", "b", "a", "c", "a"):
        cache.rights(POLICY, facts(client_id))
    assert len(cache) == 2
    assert [who.client_id for who in counting.calls] == ["a", "b", "c"]


def fleet(*topics: str) -> Policy:
    rules = tuple(
        Rule(permission="p", name="r", effect=Effect.ALLOW, activity=Activity.ALL, topics=(t,)) for t in topics
    )
    members = {name: Principal(username=name, permissions=("p",)) for name in ("a", "b", "c")}
    return Policy(permissions={"p": rules}, principals=members)


def test_clients_of_the_same_rules_share_what_does_not_depend_on_them() -> None:
    cache, policy = RightsCache(), fleet("x/1", "x/2", "${clientid}/#")
    rights = {name: cache.rights(policy, facts(name, name)) for name in policy.principals}
    assert cache.rules_resolved == 3 + len(rights)
    for name, one in rights.items():
        assert one.may_publish("x/2", 0, retain=False).allowed
        allowed = [other for other in rights if one.may_publish(f"{other}/t", 0, retain=False).allowed]
        assert allowed == [name]


def test_clients_whose_rules_have_no_placeholders_share_their_rights() -> None:
    cache, policy = RightsCache(), fleet("x/1", "x/2")
    assert len({id(cache.rights(policy, facts(name, name))) for name in policy.principals}) == 1
    assert cache.rules_resolved == 2


def test_a_permission_that_is_named_twice_counts_once() -> None:
    pump = Principal(username="pump-7", permissions=PUMP.permissions * 2)
    twice = Policy(permissions=PERMISSIONS, principals={"pump-7": pump})
    assert len(Resolver(twice).resolve(facts()).walk_publish("t", 0, retain=False)) == 1
