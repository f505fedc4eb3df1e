"""The policy as a document: what is read back, what is refused, and what a rule of a newer version may still do."""

import json
from typing import Any

import msgspec
import pytest

from mqtt_api.policy import (
    Activity,
    CertificateMatch,
    ClientLimits,
    Effect,
    Facts,
    Policy,
    Principal,
    Retained,
    Rule,
    Sharing,
    decode_policy,
    encode_policy,
    resolve,
)

ALLOW = Rule(permission="ns/p", name="yes", effect=Effect.ALLOW, activity=Activity.ALL, topics=("a/${clientid}/#",))
DENY = Rule(
    permission="ns/p",
    name="no",
    effect=Effect.DENY,
    activity=Activity.SUBSCRIBE,
    topics=("a/secret", "+/x/#"),
    qos=(1, 2),
    retain=Retained.RETAINED,
    shared_subscription=Sharing.SHARED,
    shared_groups=("g",),
    priority=-3,
)
POLICY = Policy(
    revision=7,
    digest="d",
    default_effect=Effect.ALLOW,
    rules=(ALLOW, DENY),
    principals={
        "zoe": Principal(username="zoe"),
        "pump-7": Principal(
            username="pump-7",
            uid="u",
            namespace="ns",
            client_ids=("pump-7*",),
            passwords=("$argon2id$",),
            certificates=(CertificateMatch(common_name="pump-7", revoked_serials=("0a",)),),
            groups=("pumps",),
            attributes={"line": "3"},
            limits=ClientLimits(connections_max=1),
            suspended=True,
            rules=(1, 0),
        ),
    },
    authenticated=(0,),
    anonymous=(1,),
)


def changed(path: str, value: Any) -> bytes:
    """The document of POLICY with the value at a path of keys and numbers set."""
    document = json.loads(encode_policy(POLICY))
    *parents, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
    inner = document
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return json.dumps(document).encode()


def test_policy_is_read_back_as_it_was_written() -> None:
    assert decode_policy(encode_policy(POLICY)) == POLICY
    assert decode_policy(encode_policy(Policy())) == Policy()
    assert decode_policy(b"{}") == Policy()


def test_document_is_compact_sorted_and_the_same_for_equal_policies() -> None:
    document = encode_policy(POLICY)
    assert document == json.dumps(json.loads(document), sort_keys=True, separators=(",", ":")).encode()
    turned = dict(reversed(list(POLICY.principals.items())))
    assert encode_policy(msgspec.structs.replace(POLICY, principals=turned)) == document


@pytest.mark.parametrize(
    ("path", "value", "at"),
    [
        ("revision", "7", "$.revision"),
        ("default_effect", "Maybe", "$.default_effect"),
        ("rules", None, "$.rules"),
        ("rules.1.effect", "deny", "$.rules[1].effect"),
        ("rules.0.priority", 1.5, "$.rules[0].priority"),
        ("rules.0.topics", [], "$.rules[0].topics"),
        ("rules.1.topics.1", "a+", "$.rules[1].topics[1]"),
        ("rules.0.topics.0", "", "$.rules[0].topics[0]"),
        ("rules.0.topics.0", "a/${clientid", "$.rules[0].topics[0]"),
        ("rules.0.qos", [], "$.rules[0].qos"),
        ("rules.0.qos", [0, 3], "$.rules[0].qos"),
        ("rules.0.qos", [-1], "$.rules[0].qos"),
        ("authenticated", [0, 2], "$.authenticated[1]"),
        ("anonymous", [-1], "$.anonymous[0]"),
        ("principals.pump-7.rules.1", 9, "$.principals['pump-7'].rules[1]"),
        ("principals.pump-7.username", "root", "$.principals['pump-7'].username"),
        ("principals.pump-7.suspended", "yes", "$.principals[...].suspended"),
        ("principals.pump-7.expires", 1, "$.principals[...]"),
        ("principals.pump-7.certificates.0.pinned", "x", "$.principals[...].certificates[0]"),
        ("principals.pump-7.limits.bytes_max", 1, "$.principals[...].limits"),
        ("shards", 1, "unknown field `shards`"),
    ],
)
def test_malformed_document_is_refused_with_the_path(path: str, value: Any, at: str) -> None:
    """What narrows a principal or a certificate and is not understood is never left out in silence."""
    with pytest.raises(ValueError, match="the policy document is malformed") as caught:
        decode_policy(changed(path, value))
    assert at in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b'{"digest": "\xff"}',
        b'{"digest": "\\ud800"}',
        encode_policy(POLICY)[:-1],
        encode_policy(POLICY) + b"x",
        b'{"rules": [{"new": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
    ],
    ids=range(10),
)
def test_what_is_no_policy_at_all_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="the policy document is malformed"):
        decode_policy(data)


def test_rule_without_a_required_field_is_refused() -> None:
    for field in ("permission", "name", "effect", "activity", "topics"):
        document = json.loads(encode_policy(POLICY))
        del document["rules"][1][field]
        with pytest.raises(ValueError, match=rf"missing required field `{field}` - at `\$.rules\[1\]`"):
            decode_policy(json.dumps(document).encode())


def test_allow_rule_with_an_unknown_field_does_not_match_any_more() -> None:
    policy = decode_policy(changed("rules.0.hours", "night"))
    assert policy.rules[1] == DENY
    rights = resolve(policy, Facts(client_id="c", username="stranger"))
    denying = resolve(Policy(rules=policy.rules, authenticated=(0,)), Facts(client_id="c"))
    assert rights.may_publish("a/c/x", 0, retain=False).rule is None
    assert not denying.may_publish("a/c/x", 0, retain=False).allowed
    assert [step.outcome for step in denying.walk_publish("a/c/x", 0, retain=False)] == [
        "does not match: it names no topic that this version can read"
    ]


def test_deny_rule_with_an_unknown_field_stands_as_far_as_it_is_understood() -> None:
    policy = decode_policy(changed("rules.1.hours", "night"))
    assert policy == POLICY
    rights = resolve(policy, Facts(client_id="c", anonymous=True))
    assert rights.may_receive("a/secret", 1, "g").rule == "ns/p/no"
