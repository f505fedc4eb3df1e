"""Which objects belong to a broker, and which user names are whose.

Knows references, namespaces and what a broker's attachments hand to them; does not know how rules are compiled or where
objects come from. Pure.

Whoever may write objects in a namespace would otherwise log clients in and hand out topics at every broker of the
cluster. So an object of another namespace takes part only as `spec.attachments` of the broker says, and is refused as a
whole if one part of it goes further: to leave out the part would change what the rest means.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mqtt_api.client_ids import USERNAME
from mqtt_api.conditions import Reason
from mqtt_api.kinds.attachments import AttachedNamespaces, Attachment
from mqtt_api.kinds.common import BrokerRef, ObjectMeta
from mqtt_api.kinds.topicpermission import SubjectKind
from mqtt_api.resources import MQTTBroker, MQTTClient, TopicPermission
from mqtt_api.templates import fill
from mqtt_api.topics import covers

NamespaceLabels = Mapping[str, Mapping[str, str]]
"""The labels of each namespace that is known, by its name."""

NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
"""Kubernetes gives it to every namespace."""


class Refusal(NamedTuple):
    """Why an object takes no part. `field` is the path in its YAML, `message` continues it."""

    reason: Reason
    field: str
    message: str


def names_broker(broker: MQTTBroker, metadata: ObjectMeta, ref: BrokerRef) -> bool:
    """True if the reference means this broker. Without a namespace it means that of the object itself."""
    wanted = (ref.namespace or metadata.namespace, ref.name)
    return wanted == (broker.metadata.namespace, broker.metadata.name)


def is_foreign(member: MQTTClient | TopicPermission) -> bool:
    """True if it names a broker of another namespace than its own."""
    return (member.spec.broker_ref.namespace or member.metadata.namespace) != member.metadata.namespace


def is_attached(
    broker: MQTTBroker, member: MQTTClient | TopicPermission, namespaces: NamespaceLabels | None = None
) -> bool:
    """True if the object names this broker and may: it is of its namespace, or stays within what that hands to it."""
    return names_broker(broker, member.metadata, member.spec.broker_ref) and (
        not is_foreign(member) or why_not_attached(broker, member, namespaces) is None
    )


def why_not_attached(
    broker: MQTTBroker, member: MQTTClient | TopicPermission, namespaces: NamespaceLabels | None = None
) -> Refusal | None:
    """Why an object that names this broker takes no part; None: it does.

    `namespaces` may lack some, as an operator of one namespace cannot see labels: those match no selector.
    """
    if not is_foreign(member):
        return None
    attachments = _attachments_of(broker, member.metadata.namespace, namespaces or {})
    if not attachments:
        message = (
            f"names a broker of another namespace, which hands nothing to {member.metadata.namespace}; ask its owner"
            f" for an entry of spec.attachments, or move this object to namespace {broker.metadata.namespace}"
        )
        return Refusal(Reason.NAMESPACE_NOT_ATTACHED, "spec.brokerRef.namespace", message)
    if isinstance(member, MQTTClient):
        return _client_refusal(member, attachments)
    return _permission_refusal(member, attachments)


def hands_to(broker: MQTTBroker, namespace: str) -> bool:
    """True if objects of that namespace may take part, as far as its name says."""
    return namespace == broker.metadata.namespace or bool(_attachments_of(broker, namespace, {}))


def _attachments_of(broker: MQTTBroker, namespace: str, namespaces: NamespaceLabels) -> list[Attachment]:
    labels = {**namespaces.get(namespace, {}), NAMESPACE_NAME_LABEL: namespace}
    return [each for each in broker.spec.attachments if _selects(each.namespaces, namespace, labels)]


def _selects(namespaces: AttachedNamespaces, namespace: str, labels: Mapping[str, str]) -> bool:
    if namespaces.selector is None:
        return namespace in (namespaces.names or ())
    return all(labels.get(key) == value for key, value in namespaces.selector.match_labels.items())


def _client_refusal(client: MQTTClient, attachments: Iterable[Attachment]) -> Refusal | None:
    """One attachment must allow all of the client: what is handed out together belongs together."""
    refusals = []
    for attachment in attachments:
        refusal = next(_beyond(client, attachment), None)
        if refusal is None:
            return None
        refusals.append(refusal)
    return next((each for each in refusals if each.reason is not Reason.USERNAME_NOT_DELEGATED), refusals[0])


def _beyond(client: MQTTClient, attachment: Attachment) -> Iterator[Refusal]:
    """Where the client goes further than what is handed to it."""
    prefix = attachment.username_prefix
    if not client.username.startswith(prefix):
        field = "spec.username" if client.spec.username else "metadata.name"
        message = f"gives the user name {client.username!r}; in this namespace it must begin with {prefix!r}"
        yield Refusal(Reason.USERNAME_NOT_DELEGATED, field, message)
    for index, pattern in enumerate(client.spec.client_ids):
        # A prefix holds no '*', so whatever a '*' stands for comes behind it.
        if not pattern.replace(USERNAME, client.username).startswith(attachment.client_id_prefix):
            message = f"must begin with {attachment.client_id_prefix!r} in this namespace"
            yield Refusal(Reason.CLIENT_IDS_NOT_DELEGATED, f"spec.clientIDs[{index}]", message)
    for index, credential in enumerate(client.spec.credentials.certificates):
        # Whoever shows the certificate becomes this client: it must not be one of a client of somebody else.
        if credential.match is not None and not (credential.match.common_name or "").startswith(prefix):
            message = f"must be there and begin with {prefix!r} in this namespace"
            field = f"spec.credentials.certificates[{index}].match.commonName"
            yield Refusal(Reason.CERTIFICATE_NOT_DELEGATED, field, message)


def _permission_refusal(permission: TopicPermission, attachments: Iterable[Attachment]) -> Refusal | None:
    for index, subject in enumerate(permission.spec.subjects):
        if subject.kind not in (SubjectKind.MQTT_CLIENT, SubjectKind.GROUP):
            message = f"must not be {subject.kind}, which means clients of other namespaces too"
            return Refusal(Reason.SUBJECTS_NOT_DELEGATED, f"spec.subjects[{index}].kind", message)
    delegated = [topic for attachment in attachments for topic in attachment.topics]
    for at, rule in enumerate(permission.spec.rules):
        for index, topic in enumerate(rule.topics):
            if not _is_covered(topic, delegated):
                message = f"goes beyond what is handed to this namespace: {', '.join(delegated)}"
                return Refusal(Reason.TOPICS_NOT_DELEGATED, f"spec.rules[{at}].topics[{index}]", message)
    return None


def _is_covered(template: str, delegated: Sequence[str]) -> bool:
    """Whatever its placeholders stand for: a level with one may hold any text, so it is read as '+'.

    A value that begins with '$' could lead past a '+', but an allow rule with such a value matches nothing.
    """
    widest = fill(template, {}).filters
    return all(any(covers(topic, "/".join(levels)) for topic in delegated) for levels in widest)


def claimed_usernames(clients: Iterable[MQTTClient]) -> dict[str, list[MQTTClient]]:
    """The clients of each user name."""
    claims: defaultdict[str, list[MQTTClient]] = defaultdict(list)
    for client in clients:
        claims[client.username].append(client)
    return dict(claims)


def holder(claimants: Sequence[MQTTClient], holds: str) -> MQTTClient | None:
    """Whose a user name is: the one client that claims it, or of several the one that had it already.

    `holds` is the uid of that one, "" = nobody had it. Then a client of the broker's own namespace goes before those of
    others, who could otherwise take its name from it by claiming it too; and if that does not settle it, the name
    belongs to nobody until people have.
    """
    held = next((each for each in claimants if holds and each.metadata.uid == holds), None)
    if held is not None or len(claimants) == 1:
        return held or claimants[0]
    own = [each for each in claimants if not is_foreign(each)]
    return own[0] if len(own) == 1 else None


def why_name_not_held(client: MQTTClient, claimants: Sequence[MQTTClient], holds: str) -> Refusal | None:
    """Why a client does not get its user name though it is attached; None: it does. Arguments as of `holder`.

    Objects of other namespaces are not named: not everybody may see them.
    """
    winner = holder(claimants, holds)
    if winner is client:
        return None
    near = [each for each in claimants if each is not client and each.metadata.namespace == client.metadata.namespace]
    others = ", ".join(sorted(each.metadata.name for each in near)) or "one of another namespace"
    outcome = "so nobody has it" if winner is None else "who keeps it"
    field = "spec.username" if client.spec.username else "metadata.name"
    message = f"gives the user name {client.username!r}, which MQTTClient {others} claims too, {outcome}"
    return Refusal(Reason.USERNAME_TAKEN, field, message)
