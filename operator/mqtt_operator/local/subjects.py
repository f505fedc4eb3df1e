"""Whether the permissions of a folder reach somebody: subjects that mean nobody, attributes that nobody has.

Knows what a subject and a placeholder stand for; does not know how objects were read. Mostly it is a slip of the pen,
but the client may be on its way: a note. Where something is denied to a client that does not exist it is a mistake: the
one whose name was meant goes unhindered.
"""

import re
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from mqtt_api.keys import CLIENT_KIND
from mqtt_api.kinds.topicpermission import Subject, SubjectKind
from mqtt_api.policy import Effect
from mqtt_api.resources import MQTTClient, TopicPermission
from mqtt_operator.errors import Mistake
from mqtt_operator.local.objects import Absence, Entry, Objects
from mqtt_operator.policy.compile import means

_ATTRIBUTE = re.compile(r"\$\{attr\.([^}]+)\}")

Client = tuple[str, str]
"""Namespace and name."""


def check_subjects(objects: Objects) -> None:
    """Add what reaches nobody to the mistakes and notes. To be asked only if every file could be read."""
    broken = {(namespace, name) for kind, namespace, name in objects.broken if kind == CLIENT_KIND}
    for entry in objects.permissions:
        namespace = entry.resource.metadata.namespace
        clients = [each.resource for each in objects.clients if each.resource.metadata.namespace == namespace]
        missing = list(_missing_clients(entry, clients, broken))
        if any(rule.effect is Effect.DENY for rule in entry.resource.spec.rules):
            _deny_nobody(objects, missing, is_slip=bool(clients))
        else:
            objects.notes += [str(each) for each in missing]
        if not any(each == namespace for each, _ in broken):  # nobody knows what a client with a mistake is
            objects.notes += [str(each) for each in (*_empty(entry, clients), *_unknown_attributes(entry, clients))]


def _deny_nobody(objects: Objects, missing: Sequence[Mistake], *, is_slip: bool) -> None:
    """Where no client of the namespace is declared, all of them are elsewhere."""
    if is_slip:
        objects.mistakes += missing
        return
    for each in missing:
        note = replace(each, message=f"{each.message} It must exist when this is applied.")
        objects.absences.append(Absence(each, note))


def _missing_clients(
    entry: Entry[TopicPermission], clients: Sequence[MQTTClient], broken: set[Client]
) -> Iterator[Mistake]:
    namespace = entry.resource.metadata.namespace
    for index, subject in enumerate(entry.resource.spec.subjects):
        if subject.kind is not SubjectKind.MQTT_CLIENT or subject.name is None:
            continue
        if not _meant(subject, clients) and (namespace, subject.name) not in broken:
            message = f"names MQTTClient {subject.name}, which no file declares."
            yield entry.document.mistake(f"spec.subjects[{index}].name", message)


def _empty(entry: Entry[TopicPermission], clients: Sequence[MQTTClient]) -> Iterator[Mistake]:
    for index, subject in enumerate(entry.resource.spec.subjects):
        field = f"spec.subjects[{index}]"
        if subject.kind is SubjectKind.GROUP and not _meant(subject, clients):
            yield entry.document.mistake(f"{field}.name", f"names group {subject.name}, which no MQTTClient lists.")
        elif subject.selector is not None and not _meant(subject, clients):
            yield entry.document.mistake(f"{field}.selector", "selects no MQTTClient.")


def _unknown_attributes(entry: Entry[TopicPermission], clients: Sequence[MQTTClient]) -> Iterator[Mistake]:
    subjects = entry.resource.spec.subjects
    concerned = [client for client in clients if any(means(subject, client) for subject in subjects)]
    known = {key for client in concerned or clients for key in client.spec.attributes}
    for at, rule in enumerate(entry.resource.spec.rules):
        for index, topic in enumerate(rule.topics):
            for key in dict.fromkeys(_ATTRIBUTE.findall(topic)):
                if key not in known:
                    message = f"holds ${{attr.{key}}}, an attribute that no MQTTClient it is for has."
                    yield entry.document.mistake(f"spec.rules[{at}].topics[{index}]", message)


def _meant(subject: Subject, clients: Sequence[MQTTClient]) -> bool:
    return any(means(subject, client) for client in clients)
