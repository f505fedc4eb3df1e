"""Attachments: what another namespace may do at a broker, why it may not, and that nothing leads further."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_api.conditions import Reason
from mqtt_api.kinds.topicpermission import PRIORITY_MAX
from mqtt_api.policy import Facts, Policy, client_id_allowed, resolve
from mqtt_api.resources import InvalidResource, MQTTBroker, MQTTClient, TopicPermission, parse_document
from mqtt_api.topics import covers, validate_filter, validate_topic_name
from mqtt_operator.policy.attachment import (
    Refusal,
    claimed_usernames,
    holder,
    is_attached,
    why_name_not_held,
    why_not_attached,
)
from mqtt_operator.policy.compile import BELOW_OWNER, compile_policy, names

API_VERSION = "mqtt.stoa.dev/v1alpha1"
DELEGATED = ("team-a/#", "shared/+/team-a")
ATTACHMENT = {
    "namespaces": {"names": ["team-a"]},
    "topics": list(DELEGATED),
    "clientIDPrefix": "team-a.",
    "usernamePrefix": "team-a.",
}


def _make(kind: str, namespace: str, name: str, spec: dict[str, Any], **metadata: Any) -> Any:
    whole = {"name": name, "namespace": namespace, **metadata}
    return parse_document({"apiVersion": API_VERSION, "kind": kind, "metadata": whole, "spec": spec})


def plant(*attachments: dict[str, Any], **spec: Any) -> MQTTBroker:
    usual = {
        "sessionStore": {"embedded": {}},
        "authentication": [{"name": "passwords", "type": "Password"}],
        "listeners": [{"name": "mqtts", "port": 8883, "tls": {}}],
        "attachments": list(attachments),
    }
    made = _make("MQTTBroker", "mqtt", "plant", {**usual, **spec})
    assert isinstance(made, MQTTBroker)
    return made


def client(name: str, namespace: str = "team-a", metadata: dict[str, Any] | None = None, **spec: Any) -> MQTTClient:
    whole = {"brokerRef": {"name": "plant", "namespace": "mqtt"}, **spec}
    made = _make("MQTTClient", namespace, name, whole, **(metadata or {}))
    assert isinstance(made, MQTTClient)
    return made


def permission(
    name: str,
    *topics: str,
    namespace: str = "team-a",
    subjects: Iterable[dict[str, Any]] = ({"kind": "Group", "name": "all"},),
    effect: str = "Allow",
    priority: int = 0,
) -> TopicPermission:
    spec = {
        "brokerRef": {"name": "plant", "namespace": "mqtt"},
        "priority": priority,
        "subjects": list(subjects),
        "rules": [{"name": "rule", "effect": effect, "activity": "All", "topics": list(topics)}],
    }
    made = _make("TopicPermission", namespace, name, spec)
    assert isinstance(made, TopicPermission)
    return made


def compiled(broker: MQTTBroker, *members: MQTTClient | TopicPermission, **further: Any) -> Policy:
    clients = [each for each in members if isinstance(each, MQTTClient)]
    permissions = [each for each in members if isinstance(each, TopicPermission)]
    return compile_policy(broker, clients, permissions, {}, 1, **further)


def may_publish(policy: Policy, username: str, topic: str) -> bool:
    principal = policy.principals[username]
    facts = Facts(client_id=username, username=username, namespace=principal.namespace, attributes=principal.attributes)
    return resolve(policy, facts).may_publish(topic, 0, retain=False).allowed


def refused(member: MQTTClient | TopicPermission, *attachments: dict[str, Any]) -> Refusal:
    broker = plant(*attachments or [ATTACHMENT])
    refusal = why_not_attached(broker, member)
    assert refusal is not None
    assert not is_attached(broker, member)
    return refusal


def test_what_stays_within_the_attachment_takes_part() -> None:
    broker = plant(ATTACHMENT)
    pump = client("team-a.pump", groups=["all"], clientIDs=["${username}", "team-a.x-*"])
    own = permission("own", "team-a/${clientid}/#", "shared/${username}/team-a")
    assert [why_not_attached(broker, each) for each in (pump, own)] == [None, None]
    policy = compiled(broker, pump, own)
    assert may_publish(policy, "team-a.pump", "team-a/team-a.pump/speed")
    assert not may_publish(policy, "team-a.pump", "team-a/team-a.other/speed")


def test_a_namespace_that_nothing_is_handed_to_is_told_whom_to_ask() -> None:
    for member in (client("a", namespace="other"), permission("p", "a", namespace="other")):
        refusal = refused(member)
        assert (refusal.reason, refusal.field) == (Reason.NAMESPACE_NOT_ATTACHED, "spec.brokerRef.namespace")
        assert "spec.attachments" in refusal.message


def test_a_broker_without_attachments_hands_out_nothing() -> None:
    assert why_not_attached(plant(), client("team-a.pump")) is not None


def test_objects_of_the_brokers_own_namespace_need_no_attachment() -> None:
    assert why_not_attached(plant(), client("anybody", namespace="mqtt")) is None
    assert why_not_attached(plant(), permission("p", "#", namespace="mqtt", subjects=[{"kind": "Anonymous"}])) is None


def test_namespaces_are_chosen_by_their_labels() -> None:
    broker = plant({**ATTACHMENT, "namespaces": {"selector": {"matchLabels": {"team": "a"}}}})
    pump = client("team-a.pump")
    assert is_attached(broker, pump, {"team-a": {"team": "a", "more": "x"}})
    assert not is_attached(broker, pump, {"team-a": {"team": "b"}, "team-b": {"team": "a"}})


def test_labels_that_nobody_knows_match_no_selector() -> None:
    """An operator of a few namespaces cannot read their labels: no leave is read into that."""
    broker = plant({**ATTACHMENT, "namespaces": {"selector": {"matchLabels": {"team": "a"}}}})
    assert not is_attached(broker, client("team-a.pump"))


def test_a_namespace_is_chosen_by_the_label_that_kubernetes_gives_it() -> None:
    labels = {"kubernetes.io/metadata.name": "team-a"}
    broker = plant({**ATTACHMENT, "namespaces": {"selector": {"matchLabels": labels}}})
    assert is_attached(broker, client("team-a.pump"))
    # What somebody writes in that label of another namespace counts for nothing.
    elsewhere = client("team-a.pump", namespace="team-b")
    assert not is_attached(broker, elsewhere, {"team-b": labels})


@pytest.mark.parametrize(
    ("member", "reason", "field"),
    [
        (client("pump"), Reason.USERNAME_NOT_DELEGATED, "metadata.name"),
        (client("team-a.pump", username="pump"), Reason.USERNAME_NOT_DELEGATED, "spec.username"),
        (client("team-a.pump", clientIDs=["pump"]), Reason.CLIENT_IDS_NOT_DELEGATED, "spec.clientIDs[0]"),
        (client("team-a.pump", clientIDs=["team-a.x", "*"]), Reason.CLIENT_IDS_NOT_DELEGATED, "spec.clientIDs[1]"),
        (client("team-a.pump", clientIDs=["team-*"]), Reason.CLIENT_IDS_NOT_DELEGATED, "spec.clientIDs[0]"),
        (client("team-a.pump", clientIDs=["x${username}"]), Reason.CLIENT_IDS_NOT_DELEGATED, "spec.clientIDs[0]"),
        (
            client("team-a.pump", credentials={"certificates": [{"match": {"commonName": "pump-7"}}]}),
            Reason.CERTIFICATE_NOT_DELEGATED,
            "spec.credentials.certificates[0].match.commonName",
        ),
        (
            client("team-a.pump", credentials={"certificates": [{"match": {"sanDNS": "team-a.pump"}}]}),
            Reason.CERTIFICATE_NOT_DELEGATED,
            "spec.credentials.certificates[0].match.commonName",
        ),
        (permission("p", "team-a/x", "#"), Reason.TOPICS_NOT_DELEGATED, "spec.rules[0].topics[1]"),
        (permission("p", "team-b/x", effect="Deny"), Reason.TOPICS_NOT_DELEGATED, "spec.rules[0].topics[0]"),
        (permission("p", "${username}/x"), Reason.TOPICS_NOT_DELEGATED, "spec.rules[0].topics[0]"),
        (permission("p", "shared/#"), Reason.TOPICS_NOT_DELEGATED, "spec.rules[0].topics[0]"),
        (permission("p", "shared/${attr.x}/team-b"), Reason.TOPICS_NOT_DELEGATED, "spec.rules[0].topics[0]"),
        (
            permission("p", "team-a/x", subjects=[{"kind": "Authenticated"}]),
            Reason.SUBJECTS_NOT_DELEGATED,
            "spec.subjects[0].kind",
        ),
        (
            permission("p", "team-a/x", subjects=[{"kind": "Group", "name": "g"}, {"kind": "Anonymous"}]),
            Reason.SUBJECTS_NOT_DELEGATED,
            "spec.subjects[1].kind",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_goes_further_is_refused_as_a_whole_and_told_where(
    member: MQTTClient | TopicPermission, reason: Reason, field: str
) -> None:
    refusal = refused(member)
    assert (refusal.reason, refusal.field) == (reason, field)
    policy = compiled(plant(ATTACHMENT), member)
    assert not policy.principals
    assert not policy.permissions


def test_certificates_that_are_issued_or_named_by_a_user_name_of_theirs_are_theirs() -> None:
    issued = {"issuerRef": {"name": "ca"}, "secretName": "s"}
    named = {"match": {"commonName": "team-a.pump", "issuer": "CN=ca"}}
    pump = client("team-a.pump", credentials={"certificates": [issued, named]})
    assert why_not_attached(plant(ATTACHMENT), pump) is None


def test_user_name_and_client_ids_must_be_of_one_attachment() -> None:
    other = {
        **ATTACHMENT, "topics": ["b/#"], "clientIDPrefix": "b.", "usernamePrefix": "b.",
    }  # fmt: skip
    assert is_attached(plant(ATTACHMENT, other), client("b.pump"))
    refusal = refused(client("b.pump", clientIDs=["team-a.pump"]), ATTACHMENT, other)
    assert refusal.reason is Reason.CLIENT_IDS_NOT_DELEGATED
    assert "'b.'" in refusal.message


def test_topics_of_all_attachments_of_a_namespace_may_stand_in_one_permission() -> None:
    other = {**ATTACHMENT, "topics": ["b/#"], "clientIDPrefix": "b.", "usernamePrefix": "b."}
    assert is_attached(plant(ATTACHMENT, other), permission("p", "team-a/x", "b/y"))
    assert refused(permission("p", "b/y")).reason is Reason.TOPICS_NOT_DELEGATED


def test_a_permission_means_clients_of_its_own_namespace_only() -> None:
    labels = {"labels": {"line": "3"}}
    ours = client("team-a.pump", namespace="mqtt", groups=["all"], metadata=labels)
    theirs = client("team-a.pump", groups=["all"], metadata=labels)
    for subject in (
        {"kind": "Group", "name": "all"},
        {"kind": "MQTTClient", "name": "team-a.pump"},
        {"kind": "MQTTClient", "selector": {"matchLabels": {"line": "3"}}},
    ):
        of_owner = permission("p", "#", namespace="mqtt", subjects=[subject])
        of_team = permission("p", "team-a/#", subjects=[subject])
        assert [names(of_owner, ours), names(of_owner, theirs)] == [True, False]
        assert [names(of_team, ours), names(of_team, theirs)] == [False, True]


def test_a_group_that_an_attached_client_lists_gives_it_nothing_of_the_owners() -> None:
    admins = permission("admins", "#", namespace="mqtt", subjects=[{"kind": "Group", "name": "admins"}])
    policy = compiled(plant(ATTACHMENT), admins, client("team-a.pump", groups=["admins"]))
    assert policy.principals["team-a.pump"].permissions == ()


def test_what_the_owner_grants_to_everybody_is_for_attached_clients_too() -> None:
    news = permission("news", "news", namespace="mqtt", subjects=[{"kind": "Authenticated"}])
    policy = compiled(plant(ATTACHMENT), news, client("team-a.pump"))
    assert may_publish(policy, "team-a.pump", "news")


def test_the_lowest_rule_of_the_owner_ranks_above_the_highest_of_others() -> None:
    everybody = [{"kind": "Authenticated"}]
    pump = client("team-a.pump", groups=["all"])
    allow = permission("mine", "team-a/x", priority=PRIORITY_MAX)
    deny = permission("no", "team-a/#", namespace="mqtt", subjects=everybody, effect="Deny", priority=-PRIORITY_MAX)
    assert not may_publish(compiled(plant(ATTACHMENT), pump, allow, deny), "team-a.pump", "team-a/x")
    refuse = permission("mine", "team-a/x", priority=PRIORITY_MAX, effect="Deny")
    grant = permission("yes", "team-a/#", namespace="mqtt", subjects=everybody, priority=-PRIORITY_MAX)
    assert may_publish(compiled(plant(ATTACHMENT), pump, refuse, grant), "team-a.pump", "team-a/x")
    assert PRIORITY_MAX - BELOW_OWNER < -PRIORITY_MAX


def test_priorities_of_one_namespace_mean_among_themselves_what_they_always_do() -> None:
    pump = client("team-a.pump", groups=["all"])
    low, high = permission("low", "team-a/x", effect="Deny"), permission("high", "team-a/x", priority=1)
    assert may_publish(compiled(plant(ATTACHMENT), pump, low, high), "team-a.pump", "team-a/x")
    same = permission("same", "team-a/x")
    assert not may_publish(compiled(plant(ATTACHMENT), pump, low, same), "team-a.pump", "team-a/x")


def test_rules_of_the_owner_do_not_believe_the_attributes_of_attached_clients() -> None:
    everybody = [{"kind": "Authenticated"}]
    pump = client("team-a.pump", attributes={"line": "3"}, groups=["all"])
    grant = permission("grant", "cmd/${attr.line}", namespace="mqtt", subjects=everybody)
    policy = compiled(plant(ATTACHMENT), pump, grant)
    assert not may_publish(policy, "team-a.pump", "cmd/3")
    wide = permission("wide", "cmd/+", namespace="mqtt", subjects=everybody)
    deny = permission("deny", "cmd/${attr.line}", namespace="mqtt", subjects=everybody, effect="Deny")
    policy = compiled(plant(ATTACHMENT), pump, wide, deny)
    assert not any(may_publish(policy, "team-a.pump", f"cmd/{line}") for line in "34")


def test_rules_of_a_namespace_use_the_attributes_of_its_own_clients() -> None:
    pump = client("team-a.pump", attributes={"line": "3"}, groups=["all"])
    own = permission("own", "team-a/${attr.line}/#")
    policy = compiled(plant(ATTACHMENT), pump, own)
    assert may_publish(policy, "team-a.pump", "team-a/3/x")
    assert not may_publish(policy, "team-a.pump", "team-a/4/x")


def claim(namespace: str, uid: str, name: str = "one") -> MQTTClient:
    return client(name, namespace=namespace, username="team-a.pump", metadata={"uid": uid})


def test_a_name_that_two_claim_stays_with_the_one_that_had_it() -> None:
    theirs, ours = claim("team-a", "1"), claim("mqtt", "2")
    assert holder([theirs, ours], "1") is theirs
    assert holder([theirs, ours], "2") is ours


def test_a_name_that_nobody_had_is_the_owners_before_it_is_anothers() -> None:
    """Else whoever may write clients in an attached namespace could take the owner's away by claiming its name."""
    theirs, ours = claim("team-a", "1"), claim("mqtt", "2")
    assert holder([theirs, ours], "") is ours
    assert holder([theirs, ours], "of one that is gone") is ours
    assert holder([theirs, claim("team-b", "3")], "") is None
    assert holder([theirs, ours, claim("mqtt", "4", "two")], "") is None


def test_who_does_not_get_its_name_is_told_who_else_claims_it_and_nothing_of_other_namespaces() -> None:
    theirs, ours, twin = claim("team-a", "1"), claim("mqtt", "2", "secret"), claim("team-a", "3", "two")
    assert why_name_not_held(ours, [theirs, ours], "") is None
    refusal = why_name_not_held(theirs, [theirs, ours], "")
    assert refusal is not None
    assert (refusal.reason, refusal.field) == (Reason.USERNAME_TAKEN, "spec.username")
    assert "one of another namespace claims too, who keeps it" in refusal.message
    assert "secret" not in refusal.message
    refusal = why_name_not_held(theirs, [theirs, twin], "")
    assert refusal is not None
    assert "MQTTClient two claims too, so nobody has it" in refusal.message


EXAMPLES_MAX = 400  # each way out that was tried by hand is found within a quarter of them

# --- Whatever an attached namespace writes ---

TEXTS = st.sampled_from(
    ["team-a.", "team-a.pump", "team-a.*", "pump-7", "boss", "*", "${username}", "team-a.${username}"]
)
LEVELS = st.sampled_from(
    ["team-a", "plant", "shared", "+", "#", "", "$SYS", "x", "${clientid}", "${username}", "${attr.k}", "a${namespace}"]
)
# Much of what is made at random is refused for a dull reason, so what could lead somewhere comes up more often.
TEMPTING = st.sampled_from(
    ["#", "plant/#", "team-a/#", "team-a/x", "team-a/${attr.k}", "shared/+/team-a", "shared/#", "${username}/x"]
)
TOPICS = st.one_of(TEMPTING, st.lists(LEVELS, min_size=1, max_size=4).map("/".join))
SUBJECTS = st.sampled_from(
    [
        *[{"kind": "Group", "name": "all"}] * 5,
        {"kind": "MQTTClient", "name": "one"},
        {"kind": "MQTTClient", "name": "pump-7"},
        {"kind": "MQTTClient", "selector": {"matchLabels": {"line": "3"}}},
        {"kind": "Authenticated"},
        {"kind": "Anonymous"},
    ]
)
NAMESPACES = st.sampled_from(["team-a", "team-a", "team-a", "other"])
CLIENTS = st.builds(
    lambda namespace, name, username, ids, value, match: {
        "apiVersion": API_VERSION,
        "kind": "MQTTClient",
        "metadata": {"name": name, "namespace": namespace, "uid": f"{namespace}/{name}", "labels": {"line": "3"}},
        "spec": {
            "brokerRef": {"name": "plant", "namespace": "mqtt"},
            "username": username,
            "clientIDs": ids,
            "groups": ["all", "admins"],
            "attributes": {"k": value},
            "credentials": {"certificates": [{"match": {"commonName": match}}]},
        },
    },
    NAMESPACES, st.sampled_from(["one", "two", "pump-7"]), TEXTS,
    st.lists(TEXTS, min_size=1, max_size=2, unique=True), st.sampled_from(["3", "$SYS", "plant", "a/b"]), TEXTS,
)  # fmt: skip
PERMISSIONS = st.builds(
    lambda namespace, name, topics, subjects, effect, priority: {
        "apiVersion": API_VERSION,
        "kind": "TopicPermission",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "brokerRef": {"name": "plant", "namespace": "mqtt"},
            "priority": priority,
            "subjects": subjects,
            "rules": [{"name": "r", "effect": effect, "activity": "All", "topics": topics}],
        },
    },
    NAMESPACES,
    st.sampled_from(["p", "q"]),
    st.one_of(TEMPTING.map(lambda topic: [topic]), st.lists(TOPICS, min_size=1, max_size=3, unique=True)),
    st.lists(SUBJECTS, min_size=1, max_size=2),
    st.sampled_from(["Allow", "Deny"]),
    st.sampled_from([-1000, 0, 1000]),
)

OWNERS = (
    client("pump-7", namespace="mqtt", groups=["all"], attributes={"k": "3"}, metadata={"uid": "7"}),
    client("boss", namespace="mqtt", groups=["admins"], metadata={"uid": "8", "labels": {"line": "3"}}),
    client("inside", namespace="mqtt", username="team-a.", metadata={"uid": "9"}),
    permission("own", "plant/${clientid}/#", namespace="mqtt", effect="Allow"),
    permission("admins", "#", namespace="mqtt", subjects=[{"kind": "Group", "name": "admins"}]),
    permission("by-line", "line/${attr.k}/#", namespace="mqtt", subjects=[{"kind": "Authenticated"}]),
    permission("not", "team-a/x/#", namespace="mqtt", subjects=[{"kind": "Authenticated"}], effect="Deny"),
)
CROWD = client("team-a.crowd", groups=["all"], attributes={"k": "3"}, metadata={"uid": "10"})
ASKED_TOPICS = [
    "team-a", "team-a/x", "team-a/plant", "plant", "plant/x", "plant/pump-7/x", "shared/x/team-a", "shared/x", "shared",
    "x", "$SYS/x", "$SYS", "/x", "line/3/x", "team-a.pump/x", "a/team-a", "3", "ateam-a/x",
]  # fmt: skip
ASKED_FILTERS = [*ASKED_TOPICS, "#", "+", "+/#", "team-a/#", "team-a/+", "plant/#", "shared/+/team-a", "$SYS/#", "+/x"]


def parsed(documents: Iterable[dict[str, Any]]) -> list[MQTTClient | TopicPermission]:
    """Those that an API server would take."""
    taken: list[MQTTClient | TopicPermission] = []
    for document in documents:
        try:
            member = parse_document(document)
        except InvalidResource:
            continue
        assert not isinstance(member, MQTTBroker)
        if all((member.kind, member.reference) != (other.kind, other.reference) for other in taken):
            taken.append(member)
    return taken


@given(st.lists(CLIENTS, max_size=2), st.lists(PERMISSIONS, max_size=3))
@settings(max_examples=EXAMPLES_MAX)
def test_no_namespace_reaches_beyond_what_is_handed_to_it(
    clients: list[dict[str, Any]], permissions: list[dict[str, Any]]
) -> None:
    broker = plant(ATTACHMENT)
    foreign = [CROWD, *parsed([*clients, *permissions])]
    before, after = compiled(broker, *OWNERS), compiled(broker, *OWNERS, *foreign)

    # Nothing of the owner's changes: neither who its clients are, nor one rule that decides about them.
    for username, principal in before.principals.items():
        assert after.principals[username] == principal
    assert (after.authenticated, after.anonymous) == (before.authenticated, before.anonymous)
    assert {name: rules for name, rules in after.permissions.items() if name.startswith("mqtt/")} == before.permissions

    for username, principal in after.principals.items():
        if username in before.principals:
            continue
        # Who is new bears a name, client ids and certificates that were handed out, and has no permission of another.
        assert (principal.namespace, username[:7]) == ("team-a", "team-a.")
        for client_id in ("pump-7", "boss", "x", "team-a", *before.principals):
            assert not client_id_allowed(principal.client_ids, username, client_id) or client_id.startswith("team-a.")
        assert all((match.common_name or "").startswith("team-a.") for match in principal.certificates)
        assert all(reference.startswith("team-a/") for reference in principal.permissions)
        assert_allowed_within(after, before, username)


def assert_allowed_within(after: Policy, before: Policy, username: str) -> None:
    """What a rule of an attached namespace allows lies within its topics, and no deny of the owner is overruled."""
    attributes = after.principals[username].attributes
    facts = Facts(client_id="team-a.id", username=username, namespace="team-a", attributes=attributes)
    rights = resolve(after, facts)
    owners = resolve(before, msgspec.structs.replace(facts, attributes={}))  # which an owner's rules must not believe
    for topic in ASKED_TOPICS:
        validate_topic_name(topic)
        publish = rights.may_publish(topic, 1, retain=False)
        by_owner = owners.may_publish(topic, 1, retain=False)
        if publish.allowed and not by_owner.allowed:
            assert any(covers(delegated, topic) for delegated in DELEGATED), topic
            assert by_owner.rule is None, topic
        assert publish.allowed or not by_owner.allowed, topic
    for topic_filter in ASKED_FILTERS:
        validate_filter(topic_filter)
        if rights.may_subscribe(topic_filter, 1, None).qos is None:
            continue
        if owners.may_subscribe(topic_filter, 1, None).qos is None:
            assert any(covers(delegated, topic_filter) for delegated in DELEGATED), topic_filter


@given(st.lists(CLIENTS, max_size=4), st.lists(PERMISSIONS, max_size=4))
def test_every_object_that_is_left_out_has_a_reason(
    clients: list[dict[str, Any]], permissions: list[dict[str, Any]]
) -> None:
    broker = plant(ATTACHMENT)
    members = parsed([*clients, *permissions])
    policy = compiled(broker, *members)
    attached = [each for each in members if why_not_attached(broker, each) is None]
    claims = claimed_usernames(each for each in attached if isinstance(each, MQTTClient))
    holds = {
        username for username, claimants in claims.items()
        for each in claimants if why_name_not_held(each, claimants, "") is None
    }  # fmt: skip
    assert holds == set(policy.principals)
    granted = {each.reference for each in attached if isinstance(each, TopicPermission)}
    assert granted == set(policy.permissions)
