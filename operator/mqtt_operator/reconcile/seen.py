"""One object as it was last seen: read once for each change that means something, and kept small.

Knows which parts of an object mean something to us; does not know who keeps it, or what it causes.

Ten thousand of these are held at a time. So a status is kept as bytes, and an object that comes again with nothing new
but its status or bookkeeping of others keeps the resource that was read before.
"""

import hashlib
import logging
from collections.abc import Mapping
from typing import Any, Generic, TypeVar, cast

import msgspec
from pydantic import BaseModel

from mqtt_api import keys
from mqtt_api.kinds.common import DataKind
from mqtt_api.resources import InvalidResource, Mistake, MQTTBroker, MQTTClient, TopicPermission, parse_document
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.names import FINALIZER
from mqtt_operator.reconcile.keys import BrokerKey, DataKey, ObjectKey
from mqtt_operator.reconcile.references import parts_of

R = TypeVar("R", MQTTBroker, MQTTClient, TopicPermission)

log = logging.getLogger(__name__)

DIGEST_BYTES = 16
_FIELDS_WRITTEN: dict[frozenset[str], set[str]] = {}  # as many as there are ways to write a part: few
OUR_ANNOTATIONS = f"{keys.GROUP}/"
# kopf's notes to itself: they change with every handled change and say nothing to anybody else.
BOOKKEEPING = frozenset(f"{keys.GROUP}/{name}" for name in ("kopf-managed", "touch-dummy", "serve", "end"))


class Seen(msgspec.Struct, Generic[R], frozen=True, kw_only=True, eq=False):
    """An MQTTBroker, MQTTClient or TopicPermission. Compare by identity: another state is another value.

    `resource` is the same value as before while nothing has changed that means something: the spec, the labels, our
    annotations, and whether it is being deleted. None: it has `mistakes`, which no schema could refuse.
    """

    key: ObjectKey
    kind: str
    uid: str
    generation: int
    resource_version: str
    deleting: bool
    has_finalizer: bool
    """Ours holds it."""
    broker: BrokerKey | None
    """The broker it names, or is. None: it is so wrong that it names none."""
    resource: R | None
    mistakes: tuple[Mistake, ...]
    digest: bytes
    status_bytes: bytes

    @property
    def status(self) -> Manifest:
        """The status it has, a copy: {} if none."""
        return cast("Manifest", msgspec.json.decode(self.status_bytes))

    @property
    def about(self) -> Manifest:
        """As much of the object as an event or an owner reference needs."""
        return {
            "apiVersion": keys.API_VERSION,
            "kind": self.kind,
            "metadata": {"namespace": self.key.namespace, "name": self.key.name, "uid": self.uid},
        }


class DataObject(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A Secret or ConfigMap. Never log one: its fields print their names only."""

    key: DataKey
    uid: str
    resource_version: str
    type: str
    """Such as kubernetes.io/tls; "" for a ConfigMap."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    """Ours only: others copy what is in `data` into theirs."""
    owners: frozenset[str]
    """The uids of its owners."""
    data: Mapping[str, bytes]

    def __repr__(self) -> str:
        return f"DataObject({self.key}, version {self.resource_version}, entries {sorted(self.data)})"


def see(document: Manifest, before: Seen[R] | None) -> Seen[R]:
    """The object in this document; `before` is how it was last seen, if it was. Never raises for what people wrote."""
    metadata = document["metadata"]
    sound = _meaningful(document)
    digest = hashlib.blake2b(
        msgspec.json.encode((sound, metadata["uid"]), order="deterministic"), digest_size=DIGEST_BYTES
    ).digest()
    if before is not None and before.digest == digest:
        resource, mistakes = before.resource, before.mistakes
    else:
        resource, mistakes = _parsed(sound)
    return Seen(
        key=ObjectKey(metadata["namespace"], metadata["name"]),
        kind=document["kind"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=metadata["resourceVersion"],
        deleting="deletionTimestamp" in metadata,
        has_finalizer=FINALIZER in metadata.get("finalizers", ()),
        broker=_broker_of(document),
        resource=resource,
        mistakes=mistakes,
        digest=digest,
        status_bytes=msgspec.json.encode(document.get("status", {})),
    )


def see_data(document: Manifest) -> DataObject:
    """The Secret or ConfigMap in this document."""
    metadata = document["metadata"]
    kind = DataKind(document["kind"])
    return DataObject(
        key=DataKey(kind, metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        type=document.get("type", ""),
        labels=metadata.get("labels", {}),
        annotations=_our_annotations(metadata),
        owners=frozenset(owner["uid"] for owner in metadata.get("ownerReferences", ())),
        data=_bytes_of(kind, document),
    )


def _meaningful(document: Manifest) -> Manifest:
    """The document without what others keep in it for themselves, and without its status."""
    metadata = document["metadata"]
    kept = {name: metadata[name] for name in ("name", "namespace", "uid", "generation", "labels") if name in metadata}
    if annotations := _our_annotations(metadata):
        kept["annotations"] = annotations
    sound: Manifest = {name: document[name] for name in ("apiVersion", "kind", "spec") if name in document}
    return {**sound, "metadata": kept, "deleting": "deletionTimestamp" in metadata}


def _our_annotations(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value
        for name, value in metadata.get("annotations", {}).items()
        if name.startswith(OUR_ANNOTATIONS) and name not in BOOKKEEPING
    }


def _parsed(sound: Manifest) -> tuple[Any, tuple[Mistake, ...]]:
    document = {name: value for name, value in sound.items() if name != "deleting"}
    try:
        return _compact(parse_document(document)), ()
    except InvalidResource as error:
        return None, error.mistakes
    except Exception as error:  # one odd object must not keep the others from being read
        log.error("%s %s cannot be read; this is a bug.", sound["kind"], sound["metadata"]["name"], exc_info=error)
        return None, (Mistake("", "cannot be read by this operator"),)


def _compact(resource: BaseModel) -> BaseModel:
    """Lets all resources that were written alike share the notes of which fields were written: a third of their size.

    Safe because a resource is frozen: nobody adds to those notes.
    """
    for part in parts_of(resource):
        written = frozenset(part.model_fields_set)
        object.__setattr__(part, "__pydantic_fields_set__", _FIELDS_WRITTEN.setdefault(written, set(written)))
    return resource


def _broker_of(document: Manifest) -> BrokerKey | None:
    """Also for an object with mistakes, so that its broker's story can tell them."""
    metadata = document["metadata"]
    if document["kind"] == keys.BROKER_KIND:
        return BrokerKey(metadata["namespace"], metadata["name"])
    spec = document.get("spec")
    ref = spec.get("brokerRef") if isinstance(spec, Mapping) else None
    if not isinstance(ref, Mapping) or not isinstance(ref.get("name"), str):
        return None
    namespace = ref.get("namespace")
    return BrokerKey(namespace if isinstance(namespace, str) else metadata["namespace"], ref["name"])


def _bytes_of(kind: DataKind, document: Manifest) -> dict[str, bytes]:
    if kind is DataKind.SECRET:
        return {name: _decoded(text) for name, text in (document.get("data") or {}).items()}
    texts = {name: text.encode() for name, text in (document.get("data") or {}).items()}
    return {**texts, **{name: _decoded(text) for name, text in (document.get("binaryData") or {}).items()}}


def _decoded(text: str) -> bytes:
    return msgspec.convert(text, bytes)  # the API server lets nothing but base64 in
