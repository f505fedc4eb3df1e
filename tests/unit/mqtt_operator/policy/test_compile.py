"""The compiler: which objects become which principals and rules, always the same bytes."""

import random
from typing import Any

import pytest

from mqtt_api.policy import (
    Activity,
    CertificateMatch,
    ClientLimits,
    Effect,
    Policy,
    Retained,
    Sharing,
    decode_policy,
    encode_policy,
)
from mqtt_api.resources import MQTTBroker, MQTTClient, TopicPermission, parse_document
from mqtt_operator.policy.can_i import permissions_of
from mqtt_operator.policy.compile import Proof, compile_policy


def compiled(
    *documents: dict[str, Any],
    passwords: dict[str, tuple[str, ...]] | None = None,
    revision: int = 1,
    holders: dict[str, str] | None = None,
) -> Policy:
    """Of the one broker among the documents."""
    objects = [parse_document(document) for document in documents]
    (broker,) = [each for each in objects if isinstance(each, MQTTBroker)]
    clients = [each for each in objects if isinstance(each, MQTTClient)]
    permissions = [each for each in objects if isinstance(each, TopicPermission)]
    proofs = {client.reference: Proof(passwords=(passwords or {}).get(client.username, ())) for client in clients}
    return compile_policy(broker, clients, permissions, proofs, revision, holders=holders or {})


def granted(policy: Policy, username: str) -> list[str]:
    granted = permissions_of(policy, username, policy.principals[username])
    return [rule.reference for permission in granted for rule in policy.permissions[permission]]


def test_without_permissions_nobody_may_do_anything(broker: Any, client: Any) -> None:
    policy = compiled(broker(), client())
    assert policy.default_effect is Effect.DENY
    assert policy.permissions == {}
    assert policy.authenticated == policy.anonymous == policy.principals["pump-7"].permissions == ()


def test_the_blocklist_must_be_asked_for(broker: Any) -> None:
    assert compiled(broker(authorization={"defaultPolicy": "Allow"})).default_effect is Effect.ALLOW


def test_any_order_of_objects_gives_the_same_bytes(broker: Any, client: Any, permission: Any) -> None:
    documents = [client(f"pump-{n}") for n in range(5)]
    documents += [
        permission(f"p{n}", subjects=[{"kind": "MQTTClient", "name": f"pump-{n}"}, {"kind": "Authenticated"}])
        for n in range(5)
    ]
    expected = encode_policy(compiled(broker(), *documents))
    for seed in range(5):
        random.Random(seed).shuffle(documents)
        assert encode_policy(compiled(*documents, broker())) == expected


def test_the_digest_names_the_content_and_not_the_revision(broker: Any, client: Any) -> None:
    one, other = compiled(broker(), client(), revision=1), compiled(broker(), client(), revision=2)
    assert one.digest == other.digest
    assert (one.revision, other.revision) == (1, 2)
    assert compiled(broker(), client(suspended=True)).digest != one.digest


def test_what_is_compiled_can_be_read_by_a_node(broker: Any, client: Any, permission: Any) -> None:
    policy = compiled(broker(), client(), permission(), passwords={"pump-7": ("$argon2id$...",)})
    assert decode_policy(encode_policy(policy)) == policy


def test_a_username_claimed_twice_belongs_to_nobody(broker: Any, client: Any, permission: Any) -> None:
    policy = compiled(
        broker(),
        client("pump-7"),
        client("b", username="pump-7"),
        client("c"),
        permission(),
        passwords={"pump-7": ("x",)},
    )
    assert set(policy.principals) == {"c"}


def test_a_username_claimed_twice_stays_with_whom_it_was(broker: Any, client: Any) -> None:
    claimants = [client("pump-7", metadata={"uid": "u-1"}), client("b", username="pump-7", metadata={"uid": "u-2"})]
    policy = compiled(broker(), *claimants, holders={"pump-7": "u-2"})
    assert policy.principals["pump-7"].uid == "u-2"
    assert not compiled(broker(), *claimants, holders={"pump-7": "gone"}).principals
    assert compiled(broker(), claimants[0], holders={"pump-7": "gone"}).principals["pump-7"].uid == "u-1"


def test_a_permission_for_everybody_is_not_repeated_for_each(broker: Any, client: Any, permission: Any) -> None:
    subjects = [{"kind": "Authenticated"}, {"kind": "MQTTClient", "name": "pump-7"}]
    policy = compiled(broker(), client(), permission(subjects=subjects))
    assert policy.authenticated == ("default/pumps",)
    assert policy.principals["pump-7"].permissions == ()
    assert granted(policy, "pump-7") == ["default/pumps/own"]


def test_the_username_is_the_objects_name_unless_written(broker: Any, client: Any) -> None:
    assert set(compiled(broker(), client("a"), client("b", username="B b")).principals) == {"a", "B b"}


def test_client_ids_are_the_username_exactly_unless_written(broker: Any, client: Any) -> None:
    policy = compiled(broker(), client("a"), client("b", clientIDs=["x-*", "y"]))
    assert policy.principals["a"].client_ids == ("${username}",)
    assert policy.principals["b"].client_ids == ("x-*", "y")


def test_a_suspended_client_stays_in_the_policy_as_suspended(broker: Any, client: Any) -> None:
    assert compiled(broker(), client(suspended=True)).principals["pump-7"].suspended


def test_a_client_carries_everything_that_is_declared_of_it(broker: Any, client: Any) -> None:
    policy = compiled(
        broker(),
        client(
            metadata={"uid": "u-1"},
            groups=["b", "a"],
            attributes={"line": "3"},
            limits={
                "maxConnections": 1,
                "messagesPerSecond": 2,
                "bytesPerSecond": "1Ki",
                "maxSubscriptions": 4,
                "maxQueuedMessages": 5,
            },
            credentials={
                "certificates": [
                    {
                        "match": {
                            "issuer": "CN=ca",
                            "commonName": "cn",
                            "subject": "CN=cn",
                            "sanDNS": "d",
                            "sanURI": "u",
                            "sanEmail": "e",
                        },
                        "revokedSerials": ["0b", "0a:1f"],
                    }
                ]
            },
        ),
        passwords={"pump-7": ("v1", "v2")},
    )
    principal = policy.principals["pump-7"]
    assert (principal.uid, principal.namespace) == ("u-1", "default")
    assert principal.groups == ("a", "b")
    assert principal.attributes == {"line": "3"}
    assert principal.passwords == ("v1", "v2")
    assert principal.limits == ClientLimits(
        connections_max=1, messages_per_s=2, bytes_per_s=1024, subscriptions_max=4, queued_messages_max=5
    )
    assert principal.certificates == (
        CertificateMatch(
            issuer="CN=ca",
            common_name="cn",
            subject="CN=cn",
            san_dns="d",
            san_uri="u",
            san_email="e",
            revoked_serials=("0a:1f", "0b"),
        ),
    )


def test_a_rule_carries_the_whole_tuple(broker: Any, permission: Any) -> None:
    subscribe = {
        "effect": "Deny",
        "activity": "Subscribe",
        "topics": ["b", "a/#"],
        "qos": [2, 0],
        "sharedSubscription": "Shared",
        "sharedGroups": ["w", "v"],
    }
    (rule,) = compiled(broker(), permission(priority=7, rule=subscribe)).rules
    assert rule.reference == "default/pumps/own"
    assert (rule.effect, rule.activity, rule.priority) == (Effect.DENY, Activity.SUBSCRIBE, 7)
    assert (rule.topics, rule.qos) == (("a/#", "b"), (0, 2))
    assert (rule.shared_subscription, rule.shared_groups) == (Sharing.SHARED, ("v", "w"))
    (rule,) = compiled(broker(), permission(rule={"retain": "Retained"})).rules
    assert rule.retain is Retained.RETAINED


@pytest.mark.parametrize(
    ("subjects", "meant"),
    [
        ([{"kind": "MQTTClient", "name": "one"}], {"one"}),
        ([{"kind": "MQTTClient", "selector": {"matchLabels": {"line": "3"}}}], {"one", "two"}),
        ([{"kind": "MQTTClient", "selector": {"matchLabels": {"line": "3", "hall": "b"}}}], {"two"}),
        ([{"kind": "Group", "name": "pumps"}], {"two", "three"}),
        ([{"kind": "Authenticated"}], {"one", "two", "three"}),
        ([{"kind": "Anonymous"}], set()),
        ([{"kind": "MQTTClient", "name": "one"}, {"kind": "Group", "name": "pumps"}], {"one", "two", "three"}),
        ([{"kind": "MQTTClient", "name": "nobody"}], set()),
        # The object's name is meant, not the user name: whoever picks a user name must not inherit rights.
        ([{"kind": "MQTTClient", "name": "user-of-three"}], set()),
    ],
)
def test_subjects_mean_clients(
    broker: Any, client: Any, permission: Any, subjects: list[dict[str, Any]], meant: set[str]
) -> None:
    policy = compiled(
        broker(),
        client("one", metadata={"labels": {"line": "3"}}),
        client("two", metadata={"labels": {"line": "3", "hall": "b"}}, groups=["pumps"]),
        client("three", username="user-of-three", groups=["pumps"]),
        permission(subjects=subjects),
    )
    names = {"one": "one", "two": "two", "three": "user-of-three"}
    assert {name for name, username in names.items() if granted(policy, username)} == meant


def test_anonymous_and_open_principals_have_their_own_rules(broker: Any, client: Any, permission: Any) -> None:
    policy = compiled(
        broker(),
        client(),
        permission("a", subjects=[{"kind": "Anonymous"}]),
        permission("b", subjects=[{"kind": "Authenticated"}]),
    )
    assert policy.anonymous == ("default/a",)
    assert policy.authenticated == ("default/b",)
    assert granted(policy, "pump-7") == ["default/b/own"]


def test_several_subjects_that_mean_one_client_grant_each_rule_once(broker: Any, client: Any, permission: Any) -> None:
    subjects = [{"kind": "MQTTClient", "name": "pump-7"}, {"kind": "Authenticated"}]
    assert granted(compiled(broker(), client(), permission(subjects=subjects)), "pump-7") == ["default/pumps/own"]


def test_objects_of_other_brokers_are_left_out(broker: Any, client: Any, permission: Any) -> None:
    elsewhere = {"name": "other"}
    policy = compiled(broker(), client(brokerRef=elsewhere), permission(brokerRef=elsewhere))
    assert not policy.principals
    assert not policy.rules


def test_a_reference_without_namespace_means_the_objects_own(broker: Any, client: Any) -> None:
    metadata = {"namespace": "mqtt"}
    assert set(compiled(broker(metadata=metadata), client(metadata=metadata)).principals) == {"pump-7"}
    assert not compiled(broker(metadata=metadata), client()).principals


@pytest.mark.parametrize("make", ["client", "permission"])
def test_another_namespace_cannot_attach_itself(broker: Any, client: Any, permission: Any, make: str) -> None:
    foreign = {"metadata": {"namespace": "other"}, "brokerRef": {"name": "plant", "namespace": "default"}}
    member = {"client": client, "permission": permission}[make](**foreign)
    policy = compiled(broker(), member)
    assert not policy.principals
    assert not policy.rules
