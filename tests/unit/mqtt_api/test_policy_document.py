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
    permissions={"ns/p": (ALLOW, DENY)},
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
            permissions=("ns/p",),
        ),
    },
    authenticated=("ns/p",),
    anonymous=("ns/p",),
)


def parsed() -> dict[str, Any]:
    """POLICY with all of its lines in one."""
    whole: dict[str, Any] = {"permissions": {}, "principals": {}}
    for line in encode_policy(POLICY).splitlines():
        for key, value in json.loads(line).items():
            whole[key] = {**whole[key], **value} if key in ("permissions", "principals") else value
    return whole


def changed(path: str, value: Any) -> bytes:
    """The document of POLICY, in one line, with the value at a path of keys and numbers set."""
    document = parsed()
    *parents, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
    inner: Any = document
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
    for line in document.splitlines():
        assert line == json.dumps(json.loads(line), sort_keys=True, separators=(",", ":")).encode()
    turned = dict(reversed(list(POLICY.principals.items())))
    assert encode_policy(msgspec.structs.replace(POLICY, principals=turned)) == document


@pytest.mark.parametrize(
    ("path", "value", "at"),
    [
        ("revision", "7", "$.revision"),
        ("default_effect", "Maybe", "$.default_effect"),
        ("permissions", None, "$.permissions"),
        ("permissions.ns/p.1.effect", "deny", "$.permissions[...][1].effect"),
        ("permissions.ns/p.0.priority", 1.5, "$.permissions[...][0].priority"),
        ("permissions.ns/p.0.topics", [], "$.permissions['ns/p'][0].topics"),
        ("permissions.ns/p.1.topics.1", "a+", "$.permissions['ns/p'][1].topics[1]"),
        ("permissions.ns/p.0.topics.0", "", "$.permissions['ns/p'][0].topics[0]"),
        ("permissions.ns/p.0.topics.0", "a/${clientid", "$.permissions['ns/p'][0].topics[0]"),
        ("permissions.ns/p.0.qos", [], "$.permissions['ns/p'][0].qos"),
        ("permissions.ns/p.0.qos", [0, 3], "$.permissions['ns/p'][0].qos"),
        ("permissions.ns/p.0.qos", [-1], "$.permissions['ns/p'][0].qos"),
        ("permissions.ns/p.0.permission", "ns/q", "$.permissions['ns/p'][0].permission"),
        ("authenticated", ["ns/p", "ns/q"], "$.authenticated[1]"),
        ("anonymous", ["p"], "$.anonymous[0]"),
        ("principals.pump-7.permissions.0", "ns/q", "$.principals['pump-7'].permissions[0]"),
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
        encode_policy(POLICY)[:-2],
        encode_policy(POLICY) + b"x",
        encode_policy(POLICY) + b"\n",
        b'{"permissions": {"p": [{"new": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}}",
    ],
    ids=range(11),
)
def test_what_is_no_policy_at_all_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="the policy document is malformed"):
        decode_policy(data)


def test_rule_without_a_required_field_is_refused() -> None:
    for field in ("permission", "name", "effect", "activity", "topics"):
        document = parsed()
        del document["permissions"]["ns/p"][1][field]
        with pytest.raises(ValueError, match=rf"missing required field `{field}` - at `\$.permissions\[...\]\[1\]`"):
            decode_policy(json.dumps(document).encode())


def test_allow_rule_with_an_unknown_field_does_not_match_any_more() -> None:
    policy = decode_policy(changed("permissions.ns/p.0.hours", "night"))
    allow, deny = policy.rules
    assert deny == DENY
    rights = resolve(policy, Facts(client_id="c", username="stranger"))
    denying = resolve(Policy(permissions={"p": (allow,)}, authenticated=("p",)), Facts(client_id="c"))
    assert rights.may_publish("a/c/x", 0, retain=False).rule is None
    assert not denying.may_publish("a/c/x", 0, retain=False).allowed
    assert [step.outcome for step in denying.walk_publish("a/c/x", 0, retain=False)] == [
        "does not match: it names no topic that this version can read"
    ]


def test_deny_rule_with_an_unknown_field_stands_as_far_as_it_is_understood() -> None:
    policy = decode_policy(changed("permissions.ns/p.1.hours", "night"))
    assert policy == POLICY
    rights = resolve(policy, Facts(client_id="c", anonymous=True))
    assert rights.may_receive("a/secret", 1, "g").rule == "ns/p/no"
