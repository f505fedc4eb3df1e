"""The objects that the documents of a folder declare: custom resources, Secrets and ConfigMaps.

Knows how each kind is read and what makes one object twice; does not know which object refers to which.
"""

import base64
import binascii
import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from mqtt_api.keys import GROUP
from mqtt_api.kinds.common import DataKind, ObjectMeta
from mqtt_api.resources import KINDS, InvalidResource, MQTTBroker, MQTTClient, TopicPermission, parse_document
from mqtt_operator.errors import Mistake
from mqtt_operator.local.documents import Document

DEFAULT_NAMESPACE = "default"
NAMESPACE_KIND = "Namespace"
_OBJECT_FIELDS = frozenset({"apiVersion", "metadata", "spec"})

R = TypeVar("R", covariant=True)


class Entry(NamedTuple, Generic[R]):
    """An object and where it is written."""

    document: Document
    resource: R

    @property
    def place(self) -> str:
        return f"{self.document.file}:{self.document.line}"


class DataObject(NamedTuple):
    """A Secret or ConfigMap with its values as bytes."""

    kind: DataKind
    namespace: str
    name: str
    data: Mapping[str, bytes]
    broken: frozenset[str] = frozenset()
    """Keys whose values are mistakes: they exist, but nobody knows what they say."""


class Absence(NamedTuple):
    """What no file declares: `mistake` where the files are all there is, `note` where they may be a part of it."""

    mistake: Mistake
    note: Mistake


class DataKey(NamedTuple):
    kind: DataKind
    namespace: str
    name: str


class Objects:
    """Everything one reading found. Filled by `add_all`; `mistakes` and `notes` grow with it."""

    def __init__(self) -> None:
        self.brokers: list[Entry[MQTTBroker]] = []
        self.clients: list[Entry[MQTTClient]] = []
        self.permissions: list[Entry[TopicPermission]] = []
        self.data: dict[DataKey, Entry[DataObject]] = {}
        self.namespaces: dict[str, Mapping[str, str]] = {}
        """The labels of those that are declared, which attachments of a broker may ask for."""
        self.mistakes: list[Mistake] = []
        self.notes: list[str] = []
        self.absences: list[Absence] = []
        self.others: list[Mistake] = []
        """Objects of kinds that mean nothing here."""
        self.strangers: list[Mistake] = []
        """Documents that nobody would take for an object: mistakes in a folder of objects."""
        self.broken: set[tuple[str, str, str]] = set()
        """Kind, namespace and name of objects that are written down with mistakes: they are not missing."""
        self._places: dict[tuple[str, str, str], str] = {}

    def add_all(self, documents: tuple[Document, ...]) -> None:
        for document in documents:
            self._add(document)

    def add_absence(self, document: Document, field: str, message: str) -> None:
        """The field names an object that no file declares."""
        note = document.mistake(field, f"{message}; it must exist when this is applied.")
        self.absences.append(Absence(document.mistake(field, message), note))

    def _add(self, document: Document) -> None:
        kind = document.value.get("kind")
        if not isinstance(kind, str) or not kind:
            is_stranger = _OBJECT_FIELDS.isdisjoint(document.value)
            mistakes = self.strangers if is_stranger else self.mistakes
            mistakes.append(document.mistake("kind", "is missing; write for example kind: MQTTClient"))
        elif kind in KINDS:
            self._add_resource(document)
        elif kind in set(DataKind):
            self._add_data(document, DataKind(kind))
        elif kind == NAMESPACE_KIND:
            self._add_namespace(document)
        elif str(document.value.get("apiVersion")).partition("/")[0] == GROUP:
            self._add_misspelt(document, kind)
        else:
            self.others.append(Mistake(document.file, document.line, "", f"kind {kind} means nothing here; ignored."))

    def _add_misspelt(self, document: Document, kind: str) -> None:
        """Ours, and yet no kind of ours: left out in silence, a rule that denies would protect nobody."""
        by_small = {each.lower(): each for each in KINDS}
        near = [by_small[each] for each in difflib.get_close_matches(kind.lower(), by_small, n=1)]
        advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(KINDS)}"
        self.mistakes.append(document.mistake("kind", f"is not a kind of {GROUP}; {advice}"))
        self.broken |= {(each, *_identity(document)[1:]) for each in near}

    def _add_resource(self, document: Document) -> None:
        try:
            resource = parse_document(document.value)
        except InvalidResource as error:
            self.mistakes += [document.mistake(each.field, each.message) for each in error.mistakes]
            self.broken.add(_identity(document))
            return
        if self._is_second(document, resource.kind, resource.metadata):
            return
        match resource:
            case MQTTBroker():
                self.brokers.append(Entry(document, resource))
            case MQTTClient():
                self.clients.append(Entry(document, resource))
            case TopicPermission():
                self.permissions.append(Entry(document, resource))

    def _add_namespace(self, document: Document) -> None:
        metadata = self._metadata(document)
        if metadata is not None:
            self.namespaces[metadata.name] = metadata.labels

    def _metadata(self, document: Document) -> ObjectMeta | None:
        """None after a mistake."""
        try:
            return ObjectMeta.model_validate(document.value.get("metadata"))
        except ValidationError as error:
            for details in error.errors(include_url=False, include_input=False):
                path = ".".join(("metadata", *(str(step) for step in details["loc"])))
                self.mistakes.append(document.mistake(path, details["msg"]))
            self.broken.add(_identity(document))
            return None

    def _add_data(self, document: Document, kind: DataKind) -> None:
        metadata = self._metadata(document)
        if metadata is None or self._is_second(document, kind, metadata):
            return
        found = _values_of(kind, document)
        wrong = {name: value for name, value in found.items() if isinstance(value, Mistake)}
        self.mistakes += wrong.values()
        data = {name: value for name, value in found.items() if isinstance(value, bytes)}
        data_object = DataObject(kind, metadata.namespace, metadata.name, data, frozenset(wrong))
        self.data[DataKey(kind, metadata.namespace, metadata.name)] = Entry(document, data_object)

    def _is_second(self, document: Document, kind: str, metadata: ObjectMeta) -> bool:
        identity = (kind, metadata.namespace, metadata.name)
        first = self._places.setdefault(identity, f"{document.file}:{document.line}")
        if first == f"{document.file}:{document.line}":
            return False
        message = f"is the name of a second {kind} {metadata.namespace}/{metadata.name}; the first is at {first}"
        self.mistakes.append(document.mistake("metadata.name", message))
        return True


def _identity(document: Document) -> tuple[str, str, str]:
    """As far as it can be read."""
    metadata = document.value.get("metadata")
    known: Mapping[str, object] = metadata if isinstance(metadata, Mapping) else {}
    return str(document.value["kind"]), str(known.get("namespace", DEFAULT_NAMESPACE)), str(known.get("name", ""))


def _values_of(kind: DataKind, document: Document) -> dict[str, bytes | Mistake]:
    """In the order in which Kubernetes lets them win: plain text written later replaces what is encoded."""
    encoded, plain = ("data", "stringData") if kind is DataKind.SECRET else ("binaryData", "data")
    values: dict[str, bytes | Mistake] = {}
    for name, value in _members(document, encoded):
        values[name] = value if isinstance(value, Mistake) else _decoded(document, f"{encoded}.{name}", value)
    for name, value in _members(document, plain):
        values[name] = value if isinstance(value, Mistake) else value.encode()
    return values


def _members(document: Document, field: str) -> Iterator[tuple[str, str | Mistake]]:
    section: Any = document.value.get(field) or {}
    if not isinstance(section, Mapping):
        yield "", document.mistake(field, "must be a mapping of keys to text")
        return
    for name, value in section.items():
        if isinstance(value, str):
            yield str(name), value
        else:
            # The value itself is not repeated: it may be a password.
            yield str(name), document.mistake(f"{field}.{name}", "must be text; put it in quotes")


def _decoded(document: Document, field: str, value: str) -> bytes | Mistake:
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        return document.mistake(field, "is not base64; for plain text use stringData")
