"""What of the API to list and to follow, and how its lists and changes come.

Knows the shapes only; asks nobody.
"""

from typing import NamedTuple

import msgspec

from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import KubeError


class Place(NamedTuple):
    """Objects of one kind. `namespace` "" = of all; `selector` of labels, `fields` of fields, as in a query.

    `optional`: where the API server does not serve the kind there are no objects of it, as with what others install.
    Otherwise that is a failure like any other: it may be starting.
    """

    kind: Kind
    namespace: str = ""
    selector: str = ""
    fields: str = ""
    optional: bool = False

    @property
    def query(self) -> dict[str, str]:
        """As query parameters."""
        given = {"labelSelector": self.selector, "fieldSelector": self.fields}
        return {name: value for name, value in given.items() if value}


class Page(NamedTuple):
    """A part of a list; `version` is that of the whole of it."""

    version: str
    documents: list[Manifest]


class Change(msgspec.Struct, frozen=True):
    """`type`: ADDED, MODIFIED, DELETED, BOOKMARK, or ERROR, whose document is a Status."""

    type: str
    document: Manifest = msgspec.field(name="object")


class UnservedError(KubeError):
    """The API server does not know the kind."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(
            f"The API server does not serve {kind.plural} in {kind.api_version}.",
            to_do="Install their CustomResourceDefinition.",
        )


class ExpiredError(Exception):
    """So much has changed since that the API server no longer knows how it was: list anew."""
