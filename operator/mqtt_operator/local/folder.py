"""A folder of YAML read as one whole: every object, every mistake in them, and the one broker that is to run.

Knows the order of the steps; does not know YAML, kinds or references themselves, and writes nothing.
"""

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
    """Everything in the folder. Raises FilesRefusedError with all mistakes at once."""
    reading = read_documents(folder)
    objects = Objects()
    objects.mistakes += reading.mistakes
    objects.add_all(reading.documents)
    check_references(objects, complete=not reading.mistakes)
    note_what_needs_kubernetes(objects)
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
