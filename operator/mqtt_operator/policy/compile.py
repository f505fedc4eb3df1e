"""The compiler: custom resources in, one policy out. Pure; the same objects in any order give the same bytes.

Knows which clients a permission means; does not know where objects come from, how passwords are hashed, or who carries
the policy to the nodes.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from mqtt_api.kinds.mqttclient import CertificateCredential
from mqtt_api.kinds.mqttclient import ClientLimits as DeclaredLimits
from mqtt_api.kinds.topicpermission import PermissionRule, Subject, SubjectKind
from mqtt_api.policy import (
    CertificateMatch,
    ClientLimits,
    Effect,
    Policy,
    Principal,
    Rule,
    ScramVerifier,
    encode_policy,
)
from mqtt_api.resources import MQTTBroker, MQTTClient, TopicPermission
from mqtt_operator.policy.attachment import claimed_usernames, is_attached

Verifiers = Mapping[str, tuple[str, ...]]
"""Argon2id verifiers by user name."""


class Scram(msgspec.Struct, frozen=True, kw_only=True):
    """SCRAM verifiers by user name, and the key that salts are derived with; empty where no chain asks for SCRAM."""

    verifiers: Mapping[str, tuple[ScramVerifier, ...]] = {}
    salt_key: bytes = b""


NO_SCRAM = Scram()


def compile_policy(
    broker: MQTTBroker,
    clients: Iterable[MQTTClient],
    permissions: Iterable[TopicPermission],
    passwords: Verifiers,
    revision: int,
    *,
    scram: Scram = NO_SCRAM,
) -> Policy:
    """The policy of this broker. Objects of other brokers and other namespaces are left out.

    A user name that two clients claim belongs to nobody: neither becomes a principal. `digest` covers everything but
    the revision, so that equal digests mean equal decisions and log-ins.
    """
    members = _undisputed(client for client in clients if is_attached(broker, client))
    in_force = sorted((each for each in permissions if is_attached(broker, each)), key=lambda each: each.reference)
    rules, indexes = _number_rules(in_force)
    content = Policy(
        default_effect=Effect(broker.spec.authorization.default_policy),
        rules=rules,
        principals={client.username: _principal(client, in_force, indexes, passwords, scram) for client in members},
        scram_salt_key=scram.salt_key,
        authenticated=_granted(in_force, indexes, lambda subject: subject.kind is SubjectKind.AUTHENTICATED),
        anonymous=_granted(in_force, indexes, lambda subject: subject.kind is SubjectKind.ANONYMOUS),
    )
    digest = hashlib.sha256(encode_policy(content)).hexdigest()
    return msgspec.structs.replace(content, revision=revision, digest=digest)


def means(subject: Subject, client: MQTTClient) -> bool:
    """True if the subject of a permission of the client's own namespace means this client."""
    match subject.kind:
        case SubjectKind.MQTT_CLIENT if subject.selector is not None:
            wanted = subject.selector.match_labels
            return all(client.metadata.labels.get(key) == value for key, value in wanted.items())
        case SubjectKind.MQTT_CLIENT:
            return subject.name == client.metadata.name
        case SubjectKind.GROUP:
            return subject.name in client.spec.groups
        case SubjectKind.AUTHENTICATED:
            return True
        case SubjectKind.ANONYMOUS:
            return False


def _undisputed(clients: Iterable[MQTTClient]) -> list[MQTTClient]:
    claims = claimed_usernames(clients)
    return [claims[username][0] for username in sorted(claims) if len(claims[username]) == 1]


def _number_rules(permissions: Sequence[TopicPermission]) -> tuple[tuple[Rule, ...], dict[str, tuple[int, ...]]]:
    """All rules once, and the indexes of each permission's."""
    rules: list[Rule] = []
    indexes: dict[str, tuple[int, ...]] = {}
    for permission in permissions:
        first = len(rules)
        declared = sorted(permission.spec.rules, key=lambda rule: rule.name)
        rules += [_rule(permission, rule) for rule in declared]
        indexes[permission.reference] = tuple(range(first, len(rules)))
    return tuple(rules), indexes


def _rule(permission: TopicPermission, rule: PermissionRule) -> Rule:
    return Rule(
        permission=permission.reference,
        name=rule.name,
        effect=rule.effect,
        activity=rule.activity,
        topics=tuple(sorted(rule.topics)),
        qos=tuple(sorted(rule.qos)),
        retain=rule.retain,
        shared_subscription=rule.shared_subscription,
        shared_groups=tuple(sorted(rule.shared_groups or ())),
        priority=permission.spec.priority,
    )


def _granted(
    permissions: Sequence[TopicPermission], indexes: Mapping[str, tuple[int, ...]], meant: Callable[[Subject], bool]
) -> tuple[int, ...]:
    """The rules of all permissions with a subject that is meant, in order, each once."""
    return tuple(
        index
        for permission in permissions
        if any(meant(subject) for subject in permission.spec.subjects)
        for index in indexes[permission.reference]
    )


def _principal(
    client: MQTTClient,
    permissions: Sequence[TopicPermission],
    indexes: Mapping[str, tuple[int, ...]],
    passwords: Verifiers,
    scram: Scram,
) -> Principal:
    spec = client.spec
    return Principal(
        username=client.username,
        uid=client.metadata.uid or "",
        namespace=client.metadata.namespace,
        client_ids=tuple(sorted(spec.client_ids)),
        passwords=tuple(passwords.get(client.username, ())),
        scram=tuple(scram.verifiers.get(client.username, ())),
        certificates=tuple(_certificate(each) for each in spec.credentials.certificates),
        groups=tuple(sorted(spec.groups)),
        attributes=dict(sorted(spec.attributes.items())),
        limits=_limits(spec.limits),
        suspended=spec.suspended,
        rules=_granted(permissions, indexes, lambda subject: means(subject, client)),
    )


def _certificate(credential: CertificateCredential) -> CertificateMatch:
    match = credential.match
    return CertificateMatch(
        issuer=match.issuer,
        common_name=match.common_name,
        subject=match.subject,
        san_dns=match.san_dns,
        san_uri=match.san_uri,
        san_email=match.san_email,
        revoked_serials=tuple(sorted(credential.revoked_serials)),
    )


def _limits(limits: DeclaredLimits) -> ClientLimits:
    return ClientLimits(
        connections_max=limits.max_connections,
        messages_per_s=limits.messages_per_second,
        bytes_per_s=None if limits.bytes_per_second is None else limits.bytes_per_second.bytes,
        subscriptions_max=limits.max_subscriptions,
        queued_messages_max=limits.max_queued_messages,
    )
