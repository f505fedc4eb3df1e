"""The one door to the API server, as everybody above it sees it: verbs on plain objects, and what can go wrong.

Knows which promises each verb makes; does not know HTTP, the client library, or what any object is for.

An object is a plain dictionary as the API server gives it (`Manifest`). Nothing here repeats what an object holds in an
error, a log line or an event: it might be a Secret.
"""

from enum import StrEnum
from typing import NamedTuple, Protocol

from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.names import FIELD_MANAGER, STATUS_FIELD_MANAGER
from mqtt_operator.errors import ExpectedError


class KubeError(ExpectedError):
    """The API server did not do what it was asked. After every kind but KubeAwayError: nothing has changed."""


class KubeAwayError(KubeError):
    """No answer in time, or only answers that say "later". A call that writes may or may not have happened."""


class ForbiddenError(KubeError):
    """Our ServiceAccount has no right to do this. Says verb, resource and namespace, so that a Role can be mended."""

    def __init__(self, call: "Call", namespace: str) -> None:
        where = f"in namespace {namespace}" if namespace else "in the whole cluster"
        super().__init__(
            f"The operator may not {call.verb} {call.resource_name} {where}.",
            to_do="Install the roles of this version of the operator, or watch fewer namespaces.",
        )
        self.call = call
        self.namespace = namespace


class ConflictError(KubeError):
    """The object is not what the caller believed: another version, another uid, or it exists already."""


class RefusedError(KubeError):
    """The API server or an admission policy says that this object cannot be: `reason` is its own sentence.

    Trying again with the same object gives the same answer.
    """

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, where=reason)
        self.reason = reason


class NamespaceEndsError(KubeError):
    """The namespace is being deleted: nothing new can be in it, whoever asks."""


class Call(NamedTuple):
    """One kind of request, in the words of RBAC. `group` is "" for the core; `subresource` mostly too."""

    verb: str
    group: str
    resource: str
    subresource: str = ""

    @property
    def resource_name(self) -> str:
        """As `kubectl auth can-i` and roles spell it: statefulsets.apps, mqttbrokers/status.mqtt.stoa.dev."""
        name = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f"{name}.{self.group}" if self.group else name


class Propagation(StrEnum):
    """What happens to the objects that name the deleted one as their owner."""

    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


class EventType(StrEnum):
    NORMAL = "Normal"
    WARNING = "Warning"


class Kube(Protocol):
    """Every call may raise KubeAwayError and ForbiddenError; what else it raises, it says.

    All calls together use a bounded number of connections; more callers wait their turn. A call tries again by itself
    while the API server says "later" (429, 5xx) or cannot be reached, until its deadline. Cancelling a call is safe; as
    with KubeAwayError, a write may then have happened.

    `namespace` is "" for objects that are in none. `manager` is one of the field managers in
    mqtt_operator.desired.names.
    """

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """The object as it is now; None if there is none, or if the API server does not know the kind."""
        ...

    async def list(self, kind: Kind, namespace: str, selector: str = "", *, fields: str = "") -> list[Manifest]:
        """All objects that the label selector means, in the namespace or, if it is "", in all of them.

        Complete, or it raises. `fields` is a field selector such as `spec.brokerRef.name=plant`. A kind that the API
        server does not know has no objects. Items carry apiVersion and kind as if they had been read one by one.
        """
        ...

    async def apply(self, manifest: Manifest, *, manager: str = FIELD_MANAGER, force: bool = True) -> Manifest:
        """Make the fields of `manifest` so, by server-side apply, and return the object as it is then.

        Idempotent: equal fields change nothing, not even the resourceVersion. Fields that this manager set before and
        leaves out now go away; fields of others stay. With a `metadata.uid` or `metadata.resourceVersion` in it, it
        applies to that object only. Raises RefusedError; ConflictError if that object is another, or without `force`
        if another manager holds a field.
        """
        ...

    async def create(self, manifest: Manifest, *, manager: str = FIELD_MANAGER) -> Manifest:
        """Make an object that must not exist yet. Raises ConflictError if it does, RefusedError.

        Not idempotent: after KubeAwayError read it to learn whether it was made. A repeated attempt of this very call
        that finds the object raises ConflictError though it may be its own.
        """
        ...

    async def patch(
        self, kind: Kind, namespace: str, name: str, body: Manifest, *, manager: str = FIELD_MANAGER
    ) -> Manifest | None:
        """Merge `body` into the object (RFC 7386: null takes a field away). None if there is no such object.

        Idempotent. A `metadata.resourceVersion` or `metadata.uid` in the body makes it conditional. Raises
        ConflictError, RefusedError.
        """
        ...

    async def patch_status(
        self, kind: Kind, namespace: str, name: str, status: Manifest, *, manager: str = STATUS_FIELD_MANAGER
    ) -> Manifest | None:
        """Make `status` the whole of what this manager says in the status. None if there is no such object.

        Server-side apply to the status subresource, forced: fields said before and left out now go away. Idempotent.
        Raises RefusedError.
        """
        ...

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Propagation = Propagation.BACKGROUND,
    ) -> bool:
        """Ask for the end of the object; finalizers and grace periods go on after the answer.

        False if there was no such object. Idempotent; with `uid` a successor of the same name is safe. Raises
        ConflictError if uid or version is another.
        """
        ...

    async def serves(self, kind: Kind) -> bool:
        """Whether the API server knows the kind, as of a minute ago at most."""
        ...

    async def event(self, about: Manifest, event_type: EventType, reason: str, message: str) -> None:
        """Tell people, beside `about` (its apiVersion, kind, metadata are enough): one CamelCase word, one sentence.

        Best effort and never an error: an event that cannot be written is logged. The same event again within some
        minutes is counted on the first one instead of making a second.
        """
        ...

    def calls(self) -> frozenset[Call]:
        """Every kind of request made so far: what the roles must allow."""
        ...
