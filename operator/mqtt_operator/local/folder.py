"""A folder of YAML read as one whole: every object, every mistake in them, and the one broker that is to run.

Knows the order of the steps; does not know YAML, kinds or references themselves, and writes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from mqtt_api.resources import MQTTBroker, MQTTClient, TopicPermission
from mqtt_operator.errors import ExpectedError, FilesRefusedError, Mistake
from mqtt_operator.local.documents import read_documents
from mqtt_operator.local.kubernetes_only import note_what_needs_kubernetes
from mqtt_operator.local.objects import DataKey, DataObject, Entry, Objects
from mqtt_operator.local.references import check_references
from mqtt_operator.policy.attachment import NamespaceLabels, is_attached


class Declared(Struct, frozen=True, kw_only=True):
    """One broker and what is attached to it, all checked. `notes` are sentences for people, no mistakes."""

    broker: MQTTBroker
    clients: tuple[MQTTClient, ...]
    permissions: tuple[TopicPermission, ...]
    data: dict[DataKey, DataObject]
    namespaces: NamespaceLabels = {}
    notes: tuple[str, ...] = ()

    def value(self, key: DataKey, name: str) -> bytes:
        """An entry of a Secret or ConfigMap; that it exists was checked."""
        return self.data[key].data[name]


def read_folder(folder: Path) -> Objects:
    """Everything in the folder, which is all there is. Raises FilesRefusedError with all mistakes at once."""
    objects = _read(folder)
    objects.mistakes += [*(each.mistake for each in objects.absences), *objects.strangers]
    objects.notes = [*map(str, objects.others), *objects.notes]
    note_what_needs_kubernetes(objects)
    return _unrefused(objects)


def read_for_kubernetes(places: Iterable[Path], *, is_strict: bool = False) -> Objects:
    """Everything in these files and folders, which may be a part of what is applied: the rest is elsewhere.

    `is_strict`: it is not, what they refer to must be in them. Raises FilesRefusedError with all mistakes at once.
    """
    objects = _read(*places)
    if is_strict:
        objects.mistakes += [each.mistake for each in objects.absences]
    else:
        objects.notes = [*_told_once(each.note for each in objects.absences), *objects.notes]
    unchecked = len(objects.others) + len(objects.strangers)
    if unchecked:
        objects.notes.append(f"not checked: {unchecked} document{'' if unchecked == 1 else 's'} of other kinds.")
    return _unrefused(objects)


def _read(*places: Path) -> Objects:
    reading = read_documents(*places)
    objects = Objects()
    objects.mistakes += reading.mistakes
    objects.add_all(reading.documents)
    check_references(objects, complete=not reading.mistakes)
    return objects


def _told_once(notes: Iterable[Mistake]) -> Iterator[str]:
    """A thousand clients may name one broker that is elsewhere."""
    alike: defaultdict[str, list[Mistake]] = defaultdict(list)
    for each in sorted(notes):
        alike[each.message].append(each)
    for first, *others in alike.values():
        yield f"{first} (and {len(others)} more)" if others else str(first)


def _unrefused(objects: Objects) -> Objects:
    if objects.mistakes:
        raise FilesRefusedError(objects.mistakes)
    return objects


def read_broker(folder: Path) -> Declared:
    """The one broker of the folder with its clients and permissions. Raises FilesRefusedError or ExpectedError."""
    objects = read_folder(folder)
    broker = _one_broker(folder, objects.brokers)
    labels = objects.namespaces
    return Declared(
        broker=broker,
        clients=tuple(each.resource for each in objects.clients if is_attached(broker, each.resource, labels)),
        permissions=tuple(each.resource for each in objects.permissions if is_attached(broker, each.resource, labels)),
        data={key: entry.resource for key, entry in objects.data.items()},
        namespaces=labels,
        notes=tuple(objects.notes),
    )


def _one_broker(folder: Path, brokers: list[Entry[MQTTBroker]]) -> MQTTBroker:
    if not brokers:
        raise ExpectedError(
            "There is no MQTTBroker in the folder.",
            where=f"folder: {folder}",
            to_do="Add a YAML file with kind: MQTTBroker, or name another folder.",
        )
    if len(brokers) > 1:
        listed = [Mistake(e.document.file, e.document.line, "metadata.name", e.resource.reference) for e in brokers]
        raise ExpectedError(
            f"There are {len(brokers)} MQTTBrokers in the folder, and only one can run from it:",
            where="\n  ".join(str(each) for each in listed),
            to_do="Give each broker a folder of its own.",
        )
    return brokers[0].resource
