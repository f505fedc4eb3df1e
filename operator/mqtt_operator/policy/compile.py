"""The compiler: custom resources in, one policy out. Pure; the same objects in any order give the same bytes.

Knows which clients a permission means; does not know where objects come from, how passwords are hashed, or who carries
the policy to the nodes.

Objects of another namespace that are attached rank below all of the owner's: each of their rules gets a priority below
the lowest that an owner can write. So a deny of the owner beats every allow of theirs, and an allow of the owner beats
every deny of theirs: they cannot take back from clients what the owner grants to everybody. Among themselves their
priorities mean what they always do. A subject means clients of the permission's own namespace only, but for
Authenticated and Anonymous, which only an owner can name. An attribute is a fact that the client's own namespace says
of it, so rules of others do not see it: an allow of the owner with ${attr.KEY} matches no attached client, and a deny
matches with that level read as '+'.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from mqtt_api.kinds.common import DeletionPolicy
from mqtt_api.kinds.mqttclient import CertificateCredential, CertificateFields
from mqtt_api.kinds.mqttclient import ClientLimits as DeclaredLimits
from mqtt_api.kinds.topicpermission import PRIORITY_MAX, PermissionRule, Subject, SubjectKind
from mqtt_api.policy import (
    NO_LIMITS,
    CertificateMatch,
    ClientLimits,
    Effect,
    Policy,
    Principal,
    Purge,
    Rule,
    ScramVerifier,
)
from mqtt_api.policy_lines import content_digest
from mqtt_api.resources import MQTTBroker, MQTTClient, TopicPermission
from mqtt_api.templates import ATTRIBUTE_PREFIX
from mqtt_operator.policy.attachment import NamespaceLabels, claimed_usernames, holder, is_attached, is_foreign

BELOW_OWNER = 2 * PRIORITY_MAX + 1
"""Takes the highest priority that can be written below the lowest."""

_MATCHED = tuple(CertificateFields.model_fields)


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What proves one client beyond what it says itself: verifiers of its passwords, and certificates issued for it.

    `retired`: see Principal.
    """

    passwords: tuple[str, ...] = ()
    scram: tuple[ScramVerifier, ...] = ()
    issued: tuple[CertificateMatch, ...] = ()
    retired: tuple[str | ScramVerifier, ...] = ()


NO_PROOF = Proof()


def compile_policy(
    broker: MQTTBroker,
    clients: Iterable[MQTTClient],
    permissions: Iterable[TopicPermission],
    proofs: Mapping[str, Proof],
    revision: int,
    *,
    salt_key: bytes = b"",
    holders: Mapping[str, str] = {},
    purges: Mapping[str, Purge] = {},
    namespaces: NamespaceLabels | None = None,
) -> Policy:
    """The policy of this broker. Objects of other brokers, and of namespaces beyond its attachments, are left out.

    `proofs` by the client's reference; `salt_key` is what SCRAM salts were derived with. A user name that two clients
    claim belongs to nobody, unless one of them holds it already: `holders` are uids by user name. `purges`: see Policy.
    `digest` covers everything but the revision, so that equal digests mean equal decisions and log-ins.
    """
    members = _holders((each for each in clients if is_attached(broker, each, namespaces)), holders)
    attached = (each for each in permissions if is_attached(broker, each, namespaces))
    in_force = sorted(attached, key=lambda each: each.reference)
    content = Policy(
        default_effect=Effect(broker.spec.authorization.default_policy),
        permissions={each.reference: rules_of(each) for each in in_force},
        principals={
            each.username: msgspec.structs.replace(
                principal_of(each, proofs.get(each.reference, NO_PROOF)), permissions=_granted(each, in_force)
            )
            for each in members
        },
        scram_salt_key=salt_key,
        authenticated=tuple(each.reference for each in in_force if is_for(each, SubjectKind.AUTHENTICATED)),
        anonymous=tuple(each.reference for each in in_force if is_for(each, SubjectKind.ANONYMOUS)),
        purges=dict(purges),
    )
    return msgspec.structs.replace(content, revision=revision, digest=content_digest(content))


def _holders(clients: Iterable[MQTTClient], holders: Mapping[str, str]) -> Iterator[MQTTClient]:
    claims = claimed_usernames(clients)
    for username in sorted(claims):
        client = holder(claims[username], holders.get(username, ""))
        if client is not None:
            yield client


def _granted(client: MQTTClient, permissions: Iterable[TopicPermission]) -> tuple[str, ...]:
    """The references of the permissions that mean it, in order. Those for everybody who is logged in are not repeated
    for each."""
    return tuple(
        each.reference for each in permissions if not is_for(each, SubjectKind.AUTHENTICATED) and names(each, client)
    )


def is_for(permission: TopicPermission, kind: SubjectKind) -> bool:
    """True if it names this sort of subject."""
    return any(subject.kind is kind for subject in permission.spec.subjects)


def names(permission: TopicPermission, client: MQTTClient) -> bool:
    """True if the permission is for this client in particular. A name, a label or a group is one of its namespace."""
    return permission.metadata.namespace == client.metadata.namespace and any(
        means(subject, client) for subject in permission.spec.subjects
    )


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


def rules_of(permission: TopicPermission) -> tuple[Rule, ...]:
    """Its rules, sorted by name."""
    return tuple(_rule(permission, rule) for rule in sorted(permission.spec.rules, key=lambda rule: rule.name))


def _rule(permission: TopicPermission, rule: PermissionRule) -> Rule:
    return Rule(
        permission=permission.reference,
        name=rule.name,
        effect=rule.effect,
        activity=rule.activity,
        topics=tuple(sorted(_scoped(topic, permission) for topic in rule.topics)),
        qos=tuple(sorted(rule.qos)),
        retain=rule.retain,
        shared_subscription=rule.shared_subscription,
        shared_groups=tuple(sorted(rule.shared_groups or ())),
        priority=permission.spec.priority - (BELOW_OWNER if is_foreign(permission) else 0),
    )


def _scoped(topic: str, permission: TopicPermission) -> str:
    """The topic with attributes called as `_attributes` calls them."""
    if not is_foreign(permission):
        return topic
    return topic.replace(f"${{{ATTRIBUTE_PREFIX}", f"${{{ATTRIBUTE_PREFIX}{permission.metadata.namespace}/")


def _attributes(client: MQTTClient) -> dict[str, str]:
    """Those of an attached client under its namespace: as no key holds a '/', rules of others name none of them."""
    scope = f"{client.metadata.namespace}/" if is_foreign(client) else ""
    return {f"{scope}{key}": value for key, value in sorted(client.spec.attributes.items())}


def principal_of(client: MQTTClient, proof: Proof) -> Principal:
    """The client as nodes see it, but for its permissions."""
    spec = client.spec
    return Principal(
        username=client.username,
        uid=client.metadata.uid or "",
        namespace=client.metadata.namespace,
        client_ids=tuple(sorted(spec.client_ids)),
        passwords=proof.passwords,
        scram=proof.scram,
        retired=proof.retired,
        certificates=(*_certificates(spec.credentials.certificates), *proof.issued),
        groups=tuple(sorted(spec.groups)),
        attributes=_attributes(client),
        limits=_limits(spec.limits),
        suspended=spec.suspended,
        purge=spec.deletion_policy is DeletionPolicy.DELETE,
    )


def _certificates(credentials: Iterable[CertificateCredential]) -> Iterator[CertificateMatch]:
    """Those that the client describes itself."""
    for credential in credentials:
        if credential.match is not None:
            yield CertificateMatch(
                **{name: getattr(credential.match, name) for name in _MATCHED},
                revoked_serials=tuple(sorted(credential.revoked_serials)),
            )


def _limits(limits: DeclaredLimits) -> ClientLimits:
    made = ClientLimits(
        connections_max=limits.max_connections,
        messages_per_s=limits.messages_per_second,
        bytes_per_s=None if limits.bytes_per_second is None else limits.bytes_per_second.bytes,
        subscriptions_max=limits.max_subscriptions,
        queued_messages_max=limits.max_queued_messages,
    )
    return NO_LIMITS if made == NO_LIMITS else made  # the very one is left out of documents
