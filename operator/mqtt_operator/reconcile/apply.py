"""Makes objects what they should be, and asks the API server for nothing that is so already.

Knows what was applied last and how the object looked after that; does not know any kind of object. An object is applied
again when what is wanted has changed, or when the object is not as it was left: then the fields that are ours are
repaired, and those of others stay. The memory is lost with the process; applying everything once more changes nothing.
"""

import hashlib
from typing import NamedTuple

import msgspec

from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.paths import kind_of
from mqtt_operator.kube.port import Kube
from mqtt_operator.reconcile.observe import Found, ObjectName, name_of
from mqtt_operator.reconcile.ownership import require_ours

DIGEST_BYTES = 16
# What the API server and controllers write by themselves, or what says the same in other words.
_NOT_CONTENT = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink")


class _Left(NamedTuple):
    """What was wanted of an object, and how it was then."""

    wanted: bytes
    content: bytes


class Applier:
    """One for the process; brokers are told apart by uid."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._left: dict[str, dict[ObjectName, _Left]] = {}

    async def apply(self, broker: MQTTBroker, manifest: Manifest, found: Found) -> Manifest | None:
        """The object as it is then; None if it was so already.

        Raises MendError if the object is somebody else's; KubeError.
        """
        name = name_of(manifest)
        left = self._left.setdefault(broker.metadata.uid or "", {})
        wanted = _digest(manifest)
        now = found.children.get(name)
        if now is not None and left.get(name) == _Left(wanted, content_digest(now)):
            return None
        await self._require_ours(broker, manifest, now)
        applied = await self._kube.apply(manifest)
        left[name] = _Left(wanted, content_digest(applied))
        return applied

    def forget(self, uid: str) -> None:
        """The broker is gone."""
        self._left.pop(uid, None)

    async def _require_ours(self, broker: MQTTBroker, manifest: Manifest, now: Manifest | None) -> None:
        """One that was not found by its labels may be there without them."""
        if now is None:
            metadata = manifest["metadata"]
            now = await self._kube.get(kind_of(manifest), metadata["namespace"], metadata["name"])
        if now is not None:
            require_ours(now, broker)


def content_digest(manifest: Manifest) -> bytes:
    """Of everything that somebody wants of the object, without what is observed of it."""
    metadata = {name: value for name, value in manifest["metadata"].items() if name not in _NOT_CONTENT}
    return _digest({**{name: part for name, part in manifest.items() if name != "status"}, "metadata": metadata})


def _digest(manifest: Manifest) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(manifest, order="deterministic"), digest_size=DIGEST_BYTES).digest()
